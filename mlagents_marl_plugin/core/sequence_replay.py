"""A replay whose batches are sequences of steps as they were played, for memories and for returns over many steps.

Nothing is stored twice: a row also knows who stands before it, so a sequence is found by walking along its lane, back
from a row that was drawn and forwards again. What a batch looks like never depends on the data, and nothing waits for
the device.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.rows import RowLayout
from mlagents_marl_plugin.core.types import Batch, GroupSpec

_NOBODY = -1  # in `_previous`: the row is the first of its lane


class SequenceSize(NamedTuple):
    """What sequences a learner asks for."""

    length: int  # steps that are learnt from, >= 1
    burn_in: int = 0  # up to so many steps before them only bring the memory up to date
    memory_size: int = (
        0  # numbers per agent that rows keep of what it remembered; 0: sequences begin with nothing
    )


class SequenceBatch(NamedTuple):
    """S sequences of T steps, step by step: first the first rows of all, then the second ones, R = T * S rows.

    Of ``steps``, what belongs to successors is that of the rows S further on; only behind the last step it is new.
    A sequence that ends early is filled up with rows that nothing is learnt from.
    """

    steps: Batch  # [R, ...]; reward and bootstrap are those of one step, ``value_mask`` is 0 where nothing is learnt
    num_sequences: int  # S
    learnt: Tensor  # [R] 0/1, neither burn-in nor behind the end
    follows: Tensor  # [R] 0/1, the row S further on is this one's successor, and learnt from
    memory: Tensor  # [S, N, M], what was remembered before the first rows; M = 0 if that was not kept
    held: Tensor  # [R + S, N] 0/1, 1 = the slot is absent or did not decide, so its memory stays as it is


class SequenceReplay(Replay):
    """See the module. Single transitions are drawn as from a `Replay`."""

    def __init__(
        self,
        spec: GroupSpec,
        capacity: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        memory_size: int = 0,
    ) -> None:
        """
        Args:
            spec, capacity, device, generator: see `Replay`.
            memory_size: numbers per agent that every row keeps of what it remembered before it decided, >= 0.

        Raises:
            ValueError, MemoryError: as `Replay`.
        """
        self.memory_size = memory_size
        super().__init__(spec, capacity, device, generator)
        # Numbers, not places: a row that was overwritten is recognised by its age.
        self._previous = torch.full((capacity,), _NOBODY, dtype=torch.int64, device=self.device)
        self._oldest = torch.zeros((), dtype=torch.int64, device=self.device)

    def _row_layout(self) -> RowLayout:
        return RowLayout.of(self.spec, memory_size=self.memory_size, in_sequence=True)

    def append(self, obs: Tensor, agent_mask: Tensor, allowed: Tensor, memory: Tensor | None = None) -> int:
        """See `Replay.append`."""
        first = super().append(obs, agent_mask, allowed, memory)
        num_rows = min(len(obs), self.capacity)
        for place, _ in self._pieces(self._next_id - num_rows, num_rows):
            self._previous[place] = _NOBODY
        self._oldest.fill_(max(0, self._next_id - self.capacity))
        return first

    def complete(
        self,
        rows: Tensor,
        action: Tensor,
        reward: Tensor,
        value_mask: Tensor,
        terminated: Tensor,
        next_rows: Tensor,
        cut: Tensor,
        acted: Tensor | None = None,
    ) -> None:
        """See `Replay.complete`."""
        super().complete(rows, action, reward, value_mask, terminated, next_rows, cut, acted)
        goes_on = (cut.to("cpu") == 0) & (rows >= self._next_id - self.capacity)
        place = (next_rows[goes_on] % self.capacity).to(self.device)
        self._previous.index_copy_(0, place, rows[goes_on].to(self.device))

    def sample_sequences(
        self, num_sequences: int, size: SequenceSize, discount: float, non_positive_share: float = 1.0
    ) -> SequenceBatch:
        """Sequences, each with a row in it that was drawn as `sample` draws them, at a place drawn uniformly.

        They begin where an episode does if that comes first, so no step of it is learnt from three times as often as
        another.

        Args:
            num_sequences: S, at least 1.
            size: steps that are learnt from, and those before them.
            discount: gamma per step, in [0, 1].
            non_positive_share: see `sample`.

        Raises:
            ValueError: if there is nothing to sample.
        """
        if not len(self):
            raise ValueError(
                "SequenceReplay.sample_sequences: expected at least one complete row, got none; call complete() first"
            )
        place, successor = self._draw(num_sequences, non_positive_share)
        usable = successor >= 0
        back = torch.empty_like(place).random_(generator=self.generator).remainder_(size.length)
        place, _ = self._walk_back(place, back, size.length - 1)
        place, warm_up = self._walk_back(place, torch.full_like(place, size.burn_in), size.burn_in)
        places, known, linked = self._walk(place, usable, size.burn_in + size.length)
        step = torch.arange(len(places), device=self.device).unsqueeze(1)
        in_reach = (step >= warm_up) & (step < warm_up + size.length)  # [T + 1, S]
        return self._sequences(places, known, linked, in_reach, discount)

    def _walk_back(self, place: Tensor, steps: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """From places [S] so many steps [S] back along their lanes, at most ``most``; and how many there were [S]."""
        walked = torch.zeros_like(steps)
        for step in range(most):
            previous = self._previous.index_select(0, place)
            here = (previous >= self._oldest) & (previous >= 0) & (step < steps)
            place = torch.where(here, previous.remainder(self.capacity), place)
            walked += here
        return place, walked

    def _walk(self, place: Tensor, usable: Tensor, num_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Along the lanes from places [S]: places [T + 1, S], then 0/1 whether each row's outcome is known and the
        sequence has come so far, and 0/1 whether the next place goes on with it.
        """
        cut = self._rows[:, self._layout.cut]
        places, known, linked = [place], list[Tensor](), list[Tensor]()
        going = usable
        for _ in range(num_steps + 1):
            successor = self._successor.index_select(0, place)
            complete = going & (successor >= 0)
            place = torch.where(complete, successor, place)
            going = complete & (cut.index_select(0, places[-1]).squeeze(1) == 0)
            places.append(place)
            known.append(complete)
            linked.append(going)
        return torch.stack(places[:-1]), torch.stack(known), torch.stack(linked)

    def _sequences(
        self, places: Tensor, known: Tensor, linked: Tensor, in_reach: Tensor, discount: float
    ) -> SequenceBatch:
        """The batch of places [T + 1, S], see `_walk`; ``in_reach`` [T + 1, S] may be learnt from."""
        layout, num_sequences, spec = self._layout, places.shape[1], self.spec
        seen = self._gather("sequences", places.flatten())
        rows, behind = seen[:-num_sequences], seen[num_sequences:]
        learnt = (known & in_reach).float()
        follows = (learnt[1:] * linked[:-1]).flatten()
        follows[-num_sequences:] = 0.0  # the row behind the last step is only looked at
        held = (seen[:, layout.acted] == 0).float() * known.flatten().unsqueeze(1)
        memory = seen[:num_sequences, layout.memory].unflatten(1, (spec.num_slots, self.memory_size))
        is_learnt = learnt[:-1].flatten()
        steps = Batch(
            obs=rows[:, layout.obs],
            action=rows[:, layout.action],
            allowed=rows[:, layout.allowed],
            agent_mask=rows[:, layout.agent_mask],
            value_mask=rows[:, layout.value_mask] * is_learnt.unsqueeze(1),
            reward=rows[:, layout.reward],
            bootstrap=(1.0 - rows[:, layout.terminated]) * discount,
            next_obs=behind[:, layout.obs],
            next_allowed=behind[:, layout.allowed],
            next_agent_mask=behind[:, layout.agent_mask],
        )
        return SequenceBatch(steps, num_sequences, is_learnt, follows, memory, held)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Replay.load_state_dict`."""
        super().load_state_dict(state)
        kept = int(self._filled)
        self._oldest.fill_(self._next_id - kept)
        self._previous.fill_(_NOBODY)
        goes_on = (self._successor >= 0) & (self._rows[:, self._layout.cut].squeeze(1) == 0)
        place = goes_on.nonzero().squeeze(1)
        oldest = self._next_id - kept
        number = (place - oldest).remainder(self.capacity) + oldest
        self._previous.index_copy_(0, self._successor[place], number)
