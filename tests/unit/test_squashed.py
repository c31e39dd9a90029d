"""Squashed policies: against torch.distributions, and their derivatives against autograd."""

import math

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core.distributions import GaussianHead, StdType
from mlagents_marl_plugin.core.squashed import SquashedDistribution
from mlagents_marl_plugin.core.types import ActionLayout
from tests.unit.test_distributions import EVERY_LAYOUT, LAYOUTS, random_allowed

HEAD = GaussianHead(StdType.STATE_DEPENDENT, squashed=True)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def policy_of(layout: ActionLayout, num_rows: int = 40, scale: float = 1.0) -> SquashedDistribution:
    """Random means, logits, deviations and masks; the raw outputs are a leaf of autograd."""
    raw = torch.randn(num_rows, HEAD.num_outputs(layout), generator=seeded(0), dtype=torch.float64)
    raw[:, : layout.size] *= scale
    raw[:, layout.size :] *= 0.5  # within bounds
    return SquashedDistribution(
        layout, HEAD, raw.requires_grad_(), None, random_allowed(layout, num_rows, seeded(1))
    )


def by_torch(policy: SquashedDistribution, values: Tensor) -> Tensor:
    """Log-density of continuous values [R]."""
    normal = torch.distributions.Normal(policy.mean, policy.log_std.exp())
    squashed = torch.distributions.TransformedDistribution(
        normal, [torch.distributions.transforms.TanhTransform()]
    )
    density: Tensor = squashed.log_prob(values).sum(-1)
    return density


@EVERY_LAYOUT
def test_log_probabilities_are_those_of_torch(layout: ActionLayout) -> None:
    policy = policy_of(layout)
    draw = policy.draw(seeded(2))
    expected = torch.zeros(40, dtype=torch.float64)
    if layout.continuous:
        expected = by_torch(policy, draw.action[:, : layout.continuous].double())
        assert draw.action[:, : layout.continuous].abs().max() < 1
    torch.testing.assert_close(draw.log_prob, expected, rtol=1e-4, atol=1e-4)
    for branch, log_choice in enumerate(policy.log_choice):
        start = layout.continuous + sum(layout.branches[:branch])
        taken = draw.action[:, start : start + layout.branches[branch]]
        assert (taken.sum(-1) == 1).all()
        expected = expected + log_choice.gather(1, taken.argmax(-1, keepdim=True)).squeeze(1)
    torch.testing.assert_close(policy.log_prob(draw.action), expected, rtol=1e-4, atol=1e-4)


@EVERY_LAYOUT
def test_the_gradient_by_a_recorded_action_is_that_of_autograd(layout: ActionLayout) -> None:
    policy = policy_of(layout)
    action, of_log_prob = (
        policy.draw(seeded(2)).action.detach().double(),
        torch.randn(40, generator=seeded(3)).double(),
    )
    found = policy.log_prob_gradient(action, of_log_prob)
    (expected,) = torch.autograd.grad((policy.log_prob(action) * of_log_prob).sum(), policy._raw)
    torch.testing.assert_close(found, expected)


def test_densities_far_out_are_finite_and_right() -> None:
    raw = torch.tensor([[8.0, -1.0], [-12.0, 0.0], [30.0, -3.0]])
    policy = SquashedDistribution(ActionLayout(1), HEAD, raw, None, torch.ones(3, 0))
    draw = policy.draw(seeded(0))
    assert torch.isfinite(draw.log_prob).all()
    assert torch.isfinite(policy.log_prob(draw.action)).all()
    # Where tanh is flat, its slope is 4 exp(-2 |u|).
    u, std = (policy.mean + draw.deviation)[0], math.exp(-1.0)
    gaussian = torch.distributions.Normal(8.0, std).log_prob(u)
    assert float(draw.log_prob[0]) == pytest.approx(float(gaussian - math.log(4) + 2 * u), rel=1e-4)


def test_the_mean_of_draws_has_the_entropy_that_it_is_said_to_have() -> None:
    """``-log_prob`` on average is the entropy by histogram."""
    policy = SquashedDistribution(
        ActionLayout(1), HEAD, torch.tensor([[0.5, -0.2]]).expand(200_000, -1), None, torch.ones(1, 0)
    )
    draw = policy.draw(seeded(0))
    counts = torch.histc(draw.action, 200, -1.0, 1.0)
    chance = (counts / counts.sum()).clamp_min(1e-12)
    by_histogram = float(-(chance * (chance * 100).log()).sum())
    assert float(-draw.log_prob.mean()) == pytest.approx(by_histogram, abs=0.01)


@EVERY_LAYOUT
def test_the_gradient_is_that_of_autograd(layout: ActionLayout) -> None:
    policy = policy_of(layout)
    random = seeded(3)
    of_action, of_chance = (
        torch.randn(40, size, generator=random, dtype=torch.float64)
        for size in (layout.continuous, layout.num_choices)
    )
    of_log_prob, of_entropy = torch.randn(2, 40, generator=random, dtype=torch.float64)
    draw = policy.draw(seeded(4))
    chance = torch.cat([b.exp() for b in policy.log_choice], -1) if layout.branches else of_chance
    loss = (draw.action[:, : layout.continuous] * of_action).sum() + (draw.log_prob * of_log_prob).sum()
    # Autograd cannot differentiate 0 log 0.
    entropies = [-(b.exp() * b.clamp_min(-600.0)).sum(-1) for b in policy.log_choice]
    entropy = sum(entropies, torch.zeros(40, dtype=torch.float64))
    torch.testing.assert_close(entropy, policy.entropy())
    loss = loss + (chance * of_chance).sum() + (entropy * of_entropy).sum()
    (expected,) = torch.autograd.grad(loss, policy._raw)
    got = policy.draw_gradient(draw, of_action, of_log_prob, of_chance, of_entropy)
    torch.testing.assert_close(got.detach(), expected, rtol=1e-6, atol=1e-8)


def test_a_deviation_beyond_its_bounds_can_come_back() -> None:
    low, high = HEAD.bounds
    raw = torch.tensor([[0.0, low - 1.0], [0.0, low - 1.0], [0.0, high + 1.0], [0.0, high + 1.0]])
    policy = SquashedDistribution(ActionLayout(1), HEAD, raw, None, torch.ones(4, 0))
    draw = policy.draw(seeded(0))
    gradients = [
        policy.draw_gradient(
            draw, torch.zeros(4, 1), torch.full((4,), wish), torch.ones(4, 0), torch.zeros(4)
        )[:, 1]
        for wish in (1.0, -1.0)
    ]
    # Of two opposite wishes one leads back, the other is not followed any further.
    for k, way_back in enumerate((-1.0, -1.0, 1.0, 1.0)):
        found = sorted(float(gradient[k]) * way_back for gradient in gradients)
        assert found[0] == 0
        assert found[1] > 0


def test_forbidden_choices_are_never_drawn_nor_learnt() -> None:
    layout = LAYOUTS["both"]
    policy = policy_of(layout)
    choices = torch.stack([policy.draw(seeded(i)).action[:, 2:] for i in range(50)])
    assert not bool((choices * (1 - policy._allowed.double())).any())
    draw = policy.draw(seeded(0))
    nothing, huge = torch.zeros(40), torch.full((40, 7), 1e6, dtype=torch.float64)
    got = policy.draw_gradient(draw, torch.zeros(40, 2), nothing, huge, torch.full((40,), 10.0))
    assert torch.isfinite(got).all()
    assert not bool(got[:, 2:9][~policy._allowed].any())


def test_the_greedy_action_is_the_centre() -> None:
    policy = policy_of(LAYOUTS["both"], scale=3.0)
    greedy = policy.mode()
    torch.testing.assert_close(greedy[:, :2], torch.tanh(policy.mean))
    torch.testing.assert_close(policy.centre(), torch.tanh(policy.mean))
    assert torch.equal(greedy[:, 2:5].argmax(-1), policy.log_choice[0].argmax(-1))
