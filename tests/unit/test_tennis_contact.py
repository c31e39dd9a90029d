"""Contacts in Tennis: energy, momentum, and no ball through a racket at any action."""

import numpy as np
import pytest

from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis import BY_A, TennisWorld
from mlagents_marl_plugin.player.scenes.tennis_contact import contact_impulse, sweep_against_racket
from mlagents_marl_plugin.player.scenes.tennis_physics import CourtPhysics


def gap(offset: np.ndarray) -> np.ndarray:
    """Distance [...] from racket to ball for ball centres [2, ...] in racket-local axes, negative inside."""
    beyond = np.moveaxis(np.abs(offset), 0, -1) - court.RACKET_HALF_SIZE
    outside = np.hypot(*np.moveaxis(np.maximum(beyond, 0.0), -1, 0))
    return outside + np.minimum(beyond.max(axis=-1), 0.0) - court.BALL_RADIUS


def ball_from_racket(physics: CourtPhysics) -> np.ndarray:
    """Ball centres [2, agents, areas] in racket-local axes, relative to the box centre."""
    place = np.stack([physics.racket_x, physics.racket_y]) + court.RACKET_BOX_OFFSET[:, None, None]
    ball = np.stack([court.MIRROR[:, None] * physics.ball[0], np.stack([physics.ball[1]] * 2)])
    return np.tensordot(court.TO_RACKET, ball - place, axes=1)


def kinetic_energy(ball: np.ndarray, racket: np.ndarray) -> np.ndarray:
    return 0.5 * court.BALL_MASS * (ball**2).sum(axis=0) + 0.5 * court.RACKET_MASS * (racket**2).sum(axis=0)


# The sweep


def test_sweep_agrees_with_small_steps() -> None:
    random = np.random.default_rng(0)
    start = random.uniform(-2.5, 2.5, (2, 1500))
    start = start[:, gap(start) > 0.0]
    motion = random.uniform(-1.5, 1.5, start.shape)
    sweep = sweep_against_racket(start, motion)

    moments = np.linspace(0.0, 1.0, 1001)
    gaps = gap(start[..., None] + motion[..., None] * moments)  # [K, moments]
    met = (gaps <= 0.0).any(axis=1)
    first = moments[(gaps <= 0.0).argmax(axis=1)]
    grazing = np.abs(gaps.min(axis=1)) < 1e-3
    assert 100 < np.count_nonzero(met) < 0.8 * met.size
    np.testing.assert_array_equal((sweep.time <= 1.0)[~grazing], met[~grazing])
    hit = met & (sweep.time <= 1.0)
    assert np.abs(sweep.time[hit] - first[hit]).max() < 0.03
    touching = start[:, hit] + motion[:, hit] * sweep.time[hit]
    np.testing.assert_allclose(gap(touching), 0.0, atol=1e-9)
    outward = (gap(touching + 1e-6 * sweep.normal[:, hit]) - gap(touching)) / 1e-6
    np.testing.assert_allclose(outward, 1.0, atol=1e-3)


def test_an_overlapping_ball_is_pushed_out_through_the_nearest_side() -> None:
    start = np.array([[0.9, 0.6, 0.1, -0.3, 0.54], [0.0, 1.2, -0.8, 0.2, 0.9]])
    sweep = sweep_against_racket(start, np.full_like(start, 0.01))

    np.testing.assert_array_equal(sweep.time, 0.0)
    np.testing.assert_allclose(sweep.depth, -gap(start))
    np.testing.assert_allclose(gap(start + sweep.normal * sweep.depth), 0.0, atol=1e-9)
    np.testing.assert_allclose(sweep.normal[:, 0], [1.0, 0.0])
    np.testing.assert_allclose(sweep.normal[:, 2], [0.0, -1.0])
    np.testing.assert_allclose(sweep.normal[:, 3], [-1.0, 0.0])


def test_a_resting_ball_is_not_hit() -> None:
    away = np.array([[1.06, 0.0], [0.0, 1.44]])

    assert (sweep_against_racket(away, np.zeros_like(away)).time > 1.0).all()


# The impulse


@pytest.mark.parametrize("can_yield", [(True, True), (True, False), (False, True), (False, False)])
def test_a_bounce_conserves_energy_and_reverses_the_approach(can_yield: tuple[bool, bool]) -> None:
    random = np.random.default_rng(1)
    angle = random.uniform(0.0, 2.0 * np.pi, 500)
    normal = np.stack([np.cos(angle), np.sin(angle)])
    ball, racket = random.uniform(-30.0, 30.0, (2, 2, 500))
    free = np.array(can_yield)[:, None] & np.ones((2, 500), dtype=bool)
    racket = racket * free
    approach = ((ball - racket) * normal).sum(axis=0)
    ball_change, racket_change = contact_impulse(normal, approach, free)

    bounces = approach < -court.BOUNCE_THRESHOLD
    assert 150 < np.count_nonzero(bounces) < 350
    before, after = kinetic_energy(ball, racket), kinetic_energy(ball + ball_change, racket + racket_change)
    np.testing.assert_allclose(after, np.where(approach < -2.0, before, after))
    left = ((ball + ball_change - racket - racket_change) * normal).sum(axis=0)
    np.testing.assert_allclose(left[bounces], -approach[bounces])
    apart = approach > 0.0
    assert not ball_change[:, apart].any()
    assert not racket_change[:, apart].any()
    along_face = ball_change[0] * normal[1] - ball_change[1] * normal[0]
    np.testing.assert_allclose(along_face, 0.0, atol=1e-9)  # no friction


def test_a_free_racket_takes_its_share_of_the_momentum() -> None:
    normal = np.array([[0.6], [0.8]])
    ball_change, racket_change = contact_impulse(normal, np.array([-10.0]), np.ones((2, 1), dtype=bool))

    np.testing.assert_allclose(ball_change, normal * 20.0 * 4.0 / 4.75)
    np.testing.assert_allclose(ball_change * court.BALL_MASS, -racket_change * court.RACKET_MASS)


def test_a_racket_pressed_on_the_floor_yields_sideways_only() -> None:
    normal = np.array([[0.6], [0.8]])
    ball_change, racket_change = contact_impulse(normal, np.array([-10.0]), np.array([[True], [False]]))

    assert racket_change[1] == 0.0
    assert racket_change[0] < 0.0
    np.testing.assert_allclose(ball_change * 0.75, normal * 20.0 / (1 / 0.75 + 0.36 / 4.0))


def test_a_slow_ball_does_not_bounce() -> None:
    normal = np.array([[0.0, 0.0], [1.0, 1.0]])
    braced = np.zeros((2, 2), dtype=bool)
    ball_change, _ = contact_impulse(normal, np.array([-1.99, -2.01]), braced)

    np.testing.assert_allclose(ball_change[1], [1.99, 4.02])


# In the world


def world_with(
    racket: tuple[float, float], ball: tuple[float, float], velocity: tuple[float, float]
) -> TennisWorld:
    """A's racket and the ball as given, B's racket far away."""
    world = TennisWorld(1, seed=0)
    world.reset()
    world.physics.racket_x[:, 0] = -8.0, racket[0]
    world.physics.racket_y[:, 0] = court.RACKET_REST_Y, racket[1]
    world.physics.ball[:, 0] = ball
    world.physics.ball_velocity[:, 0] = velocity
    return world


def test_a_stroke_in_the_air_conserves_the_energy_of_the_pair() -> None:
    above_face = np.array([-6.0, 0.0]) + 0.58 * court.RACKET_NORMAL
    world = world_with((-6.0, 0.0), tuple(above_face), (-5.0, -7.0))
    physics = world.physics
    speeds = []
    for _ in range(2):
        pull = np.array([0.0, -9.81 * 0.02])
        ball = physics.ball_velocity[:, 0] + pull
        racket = np.array([physics.racket_vx[A := court.AGENT_A, 0], physics.racket_vy[A, 0]]) + pull
        speeds.append(kinetic_energy(ball, racket))
        physics.advance(physics.racket_vx.copy(), np.zeros((2, 1), dtype=bool))
        racket = np.array([physics.racket_vx[A, 0], physics.racket_vy[A, 0]])
        speeds.append(kinetic_energy(physics.ball_velocity[:, 0], racket))
        if physics.touched is not None:
            break

    assert physics.touched is not None
    assert speeds[-1] == pytest.approx(speeds[-2], rel=1e-12)
    assert physics.ball_velocity[1, 0] > 0.0


def test_a_natural_stroke_sends_the_ball_back_over_the_net() -> None:
    face = np.array([-6.0, court.RACKET_REST_Y]) + 0.60 * court.RACKET_NORMAL
    world = world_with((-6.0, court.RACKET_REST_Y), tuple(face), (-7.0, -9.0))
    for _ in range(2):
        world.step(np.zeros((1, 2, 2)))

    ball_velocity = world.snapshot().ball_velocity[0]
    assert world.last_hit[0] == BY_A
    assert ball_velocity[0] == pytest.approx(6.1, abs=0.8)
    assert 6.0 < ball_velocity[1] < 9.0


@pytest.mark.parametrize("agent", [court.AGENT_A, court.AGENT_B])
def test_a_racket_at_full_speed_never_reaches_through_the_ball(agent: int) -> None:
    """It moves 0.6 m per step, more than the ball's radius: whatever the phase, the ball is hit in front."""
    side = court.MIRROR[agent]
    drive, no_jump = np.zeros((2, 1)), np.zeros((2, 1), dtype=bool)
    drive[agent] = court.RACKET_SPEED
    for distance in np.linspace(1.0, 2.2, 100):
        physics = world_with((-11.0, -1.0), (side * (-6.0 + distance), -1.1), (0.0, 0.0)).physics
        physics.racket_x[agent, 0], physics.racket_y[agent, 0] = -6.0, -1.0
        physics.racket_x[1 - agent, 0] = -11.0
        for _ in range(4):
            physics.advance(drive, no_jump)
            if physics.touched is not None:
                break
        assert physics.touched is not None
        assert physics.touched[1].tolist() == [agent]
        local = ball_from_racket(physics)[:, agent]
        assert local[0] > court.RACKET_HALF_SIZE[0]
        assert gap(local) > -1e-9
        assert side * physics.ball_velocity[0, 0] > 5.0
        assert physics.ball_velocity[1, 0] > 10.0


def test_no_ball_inside_a_racket_or_out_of_court_at_any_action() -> None:
    world = TennisWorld(120, seed=1)
    obs = world.reset()
    random = np.random.default_rng(0)
    physics = world.physics
    worst = {"free": 0.0, "squeezed": 0.0, "wall": 0.0, "floor": 0.0, "touches": 0}

    def look() -> None:
        overlap = -gap(ball_from_racket(physics)).min(axis=0)  # [areas]
        x, y = np.abs(physics.ball[0]), physics.ball[1]
        # A ball pinned between racket and wall or floor has nowhere to go; it is lost in the next step.
        pinned = (x >= court.WALL_INNER - 0.52) | (y <= court.FLOOR_TOP + 0.52)
        worst["free"] = max(worst["free"], overlap[~pinned].max())
        worst["squeezed"] = max(worst["squeezed"], overlap.max())
        worst["wall"] = max(worst["wall"], x.max() + court.BALL_RADIUS - court.WALL_INNER)
        worst["floor"] = max(worst["floor"], court.FLOOR_TOP - y.min() + court.BALL_RADIUS)
        worst["touches"] += 0 if physics.touched is None else len(physics.touched[0])

    world.on_fixed_step = look
    for _ in range(250):
        chase = (obs[..., -4] - obs[..., -8] - 0.3) / 3.0
        noise = random.standard_normal(chase.shape)
        choice = random.integers(0, 4, chase.shape)
        action = np.stack(
            [np.choose(choice, [np.sign(noise), chase, np.sign(chase), noise]), noise + 0.5], -1
        )
        obs = world.step(action).obs
        assert np.isfinite(obs).all()

    assert worst["touches"] > 2_000
    assert worst["free"] < 0.15
    assert worst["squeezed"] < 0.5
    one_step = (court.BALL_MAX_SPEED + 0.2) * court.FIXED_STEP
    assert worst["wall"] <= one_step
    assert worst["floor"] <= one_step


def test_a_ball_shot_at_the_net_does_not_come_out_on_the_other_side() -> None:
    """A stroke can send the ball a metre far before its speed is clamped, and the net is 0.1 m wide."""
    lost = 0
    for distance in np.linspace(1.0, 2.2, 40):
        world = world_with((-3.0, -1.8), (-distance, -1.6), (9.0, 0.0))
        action = np.zeros((1, 2, 2))
        action[0, court.AGENT_A, 0] = 1.0
        result = world.step(action)
        lost += int(result.terminated[0])
        assert result.terminated[0] or world.physics.ball[0, 0] < 0.0

    assert lost > 0
