"""VMAS scenes against VMAS itself, driven as its users drive it."""

import numpy as np
import pytest
import torch

from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.scenes.vmas_options import VmasOptions, scenarios
from mlagents_marl_plugin.player.scenes.vmas_scene import VmasScene, make_env

# Of each sort one or more: noise, joints, landmarks, scripted agents, several kinds, talk. All others are slow tests.
EVERY_TIME = (
    "dispersion",
    "asym_joint",
    "balance",
    "discovery",
    "flocking",
    "football",
    "navigation",
    "simple_adversary",
    "simple_speaker_listener",
    "simple_spread",
    "simple_tag",
    "transport",
)
SEED = 4
THREE = {"n_agents": 3}


@pytest.fixture(autouse=True)
def one_thread():
    """As the player has it; more get in each other's way with arrays this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_answers(scene, rng):
    """Random answers to everybody, in [-1, 1] or among the choices."""
    answers = {}
    for behavior in scene.behaviors:
        seat = next(kind.seats for kind in scene._kinds if kind.id == behavior.id)
        continuous = rng.uniform(-1, 1, (len(seat), behavior.actions.continuous)).astype(np.float32)
        sizes = behavior.actions.branches
        discrete = rng.integers(0, sizes, (len(seat), len(sizes))) if sizes else np.zeros((len(seat), 0), int)
        answers[behavior.id] = Actions(seat, continuous, discrete)
    return answers


def for_vmas(scene, answers, env):
    """The same answers as VMAS takes them: one array per agent, within its own range."""
    by_seat = {}
    for given in answers.values():
        values = given.discrete if given.discrete.shape[1] else given.continuous
        by_seat |= {int(seat): value for seat, value in zip(given.seat, values, strict=True)}
    chosen = []
    for index, agent in enumerate(env.agents):
        rows = np.stack([by_seat[area * len(env.agents) + index] for area in range(env.num_envs)])
        space = env.get_agent_action_space(agent)
        if hasattr(space, "low"):
            share = (rows.astype(np.float64) + 1) / 2
            rows = np.clip(space.low + share * (space.high - space.low), space.low, space.high)
        chosen.append(rows.astype(np.float32))
    return chosen


def flat(obs):
    parts = [obs[key] for key in sorted(obs)] if isinstance(obs, dict) else [obs]
    return np.concatenate([part.numpy().reshape(len(part), -1) for part in parts], axis=1)


def scenes_rows(scene, steps):
    """What the scene reports, by step and seat: (obs, reward) asked with, and last rows of ended seats."""
    rng = np.random.default_rng(0)
    record = []
    frame = scene.reset()
    for _ in range(steps + 1):
        asked, ended = {}, {}
        for rows in frame.values():
            flat_obs = np.concatenate([o.reshape(len(rows.seat), -1) for o in rows.observations], axis=1)
            for row, seat in enumerate(rows.seat.tolist()):
                done = rows.done is not None and bool(rows.done[row])
                stop = rows.interrupted is not None and bool(rows.interrupted[row])
                (ended if done else asked)[seat] = (flat_obs[row], float(rows.reward[row]), stop)
        answers = random_answers(scene, rng)
        record.append((asked, ended, answers))
        frame = scene.step(answers)
    return record


def compare(options, areas, steps):
    """Plays both, the scene first: VMAS's random numbers are shared by all environments of a process."""
    scene = VmasScene(areas, SEED, options)
    record = scenes_rows(scene, steps)
    env = make_env(areas, SEED, options)
    obs, n = env.reset(), len(env.agents)
    reward, final, terminated, truncated = None, None, np.zeros(areas, bool), np.zeros(areas, bool)
    ends = set()
    for asked, ended, answers in record:
        over = terminated | truncated
        assert set(asked) == set(range(areas * n))
        assert set(ended) == {area * n + agent for area in np.flatnonzero(over) for agent in range(n)}
        for seat, (seen, earned, _) in asked.items():
            area, agent = divmod(seat, n)
            np.testing.assert_array_equal(seen, flat(obs[agent])[area])
            assert earned == (0.0 if reward is None or over[area] else float(reward[agent].reshape(-1)[area]))
        for seat, (seen, earned, interrupted) in ended.items():
            area, agent = divmod(seat, n)
            np.testing.assert_array_equal(seen, flat(final[agent])[area])
            assert earned == float(reward[agent].reshape(-1)[area])
            assert interrupted == (truncated[area] and not terminated[area])
            ends.add(interrupted)
        final, reward, terminated, truncated, _ = env.step(for_vmas(scene, answers, env))
        terminated, truncated = terminated.numpy().astype(bool), truncated.numpy()
        over, obs = terminated | truncated, final
        if over.all():
            obs = env.reset()
        elif over.any():
            for area in np.flatnonzero(over).tolist():
                env.reset_at(area, return_observations=False)
            (obs,) = env.get_from_scenario(True, False, False, False)
    return ends


@pytest.mark.parametrize("scenario", EVERY_TIME)
def test_a_scenario_is_what_vmas_plays(scenario):
    assert compare(VmasOptions(scenario, max_steps=8), areas=2, steps=20) >= {True}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted(scenarios()))
def test_a_scenario_is_what_vmas_plays_for_1000_steps(scenario):
    assert compare(VmasOptions(scenario, max_steps=100), areas=2, steps=1000)


def test_dispersion_of_three_agents_is_what_vmas_plays_for_1000_steps():
    own = THREE | {"food_radius": 0.2, "share_reward": True, "penalise_by_time": True}
    options = VmasOptions("dispersion", scenario_options=own)
    assert compare(options, areas=3, steps=1000) == {True, False}, "found all goals, and ran out of time"


@pytest.mark.parametrize("actions", ["discrete", "multidiscrete"])
@pytest.mark.parametrize("scenario", ["dispersion", "simple_world_comm", "simple_reference"])
def test_discrete_actions_are_what_vmas_plays(scenario, actions):
    assert compare(VmasOptions(scenario, max_steps=15, actions=actions), areas=2, steps=40) >= {True}


def test_dict_observations_become_sensors():
    options = VmasOptions("football", max_steps=5, scenario_options={"dict_obs": True})
    scene = VmasScene(1, SEED, options)
    assert len(scene.behaviors[0].sensors) > 2
    assert compare(options, areas=1, steps=7) == {True}


def test_dispersion_starts_at_one_point_with_a_goal_for_each_agent():
    scene = VmasScene(5, SEED, VmasOptions("dispersion", scenario_options=THREE))
    (rows,) = scene.reset().values()
    obs = rows.observations[0].reshape(5, 3, -1)
    assert obs.shape == (5, 3, 4 + 3 * 3)
    assert not obs[..., :4].any()
    np.testing.assert_array_equal(obs[:, 0], obs[:, 1])
    assert [behavior.id for behavior in scene.behaviors] == ["Dispersion?team=0"]


def test_the_goals_radius_decides_when_one_is_reached():
    found = {}
    for radius in (0.05, 0.2):
        own = THREE | {"food_radius": radius}
        scene = VmasScene(16, SEED, VmasOptions("dispersion", scenario_options=own))
        scene.reset()
        rng = np.random.default_rng(0)
        found[radius] = sum(
            float(rows.reward.sum())
            for _ in range(60)
            for rows in scene.step(random_answers(scene, rng)).values()
        )
    assert found[0.2] > found[0.05]


@pytest.mark.parametrize(
    ("scenario", "names"),
    [
        ("simple_spread", ["SimpleSpread"]),
        ("simple_tag", ["SimpleTagAdversary", "SimpleTagAgent"]),
        ("simple_speaker_listener", ["SimpleSpeakerListenerSpeaker", "SimpleSpeakerListenerListener"]),
        (
            "simple_world_comm",
            ["SimpleWorldCommLeadAdversary", "SimpleWorldCommAdversary", "SimpleWorldCommAgent"],
        ),
    ],
)
def test_agents_that_differ_in_kind_differ_in_behaviour(scenario, names):
    scene = VmasScene(2, SEED, VmasOptions(scenario))
    assert [behavior.name for behavior in scene.behaviors] == names
    seats = np.concatenate([rows.seat for rows in scene.reset().values()])
    assert sorted(seats.tolist()) == list(range(scene.num_seats))


def test_who_forms_a_group():
    by_area = VmasScene(2, SEED, VmasOptions("simple_tag", groups="area")).reset()
    assert [rows.group.tolist() for rows in by_area.values()] == [[1, 1, 1, 2, 2, 2], [1, 2]]
    by_behavior = VmasScene(2, SEED, VmasOptions("simple_tag", groups="behavior")).reset()
    assert [rows.group.tolist() for rows in by_behavior.values()] == [[1, 1, 1, 3, 3, 3], [2, 4]]


def test_a_group_is_paid_its_members_mean_and_nobody_is_paid_twice():
    own = {"n_agents": 3, "food_radius": 0.3}
    alone = VmasScene(4, SEED, VmasOptions("dispersion", max_steps=20, scenario_options=own))
    record = scenes_rows(alone, 60)
    options = VmasOptions("dispersion", 20, groups="area", group_reward=True, scenario_options=own)
    together = VmasScene(4, SEED, options)
    frame = together.reset()
    paid = 0.0
    for asked, ended, answers in record:
        (rows,) = frame.values()
        assert not rows.reward.any()
        for row, seat in enumerate(rows.seat.tolist()):
            source = ended if rows.done is not None and rows.done[row] else asked
            mates = range(seat // 3 * 3, seat // 3 * 3 + 3)
            expected = np.mean([source[mate][1] for mate in mates])
            got = 0.0 if rows.group_reward is None else rows.group_reward[row]
            assert got == pytest.approx(expected, abs=1e-6)
            paid += got
        frame = together.step(answers)
    assert paid > 0


def test_actions_beyond_their_range_are_clamped():
    options = VmasOptions("simple_reference", max_steps=0)
    one, other = VmasScene(1, SEED, options), VmasScene(1, SEED, options)
    for factor, scene in ((3.0, one), (100.0, other)):
        scene.reset()
        ones = {
            b.id: Actions(np.arange(2), np.full((2, 12), factor), np.zeros((2, 0))) for b in one.behaviors
        }
        (rows,) = scene.step(ones).values()
        assert rows.observations[0][0, -10:].tolist() == [1.0] * 10, "what the other one said"


def test_nobody_answering_is_doing_nothing():
    scene = VmasScene(2, SEED, VmasOptions("dispersion"))
    scene.reset()
    (rows,) = scene.step({}).values()
    assert not rows.observations[0][:, :4].any()


def test_a_diverged_policy_is_named():
    scene = VmasScene(1, SEED, VmasOptions("dispersion", scenario_options=THREE))
    scene.reset()
    nothing = Actions(np.arange(3), np.full((3, 2), np.nan, np.float32), np.zeros((3, 0)))
    with pytest.raises(ValueError, match=r"actions of Dispersion\?team=0: expected finite numbers"):
        scene.step({"Dispersion?team=0": nothing})


def test_options_that_the_scenario_cannot_use_are_refused():
    with pytest.raises(ValueError, match=r"expected options that scenario dispersion accepts, got .*2\.5"):
        VmasScene(1, SEED, VmasOptions("dispersion", scenario_options={"n_agents": 2.5}))
