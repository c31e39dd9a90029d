"""Normalisation of what critics learn: returns of running mean 0 and deviation 1, whatever a scene's rewards are."""

from enum import Enum

import torch
from torch import Tensor

from mlagents_marl_plugin.core.value_critics import ValueCritic

# Returns that hardly differ are not blown up to deviation 1: below 0.001 they count as alike.
_EPSILON = 1e-6


class ValueNormalisation(Enum):
    """Kinds of it; the values are what users write in YAML."""

    NONE = "none"
    VALUENORM = "valuenorm"
    POPART = "popart"


class ValueNormaliser:
    """Exponentially fading mean and variance of the returns of every slot.

    Slots whose values come from one output share them. Until something was seen it changes nothing.

    Sources: Yu et al. 2022, section 5.1, https://arxiv.org/abs/2103.01955 (ValueNorm); Hessel et al. 2018, eq. 4 and
    5, https://arxiv.org/abs/1809.04474 (PopArt).
    """

    def __init__(self, kind: ValueNormalisation, decay: float, critic: ValueCritic) -> None:
        """
        Args:
            decay: share of the old mean and variance that stays per call of `observe`, in [0, 1).
            critic: whose values these are; PopArt changes its last layers.
        """
        self.kind = kind
        self.decay = decay
        self._critic = critic
        num_slots, device = len(critic.pool), critic.pool.device
        self.mean = torch.zeros(num_slots, device=device)
        self.variance = torch.ones(num_slots, device=device)
        self._weight = torch.zeros(num_slots, device=device)  # of all that was seen, 1 - decay^calls

    @property
    def preserves_values(self) -> bool:
        """Whether the critic says the same returns as before, in new units, after `observe`."""
        return self.kind is ValueNormalisation.POPART

    def observe(self, target: Tensor, mask: Tensor) -> None:
        """Take new returns into account.

        Args:
            target: [R, N], as the scene's rewards give them; what stands in masked places changes nothing.
            mask: [R, N] 0/1, 1 = counts.
        """
        if self.kind is ValueNormalisation.NONE:
            return
        pool, old_mean, old_std = self._critic.pool, self.mean.clone(), self._std()
        count = mask.sum(0) @ pool  # [N]
        divisor = count.clamp_min(1.0)
        new_mean = (target.masked_fill(mask == 0, 0.0).sum(0) @ pool) / divisor
        deviation = (target - new_mean).masked_fill(mask == 0, 0.0)
        new_variance = (deviation.square().sum(0) @ pool) / divisor
        seen = (count > 0).to(target.dtype)
        self._weight.lerp_(torch.ones_like(self._weight), seen * (1.0 - self.decay))
        # The first call counts wholly, as if nothing had been there before (Kingma & Ba 2015, section 3).
        share = seen * (1.0 - self.decay) / self._weight.clamp_min(1.0 - self.decay)
        delta = new_mean - self.mean
        self.variance.lerp_(new_variance, share).add_(share * (1.0 - share) * delta.square())
        self.mean.add_(share * delta)
        if self.kind is ValueNormalisation.POPART:
            self._preserve_outputs(old_mean, old_std)

    def normalise(self, value: Tensor) -> Tensor:
        """From returns [..., N] to what the critic learns."""
        return (value - self.mean) / self._std()

    def denormalise(self, value: Tensor) -> Tensor:
        """From what the critic says [..., N] to returns."""
        return torch.addcmul(self.mean, value, self._std())

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, not copied."""
        return {"mean": self.mean, "variance": self.variance, "weight": self._weight}

    def _std(self) -> Tensor:
        return (self.variance + _EPSILON).sqrt()

    def _preserve_outputs(self, old_mean: Tensor, old_std: Tensor) -> None:
        """Change last layers so that ``std * output + mean`` stays what it was."""
        new_std = self._std()
        for net, slots in zip(self._critic.nets, self._critic.slots_of_outputs, strict=True):
            last = net.shape.output_layer
            ratio = (old_std / new_std)[slots]  # [K, out]
            net.part(f"{last}.weight").mul_(ratio.unsqueeze(-1))
            shift = ((old_mean - self.mean) / new_std)[slots]
            net.part(f"{last}.bias").mul_(ratio).add_(shift)
