"""Replay memory that stores each group step once.

Next observations and n-step returns are looked up when a batch is drawn, so a step costs its own size and
nothing is copied ahead of time. A *lane* is a chain of rows: every row knows its successor, until a cut ends
the chain.

Rows are numbered by a sequence that never repeats; number ``id`` lives in place ``id % capacity`` until the
ring comes round. A successor is always the younger of the two, so a row that is still there has its successor
as well.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlagents_marl_plugin.core.checks import check_shape
from mlagents_marl_plugin.core.memory import buffer_memory
from mlagents_marl_plugin.core.rows import RowLayout, clean_outcome, decision_block, outcome_block
from mlagents_marl_plugin.core.types import Batch, GroupSpec

_logger = logging.getLogger(__name__)

_OPEN = -1  # in `_successor`: the row's outcome is not known (yet), so it cannot be sampled
_BYTES_BESIDE = 9  # per row: its successor, and whether it is complete
_CANDIDATES = 4  # draws per sample; where 1 of 15 rows is open, all four are so once in 50,000 samples
_CANDIDATES_THINNED = 16
_ENTRIES = ("rows", "successor", "capacity", "next_id", "dropped", "device", "generator")


class Replay:
    """A ring of group steps on one device, sampled there without waiting for the host.

    Not thread-safe: whoever adds rows while another thread samples holds a lock around both.

    `sample` can be captured in a CUDA graph with which ``generator`` is registered; what is appended later is
    found by replays of the graph as well, since the number of rows is read on the device.
    """

    def __init__(
        self,
        spec: GroupSpec,
        capacity: int,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        """
        Args:
            spec: the group whose steps are kept.
            capacity: number of group steps, at least 2 (a step and its successor).
            device: where the rows live and batches are drawn.
            generator: draws the samples; on ``device``. Default: a new one with torch's default seed.

        Raises:
            ValueError: if the capacity is below 2.
            MemoryError: if the device cannot hold that many steps; says how many it can.
        """
        if capacity < 2:
            raise ValueError(
                f"Replay: expected a capacity of at least 2 steps, got {capacity}; raise buffer_size"
            )
        self.spec = spec
        self.capacity = capacity
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device) if generator is None else generator
        self._layout = self._row_layout()
        with buffer_memory("Replay", capacity, 4 * self._layout.width + _BYTES_BESIDE, self.device):
            self._rows = torch.zeros(capacity, self._layout.width, device=self.device)
            self._successor = torch.full((capacity,), _OPEN, dtype=torch.int64, device=self.device)
        # Counts exist twice, so that neither the device nor the host has to ask the other.
        self._filled = torch.zeros((), dtype=torch.int64, device=self.device)
        self._complete = torch.zeros(capacity, dtype=torch.bool, device="cpu")
        self._num_complete = 0
        self._next_id = 0
        self._dropped = 0
        self._gathered: dict[str, Tensor] = {}

    @staticmethod
    def bytes_per_step(spec: GroupSpec) -> int:
        """Bytes that one group step takes: 4 per float of the row and 9 for its place in the lane."""
        return RowLayout.of(spec).width * 4 + _BYTES_BESIDE

    def _row_layout(self) -> RowLayout:
        return RowLayout.of(self.spec)

    def __len__(self) -> int:
        """Number of rows that can be sampled."""
        return self._num_complete

    @property
    def next_id(self) -> int:
        """The number that the next appended row will get; also the count of all rows ever appended."""
        return self._next_id

    def append(self, obs: Tensor, agent_mask: Tensor, allowed: Tensor, memory: Tensor | None = None) -> int:
        """Add open rows: what is observed now, whose outcome `complete` will fill in.

        Of more rows than the capacity the first are numbered too, and overwritten at once.

        Args:
            obs: [M, joint]. What stands in it for absent slots is replaced by 0.
            agent_mask: [M, N] bool or 0/1.
            allowed: [M, joint choices] bool or 0/1, width 0 without discrete branches.
            memory: [M, N * memory size], what each slot remembers before it decides; None where rows keep nothing.

        Returns:
            The number of the first row; the others follow on.

        Raises:
            ValueError: if a shape is wrong.
        """
        block = decision_block("Replay.append", self.spec, self._layout, obs, agent_mask, allowed, memory)
        first_id, block = self._next_id, block[-self.capacity :].to(self.device)
        self._next_id += obs.shape[0]
        for place, piece in self._pieces(self._next_id - len(block), len(block)):
            self._rows[place] = block[piece]
            self._successor[place] = _OPEN
            self._num_complete -= int(self._complete[place].sum())
            self._complete[place] = False
        self._filled.fill_(min(self._next_id, self.capacity))
        return first_id

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
        """Fill in what happened at open rows, which can be sampled from then on.

        Rows that the ring has overwritten meanwhile are counted (``dropped``) and left out.

        Args:
            rows: [M] int64 on the CPU, numbers from `append`.
            action: [M, joint] encoded. What stands in it for absent slots is replaced by 0.
            reward: [M, N]; replaced by 0 where ``value_mask`` is 0.
            value_mask: [M, N] bool or 0/1: the slot's return is to be learnt.
            terminated: [M, N] bool or 0/1: nothing follows for the slot, no bootstrap.
            next_rows: [M] int64 on the CPU, the row that shows what came of it.
            cut: [M] bool or 0/1: the successor is only the end of a lane (the observation at an end or a time
                limit, or where a member left), so an n-step return stops there and bootstraps from it.
            acted: [M, N] bool or 0/1: the slot decided in this row; None where rows do not keep it.

        Raises:
            ValueError: if a shape is wrong, or a row is unknown, was completed before, or is not older than
                its successor. Nothing is changed then.
        """
        layout, num_rows = self._layout, rows.shape[0]
        given = {"action": action, "value_mask": value_mask, "reward": reward, "terminated": terminated}
        given |= {"cut": cut.unsqueeze(-1)} | ({} if acted is None else {"acted": acted})
        block = outcome_block("Replay.complete", layout, num_rows, given)
        check_shape("Replay.complete", "next_rows", next_rows, (num_rows,))
        kept = self._accept(rows, next_rows)
        if kept.numel() < num_rows:
            rows, next_rows, block = rows[kept], next_rows[kept], block[kept.to(block.device)]
        slots = rows % self.capacity
        self._complete[slots] = True
        self._num_complete += slots.numel()

        block, place = block.to(self.device), slots.to(self.device)
        agent_mask = self._rows[:, layout.agent_mask][place]
        clean_outcome(self.spec, layout, block, agent_mask)
        self._rows[:, layout.outcome].index_copy_(0, place, block)
        self._successor.index_copy_(0, place, (next_rows % self.capacity).to(self.device))

    def sample(
        self, batch_size: int, n_step: int = 1, discount: float = 0.99, non_positive_share: float = 1.0
    ) -> Batch:
        """Transitions drawn uniformly, with replacement, over the rows that can be sampled.

        The reward is ``sum_{k<m} discount^k * reward_k`` and ``bootstrap`` is ``discount^m``, over m rows, at
        most ``n_step``: a return ends at a cut, or where the next outcome is not known yet. For a slot that
        terminated nothing counts afterwards.

        Shapes are static, nothing waits for the device, and the next batch overwrites this one. Should no candidate
        of a sample be usable, which is rare, a row with all masks 0 takes its place and weighs nothing.

        Args:
            batch_size: number of samples B.
            n_step: largest number of steps m, at least 1.
            discount: gamma per step, in [0, 1].
            non_positive_share: in (0, 1]. Below 1, a row in which no slot was rewarded above 0 is taken with
                this probability relative to the others. For the time when rewards are rare.

        Raises:
            ValueError: if there is nothing to sample.
        """
        if not self._num_complete:
            raise ValueError(
                "Replay.sample: expected at least one complete row, got none; call complete() first"
            )
        layout = self._layout
        slot, last = self._draw(batch_size, non_positive_share)
        usable = (last >= 0).unsqueeze(-1)  # [B] -> [B, 1]
        last = last.clamp_min(0)
        row = self._gather("row", slot)
        if n_step == 1:
            reward, bootstrap = row[:, layout.reward], (1.0 - row[:, layout.terminated]) * discount
        else:
            reward, bootstrap, last = self._look_ahead(row, last, n_step, discount)
        next_row = self._gather("next row", last)
        return Batch(
            obs=row[:, layout.obs],
            action=row[:, layout.action],
            allowed=row[:, layout.allowed],
            agent_mask=row[:, layout.agent_mask] * usable,
            value_mask=row[:, layout.value_mask],  # 0 in an open row
            reward=reward,
            bootstrap=bootstrap,
            next_obs=next_row[:, layout.obs],
            next_allowed=next_row[:, layout.allowed],
            next_agent_mask=next_row[:, layout.agent_mask],
        )

    def _gather(self, name: str, place: Tensor) -> Tensor:
        """Rows [B, width] of these places [B], in memory that the next batch uses again."""
        out = self._gathered.get(name)
        if out is None or len(out) != len(place):
            out = self._gathered[name] = self._rows.new_empty(len(place), self._layout.width)
        return torch.index_select(self._rows, 0, place, out=out)

    def _draw(self, batch_size: int, non_positive_share: float) -> tuple[Tensor, Tensor]:
        """Places [B] of rows and of their successors; the latter is negative where none was usable."""
        thinned = non_positive_share < 1.0
        shape = (batch_size, _CANDIDATES_THINNED if thinned else _CANDIDATES)
        drawn = torch.empty(shape, dtype=torch.int64, device=self.device).random_(generator=self.generator)
        drawn = drawn.remainder_(self._filled)
        successor = self._successor.index_select(0, drawn.view(-1)).view(shape)
        preference = (successor >= 0).to(torch.uint8)
        if thinned:
            lucky = torch.rand(shape, generator=self.generator, device=self.device) < non_positive_share
            positive = (self._rows[:, self._layout.reward][drawn] > 0).any(-1)
            preference = preference + preference * (lucky | positive)
        first = preference.argmax(1, keepdim=True)  # the first of the largest
        return drawn.gather(1, first).squeeze(1), successor.gather(1, first).squeeze(1)

    def _look_ahead(
        self, row: Tensor, last: Tensor, n_step: int, discount: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reward and bootstrap [B, N] over up to ``n_step`` rows, and the place [B] of the last successor."""
        layout = self._layout
        reward, alive = row[:, layout.reward], 1.0 - row[:, layout.terminated]
        power = torch.full_like(row[:, layout.cut], discount)
        going = row[:, layout.cut] == 0  # [B, 1]
        for _ in range(n_step - 1):
            successor = self._successor.index_select(0, last).unsqueeze(-1)
            going = going & (successor >= 0)
            step = self._rows.index_select(0, last)
            counts = going * alive
            reward = reward + power * counts * step[:, layout.reward]
            alive = alive - counts * step[:, layout.terminated]
            power = torch.where(going, power * discount, power)
            last = torch.where(going, successor, last.unsqueeze(-1)).squeeze(-1)
            going = going & (step[:, layout.cut] == 0)
        return reward, power * alive, last

    def metrics(self) -> dict[str, float]:
        """Rows that can be sampled, their age (group steps added since), completions that came too late."""
        age = (self._next_id - 1 - self._complete.nonzero()) % self.capacity
        return {
            "size": float(self._num_complete),
            "mean_age": float(age.double().mean()) if len(age) else 0.0,
            "oldest_age": float(age.max()) if len(age) else 0.0,
            "dropped": float(self._dropped),
        }

    def state_dict(self) -> dict[str, Any]:
        """All rows held, oldest first, with counts and random state, copied to the CPU.

        ``successor`` counts from the oldest row held, -1 for an open row.
        """
        num_rows = min(self._next_id, self.capacity)
        oldest = self._next_id - num_rows
        places = [place for place, _ in self._pieces(oldest, num_rows)]
        successor = torch.cat([self._successor[place].cpu() for place in places])
        return {
            "rows": torch.cat([self._rows[place].cpu() for place in places]),
            "successor": torch.where(successor < 0, successor, (successor - oldest) % self.capacity),
            "capacity": self.capacity,
            "next_id": self._next_id,
            "dropped": self._dropped,
            "device": self.device.type,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` stopped.

        With another capacity the youngest rows that fit are kept, and numbered from 0. On another type of
        device the random state cannot go on; the present one stays, with a warning.

        Raises:
            ValueError: if an entry is missing or misshapen; names it. Nothing is changed then.
        """
        missing = [name for name in _ENTRIES if name not in state]
        if missing:
            raise ValueError(
                f"Replay.load_state_dict: expected entry '{missing[0]}', got none; the file is incomplete"
            )
        num_rows = min(state["next_id"], state["capacity"])
        check_shape("Replay.load_state_dict", "rows", state["rows"], (num_rows, self._layout.width))
        check_shape("Replay.load_state_dict", "successor", state["successor"], (num_rows,))
        if state["device"] == self.device.type:
            random_state = state["generator"].cpu()
            check_shape(
                "Replay.load_state_dict", "generator", random_state, tuple(self.generator.get_state().shape)
            )
            self.generator.set_state(random_state)
        else:
            _logger.warning(
                "The replay was saved on %s and goes on on %s: its draws start anew.",
                state["device"],
                self.device,
            )
        kept = min(num_rows, self.capacity)
        self._next_id = state["next_id"] if state["capacity"] == self.capacity else kept
        self._dropped = state["dropped"]
        left_out, oldest = num_rows - kept, self._next_id - kept
        rows, successor = state["rows"][left_out:], state["successor"][left_out:]
        successor = torch.where(successor < 0, successor, (successor - left_out + oldest) % self.capacity)
        self._successor.fill_(_OPEN)
        for place, piece in self._pieces(oldest, kept):
            self._rows[place] = rows[piece].to(self.device)
            self._successor[place] = successor[piece].to(self.device)
        self._complete = (self._successor >= 0).cpu()
        self._num_complete = int(self._complete.sum())
        self._filled.fill_(kept)

    def _pieces(self, first_id: int, num_rows: int) -> Iterator[tuple[slice, slice]]:
        """Where consecutive rows live, and which of them, in two pieces: the ring may come round between."""
        start = first_id % self.capacity
        at_end = min(num_rows, self.capacity - start)
        yield slice(start, start + at_end), slice(0, at_end)
        if at_end < num_rows:
            yield slice(0, num_rows - at_end), slice(at_end, num_rows)

    def _accept(self, rows: Tensor, next_rows: Tensor) -> Tensor:
        """Indices of the completions whose rows are still here, after checking them all."""
        numbers, following = rows.numpy(), next_rows.numpy()  # a block is small: torch's overhead would show
        if ((following <= numbers) | (numbers < 0) | (following >= self._next_id)).any():
            raise ValueError(
                f"Replay.complete: expected 0 <= row < next_row < {self._next_id}, "
                f"got rows {rows.tolist()} and next_rows {next_rows.tolist()}; append the successor first"
            )
        kept = np.flatnonzero(numbers >= self._next_id - self.capacity)
        slots = numbers[kept] % self.capacity
        if self._complete.numpy()[slots].any() or len(np.unique(slots)) < len(slots):
            raise ValueError(
                f"Replay.complete: expected rows that are still open, each once, got {rows.tolist()}; "
                "complete a row when its outcome is known, and only then"
            )
        self._dropped += len(numbers) - len(kept)
        return torch.from_numpy(kept)
