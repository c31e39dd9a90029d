"""Critics of states: what each agent of a group may expect from here on, as on-policy learners need it.

They read the joint observation [B, joint], normalised and 0 for absent slots, and give a value per slot [B, N].
With a memory they read whole sequences of them (`core.sequences`).
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core.critic_view import (
    back_to_joint,
    fixed_view,
    per_slot,
    role_of_slots,
    view_columns,
    view_obs_size,
)
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape
from mlagents_marl_plugin.core.networks import Sharing, unrolled
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stacked_recurrent import Stack, StackedRecurrent, input_gradient
from mlagents_marl_plugin.core.stacks import create_stack
from mlagents_marl_plugin.core.types import GroupSpec


class ValueOutput(Enum):
    """What a centralised critic reads and says; the values are what users write in YAML."""

    OWN_VIEW = "own_view"  # each agent's value, from the joint observation with that agent first
    PER_AGENT = "per_agent"  # the joint observation once, an output per agent
    GROUP = "group"  # the joint observation once, one value for everybody


class ValueCritic(Protocol):
    """The value of every slot of a group.

    Attributes:
        nets: its stacks.
        slots_of_outputs: per stack [K, out], the first slot that an output gives the value of.
        pool: [N, N] 0/1, which slots have their values from one output.
        memory_shape: (U, M), how many units remember how many numbers; M = 0 without a memory.
    """

    nets: list[Stack]
    slots_of_outputs: list[Tensor]
    pool: Tensor
    memory_shape: tuple[int, int]

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        """Values [B, N] of joint observations [B, joint], which follow each other as ``recurrence`` says."""

    def memories(self) -> Tensor:
        """Of the last call with a memory: what was remembered before the first step, then after every row,
        [S + B, U, M].
        """

    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call, given the loss's gradient by its result [B, N]."""

    @property
    def learnt(self) -> Sequence[Network]:
        """See `core.learnt`."""


class FeatureCritic(ValueCritic, Protocol):
    """One that others may stand in front of."""

    def joint_gradient(self, gradient: Tensor) -> Tensor:
        """As `backward`; returns the loss's gradient [B, joint] by what the critic read."""


class OwnViewCritic:
    """A value per slot from what everybody sees; a shared network sees each slot's side in turn, itself first."""

    def __init__(self, spec: GroupSpec, sharing: Sharing, net: Stack) -> None:
        self.spec = spec
        self.sharing = sharing
        self.nets = [net]
        self.learnt: Sequence[Network] = self.nets
        self.memory_shape = (spec.num_slots, _memory_size(net))
        device, num_slots = net.parameters.device, spec.num_slots
        separate = sharing is Sharing.SEPARATE
        self.slots_of_outputs = [torch.arange(num_slots if separate else 1, device=device).view(-1, 1)]
        self.pool = torch.eye(num_slots, device=device) if separate else _ones(num_slots, device)
        columns = view_columns(spec, own_first=True, with_actions=False)
        self._own_first = torch.tensor(columns, device="cpu").to(device)  # [N, V]
        self._fixed = fixed_view(spec, False, device)  # [N, V], for networks of their own
        self._role = role_of_slots(spec).to(device)  # [N, roles or 0]

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        sharing: Sharing,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        initialisation: Initialisation,
        device: torch.device,
        generator: torch.Generator,
        memory_size: int = 0,
        cell: Cell = Cell.GRU,
    ) -> "OwnViewCritic":
        """A new critic."""
        num_inputs = view_obs_size(spec) + sharing.id_size(spec.num_slots)
        if sharing is not Sharing.SEPARATE:
            num_inputs += role_of_slots(spec).shape[1]
        shape = MlpShape(num_inputs, hidden, 1, normalisation)
        num_networks = sharing.num_networks(spec.num_slots)
        net = create_stack(shape, memory_size, num_networks, device, generator, initialisation, cell)
        return cls(spec, sharing, net)

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        net = self.nets[0]
        if self.sharing is Sharing.SEPARATE:
            rows = joint.expand(net.num_networks, -1, -1)
            if self._fixed is not None:
                rows = per_slot(joint, self._fixed).transpose(0, 1)
            return _outputs(net, self.sharing, rows, recurrence).squeeze(-1).t()
        views = per_slot(joint, self._own_first)  # [B, N, V]
        if self._role.shape[1]:
            views = torch.cat([views, self._role.expand(len(joint), -1, -1)], -1)
        rows = self.sharing.network_rows(self.sharing.with_id(views))
        raw = _outputs(net, self.sharing, rows, recurrence)
        return self.sharing.slot_rows(raw, self.spec.num_slots).squeeze(-1)

    def memories(self) -> Tensor:
        return self.sharing.slot_rows(_memories(self.nets[0]), self.spec.num_slots)

    def backward(self, gradient: Tensor) -> None:
        self.nets[0].backward(self.sharing.network_rows(gradient.unsqueeze(-1)))

    def joint_gradient(self, gradient: Tensor) -> Tensor:
        net = self.nets[0]
        of_first = net.backward(self.sharing.network_rows(gradient.unsqueeze(-1)))
        of_rows = input_gradient(net, of_first, self._own_first.shape[1])
        columns = self._own_first
        if self.sharing is Sharing.SEPARATE:
            if self._fixed is None:
                return of_rows.sum(0)
            columns = self._fixed
        return back_to_joint(self.sharing.slot_rows(of_rows, self.spec.num_slots), columns, self.spec)


class JointCritic:
    """One network that reads the joint observation once: an output per slot, or one for the whole group."""

    def __init__(self, spec: GroupSpec, net: Stack) -> None:
        self.spec = spec
        self.nets = [net]
        self.learnt: Sequence[Network] = self.nets
        self.memory_shape = (1, _memory_size(net))
        device, num_outputs = net.parameters.device, net.shape.num_outputs
        self.slots_of_outputs = [torch.arange(num_outputs, device=device).view(1, -1)]
        alone = num_outputs == spec.num_slots
        self._fixed = fixed_view(spec, False, device)
        self.pool = torch.eye(spec.num_slots, device=device) if alone else _ones(spec.num_slots, device)

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        per_agent: bool,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        initialisation: Initialisation,
        device: torch.device,
        generator: torch.Generator,
        memory_size: int = 0,
        cell: Cell = Cell.GRU,
    ) -> "JointCritic":
        """A new critic."""
        shape = MlpShape(view_obs_size(spec), hidden, spec.num_slots if per_agent else 1, normalisation)
        return cls(spec, create_stack(shape, memory_size, 1, device, generator, initialisation, cell))

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        if self._fixed is not None:
            joint = joint.index_select(1, self._fixed[0])  # with the first slot's state, which is the group's
        raw = _outputs(self.nets[0], Sharing.SEPARATE, joint.unsqueeze(0), recurrence)
        return raw.squeeze(0).expand(-1, self.spec.num_slots)

    def memories(self) -> Tensor:
        return _memories(self.nets[0]).transpose(0, 1)

    def backward(self, gradient: Tensor) -> None:
        self._of_first(gradient)

    def joint_gradient(self, gradient: Tensor) -> Tensor:
        net = self.nets[0]
        of_view = input_gradient(net, self._of_first(gradient), net.shape.num_inputs).transpose(0, 1)
        if self._fixed is None:
            return of_view.squeeze(1)
        return back_to_joint(of_view, self._fixed[:1], self.spec)

    def _of_first(self, gradient: Tensor) -> Tensor:
        if self.nets[0].shape.num_outputs < self.spec.num_slots:
            gradient = gradient.sum(-1, keepdim=True)
        return self.nets[0].backward(gradient.unsqueeze(0))


class IndependentValueCritic:
    """Every slot's value from its own observation only; a stack per role."""

    def __init__(self, spec: GroupSpec, sharing: Sharing, nets: Sequence[Stack]) -> None:
        self.spec = spec
        self.sharing = sharing
        self.nets = list(nets)
        self.learnt: Sequence[Network] = self.nets
        self.memory_shape = (spec.num_slots, _memory_size(self.nets[0]))
        device = self.nets[0].parameters.device
        self.slots_of_outputs, pools = [], []
        for i, role in enumerate(spec.roles):
            separate = sharing is Sharing.SEPARATE
            first, num_slots = spec.slots(i).start, role.num_slots
            outputs = torch.arange(first, first + (num_slots if separate else 1), device=device)
            self.slots_of_outputs.append(outputs.view(-1, 1))
            pools.append(torch.eye(num_slots, device=device) if separate else _ones(num_slots, device))
        self.pool = torch.block_diag(*pools)

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        sharing: Sharing,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        initialisation: Initialisation,
        device: torch.device,
        generator: torch.Generator,
        memory_size: int = 0,
        cell: Cell = Cell.GRU,
    ) -> "IndependentValueCritic":
        """New critics."""
        nets = []
        for role in spec.roles:
            shape = MlpShape(role.obs_size + sharing.id_size(role.num_slots), hidden, 1, normalisation)
            num_networks = sharing.num_networks(role.num_slots)
            nets.append(
                create_stack(shape, memory_size, num_networks, device, generator, initialisation, cell)
            )
        return cls(spec, sharing, nets)

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        values = []
        for i, (net, role) in enumerate(zip(self.nets, self.spec.roles, strict=True)):
            rows = self.sharing.network_rows(self.sharing.with_id(self.spec.role_obs(joint, i)))
            of_role = None if recurrence is None else recurrence.of(self.spec.slots(i))
            raw = _outputs(net, self.sharing, rows, of_role)
            values.append(self.sharing.slot_rows(raw, role.num_slots).squeeze(-1))
        return values[0] if len(values) == 1 else torch.cat(values, -1)

    def memories(self) -> Tensor:
        parts = [
            self.sharing.slot_rows(_memories(net), role.num_slots)
            for net, role in zip(self.nets, self.spec.roles, strict=True)
        ]
        return torch.cat(parts, 1)

    def backward(self, gradient: Tensor) -> None:
        for i, net in enumerate(self.nets):
            net.backward(self.sharing.network_rows(gradient[:, self.spec.slots(i)].unsqueeze(-1)))

    def joint_gradient(self, gradient: Tensor) -> Tensor:
        parts = []
        for i, (net, role) in enumerate(zip(self.nets, self.spec.roles, strict=True)):
            of_role = gradient[:, self.spec.slots(i)].unsqueeze(-1)
            of_first = net.backward(self.sharing.network_rows(of_role))
            of_rows = input_gradient(net, of_first, role.obs_size)
            parts.append(self.sharing.slot_rows(of_rows, role.num_slots).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _ones(num_slots: int, device: torch.device) -> Tensor:
    return torch.ones(num_slots, num_slots, device=device)


def _outputs(net: Stack, sharing: Sharing, rows: Tensor, recurrence: Recurrence | None) -> Tensor:
    if not isinstance(net, StackedRecurrent):
        return net(rows)
    assert recurrence is not None
    return unrolled(net, sharing, rows, recurrence)


def _memories(net: Stack) -> Tensor:
    """[K, S + R, M] of the last pass."""
    assert isinstance(net, StackedRecurrent)
    return net.memories


def _memory_size(net: Stack) -> int:
    return net.shape.memory_size if isinstance(net, StackedRecurrent) else 0
