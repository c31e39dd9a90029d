"""What a person looks at when learning goes wrong, computed from the tensors of the last update.

Nothing here runs during updates; a summary calls it once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.losses import ValueLoss, masked_mean, value_loss
from mlagents_marl_plugin.core.types import GroupSpec

_SATURATED = 0.95


class CriticStep(NamedTuple):
    """What the last critic update saw and did."""

    q: Tensor  # [C, B, N]
    target: Tensor  # [B, N]
    loss: ValueLoss
    mask: Tensor  # [B, N] 0/1
    gradient_norm: Sequence[Tensor]  # per stack [K], before clipping


class ActorStep(NamedTuple):
    """What the last actor update saw and did."""

    q: Tensor  # [B, N] of the actors' own actions
    raw: Sequence[Tensor]  # per role [B, N_role, P]
    mask: Tensor  # [B, N] 0/1
    gradient_norm: Tensor  # [N], before clipping


def critic_metrics(spec: GroupSpec, step: CriticStep) -> dict[str, Tensor]:
    """Per slot [N]: ``critic_loss``, ``q_mean``, ``q_max``, ``td_error`` (mean absolute) and
    ``critic_gradient_norm`` (the larger twin's). A slot without a valid row has 0.
    """
    mask = step.mask.expand_as(step.q)
    seen = step.mask.sum(0) > 0
    highest = step.q.masked_fill(mask == 0, -torch.inf).amax((0, 1))
    return {
        "critic_loss": masked_mean(value_loss(step.q, step.target, step.loss), mask, (0, 1)),
        "q_mean": masked_mean(step.q, mask, (0, 1)),
        "q_max": highest.masked_fill(~seen, 0.0),
        "td_error": masked_mean((step.q - step.target).abs(), mask, (0, 1)),
        "critic_gradient_norm": _critic_norm_per_slot(spec, step),
    }


def actor_metrics(spec: GroupSpec, step: ActorStep) -> dict[str, Tensor]:
    """Per slot [N]: ``policy_loss``, ``raw_magnitude`` (mean absolute output before tanh or softmax),
    ``saturated_share`` (of continuous actions above 0.95 in size) and ``actor_gradient_norm``.
    """
    magnitude, saturated = [], []
    for role, raw in zip(spec.roles, step.raw, strict=True):
        magnitude.append(raw.abs().mean(-1))
        continuous = torch.tanh(raw[..., : role.action.continuous]).abs() > _SATURATED
        saturated.append(continuous.float().sum(-1) / max(1, role.action.continuous))
    return {
        "policy_loss": -masked_mean(step.q, step.mask, 0),
        "raw_magnitude": masked_mean(torch.cat(magnitude, -1), step.mask, 0),
        "saturated_share": masked_mean(torch.cat(saturated, -1), step.mask, 0),
        "actor_gradient_norm": step.gradient_norm.clone(),
    }


def _critic_norm_per_slot(spec: GroupSpec, step: CriticStep) -> Tensor:
    num_twins = step.q.shape[0]
    largest = [norm.view(num_twins, -1).amax(0) for norm in step.gradient_norm]
    if len(largest) == 1:
        return largest[0].expand(spec.num_slots)
    return torch.cat([norm.expand(role.num_slots) for norm, role in zip(largest, spec.roles, strict=True)])
