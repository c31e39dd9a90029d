"""Rewards in units of what returns come to, for scenes whose rewards are very large or very small."""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.gae import gae
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.types import RolloutBatch

# Of the mean return: a deviation below it is what rounding leaves of returns that are all the same.
_ROUNDING = 1e-5


class RewardScale:
    """Divides rewards by the running deviation of all returns played so far, once they differ."""

    def __init__(self, discount: float, device: torch.device) -> None:
        self._discount = discount
        self._returns = RunningNormaliser(1, 1.0, device)

    def __call__(self, batch: RolloutBatch) -> Tensor:
        """Rewards [R, N] of new steps, which are taken into account; ends and cuts end their returns."""
        zero = torch.zeros_like(batch.reward)
        ends = (batch.reward, zero, zero, batch.terminated, batch.cut, batch.successor)
        played = gae(*ends, self._discount, 1.0)
        self._returns.observe(played.unsqueeze(-1), batch.value_mask)
        deviation = self._returns.variance.sqrt()
        differ = deviation > _ROUNDING * self._returns.mean.abs()
        return batch.reward / torch.where(differ, deviation, 1.0)

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, not copied."""
        return self._returns.tensors()
