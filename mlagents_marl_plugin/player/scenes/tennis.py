"""The Tennis scene by the rules of the Udacity build, for many courts at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis_court import Floats, Ints
from mlagents_marl_plugin.player.scenes.tennis_physics import CourtPhysics
from mlagents_marl_plugin.player.scenes.tennis_serves import ServeDraws

FRAME_SIZE = 8
ACTION_SIZE = 2
NUM_AGENTS = court.NUM_AGENTS
CROSSING_REWARD = 0.1
LOSS_REWARD = -0.01
# Who touched the ball last; A counts as 0 and B as 1, as in the C# script.
NOBODY, BY_A, BY_B = -1, 0, 1


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_scale(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value < math.inf


@dataclass(frozen=True)
class TennisOptions:
    """What a researcher may change about the scene.

    Attributes:
        true_ball_velocity: entries 7 and 8 of a frame show the ball's velocity. By default they repeat the
            racket's, a bug of the original that most published results contain.
        num_stacked: frames per observation, newest last, >= 1.
        reward_scale: factor on every reward, > 0.
        max_decisions: decisions after which a rally is interrupted, >= 1.
    """

    true_ball_velocity: bool = False
    num_stacked: int = 3
    reward_scale: float = 1.0
    max_decisions: int = 1000

    def __post_init__(self) -> None:
        whole = "a whole number >= 1"
        rules = (
            (
                "true_ball_velocity",
                _is_flag,
                "true or false",
                "true shows the ball's velocity in entries 7, 8",
            ),
            ("num_stacked", _is_count, whole, "the original stacks 3 frames"),
            ("reward_scale", _is_scale, "a finite number > 0", "1.0 leaves rewards alone"),
            ("max_decisions", _is_count, whole, "the original interrupts after 1000"),
        )
        for name, holds, rule, remedy in rules:
            value = getattr(self, name)
            if not holds(value):
                raise ValueError(f"Tennis.{name}: expected {rule}, got {value!r}; {remedy}")

    @property
    def obs_size(self) -> int:
        """Length of one agent's observation."""
        return self.num_stacked * FRAME_SIZE


class TennisStep(NamedTuple):
    """What one decision interval of 0.1 s brought. Agent order: 0 is B (right), 1 is A (left)."""

    reward: NDArray[np.float32]  # [areas, 2] of this interval
    terminated: NDArray[np.bool_]  # [areas] the rally was lost
    interrupted: NDArray[np.bool_]  # [areas] the decision limit was reached
    # Goes with the last step of an ended rally: if lost, it shows the next serve already, as in the original;
    # if interrupted, what the rally looked like at the limit. Equals ``obs`` elsewhere.
    final_obs: NDArray[np.float32]  # [areas, 2, obs]
    obs: NDArray[np.float32]  # [areas, 2, obs] for the next decision (after the reset where ended)


class TennisSnapshot(NamedTuple):
    """Where everything is, in world coordinates (metres), for drawing and for scripted players."""

    ball: Floats  # [areas, 2 (x, y)]
    ball_velocity: Floats  # [areas, 2]
    racket: Floats  # [areas, 2 (agent), 2 (x, y)]
    racket_velocity: Floats  # [areas, 2, 2]
    score: Floats  # [areas, 2] reward of each agent in this rally so far, unscaled
    decision: Ints  # [areas] int, decisions taken in this rally


class TennisWorld:
    """``num_areas`` independent Tennis courts.

    An area's fate depends on ``seed`` (any integer), its index and its own actions only, not on how many
    areas there are. Call ``reset`` once, then ``step``: where a rally ended, the next one begins by itself.

    Attributes:
        physics: bodies of all courts.
        last_hit: [areas] who touched the ball last: ``NOBODY``, ``BY_A`` or ``BY_B``.
        on_fixed_step: called after each fixed step of 0.02 s if set; read ``snapshot`` from it to film.
    """

    def __init__(self, num_areas: int, seed: int, options: TennisOptions | None = None) -> None:
        if not _is_count(num_areas):
            raise ValueError(
                f"TennisWorld.num_areas: expected a whole number >= 1, got {num_areas!r}; an area is a court"
            )
        self.num_areas = num_areas
        self.options = options if options is not None else TennisOptions()
        self.physics = CourtPhysics(num_areas)
        self.last_hit = np.full(num_areas, NOBODY)
        self.on_fixed_step: Callable[[], None] | None = None
        self._draws = ServeDraws(num_areas, seed)
        self._reward = np.zeros((num_areas, NUM_AGENTS))  # of this interval so far
        self._score = np.zeros((num_areas, NUM_AGENTS))  # of this rally without this interval
        self._decision = np.zeros(num_areas, dtype=np.int64)
        self._started = False
        self._terminated = np.zeros(num_areas, dtype=bool)
        self._drive = np.zeros((NUM_AGENTS, num_areas))
        self._jump = np.zeros((NUM_AGENTS, num_areas), dtype=bool)
        self._mirror = court.MIRROR[:, None]
        self._frame = np.zeros((FRAME_SIZE, NUM_AGENTS, num_areas))
        self._stack = np.zeros((num_areas, NUM_AGENTS, self.options.obs_size), dtype=np.float32)

    def reset(self) -> NDArray[np.float32]:
        """Serve in every area anew. Returns the first observations [areas, 2, obs]."""
        self._started = True
        everywhere = np.arange(self.num_areas)
        self.physics.over_net[:] = False
        self._reward[:] = 0.0
        self._serve(everywhere)
        self._place_rackets(everywhere, again=False)
        self._start_rally(everywhere)
        self._look()
        self._stack[:, :, -FRAME_SIZE:] = self._newest_frame()
        return self._stack.copy()

    def step(self, action: NDArray[Any]) -> TennisStep:
        """Play one decision interval.

        Args:
            action: [areas, 2, 2], per agent: speed to the net in [-1, 1] of 30 m/s, jump if above 0.5;
                clamped here.

        Raises:
            ValueError: if the shape is wrong or a value is not finite.
            RuntimeError: before the first ``reset``.
        """
        if not self._started:
            raise RuntimeError(
                "TennisWorld.step: expected reset() before the first step, got none; call it once"
            )
        self._read_action(action)
        self._terminated[:] = False
        for _ in range(court.FIXED_STEPS_PER_DECISION):
            self._fixed_step()
        self._decision += 1

        reward = (self._reward * self.options.reward_scale).astype(np.float32)
        self._score += self._reward
        self._reward[:] = 0.0
        terminated = self._terminated.copy()
        interrupted = self._decision >= self.options.max_decisions
        ended = np.flatnonzero(terminated | interrupted)
        interrupted &= ~terminated

        if terminated.any():  # the original resets rackets before it looks at the lost rally
            self._place_rackets(np.flatnonzero(terminated), again=False)
        self._look()
        stack = self._stack
        stack[:, :, :-FRAME_SIZE] = stack[:, :, FRAME_SIZE:]
        stack[terminated] = 0.0
        stack[:, :, -FRAME_SIZE:] = self._newest_frame()
        final_obs = stack.copy()
        if not ended.size:
            return TennisStep(reward, terminated, interrupted, final_obs, final_obs)
        self._restart(ended)
        return TennisStep(reward, terminated, interrupted, final_obs, stack.copy())

    def snapshot(self) -> TennisSnapshot:
        """Positions, velocities and scores as they are now (copies)."""
        physics = self.physics
        return TennisSnapshot(
            ball=physics.ball.T.copy(),
            ball_velocity=physics.ball_velocity.T.copy(),
            racket=np.stack([self._mirror * physics.racket_x, physics.racket_y]).T,
            racket_velocity=np.stack([self._mirror * physics.racket_vx, physics.racket_vy]).T,
            score=self._score + self._reward,
            decision=self._decision.copy(),
        )

    def _read_action(self, action: NDArray[Any]) -> None:
        expected = (self.num_areas, NUM_AGENTS, ACTION_SIZE)
        action = np.asarray(action)
        if action.shape != expected:
            raise ValueError(
                f"TennisWorld.step: expected actions of shape {expected}, got {action.shape}; "
                "send two numbers per agent of every area"
            )
        if not math.isfinite(float(action.sum())):
            raise ValueError(
                "TennisWorld.step: expected finite actions, got NaN or infinity; "
                "the policy that sent them has diverged"
            )
        by_agent = action.transpose(2, 1, 0)  # [2 (move, jump), agents, areas]
        np.minimum(by_agent[0], 1.0, out=self._drive)
        np.maximum(self._drive, -1.0, out=self._drive)
        self._drive *= court.RACKET_SPEED
        np.greater(by_agent[1], court.JUMP_THRESHOLD, out=self._jump)

    def _fixed_step(self) -> None:
        physics = self.physics
        physics.advance(self._drive, self._jump)
        if physics.num_left_over:
            self._pay_crossing(np.flatnonzero(physics.left_over))
        lost = np.flatnonzero(physics.lost) if physics.num_lost else None
        if lost is not None:
            self._pay_loss(lost)
        if physics.touched is not None:
            areas, agents = physics.touched
            self.last_hit[areas] = np.where(agents == court.AGENT_A, BY_A, BY_B)
        if lost is not None:
            self._serve(lost)
        if self.on_fixed_step is not None:
            self.on_fixed_step()

    def _pay_crossing(self, areas: Ints) -> None:
        """The ball left the plane above the net, to either side. Whoever hit it, A counts as the last one."""
        by_a = self.last_hit[areas] == BY_A
        self._reward[areas, np.where(by_a, court.AGENT_A, court.AGENT_B)] += CROSSING_REWARD
        self.last_hit[areas] = BY_A

    def _pay_loss(self, areas: Ints) -> None:
        """One agent is charged and the other's reward of this interval is set to zero."""
        x, y = self.physics.ball_before[:, areas]
        on_floor = y <= court.FLOOR_TOP + court.BALL_RADIUS + court.CONTACT_GAP
        charge_a = np.where(on_floor, x < 0.0, self.last_hit[areas] == BY_A)
        charged = np.where(charge_a, court.AGENT_A, court.AGENT_B)
        self._reward[areas, charged] += LOSS_REWARD
        self._reward[areas, 1 - charged] = 0.0
        self._terminated[areas] = True

    def _serve(self, areas: Ints) -> None:
        self.physics.put_ball(areas, self._draws.ball_x(areas), court.SERVE_BALL_Y)
        self.last_hit[areas] = NOBODY

    def _place_rackets(self, areas: Ints, again: bool) -> None:
        self.physics.put_rackets(areas, self._draws.racket_x(areas, again), court.SERVE_RACKET_Y)

    def _start_rally(self, areas: Ints) -> None:
        self._decision[areas] = 0
        self._score[areas] = 0.0
        self._stack[areas] = 0.0
        self._draws.next_rally(areas)

    def _restart(self, ended: Ints) -> None:
        """Unity gets a reset from its client one fixed step later; a ball in flight goes on flying."""
        self.physics.fall(ended)
        self._place_rackets(ended, again=True)
        self._start_rally(ended)
        self._look()
        self._stack[ended, :, -FRAME_SIZE:] = self._newest_frame()[ended]

    def _look(self) -> None:
        """Write every agent's newest frame: racket x, y, vx, vy, ball x, y and two velocities."""
        physics, frame = self.physics, self._frame
        frame[0] = physics.racket_x
        frame[1] = physics.racket_y
        frame[2] = physics.racket_vx
        frame[3] = physics.racket_vy
        np.multiply(self._mirror, physics.ball[0], out=frame[4])
        frame[5] = physics.ball[1]
        if self.options.true_ball_velocity:
            np.multiply(self._mirror, physics.ball_velocity[0], out=frame[6])
            frame[7] = physics.ball_velocity[1]
        else:
            frame[6:8] = frame[2:4]

    def _newest_frame(self) -> Floats:
        return self._frame.transpose(2, 1, 0)  # [areas, agents, 8]
