"""One network of a stack as plain torch layers with copied weights, for export."""

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core import hidden_norm
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.stacked_mlp import StackedMlp


def plain_network(
    stack: StackedMlp, k: int, num_inputs: int, constant_input: int | None = None
) -> nn.Sequential:
    """Network k of a stack: linear layers, ReLU and LayerNorm; BatchNorm is worked into the linear layers.

    Args:
        stack: whose weights are copied.
        k: which network.
        num_inputs: how many of the first inputs stay inputs; the others are constantly 0.
        constant_input: one of those others that is constantly 1, if any.
    """
    kind, modules = stack.shape.normalisation, list[nn.Module]()
    for i in range(len(stack.shape.layers)):
        weight, bias = stack.part(f"{i}.weight")[k], stack.part(f"{i}.bias")[k]
        if i == 0:
            bias = bias if constant_input is None else bias + weight[:, constant_input]
            weight = weight[:, :num_inputs]
        is_hidden = i < len(stack.shape.hidden)
        if is_hidden and kind is LayerNormalisation.BATCH:
            weight, bias = _folded(stack, i, k, weight, bias)
        modules.append(linear(weight, bias))
        if is_hidden and kind is LayerNormalisation.LAYER:
            modules.append(_layer_norm(stack.part(f"{i}.scale")[k], stack.part(f"{i}.shift")[k]))
        if is_hidden:
            modules.append(nn.ReLU())
    return nn.Sequential(*modules)


def _folded(stack: StackedMlp, i: int, k: int, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's weight and bias with the BatchNorm that follows worked in."""
    mean, variance = stack.part(f"{i}.mean")[k], stack.part(f"{i}.variance")[k]
    factor = stack.part(f"{i}.scale")[k] * torch.rsqrt(variance + hidden_norm.EPSILON)
    return weight * factor.unsqueeze(1), (bias - mean) * factor + stack.part(f"{i}.shift")[k]


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer with copied weight [out, in] and bias [out]."""
    module = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    module.weight, module.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return module


def _layer_norm(scale: Tensor, shift: Tensor) -> nn.LayerNorm:
    module = nn.LayerNorm(len(scale), hidden_norm.EPSILON, device=scale.device)
    module.weight, module.bias = nn.Parameter(scale.clone()), nn.Parameter(shift.clone())
    return module
