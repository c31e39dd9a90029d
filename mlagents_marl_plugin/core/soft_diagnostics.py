"""What a person looks at when a soft actor-critic goes wrong, computed from the tensors of the last update.

Nothing here runs during updates; a summary calls it once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.critics import Critic
from mlagents_marl_plugin.core.losses import masked_mean
from mlagents_marl_plugin.core.on_policy_diagnostics import action_diversity
from mlagents_marl_plugin.core.squashed import Draw, SquashedDistribution
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec

_SATURATED = 0.95


class SoftActorStep(NamedTuple):
    """What the last actor update saw and did."""

    joint: Tensor  # [B, I], normalised
    allowed: Tensor  # [B, joint choices]
    mask: Tensor  # [B, N] 0/1
    distributions: Sequence[SquashedDistribution]  # per role
    draws: Sequence[Draw]  # per role
    value_entropy: Tensor  # [B, N], by one draw
    choice_entropy: Tensor  # [B, N]
    critic: Critic  # asked by the summary for the value of what was drawn
    gradient_norm: Sequence[Tensor]  # per role [K], before clipping


def soft_actor_metrics(spec: GroupSpec, actor: StochasticActor, step: SoftActorStep) -> dict[str, Tensor]:
    """Per slot [N]: ``policy_loss`` (less the value of what was drawn), ``entropy`` in all, of continuous values and
    of each branch (0 for roles without), ``policy_std`` before tanh, ``saturated_share`` (of drawn values above
    0.95 in size), ``actor_gradient_norm`` before clipping; and 0-d ``action_diversity``.
    """
    value = step.critic.with_own_action(step.joint, [draw.action for draw in step.draws]).amin(0)
    norms = [norm.expand(role.num_slots) for norm, role in zip(step.gradient_norm, spec.roles, strict=True)]
    figures = {
        "policy_loss": -masked_mean(value, step.mask, 0),
        "entropy": masked_mean(step.value_entropy + step.choice_entropy, step.mask, 0),
        "actor_gradient_norm": torch.cat(norms),
        "action_diversity": action_diversity(spec, actor, step),
    }
    if any(role.action.continuous for role in spec.roles):
        figures["entropy_continuous"] = masked_mean(step.value_entropy, step.mask, 0)
        std = _per_slot(spec, step, [distribution.log_std.exp() for distribution in step.distributions])
        figures["policy_std"] = masked_mean(std, step.mask, 0)
        saturated = [
            (draw.action[..., : role.action.continuous].abs() > _SATURATED).float()
            for draw, role in zip(step.draws, spec.roles, strict=True)
        ]
        figures["saturated_share"] = masked_mean(_per_slot(spec, step, saturated), step.mask, 0)
    by_role = [distribution.entropies() for distribution in step.distributions]
    for branch in range(max(len(found) for found in by_role)):
        name = f"branch_{branch}"
        nothing = [torch.zeros_like(draw.log_prob) for draw in step.draws]
        parts = [found.get(name, zero) for found, zero in zip(by_role, nothing, strict=True)]
        figures[f"entropy_{name}"] = masked_mean(torch.cat(parts, -1), step.mask, 0)
    return figures


def _per_slot(spec: GroupSpec, step: SoftActorStep, per_value: Sequence[Tensor]) -> Tensor:
    """Means over continuous values, per role [B, N_role, C] -> [B, N]; 0 for roles without any."""
    parts = [
        part.mean(-1) if role.action.continuous else torch.zeros_like(draw.log_prob)
        for part, role, draw in zip(per_value, spec.roles, step.draws, strict=True)
    ]
    return torch.cat(parts, -1)
