"""Rewards shared within a group, and reshaped from YAML or by a user's own function."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mlagents_marl_plugin.core.rewards import (
    RewardShaping,
    RewardSharing,
    RewardStep,
    load_reward_function,
    share_rewards,
)

NAN = float("nan")
INDIVIDUAL = torch.tensor([[1.0, 2.0, 6.0], [1.0, NAN, -5.0], [NAN, NAN, NAN]])
PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
GROUP = torch.tensor([10.0, 20.0, 30.0])


def test_the_yaml_names_of_the_kinds_of_sharing() -> None:
    assert [kind.value for kind in RewardSharing] == ["individual", "group_mean", "group_sum", "mixed"]


@pytest.mark.parametrize(
    ("sharing", "expected"),
    [
        (RewardSharing.INDIVIDUAL, [[11.0, 12.0, 16.0], [21.0, 20.0, 15.0], [30.0, 30.0, 30.0]]),
        (RewardSharing.GROUP_MEAN, [[13.0, 13.0, 13.0], [18.0, 18.0, 18.0], [30.0, 30.0, 30.0]]),
        (RewardSharing.GROUP_SUM, [[19.0, 19.0, 19.0], [16.0, 16.0, 16.0], [30.0, 30.0, 30.0]]),
        (RewardSharing.MIXED, [[11.5, 12.25, 15.25], [20.25, 19.5, 15.75], [30.0, 30.0, 30.0]]),
    ],
)
def test_sharing_by_hand(sharing: RewardSharing, expected: list[list[float]]) -> None:
    shared = share_rewards(INDIVIDUAL, GROUP, PRESENT, sharing, mix=0.25)
    assert shared.tolist() == expected
    assert share_rewards(INDIVIDUAL, GROUP, PRESENT.float(), sharing, mix=0.25).tolist() == expected


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10_000), st.floats(0, 1))
def test_the_group_reward_is_counted_once_and_the_mean_keeps_the_total(
    num_rows: int, num_slots: int, seed: int, mix: float
) -> None:
    generator = torch.Generator("cpu").manual_seed(seed)
    individual = torch.randn(num_rows, num_slots, generator=generator)
    present = torch.rand(num_rows, num_slots, generator=generator) < 0.7
    group, nothing = torch.randn(num_rows, generator=generator), torch.zeros(num_rows)
    for sharing in RewardSharing:
        own = share_rewards(individual, nothing, present, sharing, mix)
        shared = share_rewards(individual, group, present, sharing, mix)
        torch.testing.assert_close(shared - own, group[:, None].expand_as(own))
    individual_total = (individual * present).sum(-1)
    for sharing in (RewardSharing.GROUP_MEAN, RewardSharing.MIXED):
        total = (share_rewards(individual, nothing, present, sharing, mix) * present).sum(-1)
        torch.testing.assert_close(total, individual_total)


def test_the_ends_of_the_mix_are_the_pure_kinds() -> None:
    for mix, pure in ((0.0, RewardSharing.INDIVIDUAL), (1.0, RewardSharing.GROUP_MEAN)):
        mixed = share_rewards(INDIVIDUAL, GROUP, PRESENT, RewardSharing.MIXED, mix)
        torch.testing.assert_close(mixed, share_rewards(INDIVIDUAL, GROUP, PRESENT, pure))


def test_wrong_arguments_of_sharing_are_told() -> None:
    with pytest.raises(ValueError, match=r"expected group of shape \(3,\), got \(3, 1\)"):
        share_rewards(INDIVIDUAL, GROUP[:, None], PRESENT, RewardSharing.INDIVIDUAL)
    with pytest.raises(ValueError, match=r"expected present of shape \(3, 3\), got \(3, 2\)"):
        share_rewards(INDIVIDUAL, GROUP, PRESENT[:, :2], RewardSharing.INDIVIDUAL)
    with pytest.raises(ValueError, match=r"expected 0 <= mix <= 1, got 1.5"):
        share_rewards(INDIVIDUAL, GROUP, PRESENT, RewardSharing.MIXED, 1.5)


def step(reward: Tensor | None = None) -> RewardStep:
    """Two rows of three slots; the third slot of the second row is absent, its second slot terminates."""
    return RewardStep(
        obs=torch.full((2, 3, 4), 2.0),
        action=torch.zeros(2, 3, 2),
        reward=torch.tensor([[1.0, -1.0, 0.0], [2.0, 3.0, 0.0]]) if reward is None else reward,
        group_reward=torch.tensor([4.0, -4.0]),
        next_obs=torch.full((2, 3, 4), 5.0),
        terminated=torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        present=torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]),
    )


def test_by_default_nothing_is_reshaped() -> None:
    individual, group = RewardShaping()(step())
    assert torch.equal(individual, step().reward)
    assert torch.equal(group, step().group_reward)


def test_only_rewards_above_zero_are_scaled_and_the_scenes_own_stay() -> None:
    given = step()
    individual, group = RewardShaping(positive_reward_scale=3.0)(given)
    assert individual.tolist() == [[3.0, -1.0, 0.0], [6.0, 9.0, 0.0]]
    assert group.tolist() == [12.0, -4.0]
    assert torch.equal(given.reward, step().reward)
    assert torch.equal(given.group_reward, step().group_reward)


def test_the_survival_bonus_goes_to_those_present_who_go_on() -> None:
    individual, group = RewardShaping(survival_bonus=0.5)(step(torch.zeros(2, 3)))
    assert individual.tolist() == [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]]
    assert torch.equal(group, step().group_reward)


MODULE = """
import torch

not_a_function = 7

def distance(step):
    assert step.terminated.shape == step.present.shape == (2, 3)
    return step.reward + (step.next_obs - step.obs).sum(-1)

def absent_nan(step):
    return torch.where(step.present > 0, step.reward, torch.nan)

def shape_lost(step):
    return step.reward.mean(-1)

def array(step):
    return step.reward.numpy()

def whole(step):
    return step.reward.long()

def undefined(step):
    return step.reward / 0
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module in the folder where training was started."""
    (tmp_path / "my_rewards.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "needs_missing.py").write_text("import no_such_library_here\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path.parent)  # restores sys.path, and what was imported, afterwards
    monkeypatch.delitem(__import__("sys").modules, "my_rewards", raising=False)
    return "my_rewards"


def test_the_users_own_function_comes_before_scale_and_bonus(module: str) -> None:
    individual, group = RewardShaping(2.0, 0.5, f"{module}:distance")(step())
    assert individual.tolist() == [[26.5, 22.5, 24.5], [28.5, 30.0, 24.0]]
    assert group.tolist() == [8.0, -4.0]


def test_what_the_users_function_says_of_absent_slots_does_not_matter(module: str) -> None:
    individual, group = RewardShaping(function=f"{module}:absent_nan")(step())
    shared = share_rewards(individual, group, step().present, RewardSharing.GROUP_MEAN)
    assert bool(shared.isfinite().all())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shape_lost", r"expected a float tensor of shape \(2, 3\), got shape \(2,\)"),
        ("array", r"expected a float tensor of shape \(2, 3\), got ndarray"),
        ("whole", r"expected a float tensor of shape \(2, 3\), got dtype torch.int64"),
        ("undefined", "expected finite rewards, got NaN or infinity among them"),
    ],
)
def test_a_function_that_returns_something_else_is_told(module: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"reward function '{module}:{name}': {message}"):
        RewardShaping(function=f"{module}:{name}")(step())


@pytest.mark.parametrize("path", ["my_rewards", "my_rewards:", ":distance", ""])
def test_a_path_of_another_form_is_told(module: str, path: str) -> None:
    with pytest.raises(ValueError, match=f"reward function '{path}': expected the form module:function"):
        load_reward_function(path)


def test_what_cannot_be_loaded_says_which_part_failed(module: str) -> None:
    with pytest.raises(ValueError, match="No module named 'no_such_module_here'"):
        load_reward_function("no_such_module_here:distance")
    with pytest.raises(ValueError, match="No module named 'no_such_library_here'"):
        load_reward_function("needs_missing:distance")
    with pytest.raises(ValueError, match="expected a function distanec in .*, got nothing of that name"):
        load_reward_function(f"{module}:distanec")
    with pytest.raises(ValueError, match="expected a function not_a_function in .*, got a int"):
        load_reward_function(f"{module}:not_a_function")


def test_a_negative_scale_is_told() -> None:
    with pytest.raises(ValueError, match=r"positive_reward_scale: expected at least 0, got -1.0"):
        RewardShaping(-1.0)
