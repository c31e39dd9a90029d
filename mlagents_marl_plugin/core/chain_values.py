"""The values of a rollout by critics with a memory, which read every lane from its first row to its last."""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.sequences import Pieces, Recurrence
from mlagents_marl_plugin.core.value_critics import ValueCritic


class LaneMemories:
    """What a critic remembered where a rollout ended, of lanes that go on in the next one."""

    def __init__(self, critic: ValueCritic) -> None:
        self._device = critic.pool.device
        self._number = torch.zeros(0, dtype=torch.int64, device="cpu")  # ascending
        self._memory = torch.zeros(0, *critic.memory_shape, device=self._device)

    def of(self, number: Tensor) -> Tensor:
        """Before rows of these numbers [S] on the CPU: [S, U, M], 0 for those that begin."""
        memory = torch.zeros(len(number), *self._memory.shape[1:], device=self._device)
        if len(self._number):
            place = torch.searchsorted(self._number, number).clamp_max(len(self._number) - 1)
            known = (self._number[place] == number).nonzero().squeeze(-1)
            memory[known.to(self._device)] = self._memory[place[known].to(self._device)]
        return memory

    def keep(self, number: Tensor, memory: Tensor) -> None:
        """Remember what there was before rows [E] that are still to be acted in, and nothing else."""
        self._number, order = torch.sort(number)
        self._memory = memory[order.to(self._device)]


def chain_values(
    critic: ValueCritic, joint: Tensor, chains: Pieces, first: Tensor, rows_at_once: int
) -> tuple[Tensor, Tensor]:
    """Values of all rows, and what the critic remembered before each.

    Args:
        joint: [R, joint observation], normalised.
        chains: all rows as whole chains.
        first: [R, U, M], what is remembered before the first row of each chain; other rows are not read.
        rows_at_once: about how many rows to compute at once, where memory is short; 0 = all.

    Returns:
        [R, N] and [R, U, M].
    """
    num_rows, number = len(joint), torch.arange(len(chains), device="cpu")
    at_once = max(1, rows_at_once * len(chains) // num_rows) if rows_at_once else len(chains)
    value = torch.empty(num_rows, len(critic.pool), device=joint.device)
    before = torch.empty(num_rows, *critic.memory_shape, device=joint.device)
    for chosen in number.split(at_once):
        packed = chains.packed(chosen).to(joint.device)
        rows = packed.rows
        recurrence = Recurrence(packed.counts, first[rows[: packed.counts[0]]], None)
        value[rows] = critic(joint.index_select(0, rows), recurrence)
        before[rows] = packed.before(critic.memories())
    return value, before
