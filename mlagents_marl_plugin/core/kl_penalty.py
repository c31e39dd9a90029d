"""A weight that keeps policies near the ones that played, and learns by itself how heavy it must be."""

import torch
from torch import Tensor

_NEAR = 1.5  # a divergence within target / 1.5 and target * 1.5 leaves the weight as it is
_RANGE = (1e-4, 1e4)


class KlPenalty:
    """Weight of the divergence in the actors' loss.

    Source: Schulman et al. 2017, section 4, https://arxiv.org/abs/1707.06347
    """

    def __init__(self, weight: float, target: float, device: torch.device) -> None:
        """
        Args:
            weight: at first, >= 0.
            target: divergence that an update should come to, in nats, > 0.
        """
        self.weight = torch.full((), weight, device=device)
        self._target = target

    def adapt(self, moved: Tensor) -> None:
        """Twice the weight where the policy moved (0-d, nats) too far, half of it where not far enough."""
        doubled = torch.where(moved > self._target * _NEAR, self.weight * 2.0, self.weight)
        changed = torch.where(moved < self._target / _NEAR, self.weight * 0.5, doubled)
        self.weight.copy_(changed.clamp_(*_RANGE))

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, not copied."""
        return {"weight": self.weight}
