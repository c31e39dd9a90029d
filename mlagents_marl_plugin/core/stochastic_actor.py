"""Decentralised stochastic actors: what one agent sees decides the distribution of what it does."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.distributions import ActionDistribution, GaussianHead, StdType
from mlagents_marl_plugin.core.encoders import create_encoder
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape
from mlagents_marl_plugin.core.networks import DecentralisedActor, RoleActor, Sharing, num_actor_inputs
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.policy_module import PolicyModule, RecurrentPolicyModule
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.squashed import SquashedDistribution
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stacked_recurrent import Stack, StackedRecurrent
from mlagents_marl_plugin.core.stacks import create_stack
from mlagents_marl_plugin.core.types import GroupSpec
from mlagents_marl_plugin.core.value_kinds import ValueKind


class StochasticActor:
    """A `DecentralisedActor` whose raw outputs are read as distributions (`core.distributions`).

    Log-deviations that do not depend on the state are parameters beside the network (``free``), one per action.
    """

    def __init__(self, networks: DecentralisedActor, head: GaussianHead) -> None:
        self.networks = networks
        self.head = head
        self._kind = SquashedDistribution if head.squashed else ActionDistribution

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        sharing: Sharing,
        head: GaussianHead,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        initialisation: Initialisation,
        normalisers: Sequence[RunningNormaliser | None],
        device: torch.device,
        generator: torch.Generator,
        memory_size: int = 0,
        cell: Cell = Cell.GRU,
    ) -> "StochasticActor":
        """New actors; ``normalisers`` has one per role, or None for none; ``memory_size`` 0 = without a memory."""
        roles = []
        for role, normaliser in zip(spec.roles, normalisers, strict=True):
            num_networks = sharing.num_networks(role.num_slots)
            encoder = create_encoder(role, role.actor_sensors, num_networks, device, generator)
            num_inputs = num_actor_inputs(role, sharing, encoder)
            num_outputs, num_free = head.num_outputs(role.action), head.num_free(role.action)
            shape = MlpShape(num_inputs, hidden, num_outputs, normalisation, num_free)
            net = create_stack(shape, memory_size, num_networks, device, generator, initialisation, cell)
            roles.append(RoleActor(role, sharing, net, normaliser, encoder))
        actor = cls(DecentralisedActor(roles), head)
        actor._set_initial_std(spec)
        return actor

    def acting_copy(self, device: torch.device) -> "StochasticActor":
        """A copy on another device that shares nothing, so that another thread may act with it."""
        return StochasticActor(self.networks.acting_copy(device), self.head)

    def copy_weights(self, other: "StochasticActor") -> None:
        """Take over another's weights, deviations and normalisers in place, from any device."""
        self.networks.copy_weights(other.networks)

    @torch.no_grad()
    def sample_rows(
        self,
        obs: Tensor,
        allowed: Tensor,
        slot: Tensor,
        generator: torch.Generator | None = None,
        role: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Actions of agents in any order, drawn from their policies.

        Args:
            obs: [R, O] as observed; normalised here.
            allowed: [R, choices], True or 1 = permitted; width 0 without discrete branches.
            slot: [R] int64, 0 to ``num_slots - 1`` of this role, each any number of times.
            generator: on the actor's device.

        Returns:
            Encoded actions [R, A] as drawn (a continuous value may lie outside [-1, 1]), and their log-probabilities
            [R].
        """
        distribution = self._distribution_of_rows(obs, allowed, slot, role)
        action = distribution.sample(generator)
        return action, distribution.log_prob(action)

    @torch.no_grad()
    def mode_rows(self, obs: Tensor, allowed: Tensor, slot: Tensor, role: int = 0) -> Tensor:
        """Greedy actions [R, A] of agents in any order, values in [-1, 1]; see `sample_rows`."""
        return self._distribution_of_rows(obs, allowed, slot, role).mode()

    @torch.no_grad()
    def log_prob_rows(
        self, obs: Tensor, allowed: Tensor, slot: Tensor, action: Tensor, role: int = 0
    ) -> Tensor:
        """Log-probabilities [R] of given actions [R, A]; see `sample_rows`."""
        return self._distribution_of_rows(obs, allowed, slot, role).log_prob(action)

    @torch.no_grad()
    def policy_rows(
        self, obs: Tensor, allowed: Tensor, slot: Tensor, memory: Tensor, role: int = 0
    ) -> tuple[ActionDistribution, Tensor]:
        """What agents in any order would do, and what they remember from now on [R, M].

        Args:
            obs, allowed, slot: see `sample_rows`.
            memory: [R, M], what they remember; width 0 without a memory.
        """
        of_role = self.networks.roles[role]
        if of_role.normaliser is not None:
            obs = of_role.normaliser.normalise_(obs.clone())
        raw, memory = of_role.step_rows(obs, slot, memory)
        return self._read(raw, allowed, slot, role), memory

    def slot_module(self, slot: int, role: int = 0) -> nn.Module:
        """One slot of one role for export: [B, O] -> its policy [B, C + choices + C], see `PolicyModule`."""
        of_role, free = self.networks.roles[role], self._free(role)
        if free is not None:
            free = free[slot if of_role.sharing is Sharing.SEPARATE else 0]
        kind = RecurrentPolicyModule if isinstance(of_role.net, StackedRecurrent) else PolicyModule
        return kind(of_role.slot_module(slot), of_role.role.action, self.head, free)

    def distribution(
        self,
        joint: Tensor,
        spec: GroupSpec,
        allowed: Tensor,
        role: int,
        recurrence: Recurrence | None = None,
    ) -> ActionDistribution:
        """What one role's agents would do, for learning; each call is followed by its `backward`, if any.

        Args:
            joint: [B, joint observation, or more behind it], normalised, 0 where absent.
            allowed: [B, joint choices].
            recurrence: how the rows follow each other, for networks with a memory; all slots are its units.
        """
        of_role = self.networks.roles[role]
        mine = None if recurrence is None else recurrence.of(spec.slots(role))
        raw = of_role(spec.role_obs(joint, role), recurrence=mine)  # [B, N, P]
        return self._kind(
            of_role.role.action, self.head, raw, self._free(role), spec.role_allowed(allowed, role)
        )

    def distribution_of_slot(
        self, obs: Tensor, allowed: Tensor, slot: Tensor, role: int, memory: Tensor | None = None
    ) -> ActionDistribution:
        """What agents in any order would do, as `sample_rows`, given observations [R, O] normalised already, and
        memories [R, M] where networks have one.
        """
        memory = obs.new_empty(len(obs), 0) if memory is None else memory
        return self._read(self.networks.roles[role].step_rows(obs, slot, memory)[0], allowed, slot, role)

    def backward(self, role: int, of_raw: Tensor, of_log_std: Tensor | None) -> None:
        """Differentiate the last `distribution` of a role, given `ActionDistribution.backward`'s results."""
        of_role = self.networks.roles[role]
        of_role.backward(of_raw)
        net = of_role.net
        if net.shape.free:
            if self.head.std_type is StdType.LEARNED and of_log_std is not None:
                torch.sum(of_role.sharing.network_rows(of_log_std), 1, out=net.part_gradient("free"))
            else:
                net.part_gradient("free").zero_()

    def bound_std(self) -> None:
        """Keep learned deviations within their bounds, so that their gradient never dies beyond them, and fixed ones
        where they were fixed, whatever was loaded.
        """
        if self.head.std_type is StdType.FIXED:
            self.set_std(self.head.initial_std)
        elif self.head.std_type is StdType.LEARNED:
            for net in self.nets:
                if net.shape.free:
                    net.part("free").clamp_(*self.head.bounds)

    def set_std(self, std: float) -> None:
        """Set the deviation of every continuous action, for all types but `StdType.STATE_DEPENDENT`."""
        for net in self.nets:
            if net.shape.free:
                net.part("free").fill_(math.log(std))

    @property
    def memory_size(self) -> int:
        """M, numbers that an agent remembers; 0 without a memory."""
        net = self.nets[0]
        return net.shape.memory_size if isinstance(net, StackedRecurrent) else 0

    @property
    def value_kind(self) -> ValueKind:
        """How continuous values come from the networks' outputs."""
        has_values = any(of_role.role.action.continuous for of_role in self.roles)
        return self.head.value_kind if has_values else ValueKind.NONE

    @property
    def roles(self) -> list[RoleActor]:
        """An actor per role; its raw outputs are a policy's parameters."""
        return self.networks.roles

    @property
    def nets(self) -> list[Stack]:
        """A stack per role."""
        return self.networks.nets

    @property
    def learnt(self) -> list[Network]:
        """See `core.learnt`."""
        return self.networks.learnt

    def _free(self, role: int) -> Tensor | None:
        """Log-deviations as slots have them, [1 or N, C]."""
        net = self.nets[role]
        return net.part("free") if net.shape.free else None

    def _distribution_of_rows(
        self, obs: Tensor, allowed: Tensor, slot: Tensor, role: int
    ) -> ActionDistribution:
        return self._read(self.networks.roles[role].forward_rows(obs, slot), allowed, slot, role)

    def _read(self, raw: Tensor, allowed: Tensor, slot: Tensor, role: int) -> ActionDistribution:
        of_role, free = self.networks.roles[role], self._free(role)
        if free is not None and of_role.sharing is Sharing.SEPARATE:
            free = free[slot]
        return self._kind(of_role.role.action, self.head, raw, free, allowed)

    def _set_initial_std(self, spec: GroupSpec) -> None:
        self.set_std(self.head.initial_std)
        if self.head.std_type is StdType.STATE_DEPENDENT:
            for role, net in zip(spec.roles, self.nets, strict=True):
                last = f"{net.shape.output_layer}.bias"
                net.part(last)[:, role.action.size :].fill_(math.log(self.head.initial_std))
