"""Networks with an LSTM: against torch's own cell and autograd, and as they are exported."""

import pytest
import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.mlp_shape import MlpShape
from mlagents_marl_plugin.core.plain_recurrent import plain_recurrent
from mlagents_marl_plugin.core.recurrent_shape import Cell, RecurrentShape
from mlagents_marl_plugin.core.stacked_lstm import StackedLstm
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stacks import create_stack

CPU = torch.device("cpu")
COUNTS = (4, 4, 3, 1)
ROWS = sum(COUNTS)
SIZE = 5  # of each half of what is remembered
ORDER = torch.tensor(
    [0, 1, 3, 2]
)  # ours is input, forget, output, candidate; torch's ends in candidate, output


def network(num_networks: int = 2, num_outputs: int = 3) -> StackedLstm:
    generator = torch.Generator().manual_seed(1)
    made = create_stack(
        MlpShape(4, (7,), num_outputs), 2 * SIZE, num_networks, CPU, generator, cell=Cell.LSTM
    )
    assert isinstance(made, StackedLstm)
    made.parameters.copy_(torch.randn(made.parameters.shape, generator=generator) * 0.5)
    return made


def in_torchs_order(weight: Tensor) -> Tensor:
    return weight.unflatten(0, (4, SIZE))[ORDER].flatten(0, 1)


def by_torch(net: StackedLstm, k: int) -> tuple[nn.Sequential, nn.LSTMCell, nn.Linear]:
    """Network k of a stack as torch's own modules, which have one bias per gate more."""
    before, cell = nn.Sequential(nn.Linear(4, 7), nn.ReLU()), nn.LSTMCell(7, SIZE)
    head = nn.Linear(SIZE, net.shape.num_outputs)
    before[0].load_state_dict({"weight": net.part("0.weight")[k], "bias": net.part("0.bias")[k]})
    weights = {"weight_ih": "1.weight", "bias_ih": "1.bias", "weight_hh": "memory.weight"}
    given = {name: in_torchs_order(net.part(part)[k]) for name, part in weights.items()}
    cell.load_state_dict(given | {"bias_hh": torch.zeros(4 * SIZE)})
    head.load_state_dict({"weight": net.part("head.weight")[k], "bias": net.part("head.bias")[k]})
    return before, cell, head


def walk(
    modules: tuple[nn.Sequential, nn.LSTMCell, nn.Linear], inputs: Tensor, memory: Tensor, held: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs [R, out] of one network, cell by cell, and what is remembered at last of the first sequence."""
    before, cell, head = modules
    outputs, start = [], 0
    for count in COUNTS:
        rows = slice(start, start + count)
        old = memory[:count]
        new = torch.cat(cell(before(inputs[rows]), (old[:, :SIZE], old[:, SIZE:])), 1)
        memory = torch.where(held[rows].unsqueeze(-1) > 0, old, new)
        outputs.append(head(memory[:, :SIZE]))
        start += count
    return torch.cat(outputs), memory


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("holds", [True, False])
def test_values_and_gradients_are_those_of_torchs_cell(num_outputs: int, holds: bool) -> None:
    net, generator = network(num_outputs=num_outputs), torch.Generator().manual_seed(2)
    shapes = ((2, ROWS, 4), (2, 4, 2 * SIZE), (2, ROWS, num_outputs))
    inputs, memory, gradient = (torch.randn(shape, generator=generator) for shape in shapes)
    held = (torch.rand(2, ROWS, generator=generator) < 0.3 * holds).float()
    outputs = net(inputs, memory, COUNTS, held if holds else None)
    last = net.memories[:, -1].clone()
    net.backward(gradient.clone())
    for k in range(2):
        before, cell, head = modules = by_torch(net, k)
        expected, remembered = walk(modules, inputs[k], memory[k], held[k])
        torch.testing.assert_close(outputs[k], expected.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(last[k], remembered[0].detach(), atol=1e-5, rtol=1e-5)
        (expected * gradient[k]).sum().backward()
        found = {name: net.part_gradient(name)[k] for name in net.shape.parts}
        for name in ("1.weight", "1.bias", "memory.weight"):
            found[name] = in_torchs_order(found[name])
        of_torch = {
            "0.weight": before[0].weight.grad,
            "0.bias": before[0].bias.grad,
            "1.weight": cell.weight_ih.grad,
            "1.bias": cell.bias_ih.grad,
            "memory.weight": cell.weight_hh.grad,
            "head.weight": head.weight.grad,
            "head.bias": head.bias.grad,
        }
        torch.testing.assert_close(found, of_torch, atol=1e-5, rtol=1e-4)


def test_the_plain_layers_remember_the_same_step_by_step() -> None:
    net, generator = network(), torch.Generator().manual_seed(2)
    memory = torch.randn(2, 3, 2 * SIZE, generator=generator)
    modules, carried = [plain_recurrent(net, k, 4) for k in range(2)], list(memory.clone())
    for _ in range(3):
        inputs = torch.randn(2, 3, 4, generator=generator)
        outputs = net(inputs, memory, (3,))
        memory = net.memories[:, 3:].clone()
        for k, module in enumerate(modules):
            said, carried[k] = module(inputs[k], carried[k])
            torch.testing.assert_close(said.detach(), outputs[k], atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(carried[k].detach(), memory[k], atol=1e-6, rtol=1e-5)


def test_copies_are_of_the_same_kind_and_share_nothing() -> None:
    net = network()
    inputs, memory = torch.ones(2, 3, 4), torch.ones(2, 3, 2 * SIZE)
    said = net(inputs, memory, (3,)).clone()
    for copy in (net.target_copy(), net.acting_copy(CPU)):
        assert type(copy) is StackedLstm and torch.equal(copy(inputs, memory, (3,)), said)
        copy.parameters.zero_()
    assert torch.equal(net(inputs, memory, (3,)), said)


@pytest.mark.parametrize("initialisation", [Initialisation(), Initialisation(True, 0.5)])
def test_first_weights_are_drawn_like_torchs_or_orthogonally(initialisation: Initialisation) -> None:
    generator = torch.Generator().manual_seed(1)
    net = create_stack(MlpShape(4, (7,), 3), 8, 1, CPU, generator, initialisation, Cell.LSTM)
    gates = net.part("memory.weight")[0].unflatten(0, (4, 4))
    if initialisation.orthogonal:
        torch.testing.assert_close(gates @ gates.transpose(1, 2), torch.eye(4).expand(4, 4, 4))
    else:
        assert 0.4 < gates.abs().max() <= 0.5


def test_what_has_no_two_halves_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"memory_size: expected an even number with memory_cell lstm, .+got 7"
    ):
        RecurrentShape(4, (7,), 7, 3, cell=Cell.LSTM)
