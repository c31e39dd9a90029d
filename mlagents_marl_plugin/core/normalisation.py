"""Running normalisation of observations: to mean 0 and deviation 1, then clipped."""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.types import RoleSpec

# Added to the variance: an input that never moved has deviation 0.001, so that a first small move stays
# moderate.
_EPSILON = 1e-6


class RunningNormaliser:
    """Mean and variance of every input seen so far, and the map ``clip((x - mean) / std)``.

    One serves all slots of a role. Until something was seen it only clips.
    """

    def __init__(
        self, size: int, clip: float, device: torch.device, columns: Sequence[slice] | None = None
    ) -> None:
        """
        Args:
            size: number of inputs that are normalised.
            clip: largest absolute value that comes out, above 0, in standard deviations.
            device: where the state lives.
            columns: where they stand among an agent's observations, the others are left as they are; None: they are
                all of them.
        """
        self.clip = clip
        self._columns = columns
        # A whole number: a float32 count would stand still after 16.7 million rows.
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.mean = torch.zeros(size, device=device)
        self.variance = torch.ones(size, device=device)
        self._inverse_std = torch.ones(size, device=device)

    @classmethod
    def of(cls, role: RoleSpec, clip: float, device: torch.device) -> "RunningNormaliser":
        """One for a role's observations: vectors only, where others are encoded."""
        if role.encoder is None:
            return cls(role.obs_size, clip, device)
        places = zip(role.sensor_places, role.observation_shapes, strict=True)
        columns = [place for place, shape in places if len(shape) == 1]
        return cls(sum(place.stop - place.start for place in columns), clip, device, columns)

    def observe(self, obs: Tensor, mask: Tensor) -> None:
        """Take new rows into account.

        Args:
            obs: [..., O]; what stands in masked rows changes nothing, NaN included.
            mask: [...] 0/1, 1 = the row counts.

        Source: Chan et al. 1979, the pairwise update of mean and variance.
        """
        if self._columns is not None:
            obs = torch.cat([obs[..., :0], *(obs[..., place] for place in self._columns)], -1)
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
        if self._columns is None:
            return obs.sub_(self.mean).mul_(self._inverse_std).clamp_(-self.clip, self.clip)
        for place, own in self._places():
            part = obs[..., place]
            part.sub_(self.mean[own]).mul_(self._inverse_std[own]).clamp_(-self.clip, self.clip)
        return obs

    def module(self, part: Callable[[Tensor], Tensor] = torch.clone) -> nn.Module:
        """The map as it is now, with the numbers baked in, for export; ``part`` of the inputs [O] -> [P]."""
        return _FrozenNormaliser(part(self.mean).clone(), part(self._inverse_std).clone(), self.clip)

    def sensor_module(self, place: slice) -> nn.Module:
        """The map for the observation that stands there, for export; nothing changes where it is not normalised."""
        for known, own in self._places():
            if known == place:
                return self.module(itemgetter(own))
        return nn.Identity()

    def copy(self, device: torch.device) -> "RunningNormaliser":
        """A copy on another device."""
        twin = RunningNormaliser(len(self.mean), self.clip, device, self._columns)
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

    def _places(self) -> Iterator[tuple[slice, slice]]:
        """Of each vector, where it stands among the observations and where in ``mean`` and ``variance``."""
        start = 0
        for place in self._columns or ():
            stop = start + place.stop - place.start
            yield place, slice(start, stop)
            start = stop

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
