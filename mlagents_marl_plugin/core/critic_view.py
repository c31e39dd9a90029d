"""What centralised critics read of a group's joint input: everybody's observations, states, everybody's actions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core.types import GroupSpec

_Columns = Sequence[Sequence[list[int]]]  # by role and slot, where something stands in the joint input


def view_obs_size(spec: GroupSpec) -> int:
    """Width of a view but for its actions: what all actors read, and one state of each role that has one."""
    return sum(role.num_slots * role.actor_size + role.state_size for role in spec.roles)


def view_columns(spec: GroupSpec, own_first: bool, with_actions: bool = True) -> list[list[int]]:
    """Per slot, where the columns of its view stand in the joint input.

    A view holds observations, then states, then actions. Of the states that a role's slots send it has one: the slot's
    own, and of another role that of the first slot.

    Args:
        own_first: whether the slot's role is turned so that the slot leads; else everybody stands where it stands in
            the joint input.
    """
    obs = _columns([role.obs_size for role in spec.roles], spec, 0)
    actions = _columns([role.action.size * with_actions for role in spec.roles], spec, spec.obs_size)
    places = [role.state_place for role in spec.roles]
    seen = [[row[: p.start] + row[p.stop :] for row in rows] for rows, p in zip(obs, places, strict=True)]
    states = [[row[p] for row in rows] for rows, p in zip(obs, places, strict=True)]
    views = list[list[int]]()
    for role, own in enumerate(spec.roles):
        for k in range(own.num_slots):
            turned = k if own_first else 0
            state = [column for i, rows in enumerate(states) for column in rows[k if i == role else 0]]
            views.append(_turned(seen, role, turned) + state + _turned(actions, role, turned))
    return views


def _columns(sizes: Sequence[int], spec: GroupSpec, start: int) -> _Columns:
    """Of something joint that is ``sizes[i]`` wide for each slot of role i."""
    by_role = list[list[list[int]]]()
    for role, size in zip(spec.roles, sizes, strict=True):
        firsts = [start + slot * size for slot in range(role.num_slots)]
        by_role.append([list(range(first, first + size)) for first in firsts])
        start += role.num_slots * size
    return by_role


def _turned(columns: _Columns, role: int, first: int) -> list[int]:
    """All of them, those of ``role`` from slot ``first`` on and then from the beginning."""
    parts = list[int]()
    for i, rows in enumerate(columns):
        turn = first if i == role else 0
        for row in (*rows[turn:], *rows[:turn]):
            parts += row
    return parts


def fixed_view(spec: GroupSpec, with_actions: bool, device: torch.device) -> Tensor | None:
    """`view_columns` of everybody in their places [N, I]; None where a view is the joint input as it is."""
    if not any(role.state_size for role in spec.roles):
        return None
    columns = view_columns(spec, own_first=False, with_actions=with_actions)
    return torch.tensor(columns, device="cpu").to(device)


def per_slot(joint: Tensor, columns: Tensor) -> Tensor:
    """Every slot's view [B, N, I] of the joint input, given where its columns stand [N, I]."""
    return joint.index_select(1, columns.flatten()).view(-1, *columns.shape)


def back_to_joint(gradient: Tensor, columns: Tensor, spec: GroupSpec) -> Tensor:
    """Gradients by the columns of views [B, V, I], added up where they stand in the joint observation [B, joint].

    Args:
        columns: [V, I].
    """
    joint = gradient.new_zeros(len(gradient), spec.obs_size)
    return joint.index_add_(1, columns.flatten(), gradient.flatten(1))


def role_of_slots(spec: GroupSpec) -> Tensor:
    """One-hot role of every slot [N, roles], which a shared critic is told; [N, 0] if all are of one role."""
    if len(spec.roles) == 1:
        return torch.zeros(spec.num_slots, 0, device="cpu")
    number = [i for i, role in enumerate(spec.roles) for _ in range(role.num_slots)]
    return torch.eye(len(spec.roles), device="cpu")[torch.tensor(number, device="cpu")]
