"""One network with a memory as plain torch layers with copied weights, for export.

The cell is written out as products, sums, sigmoids and tanh: Unity's importers read no GRU node.
"""

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.plain_network import linear, plain_network
from mlagents_marl_plugin.core.recurrent_shape import NUM_GATES
from mlagents_marl_plugin.core.stacked_lstm import StackedLstm
from mlagents_marl_plugin.core.stacked_recurrent import StackedRecurrent


class PlainRecurrent(nn.Module):
    """A network that reads and writes a memory: [B, in] and [B, M] -> [B, out] and [B, M]."""

    def __init__(
        self, before: nn.Sequential, gates: nn.Linear, candidate: nn.Linear, head: nn.Linear
    ) -> None:
        """
        Args:
            before: [B, in] -> [B, 3 M], the gates' products of the inputs.
            gates: [B, M] -> [B, 2 M], the reset and the update gate's product of what is remembered.
            candidate: [B, M] -> [B, M], the candidate's.
            head: [B, M] -> [B, out].
        """
        super().__init__()
        self.before = before
        self.gates = gates
        self.candidate = candidate
        self.head = head
        self.memory_size = candidate.out_features

    def forward(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See the class, and `StackedRecurrent` for the cell."""
        size = self.memory_size
        of_inputs = self.before(inputs)
        both = torch.sigmoid(of_inputs[:, : 2 * size] + self.gates(memory))
        reset, update = both[:, :size], both[:, size:]
        candidate = torch.tanh(of_inputs[:, 2 * size :] + reset * self.candidate(memory))
        memory = candidate + update * (memory - candidate)
        outputs: Tensor = self.head(memory)
        return outputs, memory


class PlainLstm(nn.Module):
    """`PlainRecurrent` with the cell of a `StackedLstm`; what is remembered is packed as the host does."""

    def __init__(self, before: nn.Sequential, gates: nn.Linear, head: nn.Linear) -> None:
        """
        Args:
            before: [B, in] -> [B, 4 H], the gates' products of the inputs.
            gates: [B, H] -> [B, 4 H], their products of what is remembered.
            head: [B, H] -> [B, out].
        """
        super().__init__()
        self.before = before
        self.gates = gates
        self.head = head
        self.size = gates.in_features

    def forward(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        size = self.size
        gates = self.before(inputs) + self.gates(memory[:, :size])
        three, candidate = torch.sigmoid(gates[:, : 3 * size]), torch.tanh(gates[:, 3 * size :])
        kept = three[:, size : 2 * size] * memory[:, size:] + three[:, :size] * candidate
        shown = three[:, 2 * size :] * torch.tanh(kept)
        outputs: Tensor = self.head(shown)
        return outputs, torch.cat([shown, kept], 1)


def plain_recurrent(
    stack: StackedRecurrent, k: int, num_inputs: int, constant_input: int | None = None
) -> PlainRecurrent | PlainLstm:
    """Network k of a stack, see `plain_network`."""
    if isinstance(stack, StackedLstm):
        of_memory = stack.part("memory.weight")[k]
        return PlainLstm(
            plain_network(stack.before, k, num_inputs, constant_input),
            linear(of_memory, torch.zeros_like(of_memory[:, 0])),
            linear(stack.part("head.weight")[k], stack.part("head.bias")[k]),
        )
    size = stack.shape.memory_size
    weight, bias = stack.part("memory.weight")[k], stack.part("memory.bias")[k]
    assert len(weight) == NUM_GATES * size
    return PlainRecurrent(
        plain_network(stack.before, k, num_inputs, constant_input),
        linear(weight[: 2 * size], torch.zeros_like(weight[: 2 * size, 0])),
        linear(weight[2 * size :], bias),
        linear(stack.part("head.weight")[k], stack.part("head.bias")[k]),
    )
