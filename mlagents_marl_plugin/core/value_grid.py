"""Continuous actions cut into choices, so that networks of action values can serve them.

Each continuous value becomes a discrete branch of ``k`` choices that stand for values evenly over [-1, 1]. Inside the
learner everything is discrete; outside, actions stay continuous.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec
from mlagents_marl_plugin.core.value_kinds import ValueKind

# tanh of it is 1 in float32, and it is small enough for every number format that a model may be run in.
_OUTERMOST = 10.0


def must_be_cut(spec: GroupSpec, discretise: int) -> bool:
    """Whether continuous actions are cut into choices.

    Raises:
        ValueError: if there are some and nothing says into how many.
    """
    num_values = sum(role.action.continuous for role in spec.roles)
    if num_values and not discretise:
        raise ValueError(
            f"discretise: expected at least 2 for agents with continuous actions, got 0 and {num_values} "
            "continuous actions; set discretise: 3, or use maddpg, matd3 or mappo"
        )
    return num_values > 0


def choices_layout(layout: ActionLayout, k: int) -> ActionLayout:
    """The layout whose first branches stand for the continuous values."""
    return ActionLayout(0, (*[k] * layout.continuous, *layout.branches))


def choices_spec(spec: GroupSpec, k: int) -> GroupSpec:
    """The group with `choices_layout` for every role."""
    return GroupSpec(tuple(replace(role, action=choices_layout(role.action, k)) for role in spec.roles))


def joint_choices(spec: GroupSpec, k: int, joint_action: Tensor, agent_mask: Tensor) -> Tensor:
    """Joint actions [B, joint] as choices: each continuous value as the nearest one's one-hot vector.

    Absent slots, whose actions are 0, keep all zeros.
    """
    parts = []
    for i, role in enumerate(spec.roles):
        choices = to_choices(role.action, k, spec.role_action(joint_action, i))
        choices[..., : k * role.action.continuous].mul_(agent_mask[:, spec.slots(i), None])
        parts.append(choices.flatten(1))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def to_choices(layout: ActionLayout, k: int, action: Tensor) -> Tensor:
    """Actions [..., A] as choices: each continuous value as the nearest one's one-hot vector."""
    cell = ((action[..., : layout.continuous] + 1.0) * (0.5 * (k - 1))).round().clamp(0, k - 1)
    one_hot = (cell.unsqueeze(-1) == torch.arange(k, device=cell.device)).to(action.dtype)
    return torch.cat([one_hot.flatten(-2), action[..., layout.continuous :]], -1)


def to_values(layout: ActionLayout, k: int, choices: Tensor) -> Tensor:
    """The way back, to actions [..., A] with the values that the choices stand for."""
    one_hot = choices[..., : k * layout.continuous].unflatten(-1, (layout.continuous, k))
    grid = torch.linspace(-1.0, 1.0, k, dtype=choices.dtype, device=choices.device)
    return torch.cat([one_hot @ grid, choices[..., k * layout.continuous :]], -1)


def row_allowed(layout: ActionLayout, k: int, allowed: Tensor) -> Tensor:
    """Masks [..., choices] for `choices_layout`: every value is permitted."""
    return F.pad(allowed, (k * layout.continuous, 0), value=1.0)


def joint_allowed(spec: GroupSpec, k: int, allowed: Tensor) -> Tensor:
    """Joint masks [B, joint] for `choices_spec`: every value is permitted."""
    parts = []
    for i, role in enumerate(spec.roles):
        parts.append(row_allowed(role.action, k, spec.role_allowed(allowed, i)).flatten(1))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class GridActor(DecentralisedActor):
    """Networks of action values that act in continuous values too.

    Its raw outputs are those of a deterministic policy: per continuous value the number before tanh that makes the best
    of the k values, then the values of the discrete choices. So `actions.mode` of them is the greedy action.
    """

    def __init__(self, spec: GroupSpec, k: int, choices: DecentralisedActor) -> None:
        """
        Args:
            spec: the group, with its continuous actions.
            choices: the networks, for `choices_spec`; shared, not copied.
        """
        super().__init__(choices.roles)
        self.spec = spec
        self.k = k
        self.choices = choices
        self._heads = [
            GridHead(role.action.continuous, k).to(net.parameters.device)
            for role, net in zip(spec.roles, choices.nets, strict=True)
        ]

    def acting_copy(self, device: torch.device) -> "GridActor":
        """See `DecentralisedActor.acting_copy`."""
        return GridActor(self.spec, self.k, self.choices.acting_copy(device))

    @property
    def value_kind(self) -> ValueKind:
        """See `DecentralisedActor.value_kind`."""
        return ValueKind.GRID

    def forward_rows(self, obs: Tensor, slot: Tensor, role: int = 0) -> Tensor:
        """See `DecentralisedActor.forward_rows`."""
        raw: Tensor = self._heads[role](super().forward_rows(obs, slot, role))
        return raw

    def remembering_rows(
        self, obs: Tensor, slot: Tensor, memory: Tensor, role: int = 0
    ) -> tuple[Tensor, Tensor]:
        """See `DecentralisedActor.remembering_rows`."""
        values, memory = super().remembering_rows(obs, slot, memory, role)
        return self._heads[role](values), memory

    def slot_module(self, slot: int, role: int = 0) -> nn.Module:
        """See `DecentralisedActor.slot_module`."""
        network = super().slot_module(slot, role)
        if self.memory_size:
            return RememberingGrid(network, self._heads[role])
        return nn.Sequential(network, self._heads[role])


class GridHead(nn.Module):
    """Values of choices [R, C * k + choices] -> raw outputs [R, C + choices], see `GridActor`."""

    before_tanh: Tensor

    def __init__(self, num_values: int, k: int) -> None:
        super().__init__()
        self.num_values = num_values
        self.k = k
        grid = torch.linspace(-1.0, 1.0, k, dtype=torch.float64, device="cpu")
        self.register_buffer("before_tanh", torch.atanh(grid).clamp(-_OUTERMOST, _OUTERMOST).float())

    def forward(self, values: Tensor) -> Tensor:
        """See the class."""
        parts: Sequence[Tensor] = [
            self.before_tanh[values[:, i * self.k : (i + 1) * self.k].argmax(1)].unsqueeze(1)
            for i in range(self.num_values)
        ]
        return torch.cat([*parts, values[:, self.num_values * self.k :]], 1)


class RememberingGrid(nn.Module):
    """A network that reads and writes a memory, and a head behind it."""

    def __init__(self, network: nn.Module, head: GridHead) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, obs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """[B, O] and [B, M] -> [B, A] and [B, M]."""
        values, memory = self.network(obs, memory)
        return self.head(values), memory
