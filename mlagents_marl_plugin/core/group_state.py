"""The state of a group: what agents send for critics and mixers only (`RoleSpec.state_sensor`)."""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.types import GroupSpec


def state_size(spec: GroupSpec) -> int:
    """Width of a group's state: of every role that has one, once; 0 without any."""
    return sum(role.state_size for role in spec.roles)


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
