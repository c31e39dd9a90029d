"""What a critic, or what stands in front of one, says of everything in a rollout at once."""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.chain_values import LaneMemories, Reader, chain_values
from mlagents_marl_plugin.core.lane_chains import LaneChains
from mlagents_marl_plugin.core.on_policy_samples import micro_batches
from mlagents_marl_plugin.core.types import RolloutBatch


class RolloutValues:
    """Reads rows as they come, or lane by lane where the critic has a memory."""

    def __init__(self, critic: Reader, micro_batch_size: int = 0) -> None:
        """
        Args:
            critic: what it remembers, if it does, is kept from rollout to rollout.
            micro_batch_size: agent steps computed at once, 0 = all.
        """
        self._critic = critic
        self._has_memory = critic.memory_shape[1] > 0
        self._micro_batch_size = micro_batch_size
        self._lane_memories = LaneMemories(critic)

    def __call__(self, batch: RolloutBatch, joint: Tensor) -> tuple[Tensor, Tensor | None]:
        """Values [R + E, N] in the units that the critic learns (of others what they say, [R + E, W]), and what it
        remembered before each row [R + E, U, M].

        Args:
            joint: [R + E, I], normalised.
        """
        if self._has_memory:
            return self._in_turn(batch, joint)
        pieces = micro_batches(joint, batch.reward.shape[1], self._micro_batch_size)
        said = [self._critic(piece) for piece in pieces]
        return said[0] if len(said) == 1 else torch.cat(said), None

    def _in_turn(self, batch: RolloutBatch, joint: Tensor) -> tuple[Tensor, Tensor]:
        assert batch.number is not None and batch.waiting is not None
        (num_rows, num_slots), (num_units, memory_size) = batch.reward.shape, self._critic.memory_shape
        chains, heirs, behind = LaneChains.of(batch, num_units)
        known = self._lane_memories.of(batch.number)
        first = torch.cat([known, known.new_zeros(len(behind) + 1, num_units, memory_size)])
        rows_at_once = max(1, self._micro_batch_size // num_slots) if self._micro_batch_size else 0
        said, before = chain_values(self._critic, joint, chains, heirs, first, rows_at_once)
        number = torch.cat([batch.number[num_rows:], behind])
        memory = torch.cat([before[num_rows:], first[len(joint) : -1]])
        self._lane_memories.keep(number, memory, batch.waiting)
        return said, before
