"""What a critic of joint actions says of every choice that an agent might have taken, all else being as it was, and
how much better what it took was than what its policy would have taken on average.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.critics import Critic
from mlagents_marl_plugin.core.distributions import ActionDistribution
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec


def choice_values(critic: Critic, spec: GroupSpec, joint: Tensor, own: Sequence[Tensor]) -> list[Tensor]:
    """Q of every slot for each of its choices, per role [D, B, N_role, choices].

    In the entry of a choice, the slot takes it in that choice's branch; its other branches and its continuous values
    are as in ``own``, and what the others did as in ``joint``.

    Args:
        critic: which of its twins are asked is its ``num_asked``.
        joint: [B, I], see `core.critics`.
        own: per role [B, N_role, A_role], each slot's own action.
    """
    num_rows, most = len(joint), max(role.action.num_choices for role in spec.roles)
    varied = [
        _each_choice(role.action, action, most).flatten(0, 1)
        for role, action in zip(spec.roles, own, strict=True)
    ]
    q = critic.with_own_action(joint, varied, most)  # [D, B * most, N]
    by_choice = q.unflatten(1, (num_rows, most)).transpose(2, 3)  # [D, B, N, most]
    return [by_choice[:, :, spec.slots(i), : role.action.num_choices] for i, role in enumerate(spec.roles)]


def counterfactual_advantage(policy: ActionDistribution, action: Tensor, value: Tensor) -> Tensor:
    """``Q(s, u) - sum_u' pi(u') Q(s, u_others, u')`` of what was chosen in each branch, [..., K].

    The baseline does not depend on the choice, so the mean over choices, drawn from the policy, is 0.

    Args:
        policy: of choices only.
        action: [..., num_choices] one-hot per branch.
        value: [..., num_choices], see `choice_values`.

    Source: Foerster et al. 2018, eq. 4, https://arxiv.org/abs/1705.08926
    """
    layout = policy.layout
    parts = zip(
        actions.by_branch(layout, action), actions.by_branch(layout, value), policy.log_choice, strict=True
    )
    advantages = [((chosen - log.exp()) * worth).sum(-1) for chosen, worth, log in parts]
    return torch.stack(advantages, -1)


def _each_choice(layout: ActionLayout, action: Tensor, most: int) -> Tensor:
    """Actions [B, n, A] with one branch changed to each of its choices in turn, [B, most, n, A]; the rest unchanged."""
    varied = action.unsqueeze(1).repeat(1, most, 1, 1)
    choice, start = 0, layout.continuous
    for size in layout.branches:
        one_hot = torch.eye(size, dtype=action.dtype, device=action.device).unsqueeze(1)  # [size, 1, size]
        varied[:, choice : choice + size, :, start : start + size] = one_hot
        choice, start = choice + size, start + size
    return varied
