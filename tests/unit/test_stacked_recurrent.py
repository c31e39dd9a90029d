"""Networks with a memory: against torch's own cell and autograd, in one pass and in pieces."""

import math

import pytest
import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.recurrent_shape import RecurrentShape
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stacked_recurrent import StackedRecurrent

CPU = torch.device("cpu")
COUNTS = (4, 4, 3, 1)
ROWS = sum(COUNTS)
SIZE = 6


def network(
    num_networks: int = 2, normalisation: LayerNormalisation = LayerNormalisation.NONE
) -> StackedRecurrent:
    torch.manual_seed(3)
    shape = RecurrentShape(5, (7,), SIZE, 3, normalisation, free=2)
    net = StackedRecurrent.create(shape, num_networks, CPU, torch.Generator("cpu").manual_seed(1))
    net.parameters.normal_(0.0, 0.5)
    return net


def by_torch(net: StackedRecurrent, k: int) -> tuple[nn.Sequential, nn.GRUCell, nn.Linear]:
    """Network k of a stack as torch's own modules, which have one bias per gate more."""
    before = nn.Sequential(nn.Linear(5, 7), nn.ReLU())
    if net.shape.normalisation is LayerNormalisation.LAYER:
        before.insert(1, nn.LayerNorm(7))
    cell, head = nn.GRUCell(7, SIZE), nn.Linear(SIZE, 3)
    given = {"weight": net.part("0.weight")[k], "bias": net.part("0.bias")[k]}
    before[0].load_state_dict(given)
    if net.shape.normalisation is LayerNormalisation.LAYER:
        before[1].load_state_dict({"weight": net.part("0.scale")[k], "bias": net.part("0.shift")[k]})
    bias = torch.cat([torch.zeros(2 * SIZE), net.part("memory.bias")[k]])
    cell.load_state_dict(
        {
            "weight_ih": net.part("1.weight")[k],
            "bias_ih": net.part("1.bias")[k],
            "weight_hh": net.part("memory.weight")[k],
            "bias_hh": bias,
        }
    )
    head.load_state_dict({"weight": net.part("head.weight")[k], "bias": net.part("head.bias")[k]})
    return before, cell, head


def walk(
    modules: tuple[nn.Sequential, nn.GRUCell, nn.Linear], inputs: Tensor, memory: Tensor, held: Tensor
) -> Tensor:
    """Outputs [R, 3] of one network, cell by cell."""
    before, cell, head = modules
    outputs, start = [], 0
    for count in COUNTS:
        rows = slice(start, start + count)
        new = cell(before(inputs[rows]), memory[:count])
        memory = torch.where(held[rows].unsqueeze(-1) > 0, memory[:count], new)
        outputs.append(head(memory))
        start += count
    return torch.cat(outputs)


@pytest.mark.parametrize("normalisation", [LayerNormalisation.NONE, LayerNormalisation.LAYER])
def test_values_and_gradients_are_those_of_torchs_cell(normalisation: LayerNormalisation) -> None:
    net = network(normalisation=normalisation)
    inputs, memory, gradient = torch.randn(2, ROWS, 5), torch.randn(2, 4, SIZE), torch.randn(2, ROWS, 3)
    held = (torch.rand(2, ROWS) < 0.3).float()
    outputs = net(inputs, memory, COUNTS, held)
    net.backward(gradient.clone())
    for k in range(2):
        before, cell, head = modules = by_torch(net, k)
        expected = walk(modules, inputs[k], memory[k], held[k])
        torch.testing.assert_close(outputs[k], expected.detach(), atol=1e-5, rtol=1e-5)
        (expected * gradient[k]).sum().backward()
        assert cell.bias_ih.grad is not None and cell.bias_hh.grad is not None
        for name, of_torch in (
            ("0.weight", before[0].weight.grad),
            ("0.bias", before[0].bias.grad),
            ("1.weight", cell.weight_ih.grad),
            ("1.bias", cell.bias_ih.grad),
            ("memory.weight", cell.weight_hh.grad),
            ("memory.bias", cell.bias_hh.grad[2 * SIZE :]),
            ("head.weight", head.weight.grad),
            ("head.bias", head.bias.grad),
        ):
            torch.testing.assert_close(net.part_gradient(name)[k], of_torch, atol=1e-4, rtol=1e-4, msg=name)


def test_what_is_held_stays_bit_by_bit() -> None:
    net, memory = network(), torch.randn(2, 4, SIZE)
    net(torch.randn(2, 4, 5) * 100, memory, (4,), torch.ones(2, 4))
    assert torch.equal(net.memories[:, 4:], memory)


def test_a_sequence_in_pieces_says_what_it_says_as_a_whole() -> None:
    net, inputs, memory = network(), torch.randn(2, 12, 5), torch.randn(2, 3, SIZE)
    whole = net(inputs, memory, (3,) * 4).clone()
    first = net(inputs[:, :6], memory, (3, 3)).clone()
    between = net.memories[:, -3:].clone()
    second = net(inputs[:, 6:], between, (3, 3))
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_one_pass_per_backward_pass() -> None:
    net, inputs, memory = network(), torch.randn(2, 3, 5), torch.zeros(2, 3, SIZE)
    net(inputs, memory, (3,))
    net.backward(torch.randn(2, 3, 3))
    with pytest.raises(RuntimeError, match="right after its forward pass"):
        net.backward(torch.randn(2, 3, 3))


def test_passes_of_other_sizes_in_between_leave_no_trace() -> None:
    """Memory is used again from pass to pass."""
    net, inputs, memory = network(), torch.randn(2, ROWS, 5), torch.randn(2, 4, SIZE)
    gradient = torch.randn(2, ROWS, 3)
    net(inputs, memory, COUNTS)
    net.backward(gradient.clone())
    expected = net.gradient.clone()
    net(torch.randn(2, 50, 5), torch.randn(2, 10, SIZE), (10,) * 5)
    net.backward(torch.randn(2, 50, 3))
    net(inputs, memory, COUNTS)
    net.backward(gradient.clone())
    assert torch.equal(net.gradient, expected)


def test_new_weights() -> None:
    """Uniform as torch's cells, or every gate orthogonal; the same on every device."""
    shape = RecurrentShape(5, (32,), 16, 3)

    def new(orthogonal: bool) -> StackedRecurrent:
        start = Initialisation(orthogonal, 0.01)
        return StackedRecurrent.create(shape, 2, CPU, torch.Generator("cpu").manual_seed(5), start)

    uniform, orthogonal = new(False), new(True)
    for name in ("1.weight", "1.bias", "memory.weight", "memory.bias"):
        size = uniform.part(name).abs()
        assert size.max() <= 1 / math.sqrt(16) and size.mean() > 0.4 / math.sqrt(16)
    for name in ("1.weight", "memory.weight"):
        for gate in orthogonal.part(name).split(16, 1):
            torch.testing.assert_close(gate @ gate.transpose(1, 2), torch.eye(16).expand(2, -1, -1))
    assert orthogonal.part("head.weight").abs().max() <= 0.01
    assert torch.equal(new(True).parameters, orthogonal.parameters)
    assert uniform.parameters.shape == (2, uniform.parameters.shape[1])


def test_copies_act_alike_until_the_original_moves() -> None:
    net, inputs, memory = network(), torch.randn(2, 3, 5), torch.randn(2, 3, SIZE)
    copy = net.acting_copy(CPU)
    assert torch.equal(copy(inputs, memory, (3,)), net(inputs, memory, (3,)))
    net.parameters.mul_(1.5)
    assert not torch.equal(copy(inputs, memory, (3,)), net(inputs, memory, (3,)))
    copy.copy_weights(net)
    assert torch.equal(copy(inputs, memory, (3,)), net(inputs, memory, (3,)))


def test_parts_cover_the_parameters_without_overlap() -> None:
    net = network(num_networks=1)
    for part in net.shape.parts.values():
        net.parameters[:, part.place] += 1000.0
    assert sorted(net.tensors()) == sorted(net.shape.parts)
    touched = (net.parameters > 500).sum()
    assert touched == sum(math.prod(part.shape) for part in net.shape.parts.values())
    assert net.parameters.max() < 1500
