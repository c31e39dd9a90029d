"""The state of a group: what agents send for critics and mixers only (`RoleSpec.state_sensor`)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec


def state_size(spec: GroupSpec) -> int:
    """Width of a group's state: of every role that has one, once; 0 without any."""
    return sum(role.state_size for role in spec.roles)


def state_spec(spec: GroupSpec) -> GroupSpec:
    """The group's state laid out as `group_state` gives it, a role with one slot for each that has one.

    A picture or a list has its role's encoder; a vector is read as it is.
    """
    roles = list[RoleSpec]()
    for role in spec.roles:
        if role.state_sensor is not None:
            shape = role.observation_shapes[role.state_sensor]
            encoder = None if len(shape) == 1 else _encoder_of_state(role)
            roles.append(RoleSpec(role.name, 1, (shape,), ActionLayout(), encoder=encoder))
    return GroupSpec(tuple(roles))


def group_state(spec: GroupSpec, joint: Tensor) -> Tensor:
    """The group's state [B, S] of joint observations [B, joint, or more behind it] after `share_states_`."""
    parts = [role.state(spec.role_obs(joint, i)[:, 0]) for i, role in enumerate(spec.roles)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def share_states_(spec: GroupSpec, joint: Tensor, agent_mask: Tensor) -> None:
    """Give absent slots the state of the first one of their role that is there, in place.

    So the first slot always has the group's state, and one who died for its group is still valued by what goes on.
    Where nobody of a role is there, nothing changes.

    Args:
        joint: [B, joint observation, or more behind it].
        agent_mask: [B, N] 0/1.
    """
    for i, role in enumerate(spec.roles):
        if not role.state_size:
            continue
        states, here = (
            role.state(spec.role_obs(joint, i)),
            agent_mask[:, spec.slots(i)] > 0,
        )  # [B, n, S], [B, n]
        first = here.to(torch.uint8).argmax(1).view(-1, 1, 1).expand(-1, 1, role.state_size)
        anybody = here.any(1, keepdim=True)
        absent = (anybody & ~here).unsqueeze(-1)
        states.copy_(torch.where(absent, states.gather(1, first), states))


def _encoder_of_state(role: RoleSpec) -> Callable[[tuple[int, ...]], nn.Module] | None:
    make, number = role.encoder, role.state_sensor
    if make is None or number is None:
        return None
    return lambda _: make((number,))  # by its number among the role's sensors
