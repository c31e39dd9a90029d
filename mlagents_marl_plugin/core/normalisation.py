"""Running normalisation of observations: to mean 0 and deviation 1, then clipped."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Added to the variance: an input that never moved has deviation 0.001, so that a first small move stays
# moderate.
_EPSILON = 1e-6


class RunningNormaliser:
    """Mean and variance of every input seen so far, and the map ``clip((x - mean) / std)``.

    One serves all slots of a role. Until something was seen it only clips.
    """

    def __init__(self, size: int, clip: float, device: torch.device) -> None:
        """
        Args:
            size: number of inputs.
            clip: largest absolute value that comes out, above 0, in standard deviations.
            device: where the state lives.
        """
        self.clip = clip
        # A whole number: a float32 count would stand still after 16.7 million rows.
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.mean = torch.zeros(size, device=device)
        self.variance = torch.ones(size, device=device)
        self._inverse_std = torch.ones(size, device=device)

    def observe(self, obs: Tensor, mask: Tensor) -> None:
        """Take new rows into account.

        Args:
            obs: [..., O]; what stands in masked rows changes nothing, NaN included.
            mask: [...] 0/1, 1 = the row counts.

        Source: Chan et al. 1979, the pairwise update of mean and variance.
        """
        weight = mask.unsqueeze(-1).to(obs.dtype)  # [..., 1]
        rows = tuple(range(obs.dim() - 1))
        num_new = weight.sum()
        divisor = num_new.clamp_min(1.0)
        new_mean = obs.masked_fill(weight == 0, 0.0).sum(rows) / divisor
        deviation = (obs - new_mean).masked_fill(weight == 0, 0.0)
        new_variance = deviation.square().sum(rows) / divisor
        self.count += num_new.long()
        share = num_new / self.count.clamp_min(1)
        delta = new_mean - self.mean
        self.variance.lerp_(new_variance, share).add_(share * (1.0 - share) * delta.square())
        self.mean.add_(share * delta)
        self._refresh()

    def normalise_(self, obs: Tensor) -> Tensor:
        """Normalise observations [..., O] in place."""
        return obs.sub_(self.mean).mul_(self._inverse_std).clamp_(-self.clip, self.clip)

    def module(self, part: Callable[[Tensor], Tensor] = torch.clone) -> nn.Module:
        """The map as it is now, with the numbers baked in, for export; ``part`` of the inputs [O] -> [P]."""
        return _FrozenNormaliser(part(self.mean).clone(), part(self._inverse_std).clone(), self.clip)

    def copy(self, device: torch.device) -> "RunningNormaliser":
        """A copy on another device."""
        twin = RunningNormaliser(len(self.mean), self.clip, device)
        twin.copy_from(self)
        return twin

    def copy_from(self, other: "RunningNormaliser") -> None:
        """Take over another's state, from any device."""
        self.count.copy_(other.count)
        self.mean.copy_(other.mean)
        self.variance.copy_(other.variance)
        self._refresh()

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, not copied; call `loaded` after writing to it."""
        return {"count": self.count, "mean": self.mean, "variance": self.variance}

    def loaded(self) -> None:
        """To be called after the tensors of `tensors` were overwritten."""
        self._refresh()

    def _refresh(self) -> None:
        torch.rsqrt(self.variance + _EPSILON, out=self._inverse_std)


class _FrozenNormaliser(nn.Module):
    mean: Tensor
    inverse_std: Tensor

    def __init__(self, mean: Tensor, inverse_std: Tensor, clip: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("inverse_std", inverse_std)
        self.clip = clip

    def forward(self, obs: Tensor) -> Tensor:
        return ((obs - self.mean) * self.inverse_std).clamp(-self.clip, self.clip)
