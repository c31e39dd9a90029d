"""What follows what: the rows of a batch as sequences, laid out step by step as networks with a memory read them.

Everything here is bookkeeping on the host, once per batch; what it says is used on the learner's device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Packed(NamedTuple):
    """S sequences of a batch's rows, step by step: the first rows of all, the second rows of those that have one, ...

    The longest come first, so the rows of a step continue the first rows of the step before it.
    """

    rows: Tensor  # [P] int64, the batch's row at each place; a row may stand in several places
    counts: tuple[int, ...]  # number of sequences at every step, none above the one before; P in all
    warm_up: Tensor  # [P] float 0/1, 1 = only passed through to bring the memory up to date

    def to(self, device: torch.device) -> "Packed":
        """The same on another device."""
        return Packed(self.rows.to(device), self.counts, self.warm_up.to(device))

    def by_row(self, value: Tensor, num_rows: int) -> Tensor:
        """What was found at the places [P, ...], of those that are not only passed through, by row [R, ...]."""
        found = value.new_zeros(num_rows + 1, *value.shape[1:])
        place = self.rows.masked_fill(self.warm_up > 0, num_rows)
        return found.index_copy_(0, place, value)[:num_rows]

    def before(self, memories: Tensor) -> Tensor:
        """What was remembered before each place [P, ...], of what it was before and after a pass [S + P, ...]."""
        return memories.index_select(0, places_before(self.counts).to(memories.device))


class Memory(NamedTuple):
    """What agents remember, and how far back learning reaches."""

    size: int  # numbers per agent, >= 1
    sequence_length: int  # steps that a gradient goes through, >= 1


class Recurrence(NamedTuple):
    """How the rows of a mini-batch follow each other, for the networks of U units (agents, or the group as one)."""

    counts: tuple[int, ...]  # as in `Packed`, of group rows
    memory: Tensor  # [S, U, M], what is remembered before the first step
    held: Tensor | None  # [B, U] 0/1, 1 = the unit did nothing in this row, its memory stays; None: nobody

    def of(self, units: slice) -> "Recurrence":
        """That of some of the units."""
        held = None if self.held is None else self.held[:, units]
        return Recurrence(self.counts, self.memory[:, units], held)


class Chains:
    """Rows linked by their successors, as whole chains and in pieces."""

    def __init__(self, successor: Tensor, num_rows: int) -> None:
        """
        Args:
            successor: [L] int64 on the CPU, the row that follows on each of the first L rows, always a later one and
                nobody else's; where it is not below ``num_rows`` the chain ends.
            num_rows: how many rows there are, >= L; those from L on have no successor.
        """
        linked = (successor < num_rows).nonzero().squeeze(-1)
        after = successor[linked]
        start, step = _count(num_rows), torch.zeros(num_rows, dtype=torch.int64, device="cpu")
        start[after], step[after] = linked, 1
        # Pointer jumping: after round k everybody knows who was 2^k steps before, or its chain's first row.
        while True:
            further = start[start]
            if torch.equal(further, start):
                break
            step += step[start]
            start = further
        self.order = torch.argsort(start * num_rows + step)  # [num_rows], chain by chain
        self._first = (
            (step[self.order] == 0).nonzero().squeeze(-1)
        )  # [C], where each chain begins in the order
        self._length = torch.diff(self._first, append=torch.tensor([num_rows], device="cpu"))  # [C]

    def whole(self) -> "Pieces":
        """Every chain as one sequence."""
        return Pieces(self.order, self._first, self._length, torch.zeros_like(self._length))

    def generations(self, heir: Tensor) -> Sequence[Tensor]:
        """Numbers of chains [k] each: those that begin by themselves, then those that begin where these end, and so on.

        Args:
            heir: [num_rows] int64 on the CPU, the first row of the chain that goes on behind a chain's last row, a
                later one and nobody else's; where it is not below ``num_rows`` nobody's.
        """
        chain, chains = torch.empty_like(self.order), _count(len(self._first))
        chain[self.order] = chains.repeat_interleave(self._length)
        following = torch.full_like(chains, len(chains))
        last = (heir < len(chain)).nonzero().squeeze(-1)
        following[chain[last]] = chain[heir[last]]
        packed = Chains(following, len(chains)).whole().packed()
        generations: Sequence[Tensor] = packed.rows.split(packed.counts)
        return generations

    def pieces(self, length: int, burn_in: int) -> "Pieces":
        """Chains cut into pieces of ``length`` rows, the last of each chain with what is left.

        Args:
            length: >= 1.
            burn_in: up to so many rows before a piece are passed through first.
        """
        number = (self._length + length - 1) // length  # pieces per chain
        chain = _count(len(number)).repeat_interleave(number)
        index = _count(len(chain)) - (number.cumsum(0) - number)[chain]
        begin = index * length
        warm_up = begin.clamp_max(burn_in)
        end = torch.minimum(begin + length, self._length[chain])
        return Pieces(self.order, self._first[chain] + begin - warm_up, end - begin + warm_up, warm_up)


class Pieces:
    """Sequences of rows, to be drawn in any order."""

    def __init__(self, order: Tensor, first: Tensor, length: Tensor, warm_up: Tensor) -> None:
        """
        Args:
            order: [R] int64, rows as they follow each other.
            first, length, warm_up: [S] int64, where each sequence begins in the order, how long it is, and how many of
                its rows are only passed through.
        """
        self._order = order
        self._first = first
        self._length = length
        self._warm_up = warm_up

    def __len__(self) -> int:
        """S."""
        return len(self._first)

    def packed(self, chosen: Tensor | None = None) -> Packed:
        """Some of them, [k] int64 with k >= 1 on the CPU, or all."""
        first, length, warm_up = self._first, self._length, self._warm_up
        if chosen is not None:
            first, length, warm_up = first[chosen], length[chosen], warm_up[chosen]
        length, longest = torch.sort(length, descending=True, stable=True)
        first, warm_up = first[longest], warm_up[longest]
        counts = torch.searchsorted(-length, -_count(int(length[0]))).tolist()
        places = torch.cat([first[:count] + step for step, count in enumerate(counts)])
        passed = torch.cat([warm_up[:count] > step for step, count in enumerate(counts)])
        return Packed(self._order[places], tuple(counts), passed.float())


def places_before(counts: Sequence[int]) -> Tensor:
    """Where each place's state before it stands [P] int64 on the CPU, in S first states and P after every place."""
    starts, start = [_count(counts[0])], counts[0]
    for count, following in zip(counts, counts[1:], strict=False):
        starts.append(start + _count(following))  # the first rows of the step before
        start += count
    return torch.cat(starts)


def _count(number: int) -> Tensor:
    return torch.arange(number, device="cpu")
