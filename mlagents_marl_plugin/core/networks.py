"""Decentralised actors: what one agent sees decides what it does."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlagents_marl_plugin.core.encoders import SensorNetwork, StackedEncoder, create_encoder
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.plain_network import plain_network
from mlagents_marl_plugin.core.plain_recurrent import plain_recurrent
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.stacked_mlp import StackedMlp
from mlagents_marl_plugin.core.stacked_recurrent import Stack, StackedRecurrent, input_gradient
from mlagents_marl_plugin.core.stacks import create_stack
from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec
from mlagents_marl_plugin.core.value_kinds import ValueKind


class Sharing(Enum):
    """Whether the slots of a role have one network or one each; the values are what users write in YAML."""

    SHARED = "shared"
    SHARED_WITH_ID = "shared_with_id"
    SEPARATE = "separate"

    def num_networks(self, num_slots: int) -> int:
        """How many networks serve ``num_slots`` slots."""
        return num_slots if self is Sharing.SEPARATE else 1

    def id_size(self, num_slots: int) -> int:
        """How many inputs tell a network which slot it is."""
        return num_slots if self is Sharing.SHARED_WITH_ID else 0

    def with_id(self, per_slot: Tensor) -> Tensor:
        """Inputs [B, N, I] with the slot's id behind them, where a network is told."""
        if self is not Sharing.SHARED_WITH_ID:
            return per_slot
        slot_id = torch.eye(per_slot.shape[1], device=per_slot.device).expand(per_slot.shape[0], -1, -1)
        return torch.cat([per_slot, slot_id], -1)

    def network_rows(self, per_slot: Tensor) -> Tensor:
        """What belongs to slots [B, N, ...] as rows of each network: [N, B, ...] if separate, else [1, B*N, ...]."""
        return per_slot.transpose(0, 1) if self is Sharing.SEPARATE else per_slot.flatten(0, 1).unsqueeze(0)

    def slot_rows(self, rows: Tensor, num_slots: int) -> Tensor:
        """The way back: [N, B, ...] or [1, B*N, ...] -> [B, N, ...]."""
        if self is Sharing.SEPARATE:
            return rows.transpose(0, 1)
        return rows.view(-1, num_slots, *rows.shape[2:])


def unrolled(net: StackedRecurrent, sharing: Sharing, rows: Tensor, recurrence: Recurrence) -> Tensor:
    """Outputs of networks with a memory, rows in and out as `Sharing.network_rows` makes them."""
    num_units = 1 if sharing is Sharing.SEPARATE else recurrence.memory.shape[1]
    held = None if recurrence.held is None else sharing.network_rows(recurrence.held)
    counts = [count * num_units for count in recurrence.counts]
    return net(rows, sharing.network_rows(recurrence.memory), counts, held)


def mean_weight(spec: GroupSpec, mask: Tensor, sharing: Sharing, one_network: bool) -> Tensor:
    """Weights [B, N] that make a sum the mean over each network's valid rows, added over networks.

    Args:
        mask: [B, N] 0/1, 1 = valid.
        one_network: whether one network serves all roles, not one (or one per slot) each.
    """
    count = mask.sum(0)  # [N]
    if one_network:
        count = count.sum()
    elif sharing is not Sharing.SEPARATE:
        per_role = [count[spec.slots(i)] for i in range(len(spec.roles))]
        count = torch.cat([c.sum().expand_as(c) for c in per_role])
    return mask / count.clamp_min(1.0)


class RoleActor:
    """The actors of one role: what one agent sees -> the raw output of its head, [.., O] -> [.., P].

    Of an agent's observations they read all but its state (`RoleSpec.actor_obs`).
    """

    def __init__(
        self,
        role: RoleSpec,
        sharing: Sharing,
        net: Stack,
        normaliser: RunningNormaliser | None,
        encoder: StackedEncoder | None = None,
    ) -> None:
        self.role = role
        self.sharing = sharing
        self.net = net
        self.normaliser = normaliser
        self.encoder = encoder
        self.input_size = role.actor_size if encoder is None else encoder.num_features

    def __call__(
        self, obs: Tensor, row_weight: Tensor | None = None, recurrence: Recurrence | None = None
    ) -> Tensor:
        """Raw outputs [B, N, P] of all slots, for learning.

        Args:
            obs: [B, N, O], normalised, 0 where absent.
            row_weight: [B, N] 0/1, see `StackedMlp.__call__`.
            recurrence: how the rows follow each other, for networks with a memory; N units.
        """
        inputs = self.role.actor_obs(obs)
        if self.encoder is not None:
            features = self.encoder(self.sharing.network_rows(inputs))
            inputs = self.sharing.slot_rows(features, self.role.num_slots)
        rows = self.sharing.network_rows(self.sharing.with_id(inputs))
        if isinstance(self.net, StackedRecurrent):
            assert recurrence is not None
            raw = unrolled(self.net, self.sharing, rows, recurrence)
        else:
            raw = self.net(rows, None if row_weight is None else self.sharing.network_rows(row_weight))
        return self.sharing.slot_rows(raw, self.role.num_slots)

    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call, given the loss's gradient by its result [B, N, P]."""
        of_first = self.net.backward(self.sharing.network_rows(gradient))
        if self.encoder is not None:
            self.encoder.backward(input_gradient(self.net, of_first, self.input_size))

    @torch.no_grad()
    def forward_rows(self, obs: Tensor, slot: Tensor) -> Tensor:
        """Raw outputs of agents in any order, for acting.

        Args:
            obs: [R, O] as observed; normalised here.
            slot: [R] int64, 0 to ``num_slots - 1`` of this role, each any number of times.

        Returns:
            [R, P].
        """
        if self.normaliser is not None:
            obs = self.normaliser.normalise_(obs.clone())
        return self.forward_normalised_rows(obs, slot)

    @torch.no_grad()
    def forward_normalised_rows(self, obs: Tensor, slot: Tensor) -> Tensor:
        """`forward_rows` of observations that are normalised already."""
        return self.step_rows(obs, slot, obs.new_empty(len(obs), 0))[0]

    @torch.no_grad()
    def step_rows(self, obs: Tensor, slot: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """`forward_normalised_rows` of agents that remember.

        Args:
            memory: [R, M], what each agent remembers; width 0 for networks without a memory.

        Returns:
            Raw outputs [R, P], and what the agents remember from now on [R, M].
        """
        if len(obs) == 0:
            return obs.new_empty(0, self.net.shape.num_outputs), memory
        obs = self.role.actor_obs(obs)
        if self.encoder is not None and self.sharing is not Sharing.SEPARATE:
            obs = self.encoder(obs.unsqueeze(0)).squeeze(0)
        if self.sharing is Sharing.SHARED:
            return _at(self._step(obs.unsqueeze(0), memory.unsqueeze(0)), 0)
        slot_is = F.one_hot(slot, self.role.num_slots)  # [R, N]
        if self.sharing is Sharing.SHARED_WITH_ID:
            inputs = torch.cat([obs, slot_is.to(obs.dtype)], -1)
            return _at(self._step(inputs.unsqueeze(0), memory.unsqueeze(0)), 0)
        # Rows of the same slot are lined up, so that each network sees only its own.
        position = (slot_is.cumsum(0) - 1).gather(1, slot.unsqueeze(1)).squeeze(1)
        shape = (self.role.num_slots, int(position.max()) + 1)
        by_slot = torch.zeros(*shape, obs.shape[-1], device=obs.device)
        remembered = torch.zeros(*shape, memory.shape[-1], device=obs.device)
        by_slot[slot, position], remembered[slot, position] = obs, memory
        if self.encoder is not None:
            by_slot = self.encoder(by_slot)
        return _at(self._step(by_slot, remembered), (slot, position))

    def _step(self, rows: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of rows [K, R, ..] and memories [K, R, M] after one step."""
        if isinstance(self.net, StackedMlp):
            return self.net(rows), memory
        num_rows = rows.shape[1]
        return self.net(rows, memory, (num_rows,)), self.net.memories[:, num_rows:]

    def slot_module(self, slot: int) -> nn.Module:
        """One slot's actor as plain torch layers with everything baked in, for export: [B, O] -> [B, P].

        With an encoder it reads a list of the observations, [B, *shape] each, see `SensorNetwork`.
        """
        role, front = self.role, list[nn.Module]()
        if role.state_size and self.encoder is None:
            front.append(_ActorObservation(role))
        if self.normaliser is not None and self.encoder is None:
            front.append(self.normaliser.module(role.actor_obs))
        id_input = self.input_size + slot if self.sharing is Sharing.SHARED_WITH_ID else None
        k = slot if self.sharing is Sharing.SEPARATE else 0
        net: nn.Module
        if isinstance(self.net, StackedRecurrent):
            net = plain_recurrent(self.net, k, self.input_size, id_input)
            net.before = nn.Sequential(*front, *net.before)
        else:
            net = nn.Sequential(*front, *plain_network(self.net, k, self.input_size, id_input))
        if self.encoder is None:
            return net
        normalisers = {
            i: nn.Identity()
            if self.normaliser is None
            else self.normaliser.sensor_module(role.sensor_places[i])
            for i in role.actor_sensors
        }
        return SensorNetwork(normalisers, self.encoder.module(k), self.encoder.num_features, net)


class _ActorObservation(nn.Module):
    """`RoleSpec.actor_obs` as a layer: what Unity sends as the state is an input of the file, and not read."""

    def __init__(self, role: RoleSpec) -> None:
        super().__init__()
        self.role = role

    def forward(self, obs: Tensor) -> Tensor:
        return self.role.actor_obs(obs)


class DecentralisedActor:
    """The actors of a whole group, a `RoleActor` per role."""

    def __init__(self, roles: Sequence[RoleActor]) -> None:
        self.roles = list(roles)

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        sharing: Sharing,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        normalisers: Sequence[RunningNormaliser | None],
        device: torch.device,
        generator: torch.Generator,
        memory_size: int = 0,
    ) -> "DecentralisedActor":
        """New actors; ``normalisers`` has one per role, or None for none; ``memory_size`` 0 = without a memory."""
        roles = []
        for role, normaliser in zip(spec.roles, normalisers, strict=True):
            num_networks = sharing.num_networks(role.num_slots)
            encoder = create_encoder(role, role.actor_sensors, num_networks, device, generator)
            num_inputs = num_actor_inputs(role, sharing, encoder)
            shape = MlpShape(num_inputs, hidden, role.action.size, normalisation)
            net = create_stack(shape, memory_size, num_networks, device, generator)
            roles.append(RoleActor(role, sharing, net, normaliser, encoder))
        return cls(roles)

    def target_copy(self) -> "DecentralisedActor":
        """A copy with its own weights that uses the same normalisers and scratch memory."""
        return DecentralisedActor(
            [
                RoleActor(
                    r.role,
                    r.sharing,
                    r.net.target_copy(),
                    r.normaliser,
                    None if r.encoder is None else r.encoder.target_copy(),
                )
                for r in self.roles
            ]
        )

    def acting_copy(self, device: torch.device) -> "DecentralisedActor":
        """A copy on another device that shares nothing, so that another thread may act with it."""
        return DecentralisedActor(
            [
                RoleActor(
                    r.role,
                    r.sharing,
                    r.net.acting_copy(device),
                    None if r.normaliser is None else r.normaliser.copy(device),
                    None if r.encoder is None else r.encoder.acting_copy(device),
                )
                for r in self.roles
            ]
        )

    def copy_weights(self, other: "DecentralisedActor") -> None:
        """Take over another's weights and normalisers in place, from any device."""
        for mine, its in zip(self.roles, other.roles, strict=True):
            mine.net.parameters.copy_(its.net.parameters)
            mine.net.statistics.copy_(its.net.statistics)
            if mine.normaliser is not None and its.normaliser is not None:
                mine.normaliser.copy_from(its.normaliser)
            if mine.encoder is not None and its.encoder is not None:
                mine.encoder.copy_weights(its.encoder)

    def __call__(
        self,
        joint: Tensor,
        spec: GroupSpec,
        row_weight: Tensor | None = None,
        recurrence: Recurrence | None = None,
    ) -> list[Tensor]:
        """Raw outputs of everybody, per role [B, N_role, P].

        Args:
            joint: [B, joint observation, or more behind it], normalised, 0 where absent.
            spec: the group's layout.
            row_weight: [B, N] 0/1, see `StackedMlp.__call__`.
            recurrence: how the rows follow each other, for networks with a memory; all slots are its units.
        """
        return [
            role(
                spec.role_obs(joint, i),
                None if row_weight is None else row_weight[:, spec.slots(i)],
                None if recurrence is None else recurrence.of(spec.slots(i)),
            )
            for i, role in enumerate(self.roles)
        ]

    def backward(self, gradients: Sequence[Tensor]) -> None:
        """Differentiate the last call, given the loss's gradients by its results."""
        for role, gradient in zip(self.roles, gradients, strict=True):
            role.backward(gradient)

    def forward_rows(self, obs: Tensor, slot: Tensor, role: int = 0) -> Tensor:
        """Raw outputs of one role's agents, see `RoleActor.forward_rows`."""
        return self.roles[role].forward_rows(obs, slot)

    def remembering_rows(
        self, obs: Tensor, slot: Tensor, memory: Tensor, role: int = 0
    ) -> tuple[Tensor, Tensor]:
        """`forward_rows` of agents that remember [R, M], and what they remember from now on [R, M]."""
        of_role = self.roles[role]
        if of_role.normaliser is not None:
            obs = of_role.normaliser.normalise_(obs.clone())
        return of_role.step_rows(obs, slot, memory)

    @property
    def value_kind(self) -> ValueKind:
        """How continuous values come from the networks' outputs."""
        has_values = any(of_role.role.action.continuous for of_role in self.roles)
        return ValueKind.TANH if has_values else ValueKind.NONE

    @property
    def memory_size(self) -> int:
        """M, numbers that an agent remembers; 0 without a memory."""
        net = self.nets[0]
        return net.shape.memory_size if isinstance(net, StackedRecurrent) else 0

    def slot_module(self, slot: int, role: int = 0) -> nn.Module:
        """One slot of one role for export, see `RoleActor.slot_module`."""
        return self.roles[role].slot_module(slot)

    @property
    def nets(self) -> list[Stack]:
        """A stack per role."""
        return [role.net for role in self.roles]

    @property
    def learnt(self) -> list[Network]:
        """See `core.learnt`."""
        return [*self.nets, *(role.encoder for role in self.roles if role.encoder is not None)]


def num_actor_inputs(role: RoleSpec, sharing: Sharing, encoder: StackedEncoder | None) -> int:
    """What an actor's stack reads: observations or their features, and an id."""
    num_features = role.actor_size if encoder is None else encoder.num_features
    return num_features + sharing.id_size(role.num_slots)


def _at(results: tuple[Tensor, Tensor], index: Any) -> tuple[Tensor, Tensor]:
    """What stands at an index in outputs and memories; the latter are copied from where the next pass writes."""
    raw, memory = results
    return raw[index], memory[index].clone()
