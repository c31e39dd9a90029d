"""Noise, how it fades, and actions that explore."""

import math

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core.exploration import (
    ExplorationSchedule,
    Explorer,
    GaussianNoise,
    NoiseType,
    OrnsteinUhlenbeck,
)
from mlagents_marl_plugin.core.types import ActionLayout

LAYOUT = ActionLayout(2, (3, 2))
ALWAYS = ExplorationSchedule(scale=0.3, floor=0.3)
BOTH_KINDS = pytest.mark.parametrize("noise_type", list(NoiseType))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def explorer(schedule: ExplorationSchedule = ALWAYS, epsilon: float = 0.0, seed: int = 0) -> Explorer:
    return Explorer(LAYOUT, NoiseType.ORNSTEIN_UHLENBECK, schedule, generator(seed), epsilon)


def policy_actions(num_rows: int) -> Tensor:
    """Values 0 and the first choice of every branch."""
    return torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]).repeat(num_rows, 1)


def test_the_yaml_names_of_the_noise_types() -> None:
    assert [kind.value for kind in NoiseType] == ["gaussian", "ornstein_uhlenbeck"]


def settled_course(noise: GaussianNoise | OrnsteinUhlenbeck) -> Tensor:
    """[T, R, C] noise of many members after the start."""
    member = torch.arange(200)
    return torch.stack([noise.sample(member, 2) for _ in range(300)])[50:]


def test_gaussian_noise_has_deviation_one_and_no_memory() -> None:
    course = settled_course(GaussianNoise(generator()))
    assert float(course.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(course.std()) == pytest.approx(1.0, abs=0.02)
    assert float((course[1:] * course[:-1]).mean()) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("theta", [0.15, 0.5, 1.0])
def test_ornstein_uhlenbeck_settles_at_deviation_one_and_forgets_theta_per_step(theta: float) -> None:
    course = settled_course(OrnsteinUhlenbeck(generator(), theta))
    assert float(course.std()) == pytest.approx(1.0, abs=0.03)
    assert float((course[1:] * course[:-1]).mean()) == pytest.approx(1 - theta, abs=0.05)
    assert float((course[..., 0] * course[..., 1]).mean()) == pytest.approx(0.0, abs=0.03)
    assert float((course[:, 0] * course[:, 1]).mean()) == pytest.approx(0.0, abs=0.25)


def test_ornstein_uhlenbeck_starts_each_member_from_zero_and_resets_only_who_is_named() -> None:
    noise = OrnsteinUhlenbeck(generator(1))
    assert float(noise.sample(torch.arange(5000), 1).std()) == pytest.approx(math.sqrt(0.2775), abs=0.02)
    for _ in range(30):
        noise.sample(torch.arange(5000), 1)
    before = noise.state_dict()["state"]
    noise.reset(torch.tensor([1, 3, 9_000]))  # one number that nobody has had yet
    after = noise.state_dict()["state"]
    assert after[[1, 3]].tolist() == [[0.0], [0.0]]
    before[[1, 3]] = 0.0
    assert torch.equal(after, before)


def test_new_members_leave_the_others_where_they_were() -> None:
    noise = OrnsteinUhlenbeck(generator(1), theta=0.01)
    first = noise.sample(torch.tensor([2, 0]), 3)
    noise.sample(torch.tensor([77]), 3)
    state = noise.state_dict()["state"]
    assert torch.equal(state[[2, 0]], first)
    assert not state[1].any()
    noise.reset(torch.tensor([77]))
    assert torch.equal(noise.state_dict()["state"][[2, 0]], first)


def test_nobody_deciding_is_no_error() -> None:
    nobody = torch.zeros(0, dtype=torch.int64)
    assert OrnsteinUhlenbeck(generator()).sample(nobody, 2).shape == (0, 2)
    assert explorer().explore(policy_actions(0), torch.zeros(0, 5), nobody, 0).shape == (0, 7)


def test_bad_noise_settings_are_told() -> None:
    for theta in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"expected 0 < theta <= 1, got {theta}"):
            OrnsteinUhlenbeck(generator(), theta)
    noise = OrnsteinUhlenbeck(generator())
    noise.sample(torch.tensor([0]), 2)
    with pytest.raises(ValueError, match="expected width 2 as before, got 3"):
        noise.sample(torch.tensor([0]), 3)
    with pytest.raises(ValueError, match=r"expected 'state' of shape \(members, width\), got None"):
        noise.load_state_dict({})
    with pytest.raises(ValueError, match=r"expected 'state' of shape \(members, width\), got \(3,\)"):
        noise.load_state_dict({"state": torch.zeros(3)})


def test_the_schedule_fades_to_its_floor() -> None:
    schedule = ExplorationSchedule(scale=0.4, floor=0.1, decay=0.5, random_steps=2)
    assert [schedule.scale_at(step) for step in range(4)] == [0.4, 0.2, 0.1, 0.1]
    assert [schedule.relative(step) for step in range(4)] == [1.0, 0.5, 0.25, 0.25]
    assert [schedule.is_random(step) for step in range(4)] == [True, True, False, False]
    assert schedule.scale_at(10_000_000) == 0.1
    silent = ExplorationSchedule(scale=0.0, floor=0.0, decay=0.5)
    assert [(silent.scale_at(step), silent.relative(step)) for step in (0, 2)] == [(0.0, 1.0), (0.0, 0.25)]


def test_the_schedule_falls_on_a_line_to_its_floor() -> None:
    schedule = ExplorationSchedule(scale=1.0, floor=0.2, decay=0.5, random_steps=1, anneal_steps=4)
    assert [schedule.scale_at(step) for step in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert [schedule.relative(step) for step in (0, 2, 9)] == pytest.approx([1.0, 0.6, 0.2])
    assert schedule.scale_at(10_000_000) == 0.2
    silent = ExplorationSchedule(scale=0.0, floor=0.0, anneal_steps=4)
    assert [silent.relative(step) for step in (0, 1, 4, 5)] == [1.0, 0.75, 0.0, 0.0]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("scale", -0.1, "at least 0"),
        ("floor", 0.5, r"0 <= floor <= scale \(0.3\)"),
        ("floor", -0.1, "0 <= floor <= scale"),
        ("decay", 0.0, "0 < decay <= 1"),
        ("decay", 1.01, "0 < decay <= 1"),
        ("random_steps", -1, "at least 0"),
        ("anneal_steps", -1, "at least 0"),
    ],
)
def test_a_schedule_out_of_range_is_told(field: str, value: float, rule: str) -> None:
    with pytest.raises(ValueError, match=f"ExplorationSchedule.{field}: expected {rule}.*, got {value};"):
        ExplorationSchedule(**{field: value})


@BOTH_KINDS
def test_noise_is_scaled_and_clipped_and_leaves_the_policys_action_alone(noise_type: NoiseType) -> None:
    num_rows = 5000
    member, allowed = torch.arange(num_rows), torch.ones(num_rows, 5)
    chosen = policy_actions(num_rows)
    chosen[:, 1] = 0.99
    small = Explorer(LAYOUT, noise_type, ExplorationSchedule(0.1, 0.0, 0.5), generator())
    for _ in range(40):
        explored = small.explore(chosen, allowed, member, step=0)
    assert float(explored[:, 0].std()) == pytest.approx(0.1, abs=0.01)
    assert float(explored[:, 1].max()) == 1.0
    assert torch.equal(explored[:, 2:], chosen[:, 2:])
    assert float(small.explore(chosen, allowed, member, step=1)[:, 0].std()) == pytest.approx(0.05, abs=0.01)
    assert float(chosen[:, 1].min()) == pytest.approx(0.99) and not chosen[:, 0].any()
    large = Explorer(LAYOUT, noise_type, ExplorationSchedule(9.0, 9.0), generator())
    assert float(large.explore(chosen, allowed, member, 0)[:, 0].abs().max()) == 1.0


def test_first_actions_are_uniform_and_permitted_whatever_the_policy_wants() -> None:
    num_rows = 60_000
    allowed = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]).repeat(num_rows, 1)
    schedule = ExplorationSchedule(random_steps=10)
    explored = explorer(schedule).explore(policy_actions(num_rows), allowed, torch.arange(num_rows), 9)
    assert explored[:, 2:].mean(0).tolist() == pytest.approx([0.5, 0.0, 0.5, 0.5, 0.5], abs=0.01)
    assert float(explored[:, 0].var()) == pytest.approx(1 / 3, abs=0.01)
    later = explorer(schedule).explore(policy_actions(num_rows), allowed, torch.arange(num_rows), 10)
    assert torch.equal(later[:, 2:], policy_actions(num_rows)[:, 2:])


@pytest.mark.parametrize("floor", [0.1, 0.0])
def test_epsilon_replaces_choices_by_permitted_ones_and_fades_like_the_noise(floor: float) -> None:
    """A scene of choices alone may well be without noise."""
    num_rows = 60_000
    allowed = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]).repeat(num_rows, 1)
    curious = explorer(ExplorationSchedule(4.0 * floor, floor, 0.5), epsilon=0.4)
    for step, epsilon in ((0, 0.4), (1, 0.2), (2, 0.1), (5, 0.25 * 0.4 if floor else 0.4 / 32)):
        explored = curious.explore(policy_actions(num_rows), allowed, torch.arange(num_rows), step)
        expected = [1 - epsilon / 2, 0.0, epsilon / 2, 1 - epsilon / 2, epsilon / 2]
        assert explored[:, 2:].mean(0).tolist() == pytest.approx(expected, abs=0.01)
        both = (explored[:, 4] * explored[:, 6]).mean()  # branches are replaced independently
        assert float(both) == pytest.approx((epsilon / 2) ** 2, abs=0.005)


def test_epsilon_out_of_range_is_told() -> None:
    with pytest.raises(ValueError, match=r"expected 0 <= epsilon <= 1, got 1.5"):
        explorer(epsilon=1.5)


@BOTH_KINDS
def test_a_loaded_explorer_goes_on_exactly(noise_type: NoiseType) -> None:
    first = Explorer(LAYOUT, noise_type, ALWAYS, generator(1), epsilon=0.5)
    arguments = (policy_actions(9), torch.ones(9, 5), torch.arange(9), 3)
    for _ in range(5):
        first.explore(*arguments)
    second = Explorer(LAYOUT, noise_type, ALWAYS, generator(2), epsilon=0.5)
    first.nudge = 0.2
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        assert torch.equal(second.explore(*arguments), first.explore(*arguments))
    first.reset(torch.arange(9))
    assert first.state_dict()["noise"] == {} or not first.state_dict()["noise"]["state"].any()


@BOTH_KINDS
def test_a_nudge_widens_the_noise_and_nothing_else(noise_type: NoiseType) -> None:
    num_rows = 20_000
    chosen, allowed, member = policy_actions(num_rows), torch.ones(num_rows, 5), torch.arange(num_rows)
    deviation = []
    for nudge in (0.0, 0.2):
        stuck = Explorer(LAYOUT, noise_type, ExplorationSchedule(0.1, 0.0, 0.5), generator())
        stuck.nudge = nudge
        for _ in range(40):
            explored = stuck.explore(chosen, allowed, member, step=1)
        deviation.append(float(explored[:, :2].std()))
        assert torch.equal(explored[:, 2:], chosen[:, 2:])
    # 0.05 of the schedule and 0.2 on top, which does not fade with it.
    assert deviation == pytest.approx([0.05, 0.25], abs=0.01)


@pytest.mark.parametrize("name", ["noise", "generator", "nudge"])
def test_a_missing_entry_is_named(name: str) -> None:
    state = explorer().state_dict()
    del state[name]
    with pytest.raises(ValueError, match=f"expected entry '{name}', got none"):
        explorer().load_state_dict(state)
