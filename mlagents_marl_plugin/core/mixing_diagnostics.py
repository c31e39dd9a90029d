"""What a person looks at when action values, mixed or not, learn badly; computed once per summary."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.action_values import ActionValues
from mlagents_marl_plugin.core.losses import ValueLoss, masked_mean, value_loss
from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.types import GroupSpec

_DIVERSITY_ROWS = 64


class ValueUpdate(NamedTuple):
    """What the last update saw and did; ``E`` is 1 for a group's value, N for independent agents."""

    joint: Tensor  # [B, joint] normalised observations, 0 where absent
    allowed: Tensor  # [B, joint choices] 0/1
    agent_mask: Tensor  # [B, N] 0/1
    chosen_q: Tensor  # [B, M] of what each agent did, see `ActionValues`
    prediction: Tensor  # [B, E]
    target: Tensor  # [B, E]
    valid: Tensor  # [B, E] 0/1
    loss: ValueLoss
    gradient_norm: Sequence[Tensor]  # per role [K], before clipping
    mixer_norm: Sequence[Tensor]  # the mixing network's [1], before clipping; empty without one


def value_figures(values: ActionValues, update: ValueUpdate, sensitivity: Tensor) -> dict[str, Tensor]:
    """``critic_loss``, ``td_error`` (mean absolute), ``q_mean`` and ``q_max`` of what is learnt, 0-d for a group's
    value, [N] for independent agents; per slot [N] ``chosen_q``, ``q_gradient_norm`` and ``mixing_weight``; 0-d
    ``mixer_gradient_norm``. What has no valid row is 0.

    Args:
        values: of the group.
        update: the last one.
        sensitivity: [B, M] growth of the value with each agent's own, see `Mixer.sensitivity`.
    """
    valid = update.valid
    seen = valid.sum(0) > 0
    highest = update.prediction.masked_fill(valid == 0, -torch.inf).amax(0).masked_fill(~seen, 0.0)
    error = value_loss(update.prediction, update.target, update.loss)
    figures = {
        "critic_loss": masked_mean(error, valid, 0),
        "td_error": masked_mean((update.prediction - update.target).abs(), valid, 0),
        "q_mean": masked_mean(update.prediction, valid, 0),
        "q_max": highest,
    }
    if update.prediction.shape[1] == 1:
        figures = {name: figure.squeeze(0) for name, figure in figures.items()}
    figures["mixing_weight"] = masked_mean(values.slot_mean(sensitivity), update.agent_mask, 0)
    figures["chosen_q"] = masked_mean(values.slot_mean(update.chosen_q), update.agent_mask, 0)
    roles = values.spec.roles
    norms = [n.expand(role.num_slots) for n, role in zip(update.gradient_norm, roles, strict=True)]
    figures["q_gradient_norm"] = torch.cat(norms)
    for norm in update.mixer_norm:
        figures["mixer_gradient_norm"] = norm.squeeze(0)
    return figures


@torch.no_grad()
def greedy_diversity(
    spec: GroupSpec, actor: DecentralisedActor, joint: Tensor, joint_allowed: Tensor
) -> Tensor:
    """How often agents of a role choose differently where they see the same, 0-d in [0, 1].

    Observations of all slots are shown to every slot's network. The figure is the share of pairs of slots, observations
    and branches in which the greedy choices differ, with nothing in memory. Networks that are shared without an id
    have 0.

    Args:
        actor: its networks put out a value per choice.
        joint: [B, joint], normalised.
        joint_allowed: [B, joint choices].
    """
    different, counted = list[Tensor](), list[float]()
    for i, role in enumerate(spec.roles):
        if role.num_slots < 2:
            continue
        obs = spec.role_obs(joint[:_DIVERSITY_ROWS], i).flatten(0, 1)  # [R, O]
        allowed = spec.role_allowed(joint_allowed[:_DIVERSITY_ROWS], i).flatten(0, 1)
        encoded = []
        for slot in range(role.num_slots):
            number = torch.full((len(obs),), slot, device=obs.device)
            raw, _ = actor.roles[i].step_rows(obs, number, obs.new_zeros(len(obs), actor.memory_size))
            encoded.append(actions.mode(role.action, raw, allowed))
        choices = torch.stack(encoded)  # [n, R, A]
        num_branches = len(role.action.branches)
        same = torch.einsum("irc,jrc->ij", choices, choices) / (len(obs) * num_branches)
        pairs = role.num_slots * (role.num_slots - 1)
        different.append((1.0 - same).sum() / pairs * num_branches)
        counted.append(num_branches)
    if not different:
        return torch.zeros((), device=joint.device)
    return torch.stack(different).sum() / sum(counted)
