"""Competitive Tennis against the numbers and the rules of the scene that ML-Agents shipped."""

import numpy as np
import pytest

from mlagents_marl_plugin.player.scenes import versus_court as court
from mlagents_marl_plugin.player.scenes.tennis_court import FIXED_STEP, GRAVITY
from mlagents_marl_plugin.player.scenes.versus import (
    NOBODY,
    SERVICE,
    UNSET,
    VersusOptions,
    VersusWorld,
)

A, B = court.AGENT_A, court.AGENT_B
RADIUS = 0.25
ON_FLOOR = court.FLOOR_TOP + RADIUS
NEWEST = slice(-9, None)


def still(world):
    return np.zeros((world.num_areas, 2, 3))


def random_actions(steps, areas, seed=1):
    return np.random.default_rng(seed).uniform(-1.2, 1.2, (steps, areas, 2, 3))


def court_with_ball(x, y, vx=0.0, vy=0.0, last_hit=NOBODY, last_floor=UNSET, net_live=False, racket_x=-4.0):
    """One court with the rackets at rest and the ball where the test wants it."""
    world = VersusWorld(1, seed=0)
    world.reset()
    physics = world.physics
    physics.put_rackets(np.array([0]), np.full((2, 1), racket_x), -6.406)
    physics.ball[:, 0], physics.ball_velocity[:, 0] = (x, y), (vx, vy)
    world.last_hit[:], world.last_floor[:], world.net_live[:] = last_hit, last_floor, net_live
    return world


def winner(result):
    """A, B, or None if the point goes on."""
    if not result.terminated[0]:
        assert not result.reward.any()
        return None
    assert sorted(result.reward[0]) == [-1.0, 1.0]
    return int(result.reward[0].argmax())


# What agents see


def test_the_first_observation_is_the_serve():
    obs = VersusWorld(50, seed=3).reset()
    assert obs.shape == (50, 2, 27)
    assert not obs[..., :18].any(), "the stack starts empty"
    frame = obs[..., NEWEST]
    assert ((frame[..., 0] >= -8.0) & (frame[..., 0] <= -6.0)).all(), "own side is negative for both"
    np.testing.assert_array_equal(frame[..., 1], -1.5)
    np.testing.assert_array_equal(frame[..., [2, 3, 6, 7, 8]], 0.0)
    assert ((np.abs(frame[..., 4]) >= 6.0) & (np.abs(frame[..., 4]) <= 8.0)).all()
    np.testing.assert_array_equal(frame[:, A, 4], -frame[:, B, 4])
    np.testing.assert_array_equal(frame[..., 5], 6.0)
    assert 15 <= np.count_nonzero(frame[:, A, 4] < 0) <= 35, "either side may be served"


def test_agent_0_is_the_left_player_and_sees_the_world_unmirrored():
    world = VersusWorld(1, seed=0)
    obs = world.reset()
    assert obs[0, A, -9] == np.float32(world.physics.racket[0, A, 0]) < 0
    assert obs[0, A, -5] == np.float32(world.physics.ball[0, 0])
    assert obs[0, B, -5] == -np.float32(world.physics.ball[0, 0])


def test_the_balls_velocity_is_the_balls():
    world = court_with_ball(-3.0, 2.0, vx=4.0, vy=1.0)
    frame = world.step(still(world)).obs[0, :, NEWEST]
    falling = 1.0 - 5 * GRAVITY * FIXED_STEP
    np.testing.assert_allclose(frame[:, 6], [4.0, -4.0])
    np.testing.assert_allclose(frame[:, 7], falling, rtol=1e-6)
    np.testing.assert_allclose(frame[:, 4], [-2.6, 2.6], rtol=1e-6)


def test_frames_are_stacked_newest_last():
    world = VersusWorld(4, seed=1)
    first = world.reset()
    second = world.step(still(world)).obs
    third = world.step(still(world)).obs
    np.testing.assert_array_equal(second[..., 9:18], first[..., NEWEST])
    assert not second[..., :9].any()
    np.testing.assert_array_equal(third[..., :9], first[..., NEWEST])
    np.testing.assert_array_equal(third[..., 9:18], second[..., NEWEST])


# How bodies move


def test_an_untouched_serve_meets_the_floor_in_the_92nd_step():
    world = VersusWorld(20, seed=0)
    first = world.reset()
    away = still(world)
    away[..., 0] = 1.0
    for _ in range(18):
        assert not world.step(away).terminated.any()
    result = world.step(away)
    assert result.terminated.all()
    served_to_a = first[:, A, -5] < 0
    np.testing.assert_array_equal(result.reward[:, A], np.where(served_to_a, -1.0, 1.0))
    np.testing.assert_array_equal(result.reward[:, B], -result.reward[:, A])
    # The last look shows the ball where it was lost; the new one has fallen for the three steps that were left.
    np.testing.assert_array_equal(result.final_obs[:, A, -5], first[:, A, -5])
    assert (np.abs(result.final_obs[..., -4] - ON_FLOOR) < 0.2).all()
    fallen = 6.0 - GRAVITY * FIXED_STEP**2 * (1 + 2 + 3)
    np.testing.assert_allclose(result.obs[..., -4], fallen, rtol=1e-6)
    np.testing.assert_allclose(result.obs[..., -8], fallen - 7.5, rtol=1e-6)  # rackets fall from -1.5 alike
    assert not result.obs[..., :18].any()


@pytest.mark.parametrize(("tilt", "height"), [(0.0, -6.406), (1.0, -6.565), (-1.0, -6.565)])
def test_a_racket_rests_on_the_floor_at_a_height_that_depends_on_its_tilt(tilt, height):
    world = court_with_ball(3.0, 30.0)
    action = still(world)
    action[..., 2] = tilt
    for _ in range(3):
        obs = world.step(action).obs
    np.testing.assert_allclose(obs[0, :, -8], height, atol=5e-4)
    np.testing.assert_allclose(obs[0, :, -6], 0.0)


def test_holding_jump_drives_a_racket_up_to_about_1():
    world = court_with_ball(3.0, 30.0)
    action = still(world)
    action[0, A, 1] = 0.51
    action[0, B, 1] = 0.5
    heights = np.array([world.step(action).obs[0, :, -8] for _ in range(16)])
    assert 0.8 < heights[:, A].max() < 1.1
    np.testing.assert_allclose(heights[:, B], -6.406)


def test_a_racket_goes_no_farther_than_a_step_beyond_one_metre_from_the_net_and_stops_at_the_wall():
    world = court_with_ball(3.0, 30.0)
    action = still(world)
    action[0, A, 0], action[0, B, 0] = 1.0, -1.0
    for _ in range(6):
        frame = world.step(action).obs[0, :, NEWEST]
    np.testing.assert_allclose(frame[:, 0], [-0.4, -court.WALL_INNER + 0.0635], rtol=1e-6)
    np.testing.assert_allclose(frame[:, 2], [30.0, 0.0])


@pytest.mark.parametrize(
    ("x", "y", "vx", "vy", "after"),
    [
        (-3.0, ON_FLOOR + 0.1, 2.0, -6.0, (2.0, 6.0)),  # floor
        (-11.5, -3.0, -7.0, 1.0, (7.0, 1.0)),  # wall
        (-0.5, -6.6, 8.0, 0.0, (-8.0, 0.0)),  # net, from the left
        (0.5, -6.6, -8.0, 0.0, (8.0, 0.0)),
        (0.0, court.NET_TOP + RADIUS + 0.05, 0.0, -5.0, (0.0, 5.0)),  # its top
        (-3.0, ON_FLOOR + 0.01, 2.0, -1.0, (2.0, 0.0)),  # too slow to bounce
    ],
)
def test_the_ball_bounces_off_everything_without_loss_or_friction(x, y, vx, vy, after):
    world = court_with_ball(x, y, vx, vy, last_hit=A, net_live=True, racket_x=-9.0)
    jump, drive = np.zeros((2, 1), bool), np.zeros((2, 1))
    for _ in range(3):
        before = world.physics.ball_velocity[:, 0].copy()
        world.physics.advance(drive, jump)
        if world.physics.contacts:
            break
    assert len(world.physics.contacts) == 1
    fall = GRAVITY * FIXED_STEP
    np.testing.assert_allclose(before[0], vx)
    np.testing.assert_allclose(np.abs(world.physics.ball_velocity[:, 0]), np.abs(after), atol=3.1 * fall)
    assert np.sign(world.physics.ball_velocity[0, 0]) == np.sign(after[0])
    assert world.physics.ball_velocity[1, 0] >= -3.1 * fall


@pytest.mark.parametrize(("tilt", "direction"), [(-1.0, 1), (0.0, 0), (1.0, -1)])
def test_a_ball_from_the_side_goes_where_the_plate_looks(tilt, direction):
    """-1 looks up, 1 looks down."""
    world = court_with_ball(-3.4, -6.45, vx=-8.0)
    world.physics.turn(np.array([0]), np.full((2, 1), tilt) * court.MAX_TILT)
    vy = []
    for _ in range(3):
        world.physics.advance(np.zeros((2, 1)), np.zeros((2, 1), bool))
        vy.append(world.physics.ball_velocity[1, 0])
        if world.physics.contacts:
            break
    struck = world.physics.contacts[0]
    assert struck.bodies.tolist() == [A]
    gained = vy[-1] + len(vy) * GRAVITY * FIXED_STEP
    assert np.sign(np.round(gained, 6)) == direction


def test_both_sides_play_alike():
    left = court_with_ball(-3.3, -6.4, vx=-8.0, vy=1.0)
    right = court_with_ball(3.3, -6.4, vx=8.0, vy=1.0)
    for action in random_actions(12, 1)[:, :, :1].repeat(2, axis=2):
        one, other = left.step(action), right.step(action)
        np.testing.assert_array_equal(one.final_obs[0, A, NEWEST], other.final_obs[0, B, NEWEST])
        np.testing.assert_array_equal(one.final_obs[0, B, NEWEST], other.final_obs[0, A, NEWEST])
        np.testing.assert_array_equal(one.reward[0], other.reward[0, ::-1])
        if one.terminated[0]:
            break
    assert left.last_hit[0] != NOBODY or one.terminated[0]


def test_no_ball_gets_into_a_body():
    world = VersusWorld(40, seed=9)
    world.reset()
    drive, jump = world._drive, world._jump
    rng = np.random.default_rng(5)
    for step in range(1500):
        if step % 5 == 0:
            drive[:], jump[:] = rng.uniform(-30, 30, (2, 40)), rng.random((2, 40)) < 0.3
            world.physics.turn(np.arange(40), rng.uniform(-1, 1, (2, 40)))
            away = rng.random(40) < 0.02
            world.physics.put_ball(away.nonzero()[0], rng.uniform(-8, 8, away.sum()), 0.0, RADIUS)
        world.physics.advance(drive, jump)
        x, y = world.physics.ball
        assert (y >= ON_FLOOR - 1e-9).all()
        assert (np.abs(x) <= court.WALL_INNER - RADIUS + 1e-9).all()
        beside, above = np.maximum(np.abs(x) - 0.061, 0), np.maximum(y - court.NET_TOP, 0)
        assert (np.hypot(beside, above) >= RADIUS - 1e-6).all()


# Points


FLOOR_A, FLOOR_B = {"x": -3.0, "y": ON_FLOOR + 0.05, "vy": -6.0}, {"x": 3.0, "y": ON_FLOOR + 0.05, "vy": -6.0}
WALL_A, WALL_B = {"x": -11.5, "y": -3.0, "vx": -8.0}, {"x": 11.5, "y": -3.0, "vx": 8.0}
NET_FROM_A = {"x": -0.5, "y": -6.55, "vx": 8.0}
RACKET_A = {"x": -3.5, "y": -6.4, "vx": -8.0}
RACKET_B = {"x": 3.5, "y": -6.4, "vx": 8.0}


@pytest.mark.parametrize(
    ("ball", "state", "wins"),
    [
        (FLOOR_A, {"last_floor": SERVICE}, B),  # nobody returned the serve
        (FLOOR_B, {"last_floor": SERVICE}, A),
        (FLOOR_A, {"last_hit": A}, B),  # into the own floor
        (FLOOR_A, {"last_hit": B}, None),  # the one bounce that is legal
        (FLOOR_A, {"last_hit": B, "last_floor": A}, B),  # the second
        (FLOOR_B, {"last_hit": A, "last_floor": B}, A),
        (WALL_A, {"last_hit": A}, B),  # backwards into the own wall
        (WALL_A, {"last_hit": B, "last_floor": A}, B),  # a winner
        (WALL_A, {"last_hit": B}, A),  # long
        (WALL_B, {"last_hit": A, "last_floor": B}, A),
        (WALL_B, {"last_hit": A}, B),
        (NET_FROM_A, {"last_hit": A}, B),  # before it ever crossed
        (NET_FROM_A, {"last_hit": B}, A),
        (NET_FROM_A, {"last_hit": A, "net_live": True}, None),
        (RACKET_A, {"last_hit": A, "net_live": True}, B),  # twice
        (RACKET_A, {"last_hit": B, "net_live": True}, None),
        (RACKET_B, {"last_hit": B}, A),
    ],
)
def test_the_rules(ball, state, wins):
    assert winner(court_with_ball(**ball, **state).step(np.zeros((1, 2, 3)))) == wins


@pytest.mark.parametrize(
    ("ball", "before", "after"),
    [
        (FLOOR_A, (B, UNSET, False), (B, A, True)),
        (RACKET_A, (NOBODY, SERVICE, False), (A, UNSET, False)),  # a serve: the net is not live yet
        (RACKET_A, (B, UNSET, False), (A, UNSET, True)),  # a volley
        (RACKET_A, (B, A, True), (A, UNSET, True)),
        (NET_FROM_A, (A, UNSET, True), (A, UNSET, True)),
    ],
)
def test_what_a_legal_touch_changes(ball, before, after):
    world = court_with_ball(**ball, last_hit=before[0], last_floor=before[1], net_live=before[2])
    world.physics.advance(np.zeros((2, 1)), np.zeros((2, 1), bool))
    for _ in range(4):
        if world.physics.contacts:
            break
        world.physics.advance(np.zeros((2, 1)), np.zeros((2, 1), bool))
    for contacts in world.physics.contacts:
        world._judge(contacts)
    assert (world.last_hit[0], world.last_floor[0], world.net_live[0]) == after


def test_a_ball_that_slides_along_the_floor_touched_it_once():
    world = court_with_ball(-8.0, ON_FLOOR + 0.01, vx=1.0, vy=-0.5, last_hit=B)
    world.physics.put_rackets(np.array([0]), np.array([[-1.0], [-8.0]]), 5.0)
    for _ in range(10):
        assert winner(world.step(still(world))) is None
    assert world.last_floor[0] == A
    np.testing.assert_allclose(world.physics.ball[1, 0], ON_FLOOR)
    np.testing.assert_allclose(world.physics.ball[0, 0], -7.0)


def test_pushing_on_after_a_stroke_hits_twice():
    world = court_with_ball(-3.0, -6.2, last_hit=B, net_live=True)
    action = still(world)
    action[0, A, 0] = 1.0
    assert winner(world.step(action)) == B


def test_random_play_ends_points_in_every_way_it_can():
    areas = 30
    world = VersusWorld(areas, seed=2)
    world.reset()
    strokes, wins = [], np.zeros(2)
    for action in random_actions(600, areas):
        result = world.step(action)
        np.testing.assert_array_equal(result.reward.sum(axis=1), 0.0)
        np.testing.assert_array_equal(np.abs(result.reward[:, A]), result.terminated)
        assert not result.interrupted.any()
        strokes += world.ended_strokes[result.terminated].tolist()
        wins += (result.reward > 0).sum(axis=0)
    assert set(strokes) >= {0, 1, 2}
    assert 0.4 < wins[A] / wins.sum() < 0.6


# Courts, options, errors


def test_a_court_depends_on_its_index_and_its_actions_alone():
    few, many = VersusWorld(2, seed=7), VersusWorld(9, seed=7)
    np.testing.assert_array_equal(few.reset(), many.reset()[:2])
    for action in random_actions(300, 9):
        one, other = few.step(action[:2]), many.step(action)
        for name in ("reward", "terminated", "final_obs", "obs"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name)[:2])


def test_actions_beyond_their_range_are_clamped():
    one, other = VersusWorld(1, seed=7), VersusWorld(1, seed=7)
    one.reset()
    other.reset()
    for action in random_actions(40, 1) * 3:
        np.testing.assert_array_equal(one.step(action).obs, other.step(np.clip(action, -1, 1)).obs)


def test_a_rally_is_interrupted_at_its_limit_if_there_is_one():
    world = VersusWorld(3, seed=0, options=VersusOptions(max_decisions=4))
    world.reset()
    for step in range(1, 13):
        result = world.step(still(world))
        assert result.interrupted.all() == (step % 4 == 0)
        assert not result.terminated.any()
        assert not result.reward.any()
        if step % 4 == 0:
            assert (result.final_obs[..., -4] < 6.0).all()
            np.testing.assert_array_equal(result.obs[..., -4], 6.0)


def test_gravity_and_the_balls_size_change_with_the_next_serve():
    world = VersusWorld(1, seed=0)

    def change():
        world.physics.gravity, world.ball_scale = 20.0, 2.0

    world.before_serve = change
    world.reset()
    frame = world.step(still(world)).obs[0, A, NEWEST]
    np.testing.assert_allclose(frame[7], -5 * 20.0 * FIXED_STEP, rtol=1e-6)
    for _ in range(30):
        result = world.step(still(world))
        if result.terminated[0]:
            break
    bottom = result.final_obs[0, A, -4] - 1.0
    assert abs(bottom - court.FLOOR_TOP) < 0.2


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((1, 2, 2)), r"expected actions of shape \(1, 2, 3\), got \(1, 2, 2\)"),
        (np.full((1, 2, 3), np.nan), "expected finite actions, got NaN or infinity"),
    ],
)
def test_wrong_actions_are_refused(action, message):
    world = VersusWorld(1, seed=0)
    world.reset()
    with pytest.raises(ValueError, match=message):
        world.step(action)


def test_wrong_options_are_refused():
    with pytest.raises(
        ValueError, match=r"TennisVersus\.max_decisions: expected a whole number >= 0, got -1"
    ):
        VersusOptions(max_decisions=-1)
    with pytest.raises(ValueError, match=r"VersusWorld\.num_areas: expected a whole number >= 1, got 0"):
        VersusWorld(0, seed=0)
