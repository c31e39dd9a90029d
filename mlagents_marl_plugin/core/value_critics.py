"""Critics of states: what each agent of a group may expect from here on, as on-policy learners need it.

They read the joint observation [B, joint], normalised and 0 for absent slots, and give a value per slot [B, N].
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core.critics import own_first_columns, role_of_slots
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.stacked_mlp import Initialisation, StackedMlp
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
    """

    nets: list[StackedMlp]
    slots_of_outputs: list[Tensor]
    pool: Tensor

    def __call__(self, joint: Tensor) -> Tensor:
        """Values [B, N] of joint observations [B, joint]."""

    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call, given the loss's gradient by its result [B, N]."""


class OwnViewCritic:
    """A value per slot from what everybody sees; a shared network sees each slot's side in turn, itself first."""

    def __init__(self, spec: GroupSpec, sharing: Sharing, net: StackedMlp) -> None:
        self.spec = spec
        self.sharing = sharing
        self.nets = [net]
        device, num_slots = net.parameters.device, spec.num_slots
        separate = sharing is Sharing.SEPARATE
        self.slots_of_outputs = [torch.arange(num_slots if separate else 1, device=device).view(-1, 1)]
        self.pool = torch.eye(num_slots, device=device) if separate else _ones(num_slots, device)
        columns = own_first_columns(spec, with_actions=False)
        self._own_first = torch.tensor(columns, device="cpu").to(device)  # [N, joint]
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
    ) -> "OwnViewCritic":
        """A new critic."""
        num_inputs = spec.obs_size + sharing.id_size(spec.num_slots)
        if sharing is not Sharing.SEPARATE:
            num_inputs += role_of_slots(spec).shape[1]
        shape = MlpShape(num_inputs, hidden, 1, normalisation)
        num_networks = sharing.num_networks(spec.num_slots)
        net = StackedMlp.create(shape, num_networks, device, generator, initialisation)
        return cls(spec, sharing, net)

    def __call__(self, joint: Tensor) -> Tensor:
        net = self.nets[0]
        if self.sharing is Sharing.SEPARATE:
            return net(joint.expand(net.num_networks, -1, -1)).squeeze(-1).t()
        columns = self._own_first
        per_slot = joint.index_select(1, columns.flatten()).view(-1, *columns.shape)  # [B, N, joint]
        if self._role.shape[1]:
            per_slot = torch.cat([per_slot, self._role.expand(len(joint), -1, -1)], -1)
        rows = self.sharing.network_rows(self.sharing.with_id(per_slot))
        return self.sharing.slot_rows(net(rows), self.spec.num_slots).squeeze(-1)

    def backward(self, gradient: Tensor) -> None:
        self.nets[0].backward(self.sharing.network_rows(gradient.unsqueeze(-1)))


class JointCritic:
    """One network that reads the joint observation once: an output per slot, or one for the whole group."""

    def __init__(self, spec: GroupSpec, net: StackedMlp) -> None:
        self.spec = spec
        self.nets = [net]
        device, num_outputs = net.parameters.device, net.shape.num_outputs
        self.slots_of_outputs = [torch.arange(num_outputs, device=device).view(1, -1)]
        alone = num_outputs == spec.num_slots
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
    ) -> "JointCritic":
        """A new critic."""
        shape = MlpShape(spec.obs_size, hidden, spec.num_slots if per_agent else 1, normalisation)
        return cls(spec, StackedMlp.create(shape, 1, device, generator, initialisation))

    def __call__(self, joint: Tensor) -> Tensor:
        return self.nets[0](joint.unsqueeze(0)).squeeze(0).expand(-1, self.spec.num_slots)

    def backward(self, gradient: Tensor) -> None:
        if self.nets[0].shape.num_outputs < self.spec.num_slots:
            gradient = gradient.sum(-1, keepdim=True)
        self.nets[0].backward(gradient.unsqueeze(0))


class IndependentValueCritic:
    """Every slot's value from its own observation only; a stack per role."""

    def __init__(self, spec: GroupSpec, sharing: Sharing, nets: Sequence[StackedMlp]) -> None:
        self.spec = spec
        self.sharing = sharing
        self.nets = list(nets)
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
    ) -> "IndependentValueCritic":
        """New critics."""
        nets = []
        for role in spec.roles:
            shape = MlpShape(role.obs_size + sharing.id_size(role.num_slots), hidden, 1, normalisation)
            num_networks = sharing.num_networks(role.num_slots)
            nets.append(StackedMlp.create(shape, num_networks, device, generator, initialisation))
        return cls(spec, sharing, nets)

    def __call__(self, joint: Tensor) -> Tensor:
        values = []
        for i, (net, role) in enumerate(zip(self.nets, self.spec.roles, strict=True)):
            rows = self.sharing.network_rows(self.sharing.with_id(self.spec.role_obs(joint, i)))
            values.append(self.sharing.slot_rows(net(rows), role.num_slots).squeeze(-1))
        return values[0] if len(values) == 1 else torch.cat(values, -1)

    def backward(self, gradient: Tensor) -> None:
        for i, net in enumerate(self.nets):
            net.backward(self.sharing.network_rows(gradient[:, self.spec.slots(i)].unsqueeze(-1)))


def _ones(num_slots: int, device: torch.device) -> Tensor:
    return torch.ones(num_slots, num_slots, device=device)
