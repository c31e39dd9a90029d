"""What a person looks at when a PPO goes wrong, computed from the tensors of the last update.

Nothing here runs during updates; a summary calls it once.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core.distributions import ActionDistribution
from mlagents_marl_plugin.core.losses import ValueLoss, masked_mean, value_loss
from mlagents_marl_plugin.core.policy_losses import divergence, surrogate_loss
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec

_DIVERSITY_ROWS = 256


class Played(NamedTuple):
    """What an update learnt from, as returns and values of the scene's own scale."""

    joint: Tensor  # [R, joint], normalised
    allowed: Tensor  # [R, joint choices]
    value: Tensor  # [R, N], before the update
    target: Tensor  # [R, N]
    advantage: Tensor  # [R, N], before its normalisation
    actor_mask: Tensor  # [R, N] 0/1
    value_mask: Tensor  # [R, N] 0/1
    memory: Tensor | None = None  # [R, N, M], what agents remembered; None without a memory


class Seen(Protocol):
    """Observations to compare policies on."""

    @property
    def joint(self) -> Tensor:
        """[R, joint observation, or more behind it], normalised."""

    @property
    def allowed(self) -> Tensor:
        """[R, joint choices]."""


class PolicyStep(NamedTuple):
    """A mini-batch, or one of its micro-batches, as the actors saw it."""

    log_ratio: Tensor  # [B, N], before the step
    advantage: Tensor  # [B, N]
    mask: Tensor  # [B, N] 0/1


class ValueStep(NamedTuple):
    """One mini-batch (or the last micro-batch of it) as the critics saw it, in units that they learn."""

    value: Tensor  # [B, N]
    target: Tensor  # [B, N]
    mask: Tensor  # [B, N] 0/1
    loss: ValueLoss
    threshold: float


def played_metrics(played: Played) -> dict[str, Tensor]:
    """Per slot [N]: ``value_mean``, ``return_mean``, ``advantage_std`` and ``explained_variance``,
    ``1 - Var(return - value) / Var(return)``: 1 for a critic that knows, 0 for one that knows the mean only.
    """
    mask = played.value_mask
    unexplained = _variance(played.target - played.value, mask)
    variance = _variance(played.target, mask)
    explained = torch.where(variance > 1e-12, 1.0 - unexplained / variance.clamp_min(1e-12), 0.0)
    return {
        "value_mean": masked_mean(played.value, mask, 0),
        "return_mean": masked_mean(played.target, mask, 0),
        "advantage_std": _variance(played.advantage, played.actor_mask).sqrt(),
        "explained_variance": explained,
    }


def policy_metrics(
    steps: Sequence[PolicyStep],
    distributions: Sequence[ActionDistribution],
    epsilon: float,
    gradient_norm: Tensor,
) -> dict[str, Tensor]:
    """Per slot [N], over the mini-batches of the last epoch: ``policy_loss``, ``ratio_mean``, ``approx_kl``,
    ``clip_fraction``; of the last mini-batch ``entropy``, its parts ``entropy_continuous``, ``entropy_branch_0`` and
    so on (0 for roles without), ``policy_std``, and ``actor_gradient_norm`` before clipping.
    """
    log_ratio = torch.cat([step.log_ratio for step in steps])
    advantage = torch.cat([step.advantage for step in steps])
    mask = torch.cat([step.mask for step in steps])
    ratio = log_ratio.exp()
    clipped = ((ratio - 1.0).abs() > epsilon).to(ratio.dtype) if epsilon > 0.0 else torch.zeros_like(ratio)
    figures = {
        "policy_loss": masked_mean(surrogate_loss(log_ratio, advantage, epsilon), mask, 0),
        "ratio_mean": masked_mean(ratio, mask, 0),
        "approx_kl": masked_mean(divergence(log_ratio), mask, 0),
        "clip_fraction": masked_mean(clipped, mask, 0),
        "actor_gradient_norm": gradient_norm.clone(),
    }
    last, entropies, names = steps[-1], list[dict[str, Tensor]](), list[str]()
    for distribution in distributions:
        entropies.append(distribution.entropies())
        names += [name for name in entropies[-1] if name not in names]
    figures["entropy"] = masked_mean(_joined([d.entropy() for d in distributions]), last.mask, 0)
    for name in names:
        by_role = [e.get(name, torch.zeros_like(next(iter(e.values())))) for e in entropies]
        figures[f"entropy_{name}"] = masked_mean(_joined(by_role), last.mask, 0)
    if any(distribution.layout.continuous for distribution in distributions):
        figures["policy_std"] = masked_mean(_joined([_std(d) for d in distributions]), last.mask, 0)
    return figures


def value_metrics(step: ValueStep, gradient_norm: Tensor) -> dict[str, Tensor]:
    """Per slot [N], of the last mini-batch: ``value_loss``, and ``critic_gradient_norm`` before clipping."""
    loss = value_loss(step.value, step.target, step.loss, step.threshold)
    return {
        "value_loss": masked_mean(loss, step.mask, 0),
        "critic_gradient_norm": gradient_norm.clone(),
    }


@torch.no_grad()
def action_diversity(
    spec: GroupSpec, actor: StochasticActor, seen: Seen, memory: Tensor | None = None
) -> Tensor:
    """How differently the agents of a role act where they see the same, 0-d in [0, 1].

    Observations of all slots, with what they remembered [R, N, M] if they do, are shown to every slot's actor. Two
    policies differ by half the distance of their mean actions (cut off at -1 and 1), and by the total variation of
    their choices: half the sum of the differences in probability. The figure is the mean over pairs of slots,
    observations, values and branches. Actors that are shared without an id have 0.
    """
    differences, weights = list[Tensor](), list[float]()
    for i, role in enumerate(spec.roles):
        if role.num_slots < 2:
            continue
        obs = spec.role_obs(seen.joint[:_DIVERSITY_ROWS], i).flatten(0, 1)  # [M, O]
        allowed = spec.role_allowed(seen.allowed[:_DIVERSITY_ROWS], i).flatten(0, 1)
        remembered = None
        if memory is not None:
            remembered = memory[:_DIVERSITY_ROWS, spec.slots(i)].flatten(0, 1)
        numbers = [torch.full((len(obs),), k, device=obs.device) for k in range(role.num_slots)]
        policies = [actor.distribution_of_slot(obs, allowed, k, i, remembered) for k in numbers]
        parts = []
        if role.action.continuous:
            parts.append(torch.stack([p.centre() for p in policies]) * 0.5)
        for branch in range(len(role.action.branches)):
            chance = torch.stack([p.log_choice[branch].exp() for p in policies])
            # Half the sum over choices, so that the mean over the last axis gives the total variation.
            parts.append(chance * (0.5 * chance.shape[-1]))
        pairs = role.num_slots * (role.num_slots - 1)
        for part, weight in zip(parts, _part_weights(role.action.continuous, len(parts)), strict=True):
            apart = (part.unsqueeze(0) - part.unsqueeze(1)).abs().mean((-1, -2)).sum() / pairs
            differences.append(apart * weight)
            weights.append(weight)
    if not differences:
        return torch.zeros((), device=seen.joint.device)
    return torch.stack(differences).sum() / sum(weights)


def _part_weights(num_continuous: int, num_parts: int) -> list[float]:
    """What each part counts: a Gaussian part as many as it has values, a branch as one."""
    return [float(num_continuous), *[1.0] * (num_parts - 1)] if num_continuous else [1.0] * num_parts


def _std(distribution: ActionDistribution) -> Tensor:
    """Mean deviation over the continuous values, [B, N_role]; 0 without any."""
    if not distribution.layout.continuous:
        return torch.zeros_like(distribution.entropy())
    return distribution.log_std.exp().mean(-1).expand(distribution.mean.shape[:-1])


def _variance(value: Tensor, mask: Tensor) -> Tensor:
    return masked_mean((value - masked_mean(value, mask, 0)).square(), mask, 0)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)
