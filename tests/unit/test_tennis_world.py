"""The Tennis world against the numbers of the Udacity build: serves, ends, rewards, options."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis import (
    BY_A,
    BY_B,
    NOBODY,
    TennisOptions,
    TennisStep,
    TennisWorld,
)
from mlagents_marl_plugin.player.scenes.tennis_policies import RallyPolicy, RandomPolicy

B, A = court.AGENT_B, court.AGENT_A
# Ball heights after n = 1..5 fixed steps of free fall from 6 m.
FALLEN = np.array([5.99608, 5.98823, 5.97646, 5.96076, 5.94114])
NEWEST = slice(-8, None)


def still(world: TennisWorld) -> np.ndarray:
    return np.zeros((world.num_areas, 2, 2))


def at_net(world: TennisWorld) -> np.ndarray:
    """Full speed to the net, out of the way of any serve."""
    action = still(world)
    action[..., 0] = 1.0
    return action


def court_with_ball(
    x: float, y: float, vx: float = 0.0, vy: float = 0.0, last_hit: int = NOBODY, over_net: bool = False
) -> TennisWorld:
    """One court, rackets out of the way, the ball where the test wants it."""
    world = TennisWorld(1, seed=0)
    world.reset()
    world.physics.racket_x[:] = -4.0
    world.physics.racket_y[:] = court.RACKET_REST_Y
    world.physics.ball[:, 0] = x, y
    world.physics.ball_velocity[:, 0] = vx, vy
    world.physics.over_net[:] = over_net
    world.last_hit[:] = last_hit
    return world


def play(
    world: TennisWorld, policy: Callable[[np.ndarray], np.ndarray], rallies: int
) -> dict[str, np.ndarray]:
    """Length and score of every area's first ``rallies`` rallies, so that short ones are not favoured."""
    obs = world.reset()
    length = np.zeros(world.num_areas, dtype=int)
    score = np.zeros((world.num_areas, 2))
    results: list[list[tuple[int, float]]] = [[] for _ in range(world.num_areas)]
    while min(map(len, results)) < rallies:
        result = world.step(policy(obs))
        obs = result.obs
        length += 1
        score += result.reward
        for area in np.flatnonzero(result.terminated | result.interrupted):
            results[area].append((length[area], score[area].max()))
            length[area] = 0
            score[area] = 0.0
    flat = np.array([rally for area in results for rally in area[:rallies]])
    return {"length": flat[:, 0], "score": flat[:, 1]}


# First frames


def test_first_observation_is_the_serve_of_the_original() -> None:
    obs = TennisWorld(50, seed=3).reset()

    assert obs.shape == (50, 2, 24)
    assert obs.dtype == np.float32
    assert not obs[..., :16].any(), "the stack starts empty"
    frame = obs[..., NEWEST]
    assert ((frame[..., 0] >= -8.0) & (frame[..., 0] <= -6.0)).all(), "own side is negative for both"
    np.testing.assert_array_equal(frame[..., 1], -1.5)
    np.testing.assert_array_equal(frame[..., [2, 3, 6, 7]], 0.0)
    assert ((np.abs(frame[..., 4]) >= 6.0) & (np.abs(frame[..., 4]) <= 8.0)).all()
    np.testing.assert_array_equal(frame[..., 4].sum(axis=-1), 0.0)  # mirrored views of one ball
    np.testing.assert_array_equal(frame[..., 5], 6.0)
    assert 15 <= np.count_nonzero(frame[:, A, 4] < 0) <= 35, "either side may be served"


def test_agent_0_is_the_right_player() -> None:
    world = TennisWorld(1, seed=0)
    obs = world.reset()
    snapshot = world.snapshot()

    assert snapshot.racket[0, B, 0] > 0 > snapshot.racket[0, A, 0]
    np.testing.assert_allclose(snapshot.racket[0, B, 0], -obs[0, B, -8])
    np.testing.assert_allclose(snapshot.ball[0, 0], -obs[0, B, -4])
    np.testing.assert_allclose(snapshot.ball[0, 0], obs[0, A, -4])


def test_frames_are_stacked_newest_last() -> None:
    world = TennisWorld(4, seed=1)
    first = world.reset()
    second = world.step(still(world)).obs
    third = world.step(still(world)).obs
    fourth = world.step(still(world)).obs

    np.testing.assert_array_equal(second[..., 8:16], first[..., NEWEST])
    assert not second[..., :8].any()
    np.testing.assert_array_equal(third[..., :8], first[..., NEWEST])
    np.testing.assert_array_equal(fourth[..., :16], third[..., 8:])


# Falling, resting, jumping


def test_an_untouched_serve_is_lost_in_the_72nd_step() -> None:
    world = TennisWorld(1, seed=0)
    world.reset()
    heights = []
    world.on_fixed_step = lambda: heights.append(world.snapshot().ball[0, 1])
    decisions = 0
    while not world.step(at_net(world)).terminated[0]:
        decisions += 1

    lost_in = int(np.flatnonzero(np.diff(heights) > 0)[0]) + 2
    assert lost_in == 72
    assert decisions + 1 == 15
    np.testing.assert_allclose(heights[:5], FALLEN, atol=1e-5)


def test_later_rallies_begin_with_a_ball_that_fell_one_to_five_steps() -> None:
    world = TennisWorld(1, seed=0)
    world.reset()
    lengths, begun, length = [], [], 0
    for _ in range(200):
        result = world.step(at_net(world))
        length += 1
        if result.terminated[0]:
            lengths.append(length)
            begun.append(float(result.obs[0, A, -3]))
            length = 0

    assert set(lengths) == {14, 15}
    np.testing.assert_allclose(np.unique(np.round(begun, 5))[::-1], FALLEN, atol=1e-5)


def test_observation_of_a_lost_rally_is_the_next_serve() -> None:
    world = TennisWorld(30, seed=4)
    world.reset()
    while not (result := world.step(at_net(world))).terminated.any():
        pass
    area = int(np.flatnonzero(result.terminated)[0])

    for obs in (result.final_obs[area], result.obs[area]):
        assert not obs[:, :16].any(), "the stack starts empty"
        assert ((obs[:, -8] >= -8.0) & (obs[:, -8] <= -6.0)).all()
        np.testing.assert_array_equal(obs[:, -7], -1.5)
    fallen = np.searchsorted(-np.concatenate([[6.0], FALLEN]), -result.final_obs[area, A, -3] - 1e-4)
    np.testing.assert_allclose(result.obs[area, A, -3], FALLEN[fallen], atol=1e-5)
    assert (result.final_obs[area, :, -8] != result.obs[area, :, -8]).all(), "rackets are drawn twice"
    assert world.snapshot().decision[area] == 0


def test_racket_rests_on_the_floor() -> None:
    world = TennisWorld(1, seed=0)
    world.reset()
    for _ in range(6):
        obs = world.step(still(world)).obs

    np.testing.assert_allclose(obs[0, :, -7], -1.852, atol=5e-4)
    np.testing.assert_array_equal(obs[0, :, -5], 0.0)


def test_jump_launches_from_the_floor_to_the_height_of_the_original() -> None:
    world = court_with_ball(9.0, 6.0)
    launch, heights = [], []

    def look() -> None:
        launch.append(world.snapshot().racket_velocity[0, A, 1])
        heights.append(world.snapshot().racket[0, A, 1])

    world.on_fixed_step = look
    jump = still(world)
    jump[0, A, 1] = 1.0
    world.step(jump)
    for _ in range(8):
        world.step(still(world))

    assert launch[2] == pytest.approx(6.80, abs=0.01)
    assert heights[2] == pytest.approx(-1.44, abs=0.01)
    assert launch[3] < launch[2], "no push above -1.5"
    assert max(heights) == pytest.approx(0.85, abs=0.01)
    np.testing.assert_allclose(world.snapshot().racket[0, B, 1], court.RACKET_REST_Y)


@pytest.mark.parametrize(("effort", "jumps"), [(0.5, False), (0.51, True), (7.0, True), (-1.0, False)])
def test_jump_needs_more_than_half(effort: float, jumps: bool) -> None:
    world = court_with_ball(9.0, 6.0)
    action = still(world)
    action[..., 1] = effort
    world.step(action)

    assert (world.snapshot().racket[0, :, 1] > -1.5).all() == jumps


def test_holding_jump_does_not_lift_a_flying_racket() -> None:
    world = court_with_ball(9.0, 6.0)
    world.physics.racket_y[:] = -1.0
    action = still(world)
    action[..., 1] = 1.0
    world.step(action)

    np.testing.assert_allclose(world.snapshot().racket_velocity[0, :, 1], -5 * 9.81 * 0.02)


# Moving


def test_full_speed_is_three_metres_per_decision_and_actions_are_clamped() -> None:
    world = court_with_ball(9.0, 6.0)
    world.physics.racket_x[:] = -7.0
    action = still(world)
    action[0, B, 0], action[0, A, 0] = -0.5, 40.0
    obs = world.step(action).obs

    np.testing.assert_allclose(obs[0, :, -8], [-8.5, -4.0], atol=1e-5)
    np.testing.assert_allclose(obs[0, :, -6], [-15.0, 30.0], atol=1e-5)


def test_racket_is_set_back_to_one_metre_from_the_net_before_each_step() -> None:
    world = court_with_ball(9.0, 6.0)
    seen = []
    world.on_fixed_step = lambda: seen.append(world.physics.racket_x.copy())
    for _ in range(4):
        obs = world.step(at_net(world)).obs

    np.testing.assert_allclose(obs[0, :, -8], -0.4, atol=1e-6)
    assert np.max(seen) == pytest.approx(-0.4)
    obs = world.step(still(world)).obs
    np.testing.assert_allclose(obs[0, :, -8], -1.0, atol=1e-6)


def test_racket_stops_at_the_back_wall() -> None:
    world = court_with_ball(9.0, 6.0)
    for _ in range(5):
        obs = world.step(-at_net(world)).obs

    np.testing.assert_allclose(obs[0, :, -8] - court.RACKET_HALF_EXTENT[0] - 0.2868, -12.27, atol=1e-3)
    np.testing.assert_array_equal(obs[0, :, -6], 0.0)


def test_ball_speed_is_clamped_per_axis_before_gravity() -> None:
    world = court_with_ball(-3.0, 8.0, vx=30.0, vy=-30.0)
    world.physics.racket_x[:] = -10.0
    world.step(still(world))

    np.testing.assert_allclose(world.snapshot().ball_velocity[0], [9.0, -9.1962])


# Rewards, row by row

FLOOR = {"y": -2.6, "vy": -9.0}
WALL = {"y": 2.0}
TOP_OF_NET = {"x": 0.0, "y": -0.45, "vy": -3.0}


@pytest.mark.parametrize(
    ("state", "last_hit", "reward_a", "reward_b"),
    [
        ({"x": -9.0, **FLOOR}, NOBODY, -0.01, 0.0),
        ({"x": -9.0, **FLOOR}, BY_A, -0.01, 0.0),
        ({"x": -9.0, **FLOOR}, BY_B, -0.01, 0.0),
        ({"x": 9.0, **FLOOR}, NOBODY, 0.0, -0.01),
        ({"x": 9.0, **FLOOR}, BY_A, 0.0, -0.01),
        ({"x": 9.0, **FLOOR}, BY_B, 0.0, -0.01),
        ({"x": -11.6, "vx": -9.0, **WALL}, BY_A, -0.01, 0.0),
        ({"x": -11.6, "vx": -9.0, **WALL}, BY_B, 0.0, -0.01),
        ({"x": -11.6, "vx": -9.0, **WALL}, NOBODY, 0.0, -0.01),
        ({"x": 11.6, "vx": 9.0, **WALL}, BY_A, -0.01, 0.0),
        ({"x": 11.6, "vx": 9.0, **WALL}, BY_B, 0.0, -0.01),
        ({"x": 11.6, "vx": 9.0, **WALL}, NOBODY, 0.0, -0.01),
        ({"x": -0.7, "y": -2.0, "vx": 9.0}, BY_A, -0.01, 0.0),
        ({"x": -0.7, "y": -2.0, "vx": 9.0}, BY_B, 0.0, -0.01),
        ({"x": 0.7, "y": -2.0, "vx": -9.0}, NOBODY, 0.0, -0.01),
    ],
)
def test_who_is_charged_for_a_lost_ball(
    state: dict[str, float], last_hit: int, reward_a: float, reward_b: float
) -> None:
    world = court_with_ball(**state, last_hit=last_hit)
    result = world.step(still(world))

    assert result.terminated[0]
    assert not result.interrupted[0]
    np.testing.assert_allclose(result.reward[0, [A, B]], [reward_a, reward_b], atol=1e-7)
    assert world.last_hit[0] == NOBODY


@pytest.mark.parametrize(
    ("last_hit", "reward_a", "reward_b"), [(BY_A, 0.1, 0.0), (BY_B, 0.0, 0.1), (NOBODY, 0.0, 0.1)]
)
@pytest.mark.parametrize("vx", [-9.0, 9.0])
@pytest.mark.parametrize("came_from", [-0.3, 0.3])
def test_leaving_the_plane_above_the_net_pays_on_either_side(
    vx: float, came_from: float, last_hit: int, reward_a: float, reward_b: float
) -> None:
    world = court_with_ball(came_from, 3.0, vx=vx, last_hit=last_hit, over_net=True)
    results = [world.step(still(world)) for _ in range(2)]

    reward = results[0].reward[0] + results[1].reward[0]
    np.testing.assert_allclose(reward[[A, B]], [reward_a, reward_b], atol=1e-7)
    assert not results[1].terminated[0]
    assert world.last_hit[0] == BY_A, "after any crossing A counts as the last to hit"


def test_entering_the_plane_pays_nothing_and_leaving_it_pays_once() -> None:
    world = court_with_ball(-0.8, 5.0, vx=4.0, last_hit=BY_A)
    reward = np.concatenate([world.step(still(world)).reward[:, A] for _ in range(6)])

    assert np.count_nonzero(reward) == 1
    assert np.flatnonzero(reward)[0] == 3, "1.3 m at 4 m/s"


def test_plane_ends_below_the_sky() -> None:
    world = court_with_ball(-0.8, 10.5, vx=9.0, vy=9.0, last_hit=BY_A)
    rewards = [world.step(still(world)).reward for _ in range(2)]

    assert not np.any(rewards)


def test_a_loss_wipes_what_the_other_agent_earned_in_the_same_interval() -> None:
    # The trigger exit comes with the step in which the ball is lost: +0.1 to A, then the loss.
    charged_a = court_with_ball(-9.0, -2.74, over_net=True, last_hit=BY_A)
    charged_b = court_with_ball(9.0, -2.74, over_net=True, last_hit=BY_A)

    np.testing.assert_allclose(charged_a.step(still(charged_a)).reward[0, [A, B]], [0.09, 0.0], atol=1e-7)
    np.testing.assert_allclose(charged_b.step(still(charged_b)).reward[0, [A, B]], [0.0, -0.01], atol=1e-7)


def test_a_loss_leaves_what_was_earned_in_earlier_intervals() -> None:
    world = court_with_ball(9.0, -2.0, last_hit=BY_A, vy=-2.0, over_net=True)
    first = world.step(still(world)).reward[0]
    total = first + sum(world.step(still(world)).reward[0] for _ in range(2))

    assert first[A] == pytest.approx(0.1)
    np.testing.assert_allclose(total[[A, B]], [0.1, -0.01], atol=1e-7)


def test_a_ball_that_b_sends_over_and_out_is_charged_to_a() -> None:
    world = court_with_ball(0.3, 6.0, vx=-9.0, vy=9.0, last_hit=BY_B, over_net=True)
    world.physics.racket_x[:] = -2.0
    rewards = []
    while not (result := world.step(still(world))).terminated[0]:
        rewards.append(result.reward[0])

    np.testing.assert_allclose(np.sum(rewards, axis=0)[[A, B]], [0.0, 0.1], atol=1e-7)
    np.testing.assert_allclose(result.reward[0, [A, B]], [-0.01, 0.0], atol=1e-7)


def test_a_ball_lost_on_the_net_pays_b_when_it_is_gone_from_the_plane() -> None:
    world = court_with_ball(**TOP_OF_NET, over_net=True, last_hit=BY_B)
    result = world.step(still(world))

    assert result.terminated[0]
    np.testing.assert_allclose(result.reward[0, [A, B]], [0.0, 0.09], atol=1e-7)
    assert world.last_hit[0] == BY_A


def test_the_late_crossing_falls_into_the_next_rally_if_the_interval_is_over() -> None:
    # Touches the net (centre at -0.48) with the fifth step of the interval.
    world = court_with_ball(0.0, 0.15, vy=-7.5, over_net=True, last_hit=BY_A)
    result = world.step(still(world))
    assert result.terminated[0]
    np.testing.assert_allclose(result.reward[0, [A, B]], [-0.01, 0.0], atol=1e-7)

    np.testing.assert_allclose(world.step(still(world)).reward[0, [A, B]], [0.0, 0.1], atol=1e-7)


@pytest.mark.parametrize("state", [{"x": 9.0, **FLOOR}, {"x": 11.6, "vx": 9.0, **WALL}, TOP_OF_NET])
def test_a_lost_ball_is_served_at_once_and_never_bounces(state: dict[str, float]) -> None:
    world = court_with_ball(**state)
    balls, speeds = [], []

    def look() -> None:
        balls.append(world.snapshot().ball[0])
        speeds.append(world.snapshot().ball_velocity[0])

    world.on_fixed_step = look
    world.step(still(world))
    served = next(step for step, ball in enumerate(balls) if ball[1] == 6.0)

    assert 6.0 <= abs(balls[served][0]) <= 8.0
    np.testing.assert_array_equal(speeds[served], 0.0)
    before = np.array(speeds[:served]) * np.sign([state.get("vx", 1.0), state.get("vy", -1.0)])
    assert (before >= 0.0).all(), "the ball keeps its course until it is lost"


# The limit


def test_a_rally_is_interrupted_at_the_decision_limit_with_its_true_observation() -> None:
    world = TennisWorld(8, seed=0, options=TennisOptions(max_decisions=40))
    policy, obs = RallyPolicy(), world.reset()
    results: list[TennisStep] = []
    for _ in range(41):
        results.append(world.step(policy(obs)))
        obs = results[-1].obs
    before, limit, after = results[38], results[39], results[40]

    assert not any(result.terminated.any() for result in results), "the policy keeps the rally going"
    assert limit.interrupted.all()
    assert not before.interrupted.any()
    assert not after.interrupted.any()
    np.testing.assert_array_equal(limit.final_obs[..., :16], before.obs[..., 8:])  # stack intact
    assert not limit.obs[..., :16].any()
    assert ((limit.obs[..., -8] >= -8.0) & (limit.obs[..., -8] <= -6.0)).all(), "rackets go home"
    # The ball is not served again: it flies on for one fixed step.
    moved = np.abs(limit.obs[..., -4:-2] - limit.final_obs[..., -4:-2])
    assert (moved <= 0.1841).all()
    assert (moved > 0.0).any()


def test_a_rally_lost_with_the_last_decision_is_not_interrupted() -> None:
    world = TennisWorld(1, seed=0, options=TennisOptions(max_decisions=15))
    world.reset()
    results = [world.step(at_net(world)) for _ in range(15)]

    assert results[-1].terminated[0]
    assert not results[-1].interrupted[0]


# Whole rallies


def test_scripted_players_reach_the_ceiling() -> None:
    rallies = play(TennisWorld(20, seed=11), RallyPolicy(), rallies=1)

    good = (rallies["score"] > 2.595) & (rallies["score"] < 2.705) & (rallies["length"] == 1000)
    assert np.count_nonzero(good) >= 18


@pytest.mark.parametrize("clipped_normal", [False, True])
def test_random_play_looks_like_random_play_of_the_original(clipped_normal: bool) -> None:
    random = np.random.default_rng(0)
    policy: Any = RandomPolicy(seed=0)
    if clipped_normal:
        policy = lambda obs: np.clip(random.standard_normal((*obs.shape[:2], 2)), -1.0, 1.0)  # noqa: E731
    rallies = play(TennisWorld(60, seed=2), policy, rallies=10)

    length, score = rallies["length"], rallies["score"]
    assert len(length) == 600
    assert 12 <= length.min() <= 14
    assert 14 <= np.median(length) <= 16
    assert 16 <= length.mean() <= 21
    assert 0.15 <= (score > 0).mean() <= 0.25
    assert score.max() < 0.5


# Seeds, areas, options


def random_steps(world: TennisWorld, areas: int, steps: int = 120) -> np.ndarray:
    random = np.random.default_rng(5)
    obs = [world.reset()[:areas]]
    for _ in range(steps):
        action = random.uniform(-1, 1, (40, 2, 2))[: world.num_areas]
        obs.append(world.step(action).obs[:areas])
    return np.array(obs)


def test_a_seed_fixes_everything() -> None:
    first = random_steps(TennisWorld(8, seed=7), 8)

    np.testing.assert_array_equal(first, random_steps(TennisWorld(8, seed=7), 8))
    assert (first[0] != random_steps(TennisWorld(8, seed=8), 8)[0]).any()
    np.testing.assert_array_equal(TennisWorld(2, seed=-1).reset(), TennisWorld(2, seed=-1).reset())


@pytest.mark.parametrize("num_areas", [1, 3, 40])
def test_an_area_does_not_depend_on_how_many_there_are(num_areas: int) -> None:
    expected = random_steps(TennisWorld(5, seed=7), 1)

    np.testing.assert_array_equal(random_steps(TennisWorld(num_areas, seed=7), 1), expected)


def test_areas_differ_and_serves_do_not_repeat() -> None:
    world = TennisWorld(40, seed=0)
    serves = [world.reset()[:, A, -4] for _ in range(200)]

    assert np.unique(np.round(serves, 6)).size > 7_900


def test_entries_7_and_8_repeat_the_rackets_velocity_unless_asked_otherwise() -> None:
    worlds = [
        TennisWorld(6, seed=0, options=TennisOptions(true_ball_velocity=flag)) for flag in (False, True)
    ]
    for world in worlds:
        world.reset()
    action = RandomPolicy(seed=1)(np.zeros((6, 2, 24)))
    repeated, true = (world.step(action).obs[..., NEWEST] for world in worlds)

    np.testing.assert_array_equal(repeated[..., 6:], repeated[..., 2:4])
    np.testing.assert_array_equal(true[..., :6], repeated[..., :6])
    ball_velocity = worlds[1].snapshot().ball_velocity
    np.testing.assert_allclose(true[:, A, 6:], ball_velocity, atol=1e-6)
    np.testing.assert_allclose(true[:, B, 6:], ball_velocity * (-1.0, 1.0), atol=1e-6)
    assert (true[..., 7] < -0.9).all()


@pytest.mark.parametrize("num_stacked", [1, 2, 5])
def test_number_of_stacked_frames(num_stacked: int) -> None:
    world = TennisWorld(2, seed=0, options=TennisOptions(num_stacked=num_stacked))
    frames = [world.reset()[..., NEWEST]]
    for _ in range(5):
        obs = world.step(still(world)).obs
        frames.append(obs[..., NEWEST])

    assert obs.shape == (2, 2, 8 * num_stacked)
    np.testing.assert_array_equal(obs, np.concatenate(frames[-num_stacked:], axis=-1))


def test_reward_scale_scales_rewards_but_not_the_score() -> None:
    world = court_with_ball(0.3, 3.0, vx=9.0, last_hit=BY_A, over_net=True)
    world.options = TennisOptions(reward_scale=10.0)
    result = world.step(still(world))

    np.testing.assert_allclose(result.reward[0, [A, B]], [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(world.snapshot().score[0, [A, B]], [0.1, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"true_ball_velocity": "false"}, r"Tennis\.true_ball_velocity: expected true or false, got 'false'"),
        ({"num_stacked": 0}, r"Tennis\.num_stacked: expected a whole number >= 1, got 0"),
        ({"num_stacked": 2.5}, r"Tennis\.num_stacked: expected a whole number >= 1, got 2\.5"),
        ({"max_decisions": True}, r"Tennis\.max_decisions: expected a whole number >= 1, got True"),
        ({"reward_scale": 0.0}, r"Tennis\.reward_scale: expected a finite number > 0, got 0\.0"),
        ({"reward_scale": float("nan")}, r"Tennis\.reward_scale: expected a finite number > 0, got nan"),
        ({"reward_scale": "2"}, r"Tennis\.reward_scale: expected a finite number > 0, got '2'"),
    ],
)
def test_wrong_options_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TennisOptions(**option)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_areas: expected a whole number >= 1, got 0"):
        TennisWorld(0, seed=0)
    world = TennisWorld(2, seed=0)
    with pytest.raises(RuntimeError, match=r"expected reset\(\) before the first step"):
        world.step(np.zeros((2, 2, 2)))
    world.reset()
    with pytest.raises(ValueError, match=r"expected actions of shape \(2, 2, 2\), got \(4, 2\)"):
        world.step(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="expected finite actions, got NaN"):
        world.step(np.full((2, 2, 2), np.nan))
    with pytest.raises(ValueError, match=r"RallyPolicy: expected observations of at least 16 numbers"):
        RallyPolicy()(np.zeros((1, 2, 8), dtype=np.float32))
