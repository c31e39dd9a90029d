"""Stacked multilayer perceptrons: K networks of one shape that run, and learn, as one.

They share one tensor of parameters [K, P], a row per network. A layer of all of them is one batched matrix product, a
gradient's norm per network is one operation, and so is a soft update.

The backward pass is written out instead of left to autograd. At these sizes a process spends most of its time not on
arithmetic but on fresh memory and on bookkeeping per operation; here both passes use the same memory again and again
(`Scratch`), gradients go straight to where the optimiser reads them, and only those that are needed are computed.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core import hidden_norm
from mlagents_marl_plugin.core.hidden_norm import Normalised
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape, Part, row_width

# Small last layers keep first actions near 0, where tanh has a gradient (Lillicrap et al. 2016, section 7).
_LAST_LAYER_BOUND = 3e-3


@dataclass(frozen=True)
class Initialisation:
    """How new weights are drawn: uniformly as ``nn.Linear`` does with a small last layer, or orthogonally."""

    orthogonal: bool = False
    last_gain: float = 1.0  # of the last layer, if orthogonal; the others have ReLU's sqrt(2)


UNIFORM = Initialisation()


class Scratch:
    """Memory for a pass's intermediate values, reused by the next pass of whoever shares it."""

    def __init__(self) -> None:
        self.num_passes = 0
        self._tensors: dict[tuple[str, int], Tensor] = {}

    def empty(self, name: str, i: int, like: Tensor, width: int, extra_rows: int = 0) -> Tensor:
        """A tensor [K, R + extra_rows, width] with anything in it, for layer i, K and R and the rest as in ``like``."""
        known = self._tensors.get((name, i))
        shape = (like.shape[0], like.shape[1] + extra_rows, width)
        if known is not None and known.shape == shape:
            return known
        size = math.prod(shape)
        if known is None or known.untyped_storage().nbytes() < size * like.element_size():
            known = like.new_empty(size)
        # A smaller pass uses the front of a larger one's memory, so that the two may alternate.
        self._tensors[name, i] = known.as_strided(shape, (shape[1] * width, width, 1))
        return self._tensors[name, i]


class _Layer(NamedTuple):
    """Views of one layer's parameters, or of their gradients."""

    weight: Tensor  # [K, out, in]
    transposed: Tensor  # [K, in, out], the same
    bias: Tensor  # [K, out]
    bias_row: Tensor  # [K, 1, out], the same


class _Pass(NamedTuple):
    """What a backward pass needs of its forward pass."""

    number: int
    inputs: Tensor  # [K, R, in]
    normalised: list[Normalised | None]  # per hidden layer, what came out of its normalisation
    hidden: list[Tensor]  # per hidden layer, what came out of its ReLU, [K, R, H]


class StackedMlp:
    """K networks of one shape; network k is row k of ``parameters``.

    A forward pass is followed by its backward pass, if any, before the next forward pass of a stack that shares its
    scratch memory. Nothing here is recorded by autograd.
    """

    def __init__(
        self,
        shape: MlpShape,
        parameters: Tensor,
        statistics: Tensor,
        scratch: Scratch | None = None,
        learns: bool = False,
        gradient: Tensor | None = None,
    ) -> None:
        """
        Args:
            shape: of every network.
            parameters: [K, P] float, used as it is, see `create`.
            statistics: [K, S] float, running mean and variance of BatchNorm, width 0 without.
            scratch: to share between stacks that take turns; default: one of its own.
            learns: whether a backward pass computes the parameters' gradient.
            gradient: [K, P], where it goes; default: memory of its own.
        """
        self.shape = shape
        self.parameters = parameters
        self.statistics = statistics
        if gradient is None:
            gradient = torch.zeros_like(parameters) if learns else parameters.new_empty(0)
        self.gradient = gradient
        self._learns = learns
        self._scratch = Scratch() if scratch is None else scratch
        self._parts = views(shape.parts, parameters)
        self._statistics = views(shape.statistics, statistics)
        self._layers = _layers(shape, self._parts)
        self._gradient_parts = views(shape.parts, self.gradient) if learns else {}
        self._layer_gradients = _layers(shape, self._gradient_parts) if learns else []
        self._last: _Pass | None = None

    @classmethod
    def create(
        cls,
        shape: MlpShape,
        num_networks: int,
        device: torch.device,
        generator: torch.Generator,
        initialisation: Initialisation = UNIFORM,
    ) -> "StackedMlp":
        """New networks, drawn on the CPU so that a seed gives the same ones on every device."""
        parameters = torch.zeros(num_networks, row_width(shape.parts), device="cpu")
        for i, (num_in, _) in enumerate(shape.layers):
            bound = _LAST_LAYER_BOUND if i == len(shape.hidden) else 1.0 / math.sqrt(num_in)
            for name in ("weight", "bias"):
                part = parameters[:, shape.parts[f"{i}.{name}"].place]
                part.copy_(torch.rand(part.shape, generator=generator, device="cpu") * (2 * bound) - bound)
            if initialisation.orthogonal:
                gain = initialisation.last_gain if i == len(shape.hidden) else math.sqrt(2.0)
                weight = parameters[:, shape.parts[f"{i}.weight"].place]
                weight.copy_(gain * orthogonal(num_networks, *shape.layers[i], generator).flatten(1))
                parameters[:, shape.parts[f"{i}.bias"].place] = 0.0
            if f"{i}.scale" in shape.parts:
                parameters[:, shape.parts[f"{i}.scale"].place] = 1.0
        statistics = torch.zeros(num_networks, row_width(shape.statistics), device="cpu")
        for name, statistic in shape.statistics.items():
            statistics[:, statistic.place] = float(name.endswith("variance"))
        return cls(shape, parameters.to(device), statistics.to(device), learns=True)

    @property
    def num_networks(self) -> int:
        """K."""
        return self.parameters.shape[0]

    def target_copy(self) -> "StackedMlp":
        """A copy that does not learn and shares the scratch memory."""
        return StackedMlp(self.shape, self.parameters.clone(), self.statistics.clone(), self._scratch)

    def acting_copy(self, device: torch.device) -> "StackedMlp":
        """A copy on another device that does not learn and shares nothing."""
        parameters, statistics = self.parameters.to(device, copy=True), self.statistics.to(device, copy=True)
        return StackedMlp(self.shape, parameters, statistics)

    def frozen(self, num_networks: int) -> "StackedMlp":
        """The first networks, over the same memory, which do not learn."""
        first = slice(0, num_networks)
        return StackedMlp(self.shape, self.parameters[first], self.statistics[first], self._scratch)

    def part(self, name: str) -> Tensor:
        """View [K, ...] of one parameter or statistic, such as ``0.weight`` [K, out, in]."""
        return self._parts[name] if name in self._parts else self._statistics[name]

    def part_gradient(self, name: str) -> Tensor:
        """View [K, ...] of one parameter's gradient, of a stack that learns."""
        return self._gradient_parts[name]

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and statistics by name, as views [K, ...]."""
        return self._parts | self._statistics

    def copy_weights(self, other: "StackedMlp") -> None:
        """Take over another's parameters and statistics in place, from any device."""
        self.parameters.copy_(other.parameters)
        self.statistics.copy_(other.statistics)

    @torch.no_grad()
    def __call__(
        self,
        inputs: Tensor,
        row_weight: Tensor | None = None,
        change: Tensor | None = None,
        change_weight: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Outputs [K, R, out] of inputs [K, R, in].

        Args:
            inputs: may be expanded over K where all networks see the same.
            row_weight: [K, R] 0/1. If given, BatchNorm takes its statistics from the rows where it is 1 and remembers
                them; otherwise it uses what it remembers.
            change: [K, R, C], by how much some of the inputs differ from ``inputs``, network by network.
            change_weight: [K, H, C], the first layer's weights of those inputs.
            out: where the outputs go; default: fresh memory.
        """
        self._scratch.num_passes += 1
        self._last = _Pass(self._scratch.num_passes, inputs, [], [])
        *hidden_layers, last = self._layers
        for i, layer in enumerate(hidden_layers):
            hidden = self._scratch.empty("hidden", i, inputs, layer.bias.shape[1])
            torch.baddbmm(layer.bias_row, inputs, layer.transposed, out=hidden)
            if i == 0 and change is not None and change_weight is not None:
                hidden.baddbmm_(change, change_weight.transpose(1, 2))
            normalised = self._normalised(i, hidden, row_weight)
            if normalised is not None:
                scale, shift = self._parts[f"{i}.scale"], self._parts[f"{i}.shift"]
                torch.addcmul(shift.unsqueeze(1), normalised.value, scale.unsqueeze(1), out=hidden)
            inputs = hidden.relu_()
            self._last.normalised.append(normalised)
            self._last.hidden.append(hidden)
        return torch.baddbmm(last.bias_row, inputs, last.transposed, out=out)

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> Tensor:
        """Differentiate the last pass: fills ``self.gradient``, if this stack learns.

        Args:
            gradient: [K, R, out] of a loss by the outputs. It may be that of the first rows only, where the loss does
                not depend on the others (not with BatchNorm's statistics of rows).

        Returns:
            [K, R, H], the loss's gradient by the first layer's product: multiplied by some columns of the first
            layer's weights, it is the gradient by those inputs. Valid until the next backward pass.

        Raises:
            RuntimeError: if there was another pass since, or this one was differentiated before.
        """
        last, self._last = self._last, None
        if last is None or last.number != self._scratch.num_passes:
            raise RuntimeError(
                "StackedMlp.backward: expected to come right after its forward pass, got another pass in between; "
                "stacks that share scratch memory take turns"
            )
        learnt = slice(0, gradient.shape[1])
        for i in reversed(range(len(self._layers))):
            if self._learns:
                below, of_layer = last.hidden[i - 1] if i > 0 else last.inputs, self._layer_gradients[i]
                torch.bmm(gradient.transpose(1, 2), below[:, learnt], out=of_layer.weight)
                torch.sum(gradient, 1, out=of_layer.bias)
            if i > 0:
                gradient = self._hidden_gradient(i, gradient, last.hidden[i - 1][:, learnt])
                normalised = last.normalised[i - 1]
                if normalised is not None:
                    gradient = self._norm_gradient(i - 1, gradient, normalised.of(learnt))
        return gradient

    def _hidden_gradient(self, i: int, gradient: Tensor, hidden: Tensor) -> Tensor:
        """Gradient before the ReLU below layer i, given that of the layer's product. Uses up ``hidden``."""
        weight = self._layers[i].weight
        out = self._scratch.empty("gradient", i, gradient, weight.shape[2])
        product = torch.mul if weight.shape[1] == 1 else torch.bmm  # with one output an outer product
        product(gradient, weight, out=out)
        return out.mul_(hidden.sign_())

    def _normalised(self, i: int, hidden: Tensor, row_weight: Tensor | None) -> Normalised | None:
        if self.shape.normalisation is LayerNormalisation.NONE:
            return None
        if self.shape.normalisation is LayerNormalisation.LAYER:
            return hidden_norm.normalise_features(hidden)
        mean, variance = self._statistics[f"{i}.mean"], self._statistics[f"{i}.variance"]
        return hidden_norm.normalise_rows(hidden, mean, variance, row_weight)

    def _norm_gradient(self, i: int, gradient: Tensor, normalised: Normalised) -> Tensor:
        if self._learns:
            torch.sum(gradient * normalised.value, 1, out=self._gradient_parts[f"{i}.scale"])
            torch.sum(gradient, 1, out=self._gradient_parts[f"{i}.shift"])
        return hidden_norm.input_gradient(gradient * self._parts[f"{i}.scale"].unsqueeze(1), normalised)


def orthogonal(num_networks: int, num_in: int, num_out: int, generator: torch.Generator) -> Tensor:
    """[K, out, in] with orthonormal rows or columns, whichever are fewer.

    Source: Saxe et al. 2014, section 3, https://arxiv.org/abs/1312.6120
    """
    tall = (num_networks, max(num_in, num_out), min(num_in, num_out))
    q, r = torch.linalg.qr(torch.randn(tall, generator=generator, device="cpu"))
    q = q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)  # without it not uniform over all such matrices
    orthogonal: Tensor = q if num_out >= num_in else q.transpose(1, 2)
    return orthogonal


def views(parts: dict[str, Part], rows: Tensor) -> dict[str, Tensor]:
    """The parts of rows [K, P] by name, [K, ...] each, over the same memory."""
    return {name: rows[:, part.place].unflatten(1, part.shape) for name, part in parts.items()}


def _layers(shape: MlpShape, parts: dict[str, Tensor]) -> list[_Layer]:
    layers = []
    for i in range(len(shape.layers)):
        weight, bias = parts[f"{i}.weight"], parts[f"{i}.bias"]
        layers.append(_Layer(weight, weight.transpose(1, 2), bias, bias.unsqueeze(1)))
    return layers
