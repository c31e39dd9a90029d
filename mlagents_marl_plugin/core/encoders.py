"""Encoders that are handed in: they make features of cameras, grids and lists of things, which MLPs cannot read.

A role whose observations need one says how to make it (`RoleSpec.encoder`); the networks behind it read features
instead of observations. Encoders are ordinary torch modules that autograd differentiates, one per network, in a loop.
What surrounds them sees what it sees of stacks: parameters [K, P], a row per encoder, and their gradient.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.mlp_shape import placed, row_width
from mlagents_marl_plugin.core.stacked_mlp import views
from mlagents_marl_plugin.core.types import RoleSpec

# More rows are computed in pieces, and once more when they are differentiated: what is between the layers of a
# convolution needs a hundred times the memory of its input.
_ROWS_AT_ONCE = 512


class StackedEncoder:
    """K encoders of one kind, which learn; encoder k is row k of ``parameters``.

    A call is followed by its `backward`, if any, before the next call.
    """

    def __init__(
        self, template: nn.Module, shapes: Sequence[tuple[int, ...]], parameters: Tensor, learns: bool
    ) -> None:
        """
        Args:
            template: a module whose weights do not matter, from [R, *shape] per sensor to features [R, F].
            shapes: of the sensors.
            parameters: [K, P] float, used as it is, see `create`.
            learns: whether it can be differentiated.
        """
        self.parameters = parameters
        self.statistics = parameters[:, :0]
        self.gradient = torch.zeros_like(parameters) if learns else parameters.new_empty(0)
        self._template = template
        self._shapes = tuple(shapes)
        self._learns = learns
        self._parts = views(placed(_shapes_of(template)), parameters)
        self._gradient_parts = views(placed(_shapes_of(template)), self.gradient) if learns else {}
        self._modules = [self._bound(k) for k in range(len(parameters))]
        self._last: tuple[Tensor, list[Tensor]] | None = None
        with torch.device("cpu"), torch.no_grad():
            zeros = [torch.zeros(1, *shape) for shape in self._shapes]
            self.num_features = int(template(zeros).shape[1])

    @classmethod
    def create(
        cls,
        make: Callable[[], nn.Module],
        shapes: Sequence[tuple[int, ...]],
        num_networks: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> "StackedEncoder":
        """New encoders.

        Args:
            make: a new encoder on the CPU, drawn by torch's default generator, which is left as it was.
            shapes: of the sensors that it reads.
            generator: on the CPU, so that a seed gives the same ones on every device.
        """
        modules = list[nn.Module]()
        for _ in range(num_networks):
            seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):
                torch.default_generator.manual_seed(seed)
                modules.append(make())
        parts = placed(_shapes_of(modules[0]))
        parameters = torch.zeros(num_networks, row_width(parts), device="cpu")
        for k, module in enumerate(modules):
            for name, parameter in module.named_parameters():
                parameters[k, parts[name].place] = parameter.detach().flatten()
        return cls(modules[0], shapes, parameters.to(device), learns=True)

    def target_copy(self) -> "StackedEncoder":
        """A copy that does not learn."""
        return StackedEncoder(self._template, self._shapes, self.parameters.clone(), learns=False)

    def acting_copy(self, device: torch.device) -> "StackedEncoder":
        """A copy on another device that does not learn and shares nothing."""
        parameters = self.parameters.to(device, copy=True)
        return StackedEncoder(self._template, self._shapes, parameters, learns=False)

    def copy_weights(self, other: "StackedEncoder") -> None:
        """Take over another's parameters in place, from any device."""
        self.parameters.copy_(other.parameters)

    def tensors(self) -> dict[str, Tensor]:
        """All parameters by name, as views [K, ...]."""
        return self._parts

    def module(self, k: int) -> nn.Module:
        """A copy of encoder k, for export."""
        return copy.deepcopy(self._modules[k])

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """Features [K, R, F] of observations [K, R, O], flat and side by side."""
        self._last = (rows, [])
        if self._learns and rows.shape[1] <= _ROWS_AT_ONCE:
            with torch.enable_grad():
                said = [self._encoded(k, rows[k]) for k in range(len(rows))]
            self._last[1].extend(said)
            return torch.stack([features.detach() for features in said])
        out = rows.new_empty(*rows.shape[:2], self.num_features)
        for k in range(len(rows)):
            for piece, into in zip(rows[k].split(_ROWS_AT_ONCE), out[k].split(_ROWS_AT_ONCE), strict=True):
                into.copy_(self._encoded(k, piece))
        return out

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call: fills ``self.gradient``, given a loss's gradient [K, R, F] by its result, or by
        its first rows, where the loss does not depend on the others.

        Raises:
            RuntimeError: if there was no call since the last time.
        """
        last, self._last = self._last, None
        if last is None:
            raise RuntimeError(
                "StackedEncoder.backward: expected to come right after a call, got none since the last time; "
                "call it again first"
            )
        said, num_rows = last[1], gradient.shape[1]
        rows = last[0][:, :num_rows]
        self.gradient.zero_()
        for k in range(len(rows)):
            if said:
                self._add_gradient(k, said[k], gradient[k])
                continue
            pieces = zip(rows[k].split(_ROWS_AT_ONCE), gradient[k].split(_ROWS_AT_ONCE), strict=True)
            for piece, of_features in pieces:
                with torch.enable_grad():
                    features = self._encoded(k, piece)
                self._add_gradient(k, features, of_features)

    def _add_gradient(self, k: int, features: Tensor, of_features: Tensor) -> None:
        named = dict(self._modules[k].named_parameters())
        if not named:  # vectors pass as they are
            return
        # Not as autograd's grad_outputs: torch would import a library of symbols for them, which takes seconds.
        with torch.enable_grad():
            product = (features[: len(of_features)] * of_features).sum()
        found = torch.autograd.grad(product, list(named.values()), allow_unused=True)
        for name, of_parameter in zip(named, found, strict=True):
            if of_parameter is not None:
                self._gradient_parts[name][k].add_(of_parameter)

    def _encoded(self, k: int, rows: Tensor) -> Tensor:
        """Features [R, F] of rows [R, O] by encoder k."""
        widths = [prod(shape) for shape in self._shapes]
        sensors = [
            part.unflatten(1, shape) for part, shape in zip(rows.split(widths, 1), self._shapes, strict=True)
        ]
        features: Tensor = self._modules[k](sensors)
        return features

    def _bound(self, k: int) -> nn.Module:
        """A module whose parameters are views of row k."""
        module = copy.deepcopy(self._template)
        for name, part in self._parts.items():
            path, _, last = name.rpartition(".")
            setattr(module.get_submodule(path), last, nn.Parameter(part[k], requires_grad=self._learns))
        return module


class SensorNetwork(nn.Module):
    """An encoder and a network behind it, for export: a list of all observations [B, *shape] -> [B, P].

    A network with a memory reads that as well, [B, M], and returns what is remembered then behind its output. What is
    sent as the state is an input of the file, and not read.
    """

    def __init__(
        self, normalisers: Mapping[int, nn.Module], encoder: nn.Module, num_features: int, network: nn.Module
    ) -> None:
        """
        Args:
            normalisers: of the observations that are read, by their number.
            encoder: of these, to features [B, F].
            num_features: F.
            network: [B, F] -> [B, P].
        """
        super().__init__()
        self.sensors = tuple(normalisers)
        self.normalisers = nn.ModuleList(normalisers.values())
        self.encoder = encoder
        self.num_features = num_features
        self.network = network

    def forward(self, observations: list[Tensor], *memory: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        seen = zip(self.sensors, self.normalisers, strict=True)
        features = self.encoder([normaliser(observations[i]) for i, normaliser in seen])
        unread = [obs.flatten(1) for i, obs in enumerate(observations) if i not in self.sensors]
        if unread:  # torch's exporter leaves out inputs that nothing comes of, and Unity asks for all of them
            features = torch.cat([features, *unread], 1)[:, : self.num_features]
        said: Tensor | tuple[Tensor, Tensor] = self.network(features, *memory)
        return said


def create_encoder(
    role: RoleSpec,
    sensors: tuple[int, ...],
    num_networks: int,
    device: torch.device,
    generator: torch.Generator,
) -> StackedEncoder | None:
    """New encoders of some of a role's sensors; None if the role needs none."""
    make = role.encoder
    if make is None:
        return None
    shapes = [role.observation_shapes[i] for i in sensors]
    return StackedEncoder.create(lambda: make(sensors), shapes, num_networks, device, generator)


def _shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
