"""Stochastic policies: against torch.distributions, and their derivatives against autograd."""

import math

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.distributions import ActionDistribution, GaussianHead, StdType
from mlagents_marl_plugin.core.squashed import SquashedDistribution
from mlagents_marl_plugin.core.types import ActionLayout

LAYOUTS = {
    "values": ActionLayout(2),
    "choices": ActionLayout(0, (3, 2)),
    "both": ActionLayout(2, (3, 4)),
}
HEADS = {
    "learned": GaussianHead(),
    "state": GaussianHead(StdType.STATE_DEPENDENT),
    "tanh": GaussianHead(tanh_mean=True),
}
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
EVERY_HEAD = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)


def random_allowed(layout: ActionLayout, num_rows: int, random: torch.Generator) -> Tensor:
    allowed = torch.rand(num_rows, layout.num_choices, generator=random) < 0.6
    start = 0
    for size in layout.branches:
        allowed[:, start] = True
        start += size
    return allowed


def made(
    layout: ActionLayout, head: GaussianHead, num_rows: int = 50, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """raw, free and allowed."""
    random = torch.Generator().manual_seed(0)
    raw = torch.randn(num_rows, head.num_outputs(layout), generator=random, dtype=dtype)
    free = 0.3 * torch.randn(1, layout.continuous, generator=random, dtype=dtype)
    return raw, free, random_allowed(layout, num_rows, random)


def by_torch(
    layout: ActionLayout, head: GaussianHead, raw: Tensor, free: Tensor, allowed: Tensor, action: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy by torch's own distributions."""
    log_prob, entropy = torch.zeros(2, len(raw), dtype=torch.float64)
    if layout.continuous:
        mean = raw[:, :2].tanh() if head.tanh_mean else raw[:, :2]
        log_std = raw[:, layout.size :] if head.std_type is StdType.STATE_DEPENDENT else free
        normal = torch.distributions.Normal(mean, log_std.clamp(*head.bounds).exp().expand_as(mean))
        log_prob = log_prob + normal.log_prob(action[:, :2]).sum(-1)
        entropy = entropy + normal.entropy().sum(-1)
    start = layout.continuous
    for size in layout.branches:
        part = slice(start, start + size)
        permitted = allowed[:, start - layout.continuous : start - layout.continuous + size]
        choice = torch.distributions.Categorical(logits=raw[:, part].masked_fill(~permitted, -1e6))
        log_prob = log_prob + choice.log_prob(action[:, part].argmax(-1))
        entropy = entropy + choice.entropy()
        start += size
    return log_prob, entropy


@EVERY_HEAD
@EVERY_LAYOUT
def test_log_probability_and_entropy_are_those_of_torch(layout: ActionLayout, head: GaussianHead) -> None:
    raw, free, allowed = made(layout, head)
    policy = ActionDistribution(layout, head, raw, free, allowed)
    action = policy.sample(torch.Generator().manual_seed(1)).double()
    log_prob, entropy = by_torch(layout, head, raw, free, allowed, action)
    assert torch.allclose(policy.log_prob(action), log_prob)
    assert torch.allclose(policy.entropy(), entropy, atol=1e-6)


@EVERY_HEAD
@EVERY_LAYOUT
def test_derivatives_are_those_of_autograd(layout: ActionLayout, head: GaussianHead) -> None:
    raw, free, allowed = made(layout, head)
    raw[:, layout.size :].clamp_(*head.bounds)  # beyond them see below
    policy = ActionDistribution(layout, head, raw, free, allowed)
    action = policy.sample(torch.Generator().manual_seed(1)).double()
    random = torch.Generator().manual_seed(2)
    of_log_prob, of_entropy = torch.randn(2, 50, generator=random, dtype=torch.float64)
    of_raw, of_free = policy.backward(action, of_log_prob, of_entropy)
    raw.requires_grad_(), free.requires_grad_()
    log_prob, entropy = by_torch(layout, head, raw, free, allowed, action)
    loss = (of_log_prob * log_prob).sum() + (of_entropy * entropy).sum()
    expected_raw, expected_free = torch.autograd.grad(loss, (raw, free), allow_unused=True)
    assert torch.allclose(of_raw, expected_raw, atol=1e-9)
    if expected_free is None:
        assert of_free is None
    else:
        assert of_free is not None
        assert torch.allclose(of_free.sum(0, keepdim=True), expected_free)


@pytest.mark.parametrize("name", ["choices", "both"])
def test_a_forbidden_choice_has_no_chance_at_all(name: str) -> None:
    layout = LAYOUTS[name]
    raw, free, allowed = made(layout, GaussianHead(), 20_000, torch.float32)
    policy = ActionDistribution(layout, GaussianHead(), raw, free, allowed)
    for action in (policy.sample(), policy.mode()):
        chosen = action[:, layout.continuous :]
        assert not bool((chosen.bool() & ~allowed).any())
        for branch in actions.by_branch(layout, chosen):
            assert torch.equal(branch.sum(-1), torch.ones(len(branch)))
    chances = torch.cat([log.exp() for log in policy.log_choice], -1)
    assert not bool(chances[~allowed].any())
    gradient = policy.backward(policy.sample(), torch.ones(20_000), torch.ones(20_000))[0]
    assert bool(torch.isfinite(gradient).all())
    assert not bool(gradient[:, layout.continuous :][~allowed].any())


def test_draws_have_the_mean_and_deviation_they_are_said_to_have() -> None:
    layout, head = ActionLayout(1), GaussianHead()
    raw, free = torch.full((200_000, 1), 0.4), torch.full((1, 1), math.log(0.3))
    drawn = ActionDistribution(layout, head, raw, free, torch.ones(200_000, 0)).sample(
        torch.Generator().manual_seed(0)
    )
    assert float(drawn.mean()) == pytest.approx(0.4, abs=0.005)
    assert float(drawn.std()) == pytest.approx(0.3, abs=0.005)


def test_the_greedy_action_is_the_mean_within_its_range() -> None:
    layout, raw, free = ActionLayout(2), torch.tensor([[0.3, 1.7]]), torch.zeros(1, 2)
    cut_off = ActionDistribution(layout, GaussianHead(), raw, free, torch.ones(1, 0)).mode()
    squashed = ActionDistribution(layout, GaussianHead(tanh_mean=True), raw, free, torch.ones(1, 0)).mode()
    assert cut_off.tolist()[0] == pytest.approx([0.3, 1.0])
    assert torch.equal(squashed, torch.tanh(raw))


def test_a_padded_row_changes_nothing() -> None:
    """Absent agents have an action of zeros and nothing permitted: finite everywhere, no gradient by choices."""
    layout = ActionLayout(1, (3,))
    policy = ActionDistribution(
        layout, GaussianHead(), torch.randn(4, 4), torch.zeros(1, 1), torch.zeros(4, 3)
    )
    nothing = torch.zeros(4, 4)
    assert bool(torch.isfinite(policy.log_prob(nothing)).all())
    of_raw = policy.backward(nothing, torch.ones(4), torch.zeros(4))[0]
    assert not bool(of_raw[:, 1:].any())


def test_deviations_stay_within_their_bounds() -> None:
    head, layout = GaussianHead(StdType.STATE_DEPENDENT, min_std=0.1), ActionLayout(1)
    raw = torch.tensor([[0.0, -9.0], [0.0, 9.0], [0.0, 0.5]])
    policy = ActionDistribution(layout, head, raw, None, torch.ones(3, 0))
    assert policy.log_std.exp().squeeze(1).tolist() == pytest.approx([0.1, math.exp(2), math.exp(0.5)])


@pytest.mark.parametrize("kind", [ActionDistribution, SquashedDistribution])
def test_a_deviation_beyond_its_bounds_can_come_back(kind: type[ActionDistribution]) -> None:
    """A step along minus the gradient leads back, or nowhere; within the bounds it leads where it is wished."""
    head = GaussianHead(StdType.STATE_DEPENDENT, min_std=0.1, squashed=kind is SquashedDistribution)
    low, high = head.bounds
    outputs = torch.tensor([low - 1.0, low + 0.1, high - 0.1, high + 1.0])
    raw = torch.stack([torch.zeros(4), outputs], 1)
    policy = kind(ActionLayout(1), head, raw, None, torch.ones(4, 0))
    action, nothing = torch.zeros(4, 1), torch.zeros(4)  # at the mean: likelier by a smaller deviation
    likelier = policy.backward(action, -torch.ones(4), nothing)[0][:, 1]
    less_likely = policy.backward(action, torch.ones(4), nothing)[0][:, 1]
    assert (-likelier).tolist() == [0.0, -1.0, -1.0, -1.0]
    assert (-less_likely).tolist() == [1.0, 1.0, 1.0, 0.0]
    if kind is ActionDistribution:
        more_entropy = policy.backward(action, nothing, -torch.ones(4))[0][:, 1]
        assert (-more_entropy).tolist() == [1.0, 1.0, 1.0, 0.0]
