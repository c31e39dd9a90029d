"""Networks of all agents at once: stacked multilayer perceptrons, decentralised actors and critics.

K networks of one shape share one parameter tensor [K, P], a row per network, so that a layer of all of them is one
batched matrix product, a norm per network is one operation, and so is a soft update. Weights stand in their row as
[out, in], the way torch writes them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.types import RoleSpec

# Rows and parts start at multiples of 64 bytes: matrix products are faster, and equal bit by bit wherever they lie.
_ALIGNMENT = 16
_NORM_EPSILON = 1e-5
_BATCH_NORM_MOMENTUM = 0.1
# Small last layers keep first actions near 0, where tanh has a gradient (Lillicrap et al. 2016, section 7).
_LAST_LAYER_BOUND = 3e-3


class Sharing(Enum):
    """Whether the slots of a role have one network or one each."""

    SHARED = "shared"
    SHARED_WITH_ID = "shared_with_id"
    SEPARATE = "separate"


class LayerNormalisation(Enum):
    """What stands between a hidden layer's product and its ReLU."""

    NONE = "none"
    LAYER = "layer"
    BATCH = "batch"


@dataclass(frozen=True)
class MlpShape:
    """Sizes of an MLP with ReLU: inputs, hidden layers, outputs."""

    num_inputs: int
    hidden: tuple[int, ...]
    num_outputs: int
    normalisation: LayerNormalisation = LayerNormalisation.NONE

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(in, out) of every layer."""
        sizes = (self.num_inputs, *self.hidden, self.num_outputs)
        return list(zip(sizes[:-1], sizes[1:]))

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter of one network, in order."""
        parts: dict[str, tuple[int, ...]] = {}
        for i, (num_in, num_out) in enumerate(self.layers):
            parts[f"{i}.weight"] = (num_out, num_in)
            parts[f"{i}.bias"] = (num_out,)
            if self.normalisation is not LayerNormalisation.NONE and i < len(self.hidden):
                parts[f"{i}.scale"] = (num_out,)
                parts[f"{i}.shift"] = (num_out,)
        return parts

    def statistics(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of the running statistics of one network (BatchNorm only)."""
        if self.normalisation is not LayerNormalisation.BATCH:
            return {}
        return {f"{i}.{name}": (h,) for i, h in enumerate(self.hidden) for name in ("mean", "variance")}


class StackedMlp:
    """K networks of one shape; network k is row k of ``parameters``."""

    def __init__(self, shape: MlpShape, parameters: Tensor, statistics: Tensor) -> None:
        """
        Args:
            shape: of every network.
            parameters: [K, P] float, used as it is, see `create`.
            statistics: [K, S] float, running mean and variance of BatchNorm, width 0 without.
        """
        self.shape = shape
        self.parameters = parameters
        self.statistics = statistics

    @classmethod
    def create(
        cls,
        shape: MlpShape,
        num_networks: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> "StackedMlp":
        """New networks, drawn on the CPU so that a seed gives the same ones on every device."""
        layout, width = _layout(shape.parts())
        parameters = torch.zeros(num_networks, width, device="cpu")
        for i, (num_in, _) in enumerate(shape.layers):
            bound = _LAST_LAYER_BOUND if i == len(shape.hidden) else 1.0 / math.sqrt(num_in)
            for name in ("weight", "bias"):
                part = parameters[:, layout[f"{i}.{name}"]]
                part.copy_(torch.rand(part.shape, generator=generator, device="cpu") * (2 * bound) - bound)
            if f"{i}.scale" in layout:
                parameters[:, layout[f"{i}.scale"]] = 1.0
        layout, width = _layout(shape.statistics())
        statistics = torch.zeros(num_networks, width, device="cpu")
        for name, place in layout.items():
            statistics[:, place] = float(name.endswith("variance"))
        return cls(shape, parameters.to(device).requires_grad_(), statistics.to(device))

    @property
    def num_networks(self) -> int:
        return self.parameters.shape[0]

    def copy(self, device: torch.device | None = None) -> "StackedMlp":
        """A copy without gradient, for targets and for acting."""
        parameters, statistics = self.parameters.detach(), self.statistics
        device = parameters.device if device is None else device
        return StackedMlp(self.shape, parameters.to(device, copy=True), statistics.to(device, copy=True))

    def frozen(self, num_networks: int) -> "StackedMlp":
        """The first networks over the same memory, without gradient to their parameters."""
        return StackedMlp(self.shape, self.parameters.detach()[:num_networks], self.statistics[:num_networks])

    def part(self, name: str) -> Tensor:
        """View [K, ...] of one parameter, such as ``0.weight`` [K, out, in]."""
        parts = self.shape.parts()
        return self.parameters[:, _layout(parts)[0][name]].unflatten(1, parts[name])

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and statistics by name, as views [K, ...]."""
        named = {name: self.part(name).detach() for name in self.shape.parts()}
        return named | {name: self._statistic(name) for name in self.shape.statistics()}

    def __call__(self, inputs: Tensor, row_weight: Tensor | None = None) -> Tensor:
        """Outputs [K, R, out] of inputs [K, R, in].

        Args:
            inputs: may be expanded over K where all networks see the same.
            row_weight: [K, R] 0/1. If given, BatchNorm takes its statistics from the rows where it is 1 and remembers
                them; otherwise it uses what it remembers.
        """
        return self.after_first_product(self.first_product(inputs), row_weight)

    def first_product(self, inputs: Tensor) -> Tensor:
        """What enters the first hidden layer's normalisation or ReLU, [K, R, in] -> [K, R, H]."""
        return self._linear(0, inputs)

    def after_first_product(self, hidden: Tensor, row_weight: Tensor | None = None) -> Tensor:
        """The rest of the network, [K, R, H] -> [K, R, out]."""
        for i in range(1, len(self.shape.layers)):
            hidden = F.relu(self._normalise(i - 1, hidden, row_weight))
            hidden = self._linear(i, hidden)
        return hidden

    def network(self, k: int, input_slice: slice, bias_input: int | None) -> nn.Sequential:
        """Network k as plain torch layers, for export.

        Args:
            k: which network.
            input_slice: the inputs that stay inputs.
            bias_input: an input that is constantly 1 and goes into the bias, if any; all others are constantly 0.
        """
        modules: list[nn.Module] = []
        for i in range(len(self.shape.layers)):
            weight = self.part(f"{i}.weight").detach()[k]
            bias = self.part(f"{i}.bias").detach()[k]
            if i == 0:
                bias = bias if bias_input is None else bias + weight[:, bias_input]
                weight = weight[:, input_slice]
            hidden = i < len(self.shape.hidden)
            if hidden and self.shape.normalisation is LayerNormalisation.BATCH:
                weight, bias = self._fold_batch_norm(i, k, weight, bias)
            modules.append(_linear_module(weight, bias))
            if hidden and self.shape.normalisation is LayerNormalisation.LAYER:
                modules.append(_layer_norm_module(self.part(f"{i}.scale")[k], self.part(f"{i}.shift")[k]))
            if hidden:
                modules.append(nn.ReLU())
        return nn.Sequential(*modules)

    def _fold_batch_norm(self, i: int, k: int, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self._statistic(f"{i}.mean")[k], self._statistic(f"{i}.variance")[k]
        factor = self.part(f"{i}.scale").detach()[k] * torch.rsqrt(variance + _NORM_EPSILON)
        shift = self.part(f"{i}.shift").detach()[k]
        return weight * factor.unsqueeze(1), (bias - mean) * factor + shift

    def _linear(self, i: int, inputs: Tensor) -> Tensor:
        weight, bias = self.part(f"{i}.weight"), self.part(f"{i}.bias")
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))

    def _normalise(self, i: int, hidden: Tensor, row_weight: Tensor | None) -> Tensor:
        kind = self.shape.normalisation
        if kind is LayerNormalisation.NONE:
            return hidden
        if kind is LayerNormalisation.LAYER:
            hidden = F.layer_norm(hidden, hidden.shape[-1:], eps=_NORM_EPSILON)
        else:
            hidden = self._batch_norm(i, hidden, row_weight)
        scale, shift = self.part(f"{i}.scale"), self.part(f"{i}.shift")
        return torch.addcmul(shift.unsqueeze(1), hidden, scale.unsqueeze(1))

    def _batch_norm(self, i: int, hidden: Tensor, row_weight: Tensor | None) -> Tensor:
        running_mean, running_variance = self._statistic(f"{i}.mean"), self._statistic(f"{i}.variance")
        if row_weight is None:
            mean, variance = running_mean.unsqueeze(1), running_variance.unsqueeze(1)
        else:
            weight = row_weight.unsqueeze(-1)  # [K, R, 1]
            num_rows = weight.sum(1, keepdim=True)
            divisor = num_rows.clamp_min(1.0)
            mean = (hidden * weight).sum(1, keepdim=True) / divisor
            variance = ((hidden - mean).square() * weight).sum(1, keepdim=True) / divisor
            with torch.no_grad():
                share = _BATCH_NORM_MOMENTUM * (num_rows > 0).squeeze(1)
                running_mean.lerp_(mean.squeeze(1), share)
                running_variance.lerp_(variance.squeeze(1), share)
        return (hidden - mean) * torch.rsqrt(variance + _NORM_EPSILON)

    def _statistic(self, name: str) -> Tensor:
        return self.statistics[:, _layout(self.shape.statistics())[0][name]]


class RoleActor:
    """The actors of one role: what one agent sees -> raw output of its head, [.., O] -> [.., P]."""

    def __init__(
        self, role: RoleSpec, sharing: Sharing, net: StackedMlp, normaliser: RunningNormaliser | None
    ):
        self.role = role
        self.sharing = sharing
        self.net = net
        self.normaliser = normaliser

    @classmethod
    def create(
        cls,
        role: RoleSpec,
        sharing: Sharing,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        normaliser: RunningNormaliser | None,
        device: torch.device,
        generator: torch.Generator,
    ) -> "RoleActor":
        id_size = role.num_slots if sharing is Sharing.SHARED_WITH_ID else 0
        shape = MlpShape(role.obs_size + id_size, hidden, role.action.size, normalisation)
        num_networks = role.num_slots if sharing is Sharing.SEPARATE else 1
        return cls(role, sharing, StackedMlp.create(shape, num_networks, device, generator), normaliser)

    def copy(self, device: torch.device | None = None, with_normaliser: bool = False) -> "RoleActor":
        """A copy without gradient; of the normaliser only when asked, for targets share it."""
        normaliser = self.normaliser
        net = self.net.copy(device)
        if with_normaliser and normaliser is not None:
            normaliser = RunningNormaliser(self.role.obs_size, normaliser.clip, net.parameters.device)
        twin = RoleActor(self.role, self.sharing, net, normaliser)
        if with_normaliser:
            twin.copy_weights(self)
        return twin

    def copy_weights(self, other: "RoleActor") -> None:
        """Take over another's weights and normaliser in place, from any device."""
        self.net.parameters.detach().copy_(other.net.parameters.detach())
        self.net.statistics.copy_(other.net.statistics)
        if self.normaliser is not None and other.normaliser is not None:
            self.normaliser.copy_from(other.normaliser)

    def __call__(self, obs: Tensor, row_weight: Tensor | None = None) -> Tensor:
        """Raw outputs [B, N, P] of all slots, given *normalised* observations [B, N, O] (0 where absent).

        Args:
            row_weight: [B, N] 0/1, see `StackedMlp.__call__`.
        """
        batch_size, num_slots, _ = obs.shape
        if self.sharing is Sharing.SEPARATE:
            weight = None if row_weight is None else row_weight.t()
            return self.net(obs.transpose(0, 1), weight).transpose(0, 1)  # [N, B, P] -> [B, N, P]
        if self.sharing is Sharing.SHARED_WITH_ID:
            slot_id = torch.eye(num_slots, device=obs.device).expand(batch_size, -1, -1)
            obs = torch.cat([obs, slot_id], -1)
        weight = None if row_weight is None else row_weight.reshape(1, -1)
        return self.net(obs.reshape(1, batch_size * num_slots, -1), weight).view(batch_size, num_slots, -1)

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
            obs = self.normaliser(obs)
        if self.sharing is Sharing.SHARED:
            return self.net(obs.unsqueeze(0)).squeeze(0)
        if self.sharing is Sharing.SHARED_WITH_ID:
            slot_id = torch.eye(self.role.num_slots, device=obs.device)[slot]
            return self.net(torch.cat([obs, slot_id], -1).unsqueeze(0)).squeeze(0)
        # Rows of the same slot are lined up, so that each network sees only its own.
        slot_is = F.one_hot(slot, self.role.num_slots)  # [R, N]
        position = (slot_is.cumsum(0) - 1).gather(1, slot.unsqueeze(1)).squeeze(1)
        most = int(position.max()) + 1 if len(slot) else 0
        by_slot = torch.zeros(self.role.num_slots, most, obs.shape[-1], device=obs.device)
        by_slot[slot, position] = obs
        return self.net(by_slot)[slot, position]

    def slot_module(self, slot: int) -> nn.Module:
        """One slot's actor as plain torch layers with everything baked in, for export: [B, O] -> [B, P]."""
        with_id = self.sharing is Sharing.SHARED_WITH_ID
        net = self.net.network(
            slot if self.sharing is Sharing.SEPARATE else 0,
            slice(0, self.role.obs_size),
            self.role.obs_size + slot if with_id else None,
        )
        if self.normaliser is None:
            return net
        return nn.Sequential(self.normaliser.module(), *net)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and statistics by name; the normaliser's are its own."""
        return self.net.tensors()


class DecentralisedActor:
    """The actors of a whole group, a `RoleActor` per role."""

    def __init__(self, roles: Sequence[RoleActor]) -> None:
        self.roles = list(roles)

    def acting_copy(self, device: torch.device) -> "DecentralisedActor":
        """A copy with its own weights and normalisers on another device."""
        return DecentralisedActor([role.copy(device, with_normaliser=True) for role in self.roles])

    def target_copy(self) -> "DecentralisedActor":
        """A copy with its own weights that uses the same normalisers."""
        return DecentralisedActor([role.copy() for role in self.roles])

    def copy_weights(self, other: "DecentralisedActor") -> None:
        """Take over another's weights and normalisers in place, from any device."""
        for role, its in zip(self.roles, other.roles):
            role.copy_weights(its)

    def forward_rows(self, obs: Tensor, slot: Tensor, role: int = 0) -> Tensor:
        """Raw outputs of one role's agents, see `RoleActor.forward_rows`."""
        return self.roles[role].forward_rows(obs, slot)

    def slot_module(self, slot: int, role: int = 0) -> nn.Module:
        """One slot of one role for export, see `RoleActor.slot_module`."""
        return self.roles[role].slot_module(slot)

    def parameters(self) -> list[Tensor]:
        """[K, P] per role."""
        return [role.net.parameters for role in self.roles]

    def statistics(self) -> list[Tensor]:
        """[K, S] per role."""
        return [role.net.statistics for role in self.roles]

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and statistics by name."""
        return {f"{r.role.name}.{name}": value for r in self.roles for name, value in r.tensors().items()}


def _layout(parts: dict[str, tuple[int, ...]]) -> tuple[dict[str, slice], int]:
    """Where each part stands in a network's row, and the width of the row."""
    places, start = {}, 0
    for name, shape in parts.items():
        size = math.prod(shape)
        places[name] = slice(start, start + size)
        start += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places, start


def _linear_module(weight: Tensor, bias: Tensor) -> nn.Linear:
    module = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    module.weight, module.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return module


def _layer_norm_module(scale: Tensor, shift: Tensor) -> nn.LayerNorm:
    module = nn.LayerNorm(len(scale), _NORM_EPSILON, device="meta")
    module.weight, module.bias = nn.Parameter(scale.detach().clone()), nn.Parameter(shift.detach().clone())
    return module
