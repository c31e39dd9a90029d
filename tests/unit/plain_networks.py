"""Networks of a stack, one by one and in plain torch, for autograd to go through."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.core.stacked_mlp import StackedMlp


def mlp(net: StackedMlp, parameters: Tensor, k: int, rows: Tensor) -> Tensor:
    """Network k of a stack, written with torch's own functions."""
    for i in range(len(net.shape.layers)):
        weight, bias = (
            parameters[k, net.shape.parts[f"{i}.{name}"].place].unflatten(
                0, net.shape.parts[f"{i}.{name}"].shape
            )
            for name in ("weight", "bias")
        )
        rows = F.linear(rows, weight, bias)
        rows = torch.relu(rows) if i < len(net.shape.hidden) else rows
    return rows
