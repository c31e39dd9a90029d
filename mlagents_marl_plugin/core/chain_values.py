"""What networks with a memory say of a rollout: they read every lane from its first row to its last."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core.lane_chains import Heirs
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.sequences import Chains, Recurrence


class Reader(Protocol):
    """A critic, or what stands in front of one, that may remember what it has read of a lane."""

    @property
    def nets(self) -> Sequence[Network]:
        """Its stacks."""

    @property
    def memory_shape(self) -> tuple[int, int]:
        """(U, M), how many units remember how many numbers; M = 0 without a memory."""

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        """What it says [B, W] of rows [B, I], which follow each other as ``recurrence`` says."""

    def memories(self) -> Tensor:
        """Of the last call with a memory: what was remembered before the first step, then after every row,
        [S + B, U, M].
        """


class LaneMemories:
    """What a critic remembered where a rollout ended, of lanes that go on in a later one."""

    def __init__(self, reader: Reader) -> None:
        self._device = reader.nets[0].parameters.device
        self._number = torch.zeros(0, dtype=torch.int64, device="cpu")  # ascending
        self._memory = torch.zeros(0, *reader.memory_shape, device=self._device)

    def of(self, number: Tensor) -> Tensor:
        """Before rows of these numbers [S] on the CPU: [S, U, M], 0 for those that begin."""
        memory = torch.zeros(len(number), *self._memory.shape[1:], device=self._device)
        if len(self._number):
            place = torch.searchsorted(self._number, number).clamp_max(len(self._number) - 1)
            known = (self._number[place] == number).nonzero().squeeze(-1)
            memory[known.to(self._device)] = self._memory[place[known].to(self._device)]
        return memory

    def keep(self, number: Tensor, memory: Tensor, waiting: Tensor) -> None:
        """Remember what there was before rows that go on; also of lanes of which a rollout shows nothing.

        Args:
            number: [E] int64 on the CPU, the last rows of lanes.
            memory: [E, U, M] before these.
            waiting: [W] int64 on the CPU, ascending, all rows that may go on; others are forgotten.
        """
        kept = self.of(waiting)
        going_on = torch.isin(number, waiting).nonzero().squeeze(-1)
        place = torch.searchsorted(waiting, number[going_on])
        kept[place.to(self._device)] = memory[going_on.to(self._device)]
        self._number, self._memory = waiting, kept


def chain_values(
    reader: Reader, joint: Tensor, chains: Chains, heirs: Heirs, first: Tensor, rows_at_once: int
) -> tuple[Tensor, Tensor]:
    """What is said of all rows, and what the reader remembered before each.

    Args:
        joint: [R, I], normalised.
        chains: of all rows.
        heirs: who goes on where a chain ends.
        first: [L, U, M], what is remembered before the first row of each chain; other rows are not read. What heirs
            begin with is filled in.
        rows_at_once: about how many rows to compute at once, where memory is short; 0 = all.

    Returns:
        [R, W] and [R, U, M].
    """
    num_rows, pieces, generations = len(joint), chains.whole(), chains.generations(heirs.row[: len(joint)])
    at_once = max(1, rows_at_once * len(pieces) // num_rows) if rows_at_once else len(pieces)
    heir = heirs.row.to(joint.device)
    said = torch.empty(0, device=joint.device)
    before = torch.empty(num_rows, *reader.memory_shape, device=joint.device)
    for chosen in (some for generation in generations for some in generation.split(at_once)):
        packed = pieces.packed(chosen).to(joint.device)
        rows = packed.rows
        recurrence = Recurrence(packed.counts, first[rows[: packed.counts[0]]], None)
        of_rows = reader(joint.index_select(0, rows), recurrence)
        if not len(said):
            said = of_rows.new_empty(num_rows, of_rows.shape[1])
        said[rows] = of_rows
        memories = reader.memories()
        before[rows] = packed.before(memories)
        if heirs.any:
            first[heir[rows]] = memories[packed.counts[0] :] * heirs.stays[rows]
    return said, before
