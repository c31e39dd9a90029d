"""What critics read of a group whose observations are encoded."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mlagents_marl_plugin.core.encoders import StackedEncoder, create_encoder
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec


class GroupEncoder:
    """What a critic's encoders make of a whole group's observations, [B, joint] -> [B, joint features].

    Roles without an encoder pass by as they are.

    Attributes:
        features: the group as it is laid out behind the encoders.
        stacks: of the roles that have encoders, in order.
    """

    def __init__(self, spec: GroupSpec, sharing: Sharing, by_role: Sequence[StackedEncoder | None]) -> None:
        """
        Args:
            sharing: whether the slots of a role have one encoder or one each.
            by_role: a stack per role, or None where there is nothing to encode.
        """
        self._spec = spec
        self._sharing = sharing
        self._by_role = list(by_role)
        self.stacks = [stack for stack in by_role if stack is not None]
        self.features = GroupSpec(
            tuple(
                role if stack is None else features_role(role, stack.num_features)
                for role, stack in zip(spec.roles, by_role, strict=True)
            )
        )

    @classmethod
    def create(
        cls, spec: GroupSpec, sharing: Sharing, device: torch.device, generator: torch.Generator
    ) -> "GroupEncoder | None":
        """New encoders, which read all observations; None where no role needs one."""
        if all(role.encoder is None for role in spec.roles):
            return None
        by_role = []
        for role in spec.roles:
            sensors, num_networks = (
                tuple(range(len(role.observation_shapes))),
                sharing.num_networks(role.num_slots),
            )
            by_role.append(create_encoder(role, sensors, num_networks, device, generator))
        return cls(spec, sharing, by_role)

    def target_copy(self) -> "GroupEncoder":
        """A copy that does not learn."""
        copies = [None if stack is None else stack.target_copy() for stack in self._by_role]
        return GroupEncoder(self._spec, self._sharing, copies)

    def __call__(self, joint: Tensor) -> Tensor:
        """Joint features [B, joint features] of joint observations [B, joint, or more behind it]."""
        parts = []
        for i, stack in enumerate(self._by_role):
            obs = self._spec.role_obs(joint, i)  # [B, n, O]
            if stack is not None:
                rows = stack(self._sharing.network_rows(obs))
                obs = self._sharing.slot_rows(rows, obs.shape[1])
            parts.append(obs.flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call, given a loss's gradient [B, joint features] by its result."""
        for i, stack in enumerate(self._by_role):
            if stack is not None:
                of_role = self.features.role_obs(gradient, i)
                stack.backward(self._sharing.network_rows(of_role))


def features_role(role: RoleSpec, num_features: int) -> RoleSpec:
    """The role as networks behind an encoder see it."""
    return replace(role, observation_shapes=((num_features,),), encoder=None, state_sensor=None)
