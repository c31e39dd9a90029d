"""The stochastic policy over an action layout: a Gaussian per continuous value, a categorical per branch.

Everything that learning needs is here with its derivative written out, since the networks are differentiated by hand
(`core.stacked_mlp`): log-probability, entropy, and the way from their gradients back to a network's raw output.

Nothing waits for the device.
"""

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.types import ActionLayout
from mlagents_marl_plugin.core.value_kinds import ValueKind

LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
# A deviation beyond e^2 draws hardly anything but -1 and 1.
MAX_LOG_STD = 2.0


class StdType(Enum):
    """Where a Gaussian's standard deviation comes from; the values are what users write in YAML."""

    LEARNED = "learned"  # one per action, the same whatever is seen
    STATE_DEPENDENT = "state_dependent"  # an output of the network
    FIXED = "fixed"
    ANNEALED = "annealed"  # falls from the first to the last value as the run goes on


@dataclass(frozen=True)
class GaussianHead:
    """How the continuous part of a policy is made; standard deviations in units of the range [-1, 1]."""

    std_type: StdType = StdType.LEARNED
    initial_std: float = 1.0  # > 0
    min_std: float = 0.01  # > 0
    tanh_mean: bool = False  # whether the mean is bounded by tanh; else it is not bounded
    squashed: bool = False  # whether what is drawn is bounded by tanh (`core.squashed`); else it is cut off

    def num_outputs(self, layout: ActionLayout) -> int:
        """Width of a network's output: the encoded action's, then log-deviations if they depend on the state."""
        return layout.size + (layout.continuous if self.std_type is StdType.STATE_DEPENDENT else 0)

    def num_free(self, layout: ActionLayout) -> int:
        """Number of log-deviations beside the network."""
        return 0 if self.std_type is StdType.STATE_DEPENDENT else layout.continuous

    @property
    def value_kind(self) -> ValueKind:
        """How continuous values come from a network's output."""
        if self.squashed:
            return ValueKind.SQUASHED
        return ValueKind.GAUSSIAN_OF_TANH if self.tanh_mean else ValueKind.GAUSSIAN

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest log-deviation."""
        return math.log(self.min_std), MAX_LOG_STD


class ActionDistribution:
    """The distribution of encoded actions, for any batch shape ``...``.

    The continuous values are independent Gaussians, drawn without bounds (whoever plays them clamps to [-1, 1]; the
    learner gets what was drawn). A forbidden choice has probability exactly 0.
    """

    def __init__(
        self, layout: ActionLayout, head: GaussianHead, raw: Tensor, free: Tensor | None, allowed: Tensor
    ) -> None:
        """
        Args:
            raw: [..., head.num_outputs(layout)] of the network.
            free: [..., C] log-deviations, to be broadcast; unused if they depend on the state.
            allowed: [..., num_choices] or [..., 0], True or 1 = permitted.
        """
        self.layout = layout
        self.head = head
        self._raw = raw
        self._allowed = allowed
        self.mean = raw[..., : layout.continuous]  # [..., C]
        if head.tanh_mean:
            self.mean = torch.tanh(self.mean)
        self.log_std = raw.new_zeros(0)  # [..., C] or to be broadcast
        if layout.continuous:
            unbounded = raw[..., layout.size :] if head.std_type is StdType.STATE_DEPENDENT else free
            assert unbounded is not None
            self.log_std = unbounded.clamp(*head.bounds)
        logit = raw[..., layout.continuous : layout.size]
        self.log_choice = [  # per branch [..., n]
            branch.log_softmax(-1)
            for branch in actions.by_branch(layout, actions.forbid(layout, logit, allowed))
            if layout.branches
        ]

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """An encoded action [..., layout.size] drawn from the policy."""
        layout, parts = self.layout, list[Tensor]()
        if layout.continuous:
            noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
            parts.append(self.mean + self.log_std.exp() * noise)
        if layout.branches:
            parts.append(self._sample_branches(generator))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def mode(self) -> Tensor:
        """The greedy action [..., layout.size], its values in [-1, 1]."""
        raw = self._raw[..., : self.layout.size]
        return actions.mode(self.layout, raw, self._allowed, self.head.tanh_mean)

    def centre(self) -> Tensor:
        """The greedy values [..., C] in [-1, 1]."""
        return self.mean.clamp(-1.0, 1.0)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (density) [...] of encoded actions: the sum over values and branches."""
        parts = []
        if self.layout.continuous:
            standard = self._standard(action)
            per_value = standard.square().mul_(-0.5) - self.log_std
            parts.append(per_value.sum(-1) - self.layout.continuous * LOG_SQRT_2PI)
        parts += self._log_chances(action)
        return sum(parts[1:], parts[0])

    def entropies(self) -> dict[str, Tensor]:
        """Entropy [...] in nats of the continuous part (``continuous``) and of every branch (``branch_0``)."""
        found = {}
        if self.layout.continuous:
            per_value = self.log_std.expand_as(self.mean) + (LOG_SQRT_2PI + 0.5)
            found["continuous"] = per_value.sum(-1)
        return found | self._branch_entropies()

    def entropy(self) -> Tensor:
        """Entropy [...] of the whole action, the sum over its parts."""
        parts = list(self.entropies().values())
        return sum(parts[1:], parts[0])

    def backward(
        self, action: Tensor, of_log_prob: Tensor, of_entropy: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The gradient of a loss by the raw output and by the log-deviations beside the network.

        Args:
            action: [..., layout.size], encoded, whose log-probability the loss reads.
            of_log_prob: [...], the loss's gradient by it.
            of_entropy: [...], the loss's gradient by the entropy.

        Returns:
            [..., num_outputs], and [..., C], still to be summed over what it is shared by; None if the deviations are
            outputs of the network, or there are none.
        """
        layout, head = self.layout, self.head
        of_log_prob, of_entropy = of_log_prob.unsqueeze(-1), of_entropy.unsqueeze(-1)
        parts, of_log_std = list[Tensor](), None
        if layout.continuous:
            standard = self._standard(action)
            of_mean = of_log_prob * standard * torch.exp(-self.log_std)
            parts.append(of_mean * (1.0 - self.mean.square()) if head.tanh_mean else of_mean)
            of_log_std = torch.addcmul(of_entropy - of_log_prob, of_log_prob, standard.square())
        if self.log_choice:
            chosen = actions.by_branch(layout, action[..., layout.continuous :])
            for one_hot, log_choice in zip(chosen, self.log_choice, strict=True):
                parts.append(_of_logits(one_hot, log_choice, of_log_prob, of_entropy))
        if head.std_type is StdType.STATE_DEPENDENT and of_log_std is not None:
            parts.append(self._within_bounds(of_log_std))
            of_log_std = None
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1), of_log_std

    def choices_gradient(self, action: Tensor, of_log_prob: Tensor, of_entropy: Tensor) -> Tensor:
        """`backward` for layouts without continuous values, where each branch's choice has a gradient of its own.

        Args:
            of_log_prob: [..., K], the loss's gradient by the log-probability of the choice in each branch.
            of_entropy: [...], the loss's gradient by the entropy.

        Returns:
            [..., num_choices].
        """
        chosen, of_entropy = actions.by_branch(self.layout, action), of_entropy.unsqueeze(-1)
        parts = [
            _of_logits(one_hot, log_choice, of_log_prob[..., branch, None], of_entropy)
            for branch, (one_hot, log_choice) in enumerate(zip(chosen, self.log_choice, strict=True))
        ]
        return torch.cat(parts, -1)

    def _sample_branches(self, generator: torch.Generator | None) -> Tensor:
        """One-hot vectors [..., num_choices] drawn from the branches."""
        logit = self._raw[..., self.layout.continuous : self.layout.size]
        return actions.sample(ActionLayout(0, self.layout.branches), logit, self._allowed, generator)

    def _log_chances(self, action: Tensor) -> list[Tensor]:
        """Log-probability [...] of the choice in every branch."""
        if not self.log_choice:
            return []
        chosen = actions.by_branch(self.layout, action[..., self.layout.continuous :])
        return [
            (one_hot * log_choice).sum(-1)
            for one_hot, log_choice in zip(chosen, self.log_choice, strict=True)
        ]

    def _branch_entropies(self) -> dict[str, Tensor]:
        return {
            f"branch_{i}": -(log_choice.exp() * log_choice).sum(-1)
            for i, log_choice in enumerate(self.log_choice)
        }

    def _standard(self, action: Tensor) -> Tensor:
        """By how many deviations the continuous values differ from their means, [..., C]."""
        return (action[..., : self.layout.continuous] - self.mean).mul_(torch.exp(-self.log_std))

    def _within_bounds(self, of_log_std: Tensor) -> Tensor:
        """A gradient by log-deviations that never draws them further out of their bounds, but back in."""
        unbounded, (low, high) = self._raw[..., self.layout.size :], self.head.bounds
        outwards = ((unbounded < low) & (of_log_std > 0)) | ((unbounded > high) & (of_log_std < 0))
        return of_log_std.masked_fill(outwards, 0.0)


def _of_logits(one_hot: Tensor, log_choice: Tensor, of_log_prob: Tensor, of_entropy: Tensor) -> Tensor:
    """Gradient by a branch's logits: ``d log p_a / d z_j = [a = j] - p_j``, ``d H / d z_j = -p_j (log p_j + H)``."""
    chance = log_choice.exp()
    weighted = chance * log_choice
    entropy = -weighted.sum(-1, keepdim=True)
    # A padded row has no choice at all, hence no log-probability that could move.
    score = one_hot - chance * one_hot.sum(-1, keepdim=True)
    return of_log_prob * score - of_entropy * torch.addcmul(weighted, chance, entropy)
