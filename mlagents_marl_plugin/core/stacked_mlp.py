"""Stacked multilayer perceptrons: K networks of one shape that run, and learn, as one.

They share one tensor of parameters [K, P], a row per network. A layer of all of them is one batched matrix product, a
gradient's norm per network is one operation, and so is a soft update.

Forward and backward pass are written out instead of left to autograd: at these sizes a process spends much of its time
on fresh memory for intermediate values, so both passes reuse the same (`Scratch`), and only those gradients are
computed that somebody asks for. To the outside a stack is an ordinary differentiable function.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core import hidden_norm
from mlagents_marl_plugin.core.hidden_norm import Normalised
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape, row_width

# Small last layers keep first actions near 0, where tanh has a gradient (Lillicrap et al. 2016, section 7).
_LAST_LAYER_BOUND = 3e-3


class Scratch:
    """Memory for a pass's intermediate values, reused by the next pass of whoever shares it."""

    def __init__(self) -> None:
        self.num_passes = 0
        self._tensors: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def empty(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this name and shape with anything in it."""
        key = (name, shape)
        if key not in self._tensors:
            # Of each name only the latest shape is kept, apart from one other that may alternate with it.
            older = [k for k in self._tensors if k[0] == name]
            if len(older) > 1:
                del self._tensors[older[0]]
            self._tensors[key] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return self._tensors[key]


class StackedMlp:
    """K networks of one shape; network k is row k of ``parameters``.

    A pass with gradient must be followed by its backward pass before the next forward pass of a stack that shares
    its scratch memory. Its gradient is written into memory that the next backward pass overwrites.
    """

    def __init__(
        self, shape: MlpShape, parameters: Tensor, statistics: Tensor, scratch: Scratch | None = None
    ) -> None:
        """
        Args:
            shape: of every network.
            parameters: [K, P] float, used as it is, see `create`.
            statistics: [K, S] float, running mean and variance of BatchNorm, width 0 without.
            scratch: to share between stacks that take turns; default: one of its own.
        """
        self.shape = shape
        self.parameters = parameters
        self.statistics = statistics
        self.scratch = Scratch() if scratch is None else scratch
        self._parts = _views(shape.parts, parameters.detach())
        self._statistics = _views(shape.statistics, statistics)
        self._gradient = torch.zeros_like(parameters) if parameters.requires_grad else None
        self._gradient_parts = {} if self._gradient is None else _views(shape.parts, self._gradient)

    @classmethod
    def create(
        cls, shape: MlpShape, num_networks: int, device: torch.device, generator: torch.Generator
    ) -> "StackedMlp":
        """New networks, drawn on the CPU so that a seed gives the same ones on every device."""
        parameters = torch.zeros(num_networks, row_width(shape.parts), device="cpu")
        for i, (num_in, _) in enumerate(shape.layers):
            bound = _LAST_LAYER_BOUND if i == len(shape.hidden) else 1.0 / math.sqrt(num_in)
            for name in ("weight", "bias"):
                part = parameters[:, shape.parts[f"{i}.{name}"].place]
                part.copy_(torch.rand(part.shape, generator=generator, device="cpu") * (2 * bound) - bound)
            if f"{i}.scale" in shape.parts:
                parameters[:, shape.parts[f"{i}.scale"].place] = 1.0
        statistics = torch.zeros(num_networks, row_width(shape.statistics), device="cpu")
        for name, part in shape.statistics.items():
            statistics[:, part.place] = float(name.endswith("variance"))
        return cls(shape, parameters.to(device).requires_grad_(), statistics.to(device))

    @property
    def num_networks(self) -> int:
        """K."""
        return self.parameters.shape[0]

    def target_copy(self) -> "StackedMlp":
        """A copy without gradient, which shares the scratch memory."""
        return StackedMlp(self.shape, self.parameters.detach().clone(), self.statistics.clone(), self.scratch)

    def acting_copy(self, device: torch.device) -> "StackedMlp":
        """A copy without gradient on another device, which shares nothing."""
        parameters = self.parameters.detach().to(device, copy=True)
        return StackedMlp(self.shape, parameters, self.statistics.to(device, copy=True))

    def frozen(self, num_networks: int) -> "StackedMlp":
        """The first networks, over the same memory, without gradient to their parameters."""
        parameters = self.parameters.detach()[:num_networks]
        return StackedMlp(self.shape, parameters, self.statistics[:num_networks], self.scratch)

    def part(self, name: str) -> Tensor:
        """View [K, ...] of one parameter, such as ``0.weight`` [K, out, in], without gradient."""
        return self._parts[name]

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and statistics by name, as views [K, ...]."""
        return self._parts | self._statistics

    def copy_weights(self, other: "StackedMlp") -> None:
        """Take over another's parameters and statistics in place, from any device."""
        self.parameters.detach().copy_(other.parameters.detach())
        self.statistics.copy_(other.statistics)

    def __call__(
        self,
        inputs: Tensor,
        row_weight: Tensor | None = None,
        change: Tensor | None = None,
        change_weight: Tensor | None = None,
    ) -> Tensor:
        """Outputs [K, R, out] of inputs [K, R, in]; differentiable in the parameters, ``inputs`` and ``change``.

        Args:
            inputs: may be expanded over K where all networks see the same.
            row_weight: [K, R] 0/1. If given, BatchNorm takes its statistics from the rows where it is 1 and
                remembers them; otherwise it uses what it remembers.
            change: [K, R, C], by how much some of the inputs differ from ``inputs``, network by network.
            change_weight: [K, H, C], the first layer's weights of those inputs.
        """
        output: Tensor = _Pass.apply(self.parameters, inputs, change, change_weight, row_weight, self)
        return output

    # The two passes. `saved` holds, for every hidden layer, what came out of its normalisation and of its ReLU.

    def _forward(
        self, inputs: Tensor, change: Tensor | None, change_weight: Tensor | None, row_weight: Tensor | None
    ) -> tuple[Tensor, list[tuple[Normalised | None, Tensor]]]:
        self.scratch.num_passes += 1
        saved = []
        for i, (_, num_out) in enumerate(self.shape.layers):
            shape = (*inputs.shape[:2], num_out)
            is_last = i == len(self.shape.hidden)
            out = inputs.new_empty(shape) if is_last else self.scratch.empty(f"hidden {i}", shape, inputs)
            weight, bias = self._parts[f"{i}.weight"], self._parts[f"{i}.bias"]
            torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2), out=out)
            if i == 0 and change is not None and change_weight is not None:
                out.baddbmm_(change, change_weight.transpose(1, 2))
            if is_last:
                break
            normalised = self._normalised(i, out, row_weight)
            if normalised is not None:
                scale, shift = self._parts[f"{i}.scale"], self._parts[f"{i}.shift"]
                torch.addcmul(shift.unsqueeze(1), normalised.value, scale.unsqueeze(1), out=out)
            inputs = out.relu_()
            saved.append((normalised, inputs))
        return out, saved

    def _backward(
        self, gradient: Tensor, inputs: Tensor, saved: list[tuple[Normalised | None, Tensor]]
    ) -> Tensor:
        """Fill in the parameters' gradient, if they have one; returns that of the first layer's product."""
        for i in reversed(range(len(self.shape.layers))):
            if self._gradient is not None:
                below = saved[i - 1][1] if i > 0 else inputs
                torch.bmm(gradient.transpose(1, 2), below, out=self._gradient_parts[f"{i}.weight"])
                torch.sum(gradient, 1, out=self._gradient_parts[f"{i}.bias"])
            if i > 0:
                normalised, hidden = saved[i - 1]
                gradient = self._hidden_gradient(i, gradient, hidden)
                if normalised is not None:
                    gradient = self._norm_gradient(i - 1, gradient, normalised)
        return gradient

    def _hidden_gradient(self, i: int, gradient: Tensor, hidden: Tensor) -> Tensor:
        """Gradient before the ReLU below layer i, given that of the layer's product. Uses up ``hidden``."""
        weight = self._parts[f"{i}.weight"]
        out = self.scratch.empty(f"gradient {i}", tuple(hidden.shape), hidden)
        if weight.shape[1] == 1:
            torch.mul(gradient, weight, out=out)  # an outer product
        else:
            torch.bmm(gradient, weight, out=out)
        return out.mul_(hidden.sign_())

    def _normalised(self, i: int, hidden: Tensor, row_weight: Tensor | None) -> Normalised | None:
        if self.shape.normalisation is LayerNormalisation.NONE:
            return None
        if self.shape.normalisation is LayerNormalisation.LAYER:
            return hidden_norm.normalise_features(hidden)
        mean, variance = self._statistics[f"{i}.mean"], self._statistics[f"{i}.variance"]
        return hidden_norm.normalise_rows(hidden, mean, variance, row_weight)

    def _norm_gradient(self, i: int, gradient: Tensor, normalised: Normalised) -> Tensor:
        if self._gradient is not None:
            torch.sum(gradient * normalised.value, 1, out=self._gradient_parts[f"{i}.scale"])
            torch.sum(gradient, 1, out=self._gradient_parts[f"{i}.shift"])
        return hidden_norm.input_gradient(gradient * self._parts[f"{i}.scale"].unsqueeze(1), normalised)

    def network(self, k: int, num_inputs: int, constant_input: int | None = None) -> nn.Sequential:
        """Network k as plain torch layers with copied weights, for export.

        Args:
            k: which network.
            num_inputs: how many of the first inputs stay inputs; the others are constantly 0.
            constant_input: one of those others that is constantly 1, if any.
        """
        modules: list[nn.Module] = []
        for i in range(len(self.shape.layers)):
            weight, bias = self._parts[f"{i}.weight"][k], self._parts[f"{i}.bias"][k]
            if i == 0:
                bias = bias if constant_input is None else bias + weight[:, constant_input]
                weight = weight[:, :num_inputs]
            if i == len(self.shape.hidden):
                return nn.Sequential(*modules, _linear(weight, bias))
            if self.shape.normalisation is LayerNormalisation.BATCH:
                weight, bias = self._folded(i, k, weight, bias)
            modules.append(_linear(weight, bias))
            if self.shape.normalisation is LayerNormalisation.LAYER:
                modules.append(_layer_norm(self._parts[f"{i}.scale"][k], self._parts[f"{i}.shift"][k]))
            modules.append(nn.ReLU())
        raise AssertionError("an MLP has a last layer")

    def _folded(self, i: int, k: int, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's weight and bias with the BatchNorm that follows worked in."""
        variance = self._statistics[f"{i}.variance"][k]
        factor = self._parts[f"{i}.scale"][k] * torch.rsqrt(variance + hidden_norm.EPSILON)
        shift = self._parts[f"{i}.shift"][k]
        return weight * factor.unsqueeze(1), (bias - self._statistics[f"{i}.mean"][k]) * factor + shift


class _Pass(torch.autograd.Function):
    """A forward pass of a stack, and its backward pass when autograd asks."""

    @staticmethod
    def forward(
        ctx: Any,
        parameters: Tensor,
        inputs: Tensor,
        change: Tensor | None,
        change_weight: Tensor | None,
        row_weight: Tensor | None,
        net: StackedMlp,
    ) -> Tensor:
        output, saved = net._forward(inputs, change, change_weight, row_weight)
        ctx.save_for_backward(inputs, change_weight)
        ctx.net, ctx.saved, ctx.number = net, saved, net.scratch.num_passes
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, change_weight = ctx.saved_tensors
        net = ctx.net
        if ctx.number != net.scratch.num_passes:
            raise RuntimeError(
                f"StackedMlp: expected the backward pass of pass {net.scratch.num_passes}, got that of {ctx.number}; "
                "differentiate a pass before the next one with the same scratch memory"
            )
        gradient = net._backward(gradients[0], inputs, ctx.saved)
        net.scratch.num_passes += 1  # what was saved is used up
        of_parameters, of_inputs, of_change = ctx.needs_input_grad[:3]
        return (
            net._gradient if of_parameters else None,
            torch.bmm(gradient, net.part("0.weight")) if of_inputs else None,
            torch.bmm(gradient, change_weight) if of_change else None,
            None,
            None,
            None,
        )


def _views(parts: dict[str, Any], rows: Tensor) -> dict[str, Tensor]:
    return {name: rows[:, part.place].unflatten(1, part.shape) for name, part in parts.items()}


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    module = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    module.weight, module.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return module


def _layer_norm(scale: Tensor, shift: Tensor) -> nn.LayerNorm:
    module = nn.LayerNorm(len(scale), hidden_norm.EPSILON, device="meta")
    module.weight, module.bias = nn.Parameter(scale.clone()), nn.Parameter(shift.clone())
    return module
