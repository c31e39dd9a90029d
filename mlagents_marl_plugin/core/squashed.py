"""The stochastic policy whose continuous values are squashed into [-1, 1] by tanh, as soft actor-critic learns it.

The networks are differentiated by hand, see `core.distributions`: here a draw keeps what the way back through it needs.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.distributions import LOG_SQRT_2PI, ActionDistribution


class Draw(NamedTuple):
    """What was drawn, and what its derivative needs."""

    action: Tensor  # [..., layout.size], encoded
    log_prob: Tensor  # [...], of the continuous values; 0 without any
    deviation: Tensor  # [..., C], by how much each value lay above its mean before tanh


class SquashedDistribution(ActionDistribution):
    """Continuous values are drawn from Gaussians and bounded by tanh; branches as in `ActionDistribution`.

    The mean and its deviation are those before tanh. There is no entropy of the continuous part in closed form:
    ``-log_prob`` of a `draw` is one sample of it.

    Source: Haarnoja et al. 2018, appendix C, https://arxiv.org/abs/1801.01290
    """

    def draw(self, generator: torch.Generator | None = None) -> Draw:
        """An action drawn from the policy, with what `draw_gradient` needs."""
        layout, parts = self.layout, list[Tensor]()
        log_prob, deviation = self._raw.new_zeros(self._raw.shape[:-1]), self._raw[..., :0]
        if layout.continuous:
            noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
            deviation = self.log_std.exp() * noise
            before_tanh = self.mean + deviation
            parts.append(torch.tanh(before_tanh))
            log_prob = self._density(noise, before_tanh)
        if layout.branches:
            parts.append(self._sample_branches(generator))
        return Draw(parts[0] if len(parts) == 1 else torch.cat(parts, -1), log_prob, deviation)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """See `ActionDistribution.sample`; values lie within [-1, 1]."""
        return self.draw(generator).action

    def mode(self) -> Tensor:
        """See `ActionDistribution.mode`."""
        return actions.mode(self.layout, self._raw[..., : self.layout.size], self._allowed)

    def centre(self) -> Tensor:
        """See `ActionDistribution.centre`."""
        return torch.tanh(self.mean)

    def log_prob(self, action: Tensor) -> Tensor:
        """See `ActionDistribution.log_prob`. A value at its limit counts as the next one within."""
        parts = self._log_chances(action)
        if self.layout.continuous:
            parts.append(self._density(self._standard(action), self._before_tanh(action)))
        return sum(parts[1:], parts[0])

    def entropies(self) -> dict[str, Tensor]:
        """Entropy [...] in nats of every branch (``branch_0``)."""
        return self._branch_entropies()

    def entropy(self) -> Tensor:
        """Entropy [...] of all branches together; 0 without any."""
        return sum(self.entropies().values(), self._raw.new_zeros(self._raw.shape[:-1]))

    def draw_gradient(
        self, draw: Draw, of_action: Tensor, of_log_prob: Tensor, of_chance: Tensor, of_entropy: Tensor
    ) -> Tensor:
        """The gradient of a loss by the raw output, [..., num_outputs].

        Args:
            draw: of this distribution.
            of_action: [..., C], the loss's gradient by the continuous values.
            of_log_prob: [...], its gradient by ``draw.log_prob``.
            of_chance: [..., num_choices], its gradient by the probability of every choice.
            of_entropy: [...], its gradient by the entropy of each branch.
        """
        layout, parts = self.layout, list[Tensor]()
        of_log_std = self._raw[..., :0]
        if layout.continuous:
            value, of_density = draw.action[..., : layout.continuous], of_log_prob.unsqueeze(-1)
            # Through tanh, and through the correction for it, whose derivative is 2 tanh.
            of_mean = of_action * (1.0 - value.square()) + 2.0 * of_density * value
            of_log_std = self._within_bounds(of_mean * draw.deviation - of_density)
            parts.append(of_mean)
        if layout.branches:
            of_chances = actions.by_branch(layout, of_chance)
            for of_branch, log_choice in zip(of_chances, self.log_choice, strict=True):
                chance = log_choice.exp()
                weighted = chance * of_branch - of_entropy.unsqueeze(-1) * (chance * log_choice)
                parts.append(weighted - chance * weighted.sum(-1, keepdim=True))
        return torch.cat([*parts, of_log_std], -1)

    def log_prob_gradient(self, action: Tensor, of_log_prob: Tensor) -> Tensor:
        """The gradient of a loss by the raw output, [..., num_outputs], given that by `log_prob` of an action, [...].

        The correction for tanh depends on the action alone, so that the gradient is the Gaussian's before tanh.
        """
        return self.backward(action, of_log_prob, torch.zeros_like(of_log_prob))[0]

    def _before_tanh(self, action: Tensor) -> Tensor:
        outermost = 1.0 - 0.5 * torch.finfo(action.dtype).eps
        return torch.atanh(action[..., : self.layout.continuous].clamp(-outermost, outermost))

    def _standard(self, action: Tensor) -> Tensor:
        return (self._before_tanh(action) - self.mean).mul_(torch.exp(-self.log_std))

    def _density(self, noise: Tensor, before_tanh: Tensor) -> Tensor:
        """Log-density [...] of ``tanh(before_tanh)``: the Gaussian's, less ``log(1 - tanh^2)`` in a form that is exact
        at the limits.
        """
        correction: Tensor = 2.0 * (math.log(2.0) - before_tanh - F.softplus(-2.0 * before_tanh))
        return (noise.square() * -0.5 - self.log_std - LOG_SQRT_2PI - correction).sum(-1)
