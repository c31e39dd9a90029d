"""Mixers: their numbers and gradients against autograd, that they only rise, and that who is absent has no say."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.core.action_values import ActionValues
from mlagents_marl_plugin.core.mixers import Mixer, MonotonicMixer, NoMixer, SumMixer
from mlagents_marl_plugin.core.stacked_mlp import StackedMlp
from tests.unit.groups import CPU, DISCRETE, one_role

M, S, W = 6, 7, 4  # three agents of two branches each
SPEC = one_role(3, DISCRETE)


def monotonic(seed: int = 0) -> MonotonicMixer:
    return MonotonicMixer.create(M, S, W, 5, CPU, torch.Generator().manual_seed(seed))


def mixers() -> list[Mixer]:
    return [monotonic(), SumMixer(), NoMixer(ActionValues(SPEC, CPU))]


EVERY_MIXER = pytest.mark.parametrize("number", range(3), ids=["monotonic", "sum", "none"])


def draw(rows: int = 32, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Chosen values, of which about a third are not there, and states."""
    generator = torch.Generator().manual_seed(seed)
    chosen = 3.0 * torch.randn(rows, M, generator=generator)
    present = (torch.rand(rows, M, generator=generator) > 0.3).float()
    return chosen, present, torch.randn(rows, S, generator=generator)


def written_out(
    net: StackedMlp, parameters: Tensor, chosen: Tensor, present: Tensor, state: Tensor
) -> Tensor:
    """Rashid et al.'s formula in plain torch, for autograd."""

    def part(name: str) -> Tensor:
        place = net.shape.parts[name]
        return parameters[0, place.place].unflatten(0, place.shape)

    hidden = torch.relu(F.linear(state, part("0.weight"), part("0.bias")))
    out = F.linear(hidden, part("1.weight"), part("1.bias"))
    first = out[:, : M * W].abs().view(-1, M, W)
    second, bias, value = out[:, M * W : M * W + W].abs(), out[:, M * W + W : -1], out[:, -1:]
    mixed = F.elu(torch.einsum("bm,bmw->bw", chosen * present, first) + bias)
    return (mixed * second).sum(1, keepdim=True) + value


def test_the_monotonic_mixer_and_its_gradients_are_those_of_autograd() -> None:
    mixer, (chosen, present, state) = monotonic(), draw()
    net = mixer.nets[0]
    parameters, leaf = net.parameters.clone().requires_grad_(), chosen.clone().requires_grad_()
    expected = written_out(net, parameters, leaf, present, state)
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    of_parameters, of_chosen = torch.autograd.grad(expected, (parameters, leaf), gradient)
    torch.testing.assert_close(mixer(chosen, present, state), expected.detach())
    torch.testing.assert_close(mixer.backward(gradient), of_chosen)
    torch.testing.assert_close(net.gradient, of_parameters, rtol=1e-4, atol=1e-4)


def test_the_groups_value_rises_with_every_agents_in_every_state() -> None:
    chosen, present, state = draw(500)
    for seed in range(5):
        mixer = monotonic(seed)
        leaf = chosen.clone().requires_grad_()
        total = written_out(mixer.nets[0], mixer.nets[0].parameters, leaf, present, state)
        (slope,) = torch.autograd.grad(total.sum(), leaf)
        assert bool((slope >= 0.0).all())
        assert bool((slope > 0.0).any())
        before = mixer(chosen, present, state)
        torch.testing.assert_close(mixer.sensitivity(), slope)
        for column in range(M):
            raised = chosen.clone()
            raised[:, column] += 0.5
            assert bool((mixer(raised, present, state) >= before).all())


@EVERY_MIXER
def test_who_is_absent_contributes_exactly_nothing(number: int) -> None:
    mixer, (chosen, present, state) = mixers()[number], draw()
    before, slope = mixer(chosen, present, state), mixer.sensitivity()
    of_chosen = mixer.backward(torch.ones_like(before))
    gradients = [net.gradient.clone() for net in mixer.nets]
    for anything in (1e9, -1e9, math.nan, math.inf):
        perturbed = torch.where(present == 0, anything, chosen)
        assert torch.equal(mixer(perturbed, present, state), before)
        assert torch.equal(mixer.sensitivity(), slope)
        assert torch.equal(mixer.backward(torch.ones_like(before)), of_chosen)
        for net, gradient in zip(mixer.nets, gradients, strict=True):
            assert torch.equal(net.gradient, gradient)
    assert not of_chosen[present == 0].any()
    assert bool(of_chosen[present == 1].all())


@EVERY_MIXER
def test_a_group_may_grow_and_shrink(number: int) -> None:
    """The same mixer serves one agent and all of them; each who comes changes the value."""
    mixer, (chosen, _, state) = mixers()[number], draw()
    values = []
    for num_present in range(M + 1):
        present = (torch.arange(M) < num_present).float().expand(len(chosen), -1)
        values.append(mixer(chosen, present, state).sum(1))
        assert bool(torch.isfinite(values[-1]).all())
    for smaller, larger in zip(values[:-1], values[1:], strict=True):
        assert bool((smaller != larger).all())


def test_the_sum_and_the_means_are_what_they_are_called() -> None:
    chosen, present = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]]), torch.ones(1, M)
    present[0, 4:] = 0.0
    state = torch.zeros(1, S)
    total, none = SumMixer(), NoMixer(ActionValues(SPEC, CPU))
    assert total(chosen, present, state).tolist() == [[15.0]]
    assert total.backward(torch.tensor([[2.0]])).tolist() == [[2.0, 2.0, 2.0, 2.0, 0.0, 0.0]]
    assert none(chosen, present, state).tolist() == [[1.5, 6.0, 0.0]]
    assert none.backward(torch.tensor([[2.0, 4.0, 6.0]])).tolist() == [[1.0, 1.0, 2.0, 2.0, 0.0, 0.0]]


@EVERY_MIXER
def test_a_target_copy_says_the_same_and_keeps_its_weights(number: int) -> None:
    mixer, (chosen, present, state) = mixers()[number], draw()
    target = mixer.target_copy()
    before = mixer(chosen, present, state)
    assert torch.equal(target(chosen, present, state), before)
    for net in mixer.nets:
        net.parameters.add_(0.1)
        assert not torch.equal(mixer(chosen, present, state), before)
    assert torch.equal(target(chosen, present, state), before)


def test_new_weights_are_large_enough_to_learn_from() -> None:
    """With the small last layer of policies an agent's gradient would be a millionth of the group's."""
    mixer, (chosen, present, state) = monotonic(), draw()
    mixer(chosen, present, state)
    assert float(mixer.sensitivity()[present == 1].mean()) > 0.01
