"""Epsilon-greedy exploration: how often, what, and how it fades and resumes."""

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.epsilon_greedy import EpsilonGreedy
from mlagents_marl_plugin.core.exploration import ExplorationSchedule
from mlagents_marl_plugin.core.types import ActionLayout

ROWS = 4_000
LAYOUT = ActionLayout(0, (4, 2))
MEMBER = torch.arange(ROWS)


def explorer(
    schedule: ExplorationSchedule, layout: ActionLayout = LAYOUT, cut: int = 0, seed: int = 0
) -> EpsilonGreedy:
    return EpsilonGreedy(layout, schedule, torch.Generator().manual_seed(seed), cut)


def raw(layout: ActionLayout = LAYOUT) -> Tensor:
    """Everybody prefers the first choice of every branch, and the value 1."""
    values = torch.zeros(ROWS, layout.size)
    values[:, : layout.continuous] = 10.0
    start = layout.continuous
    for size in layout.branches:
        values[:, start] = 1.0
        start += size
    return values


def permitted(layout: ActionLayout = LAYOUT) -> Tensor:
    return torch.ones(ROWS, layout.num_choices)


@pytest.mark.parametrize(("step", "epsilon"), [(0, 0.8), (1, 0.4), (2, 0.2), (9, 0.1)])
def test_epsilon_falls_to_its_floor_and_says_how_often_a_branch_is_random(step: int, epsilon: float) -> None:
    curious = explorer(ExplorationSchedule(0.8, 0.1, 0.5))
    chosen = curious.act(raw(), permitted(), MEMBER, step)
    other = 1.0 - chosen[:, 0].mean(), 1.0 - chosen[:, 4].mean()
    # One in four, and one in two, of the random choices is the best one.
    assert float(other[0]) == pytest.approx(epsilon * 3 / 4, abs=0.03)
    assert float(other[1]) == pytest.approx(epsilon / 2, abs=0.03)
    assert curious.figures(step) == {"epsilon": pytest.approx(epsilon)}


def test_branches_are_random_one_by_one() -> None:
    chosen = explorer(ExplorationSchedule(0.5, 0.5)).act(raw(), permitted(), MEMBER, 0)
    first, second = chosen[:, 0] == 0, chosen[:, 4] == 0
    both = float((first & second).float().mean())
    assert both == pytest.approx(float(first.float().mean() * second.float().mean()), abs=0.02)


def test_without_epsilon_the_best_permitted_choice_is_made() -> None:
    values = torch.randn(ROWS, LAYOUT.size, generator=torch.Generator().manual_seed(1))
    allowed = permitted()
    allowed[::2, 1:3] = 0.0
    chosen = explorer(ExplorationSchedule(0.0, 0.0)).act(values, allowed, MEMBER, 0)
    assert torch.equal(chosen, actions.mode(LAYOUT, values, allowed))


@pytest.mark.parametrize("schedule", [ExplorationSchedule(1.0, 1.0), ExplorationSchedule(0.0, 0.0, 1.0, 5)])
def test_a_forbidden_choice_is_never_made(schedule: ExplorationSchedule) -> None:
    allowed = permitted()
    allowed[:, 0] = allowed[:, 2] = allowed[:, 5] = 0.0
    chosen = explorer(schedule).act(raw(), allowed, MEMBER, 0)
    assert not chosen[:, [0, 2, 5]].any()
    assert chosen[:, 1].mean() == pytest.approx(0.5, abs=0.04)


def test_random_steps_come_first() -> None:
    curious = explorer(ExplorationSchedule(0.0, 0.0, 1.0, 5))
    assert curious.act(raw(), permitted(), MEMBER, 4)[:, 0].mean() < 0.3
    assert curious.act(raw(), permitted(), MEMBER, 5)[:, 0].all()


@pytest.mark.parametrize("cut", [2, 3, 5])
def test_values_that_were_cut_into_choices_are_random_on_the_grid(cut: int) -> None:
    layout = ActionLayout(2, (3,))
    chosen = explorer(ExplorationSchedule(0.6, 0.6), layout, cut).act(
        raw(layout), permitted(layout), MEMBER, 0
    )
    grid = torch.linspace(-1.0, 1.0, cut)
    cell = (chosen[:, 0, None] - grid).abs()
    assert float(cell.amin(1).max()) < 1e-6
    share = torch.bincount(cell.argmin(1), minlength=cut) / ROWS
    expected = torch.full((cut,), 0.6 / cut)
    expected[-1] += 0.4
    torch.testing.assert_close(share, expected, rtol=0.0, atol=0.03)
    assert not torch.equal(chosen[:, 0], chosen[:, 1])


def test_a_resumed_explorer_draws_what_would_have_come() -> None:
    schedule = ExplorationSchedule(0.5, 0.5)
    first, second = explorer(schedule), explorer(schedule, seed=9)
    first.act(raw(), permitted(), MEMBER, 0)
    second.load_state_dict(first.state_dict())
    first.reset(MEMBER)
    assert torch.equal(*(e.act(raw(), permitted(), MEMBER, 1) for e in (first, second)))
    with pytest.raises(ValueError, match="expected entry 'generator', got none"):
        second.load_state_dict({})
