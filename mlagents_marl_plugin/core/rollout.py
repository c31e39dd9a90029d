"""Rollout memory: every group step since the last update, once, to be taken as a whole.

It is filled as a `Replay` is, with the same rows: what is observed is appended, and completed when it is known what
came of it. A *lane* is a chain of rows, each of which knows its successor, until a cut ends the chain.
"""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.checks import check_shape
from mlagents_marl_plugin.core.memory import buffer_memory
from mlagents_marl_plugin.core.rows import RowLayout, clean_outcome, decision_block, outcome_block
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch

_OPEN = -1  # in `_successor`: the row's outcome is not known (yet)
# A row that is still open after so many times the capacity was appended will never be completed: its worker is gone.
_PATIENCE = 4


class Rollout:
    """Group steps on one device, numbered by a sequence that never repeats.

    Not thread-safe: whoever adds rows while another thread takes them holds a lock around both.
    """

    def __init__(self, spec: GroupSpec, capacity: int, device: torch.device, memory_size: int = 0) -> None:
        """
        Args:
            spec: the group whose steps are kept.
            capacity: group steps to make room for, at least 2; more find room as they come.
            device: where the rows live.
            memory_size: numbers that every agent remembers; 0 = agents have no memory.

        Raises:
            ValueError: if the capacity is below 2.
            MemoryError: if the device cannot hold that many steps; says how many it can.
        """
        if capacity < 2:
            raise ValueError(
                f"Rollout: expected a capacity of at least 2 steps, got {capacity}; raise buffer_size"
            )
        self.spec = spec
        self.capacity = capacity
        self.device = torch.device(device)
        self.memory_size = memory_size
        self._layout = RowLayout.of(spec, on_policy=True, memory_size=memory_size)
        self._rows = torch.empty(0, self._layout.width, device=self.device)
        # What the host has to know of each row held, by place; ascending in number.
        self._number = torch.empty(0, dtype=torch.int64, device="cpu")
        self._successor = torch.empty(0, dtype=torch.int64, device="cpu")  # a number, or _OPEN
        self._cut = torch.empty(0, dtype=torch.bool, device="cpu")
        self._resumed = torch.empty(0, dtype=torch.int64, device="cpu")  # a number, or _OPEN
        self._held = 0
        self._num_complete = self._num_decisions = 0
        self._next_id = 0
        self._dropped = 0
        self._make_room(capacity)

    @staticmethod
    def bytes_per_step(spec: GroupSpec, memory_size: int = 0) -> int:
        """Bytes that one group step takes: 4 per float of the row and 25 for its place in the lane."""
        return RowLayout.of(spec, on_policy=True, memory_size=memory_size).width * 4 + 25

    @property
    def next_id(self) -> int:
        """The number that the next appended row will get; also the count of all rows ever appended."""
        return self._next_id

    @property
    def num_complete(self) -> int:
        """Number of rows that `take` would hand over."""
        return self._num_complete

    @property
    def num_decisions(self) -> int:
        """Of all agents in these rows."""
        return self._num_decisions

    def append(self, obs: Tensor, agent_mask: Tensor, allowed: Tensor, memory: Tensor | None = None) -> int:
        """Add open rows: what is observed now, whose outcome `complete` will fill in.

        Args:
            obs: [M, joint]. What stands in it for absent slots is replaced by 0.
            agent_mask: [M, N] bool or 0/1.
            allowed: [M, joint choices] bool or 0/1, width 0 without discrete branches.
            memory: [M, N * memory size], what each slot remembers before it decides; None: nothing.

        Returns:
            The number of the first row; the others follow on.

        Raises:
            ValueError: if a shape is wrong.
            MemoryError: if the device cannot hold that many open and completed steps.
        """
        block = decision_block("Rollout.append", self.spec, self._layout, obs, agent_mask, allowed, memory)
        first, last = self._held, self._held + len(block)
        if last > len(self._number):
            self._make_room(max(last, 2 * len(self._number)))
        self._rows[first:last] = block.to(self.device)
        self._number[first:last] = torch.arange(self._next_id, self._next_id + len(block), device="cpu")
        self._successor[first:last] = self._resumed[first:last] = _OPEN
        self._held = last
        first_id = self._next_id
        self._next_id += len(block)
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
        log_prob: Tensor,
        acted: Tensor,
        resumed: Tensor | None = None,
        anew: Tensor | None = None,
    ) -> None:
        """Fill in what happened at open rows, which `take` hands over from then on.

        Rows that were given up meanwhile, or whose successor was taken before them, are counted (``dropped``) and
        left out.

        Args:
            rows: [M] int64 on the CPU, numbers from `append`.
            action: [M, joint] encoded, as drawn. What stands in it for absent slots is replaced by 0.
            reward: [M, N]; replaced by 0 where ``value_mask`` is 0.
            value_mask: [M, N] bool or 0/1: the slot's return is to be learnt.
            terminated: [M, N] bool or 0/1: nothing follows for the slot, no bootstrap.
            next_rows: [M] int64 on the CPU, the row that shows what came of it.
            cut: [M] bool or 0/1: the successor is only the end of a lane (the observation at an end or a time
                limit, or where a member left): bootstrap from it, but look no further.
            log_prob: [M, N] of the slot's action, by the policy that drew it.
            acted: [M, N] bool or 0/1: the slot decided in this row; else it is absent, or keeps up its last action.
            resumed: [M] int64 on the CPU, the row in which the others play on where the successor is only the end of
                a lane; -1, or None: nobody does.
            anew: [M, N] bool or 0/1: from the next row on the slot is a newcomer's; None: nobody comes.

        Raises:
            ValueError: if a shape is wrong, or a row is unknown, was completed before, or is not older than
                its successor. Nothing is changed then.
        """
        layout, num_rows = self._layout, rows.shape[0]
        given = {"action": action, "value_mask": value_mask, "reward": reward, "terminated": terminated}
        given |= {"log_prob": log_prob, "acted": acted, "cut": cut.unsqueeze(-1)}
        if anew is not None:
            given["anew"] = anew
        block = outcome_block("Rollout.complete", layout, num_rows, given)
        check_shape("Rollout.complete", "next_rows", next_rows, (num_rows,))
        kept = self._accept(rows, next_rows)
        self._dropped += num_rows - len(kept)
        self._num_decisions += int(acted[kept.to(acted.device)].count_nonzero())
        places = self._places(rows[kept])[0]
        self._successor[places] = next_rows[kept]
        self._cut[places] = cut[kept.to(cut.device)].bool().cpu()
        if resumed is not None:
            check_shape("Rollout.complete", "resumed", resumed, (num_rows,))
            self._resumed[places] = resumed[kept]
        self._num_complete += len(kept)

        block, place = block[kept.to(block.device)].to(self.device), places.to(self.device)
        clean_outcome(self.spec, layout, block, self._rows[:, layout.agent_mask][place])
        self._rows[:, layout.outcome].index_copy_(0, place, block)

    def take(self) -> RolloutBatch:
        """All complete rows, oldest first, and the observations after them.

        They are forgotten; open rows stay, with those successors that are still to be acted in.

        Raises:
            ValueError: if there is none.
        """
        if not self._num_complete:
            raise ValueError(
                "Rollout.take: expected at least one complete row, got none; complete rows first"
            )
        successor, layout = self._successor[: self._held], self._layout
        complete = successor >= 0
        places = complete.nonzero().squeeze(-1)  # [R]
        following = self._places(successor[places])[0]  # [R]
        seen_after = torch.zeros(self._held, dtype=torch.bool, device="cpu")
        seen_after[following] = True
        extra = (seen_after & ~complete).nonzero().squeeze(-1)  # [E]
        index = torch.empty(self._held, dtype=torch.int64, device="cpu")
        index[places] = torch.arange(len(places), device="cpu")
        index[extra] = torch.arange(len(places), len(places) + len(extra), device="cpu")
        taken = torch.cat([places, extra])
        seen = self._rows.index_select(0, taken.to(self.device))
        rows = seen[: len(places)]
        batch = RolloutBatch(
            obs=seen[:, layout.obs],
            agent_mask=seen[:, layout.agent_mask],
            action=rows[:, layout.action],
            allowed=rows[:, layout.allowed],
            log_prob=rows[:, layout.log_prob],
            acted=rows[:, layout.acted],
            value_mask=rows[:, layout.value_mask],
            reward=rows[:, layout.reward],
            terminated=rows[:, layout.terminated],
            cut=rows[:, layout.cut].squeeze(-1),
            successor=index[following].to(self.device),
            memory=rows[:, layout.memory].unflatten(1, (self.spec.num_slots, self.memory_size)),
            number=self._number[taken],
            allowed_behind=seen[len(places) :, layout.allowed],
            resumed=self._resumed[places],
            anew=rows[:, layout.anew],
            num_decisions=torch.tensor(self._num_decisions, device="cpu"),
        )
        ends = following[self._cut[places]]
        self._keep_open(~complete, ends)
        return batch._replace(waiting=self._number[: self._held].clone())

    def metrics(self) -> dict[str, float]:
        """Complete rows, open rows, and completions that were left out."""
        return {
            "size": float(self._num_complete),
            "open": float(self._held - self._num_complete),
            "dropped": float(self._dropped),
        }

    def _keep_open(self, is_open: Tensor, ends: Tensor) -> None:
        """Forget all rows but those open ones that may still be completed; ``ends`` are observations only."""
        is_open[ends] = False
        abandoned = is_open & (self._number[: self._held] < self._next_id - _PATIENCE * self.capacity)
        kept = (is_open & ~abandoned).nonzero().squeeze(-1)
        num_kept = len(kept)
        self._rows[:num_kept] = self._rows.index_select(0, kept.to(self.device))
        self._number[:num_kept] = self._number[kept]
        self._successor[:num_kept] = self._resumed[:num_kept] = _OPEN
        self._held, self._num_complete, self._num_decisions = num_kept, 0, 0

    def _accept(self, rows: Tensor, next_rows: Tensor) -> Tensor:
        """Indices of the completions whose rows are still here, after checking them all."""
        if bool(((next_rows <= rows) | (rows < 0) | (next_rows >= self._next_id)).any()):
            raise ValueError(
                f"Rollout.complete: expected 0 <= row < next_row < {self._next_id}, "
                f"got rows {rows.tolist()} and next_rows {next_rows.tolist()}; append the successor first"
            )
        places, here = self._places(rows)
        twice = torch.unique(rows).numel() != rows.numel()
        if twice or bool((self._successor[places[here]] != _OPEN).any()):
            raise ValueError(
                f"Rollout.complete: expected rows that are still open, each once, got {rows.tolist()}; "
                "complete a row when its outcome is known, and only then"
            )
        return (here & self._places(next_rows)[1]).nonzero().squeeze(-1)

    def _places(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Where rows are held, and whether they are."""
        held = self._number[: self._held]
        if not self._held:
            return torch.zeros_like(numbers), torch.zeros_like(numbers, dtype=torch.bool)
        places = torch.searchsorted(held, numbers).clamp_max(self._held - 1)
        return places, held[places] == numbers

    def _make_room(self, num_rows: int) -> None:
        bytes_per_step = self.bytes_per_step(self.spec, self.memory_size)
        with buffer_memory("Rollout", num_rows, bytes_per_step, self.device):
            rows = torch.zeros(num_rows, self._layout.width, device=self.device)
        number, successor, resumed = torch.full((3, num_rows), _OPEN, dtype=torch.int64, device="cpu").clone()
        cut = torch.zeros(num_rows, dtype=torch.bool, device="cpu")
        for new, old in (
            (rows, self._rows),
            (number, self._number),
            (successor, self._successor),
            (cut, self._cut),
            (resumed, self._resumed),
        ):
            new[: self._held] = old[: self._held]
        self._rows, self._number, self._successor, self._cut = rows, number, successor, cut
        self._resumed = resumed
