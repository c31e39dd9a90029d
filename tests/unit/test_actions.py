"""Encoded actions: greedy, drawn, relaxed and uniform, with and without masks."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.types import ActionLayout

LAYOUT = ActionLayout(continuous=2, branches=(3, 2, 5, 4))
NO_MASK = torch.zeros(1, 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def random_mask(layout: ActionLayout, num_rows: int) -> Tensor:
    """Random masks that leave at least one choice in every branch."""
    mask = torch.rand(num_rows, layout.num_choices, generator=generator(7)) < 0.4
    for branch in torch.split(mask, list(layout.branches), -1):
        keep = torch.randint(branch.shape[-1], (num_rows, 1), generator=generator(8))
        branch.scatter_(-1, keep, True)
    return mask


Draw = Callable[[Tensor, Tensor], Tensor]
DRAWS: dict[str, Draw] = {
    "mode": lambda raw, allowed: actions.mode(LAYOUT, raw, allowed),
    "sample": lambda raw, allowed: actions.sample(LAYOUT, raw, allowed, generator()),
    "relaxed": lambda raw, allowed: actions.relaxed(LAYOUT, raw, allowed, 0.7, generator()),
    "uniform": lambda raw, allowed: actions.uniform(LAYOUT, allowed, raw.shape[:-1], generator()),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_forbidden_choice_is_never_drawn_in_a_million(name: str) -> None:
    num_rows = 250_000  # times 4 branches
    allowed = random_mask(LAYOUT, num_rows)
    raw = 3 * torch.randn(num_rows, LAYOUT.size, generator=generator(1))
    raw[:, LAYOUT.continuous :] += 1e4 * ~allowed  # a policy that badly wants what is forbidden
    raw[::2, LAYOUT.continuous :] -= 1e6
    encoded = DRAWS[name](raw, allowed)
    one_hot = encoded[:, LAYOUT.continuous :]
    assert bool(((one_hot == 0) | (one_hot == 1)).all())
    assert not bool((one_hot * ~allowed).any())
    for branch in torch.split(one_hot, list(LAYOUT.branches), -1):
        assert bool((branch.sum(-1) == 1).all())
    assert bool((encoded[:, : LAYOUT.continuous].abs() <= 1).all())


@pytest.mark.parametrize("name", DRAWS)
def test_masks_may_be_numbers_or_bools_and_may_be_missing(name: str) -> None:
    raw = torch.randn(50, LAYOUT.size, generator=generator(1))
    allowed = random_mask(LAYOUT, 50)
    assert torch.equal(DRAWS[name](raw, allowed), DRAWS[name](raw, allowed.float()))
    everything = torch.ones(50, LAYOUT.num_choices)
    assert torch.equal(DRAWS[name](raw, everything), DRAWS[name](raw, torch.zeros(50, 0)))


@pytest.mark.parametrize("name", DRAWS)
def test_a_wholly_forbidden_branch_counts_as_permitted(name: str) -> None:
    raw = torch.randn(50, LAYOUT.size, generator=generator(1))
    allowed = torch.ones(50, LAYOUT.num_choices)
    without_second = allowed.clone()
    without_second[:, 3:5] = 0
    assert torch.equal(DRAWS[name](raw, allowed), DRAWS[name](raw, without_second))


def test_mode_takes_the_largest_permitted_logit() -> None:
    layout = ActionLayout(1, (3, 2))
    raw = torch.tensor([[0.5, 1.0, 3.0, 2.0, -1.0, -2.0]])
    allowed = torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]])
    expected = torch.tensor([[0.5, 0.0, 0.0, 1.0, 0.0, 1.0]])
    expected[0, 0] = torch.tensor(0.5).tanh()
    assert torch.equal(actions.mode(layout, raw, allowed), expected)


@pytest.mark.parametrize("function", [actions.sample, actions.relaxed])
def test_draws_follow_the_masked_softmax(function: Callable[..., Tensor]) -> None:
    layout = ActionLayout(0, (4,))
    logit = torch.tensor([1.0, -0.5, 2.0, 0.3])
    allowed = torch.tensor([1.0, 1.0, 0.0, 1.0])
    num_rows = 200_000
    encoded = function(layout, logit.expand(num_rows, 4), allowed.expand(num_rows, 4), generator=generator())
    expected = logit.masked_fill(allowed == 0, -torch.inf).softmax(-1)
    assert encoded.mean(0).tolist() == pytest.approx(expected.tolist(), abs=0.005)


def test_uniform_is_uniform_over_the_range_and_over_permitted_choices() -> None:
    layout = ActionLayout(1, (4,))
    allowed = torch.tensor([1.0, 0.0, 1.0, 1.0]).expand(200_000, 4)
    encoded = actions.uniform(layout, allowed, (200_000,), generator())
    assert encoded[:, 1:].mean(0).tolist() == pytest.approx([1 / 3, 0.0, 1 / 3, 1 / 3], abs=0.005)
    value = encoded[:, 0]
    assert float(value.min()) >= -1 and float(value.max()) <= 1
    assert float(value.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(value.var()) == pytest.approx(1 / 3, abs=0.01)


def test_the_relaxed_gradient_is_that_of_the_softmax() -> None:
    layout, temperature = ActionLayout(1, (3, 4)), 0.5
    raw = torch.randn(64, layout.size, generator=generator(1), requires_grad=True)
    allowed = random_mask(layout, 64)
    weight = torch.randn(64, layout.size, generator=generator(2))
    encoded = actions.relaxed(layout, raw, allowed, temperature, generator(3))
    (encoded * weight).sum().backward()

    reference = raw.detach().clone().requires_grad_()
    noise = -torch.empty(64, 7).exponential_(generator=generator(3)).log()
    score = ((reference[:, 1:] + noise) / temperature).masked_fill(~allowed, -torch.inf)
    soft = [branch.softmax(-1) for branch in torch.split(score, [3, 4], -1)]
    (torch.cat([reference[:, :1].tanh(), *soft], -1) * weight).sum().backward()

    assert raw.grad is not None and reference.grad is not None
    torch.testing.assert_close(raw.grad, reference.grad)
    assert bool((raw.grad[:, 1:][~allowed] == 0).all())
    assert float(raw.grad[:, 1:].abs().max()) > 0.01


@pytest.mark.parametrize("temperature", [1e-2, 1.0, 100.0])
def test_relaxed_gradients_are_finite_whatever_is_forbidden(temperature: float) -> None:
    raw = (100 * torch.randn(1000, LAYOUT.size, generator=generator(1))).requires_grad_()
    allowed = torch.rand(1000, LAYOUT.num_choices, generator=generator(2)) < 0.2  # whole branches among them
    actions.relaxed(LAYOUT, raw, allowed, temperature, generator()).square().sum().backward()
    assert raw.grad is not None and bool(raw.grad.isfinite().all())


@pytest.mark.parametrize("layout", [ActionLayout(2), LAYOUT, ActionLayout(0, (3,))])
def test_the_pullback_is_the_gradient_of_the_same_draw(layout: ActionLayout) -> None:
    raw = torch.randn(6, layout.size, generator=generator(1)).requires_grad_()
    allowed, weight = random_mask(layout, 6), torch.randn(6, layout.size, generator=generator(2))
    recorded = actions.relaxed(layout, raw, allowed, 0.7, generator(3))
    with torch.no_grad():
        action, pullback = actions.relaxed_with_pullback(layout, raw, allowed, 0.7, generator(3))
        gradient = pullback(weight)
    assert torch.equal(action, recorded)
    torch.testing.assert_close(gradient, torch.autograd.grad(recorded, raw, weight)[0])


def test_continuous_actions_alone_need_no_mask() -> None:
    layout = ActionLayout(3)
    raw = torch.randn(2, 5, 3, generator=generator(), requires_grad=True)
    for encoded in (
        actions.mode(layout, raw, NO_MASK),
        actions.sample(layout, raw, NO_MASK),
        actions.relaxed(layout, raw, NO_MASK),
    ):
        assert torch.equal(encoded, raw.tanh())
        assert encoded.requires_grad


layouts = st.builds(
    ActionLayout, st.integers(0, 3), st.lists(st.integers(1, 5), max_size=3).map(tuple)
).filter(lambda layout: layout.size > 0)


@settings(max_examples=60)
@given(layouts, st.integers(0, 4), st.integers(0, 1000))
def test_encode_and_to_host_undo_each_other(layout: ActionLayout, num_rows: int, seed: int) -> None:
    encoded = actions.uniform(layout, torch.zeros(num_rows, 0), (num_rows,), generator(seed))
    continuous, discrete = actions.to_host(layout, encoded)
    assert continuous.dtype == torch.float32 and continuous.shape == (num_rows, layout.continuous)
    assert discrete.dtype == torch.int32 and discrete.shape == (num_rows, len(layout.branches))
    assert torch.equal(actions.encode(layout, continuous, discrete), encoded)


def test_encode_refuses_another_layouts_widths() -> None:
    with pytest.raises(ValueError, match="expected 2 continuous values and 4 branches, got 2 and 3"):
        actions.encode(LAYOUT, torch.zeros(1, 2), torch.zeros(1, 3, dtype=torch.int32))


@pytest.mark.parametrize("index", [-1, 2])
def test_encode_refuses_a_choice_outside_its_branch(index: int) -> None:
    discrete = torch.tensor([[0, 0, 0, 0], [0, index, 0, 0]], dtype=torch.int32)
    with pytest.raises(ValueError, match="expected choices 0 to 1 in branch 1"):
        actions.encode(LAYOUT, torch.zeros(2, 2), discrete)
