"""Players that need no learning: one keeps a rally going, one acts at random.

Both map observations [..., obs] to actions [..., 2] and see nothing else, so they play any number of areas,
in process or through the ML-Agents protocol.
"""

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis import ACTION_SIZE, FRAME_SIZE
from mlagents_marl_plugin.player.scenes.tennis_court import Floats

_DECISION_TIME = court.FIXED_STEP * court.FIXED_STEPS_PER_DECISION
# A falling ball is clamped to 9 m/s, then gravity of the step is added.
_FALL_SPEED = court.BALL_MAX_SPEED + court.GRAVITY * court.FIXED_STEP
_STRIKE_OFFSET = (court.BALL_RADIUS + court.RACKET_HALF_SIZE[0] - 0.5) * court.RACKET_NORMAL
_STRIKE_HEIGHT = court.RACKET_REST_Y + _STRIKE_OFFSET[1]
# A racket on the floor yields along the floor only.
_REFLECTION = 2.0 / (1.0 + court.BALL_MASS / court.RACKET_MASS * court.RACKET_NORMAL[0] ** 2)
_SWINGS = np.linspace(-4.0, 14.0, 73)  # racket speeds at the stroke, m/s
_AIM_X, _HOME_X = 6.0, -6.5
_NET_CLEARANCE = court.NET_TOP + court.BALL_RADIUS + 0.3


class RandomPolicy:
    """Uniform actions in [-1, 1]."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed % 2**32)

    def __call__(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions [..., 2] float32 for observations [..., obs]."""
        return self._random.uniform(-1.0, 1.0, (*obs.shape[:-1], ACTION_SIZE)).astype(np.float32)


class RallyPolicy:
    """Returns every ball from the floor, never jumps: a rally lasts to the decision limit.

    It takes the ball's velocity from the last two frames, waits where the ball comes down and swings at
    the speed that sends it to the middle of the other half.
    """

    def __call__(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions [..., 2] float32 for observations [..., obs].

        Raises:
            ValueError: if an observation holds fewer than two frames.
        """
        if obs.shape[-1] < 2 * FRAME_SIZE:
            raise ValueError(
                f"RallyPolicy: expected observations of at least {2 * FRAME_SIZE} numbers (two frames), "
                f"got {obs.shape[-1]}; play with num_stacked >= 2"
            )
        racket_x = obs[..., -FRAME_SIZE].astype(np.float64)
        x, y, vx, vy = _ball_motion(obs)
        time = _fall_time(y, vy)
        meet_x = x + vx * time
        arrival_vy = np.maximum(vy - court.GRAVITY * time, -_FALL_SPEED)
        swing = _best_swing(meet_x, vx, arrival_vy)

        # The swing begins with the decision during which the ball arrives; until then, take up position.
        left = np.clip(time - _DECISION_TIME, 0.0, _DECISION_TIME)
        mine = (meet_x < 0.0) & (meet_x > -court.WALL_INNER)
        wait_x = np.where(mine, meet_x - _STRIKE_OFFSET[0] - swing * left, _HOME_X)
        speed = np.where(mine & (time <= _DECISION_TIME), swing, (wait_x - racket_x) / _DECISION_TIME)
        action = np.zeros((*obs.shape[:-1], ACTION_SIZE), dtype=np.float32)
        action[..., 0] = np.clip(speed / court.RACKET_SPEED, -1.0, 1.0)
        return action


def _ball_motion(obs: NDArray[np.float32]) -> tuple[Floats, Floats, Floats, Floats]:
    """Canonical x, y, vx, vy of the ball, each [...]."""
    newest = obs[..., -FRAME_SIZE:].astype(np.float64)
    previous = obs[..., -2 * FRAME_SIZE : -FRAME_SIZE].astype(np.float64)
    x, y = newest[..., 4], newest[..., 5]
    first = ~previous.any(axis=-1)  # the stack is empty at a serve: the ball falls from rest
    vx = np.where(first, 0.0, (x - previous[..., 4]) / _DECISION_TIME)
    # The mean over five steps is the velocity two steps ago.
    vy = (y - previous[..., 5]) / _DECISION_TIME - 2.0 * court.GRAVITY * court.FIXED_STEP
    fallen = np.sqrt(2.0 * court.GRAVITY * np.maximum(court.SERVE_BALL_Y - y, 0.0))
    return x, y, vx, np.maximum(np.where(first, -fallen, vy), -_FALL_SPEED)


def _fall_time(y: Floats, vy: Floats) -> Floats:
    """Seconds until the ball comes down to the height at which a standing racket strikes it."""
    until_clamped = (vy + _FALL_SPEED) / court.GRAVITY
    clamped_y = y + until_clamped * (vy - _FALL_SPEED) / 2.0
    free = (
        vy + np.sqrt(np.maximum(vy * vy + 2.0 * court.GRAVITY * (y - _STRIKE_HEIGHT), 0.0))
    ) / court.GRAVITY
    clamped = until_clamped + (clamped_y - _STRIKE_HEIGHT) / _FALL_SPEED
    return np.maximum(np.where(clamped_y > _STRIKE_HEIGHT, clamped, free), 0.0)


def _best_swing(meet_x: Floats, vx: Floats, vy: Floats) -> Floats:
    """Racket speed [...] whose stroke clears the net and comes down nearest to the aim."""
    normal_x, normal_y = court.RACKET_NORMAL
    towards = -(vx * normal_x + vy * normal_y)
    push = _REFLECTION * (towards[..., None] + _SWINGS * normal_x)  # [..., swings]
    out_vx = np.clip(vx[..., None] + push * normal_x, -court.BALL_MAX_SPEED, court.BALL_MAX_SPEED)
    out_vy = np.clip(vy[..., None] + push * normal_y, -court.BALL_MAX_SPEED, court.BALL_MAX_SPEED)
    landing = meet_x[..., None] + out_vx * 2.0 * out_vy / court.GRAVITY
    to_net = -meet_x[..., None] / np.maximum(out_vx, 0.1)
    height = _STRIKE_HEIGHT + to_net * (out_vy - court.GRAVITY * to_net / 2.0)
    cost = np.abs(landing - _AIM_X) + np.where(height < _NET_CLEARANCE, 100.0, 0.0)
    swing: Floats = np.take(_SWINGS, cost.argmin(axis=-1))
    return swing
