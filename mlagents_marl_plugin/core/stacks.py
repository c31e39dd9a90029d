"""Networks of a shape, with a memory or without."""

import torch

from mlagents_marl_plugin.core.mlp_shape import MlpShape
from mlagents_marl_plugin.core.recurrent_shape import Cell, RecurrentShape
from mlagents_marl_plugin.core.stacked_lstm import StackedLstm
from mlagents_marl_plugin.core.stacked_mlp import UNIFORM, Initialisation, StackedMlp
from mlagents_marl_plugin.core.stacked_recurrent import Stack, StackedRecurrent


def create_stack(
    shape: MlpShape,
    memory_size: int,
    num_networks: int,
    device: torch.device,
    generator: torch.Generator,
    initialisation: Initialisation = UNIFORM,
    cell: Cell = Cell.GRU,
) -> Stack:
    """New networks of a shape, with a memory before their last layer if its size is above 0."""
    if not memory_size:
        return StackedMlp.create(shape, num_networks, device, generator, initialisation)
    sizes = (shape.num_inputs, shape.hidden, memory_size, shape.num_outputs, shape.normalisation, shape.free)
    kind = StackedLstm if cell is Cell.LSTM else StackedRecurrent
    return kind.create(RecurrentShape(*sizes, cell), num_networks, device, generator, initialisation)
