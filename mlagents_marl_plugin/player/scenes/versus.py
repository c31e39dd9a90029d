"""Competitive Tennis by the rules of the last scene that ML-Agents shipped, for many courts at once.

One bounce on the own floor is legal; who lets the ball bounce twice, hits it twice, hits the net before it has
crossed, or sends it long, loses the point. The winner earns 1, the loser -1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scenes import tennis_court as tennis
from mlagents_marl_plugin.player.scenes import versus_court as court
from mlagents_marl_plugin.player.scenes.tennis_court import Floats, Ints
from mlagents_marl_plugin.player.scenes.tennis_serves import ServeDraws
from mlagents_marl_plugin.player.scenes.versus_physics import (
    FLOOR,
    NET,
    RACKET_B,
    WALL,
    Contacts,
    VersusPhysics,
)

FRAME_SIZE = 9
NUM_STACKED = 3
OBS_SIZE = FRAME_SIZE * NUM_STACKED
ACTION_SIZE = 3
NUM_AGENTS = 2
WIN_REWARD = 1.0
# Who hit the ball last: an agent's index or this.
NOBODY = -1
# Where the ball bounced last: an agent's index (its floor), or nowhere since the serve or since the last stroke.
SERVICE, UNSET = -2, -1


@dataclass(frozen=True)
class VersusOptions:
    """What a researcher may change about the scene.

    Attributes:
        max_decisions: decisions after which a rally is interrupted; 0 is never, as in the original.
    """

    max_decisions: int = 0

    def __post_init__(self) -> None:
        if self.max_decisions < 0:
            raise ValueError(
                f"TennisVersus.max_decisions: expected a whole number >= 0, got {self.max_decisions}; "
                "0 plays every rally to its end"
            )


class VersusStep(NamedTuple):
    """What one decision interval of 0.1 s brought. Agent order: 0 is A (left), 1 is B (right)."""

    reward: NDArray[np.float32]  # [areas, 2]
    terminated: NDArray[np.bool_]  # [areas] the point is over
    interrupted: NDArray[np.bool_]  # [areas] the decision limit was reached
    final_obs: NDArray[
        np.float32
    ]  # [areas, 2, 27] of an ended rally, when it ended; equals ``obs`` elsewhere
    obs: NDArray[np.float32]  # [areas, 2, 27] for the next decision


class VersusWorld:
    """``num_areas`` independent courts.

    An area's fate depends on ``seed`` (any integer), its index and its own actions only, not on how many areas
    there are. Call ``reset`` once, then ``step``: where a point was won, the next serve falls at once.

    Attributes:
        physics: bodies of all courts.
        last_hit: [areas] who hit the ball last, or ``NOBODY``.
        last_floor: [areas] whose floor it bounced on since the last stroke, ``SERVICE`` or ``UNSET``.
        net_live: [areas] the net may be touched.
        strokes: [areas] strokes of this rally so far; of the rally that ended, in ``ended_strokes``.
        ball_scale: diameter of the balls that are served from now on.
        before_serve: called before each serve if set; it may change gravity and ``ball_scale``.
        on_fixed_step: called after each fixed step of 0.02 s if set, to film.
    """

    def __init__(self, num_areas: int, seed: int, options: VersusOptions | None = None) -> None:
        if num_areas < 1:
            raise ValueError(f"VersusWorld.num_areas: expected a whole number >= 1, got {num_areas}")
        self.num_areas = num_areas
        self.options = options if options is not None else VersusOptions()
        self.physics = VersusPhysics(num_areas)
        self.ball_scale = court.BALL_SCALE
        self.before_serve: Callable[[], None] | None = None
        self.on_fixed_step: Callable[[], None] | None = None
        self.last_hit = np.full(num_areas, NOBODY)
        self.last_floor = np.full(num_areas, SERVICE)
        self.net_live = np.zeros(num_areas, dtype=bool)
        self.strokes = np.zeros(num_areas, dtype=np.int64)
        self.ended_strokes = np.zeros(num_areas, dtype=np.int64)
        self._draws = ServeDraws(num_areas, seed)
        self._decision = np.zeros(num_areas, dtype=np.int64)
        self._drive = np.zeros((NUM_AGENTS, num_areas))
        self._jump = np.zeros((NUM_AGENTS, num_areas), dtype=bool)
        self._loser = np.full(num_areas, NOBODY)
        self._reward = np.zeros((num_areas, NUM_AGENTS), np.float32)
        self._terminated = np.zeros(num_areas, dtype=bool)
        self._stack = np.zeros((num_areas, NUM_AGENTS, OBS_SIZE), np.float32)
        self._final = np.zeros_like(self._stack)

    def reset(self) -> NDArray[np.float32]:
        """Serve in every area anew. Returns the first observations [areas, 2, 27]."""
        self._serve(np.arange(self.num_areas))
        self._decision[:] = 0
        self._stack[..., -FRAME_SIZE:] = self._frame()
        return self._stack.copy()

    def step(self, action: NDArray[Any]) -> VersusStep:
        """Play one decision interval of five fixed steps.

        Args:
            action: [areas, 2, 3], per agent: speed towards the net in [-1, 1] of 30 m/s, jump if above 0.5,
                tilt in [-1, 1] of 55 degrees downwards; clamped here.

        Raises:
            ValueError: if the shape is wrong or a value is not finite.
        """
        self._read_action(action)
        self._reward[:] = 0.0
        self._terminated[:] = False
        for _ in range(tennis.FIXED_STEPS_PER_DECISION):
            self._fixed_step()
        self._decision += 1
        self._decision[self._terminated] = 0
        interrupted = self._interrupt()
        stack = self._stack
        stack[..., :-FRAME_SIZE] = stack[..., FRAME_SIZE:]
        stack[..., -FRAME_SIZE:] = self._frame()
        obs = stack.copy()
        ended = (self._terminated | interrupted)[:, None, None]
        final_obs = np.where(ended, self._final, obs) if ended.any() else obs
        return VersusStep(self._reward.copy(), self._terminated.copy(), interrupted, final_obs, obs)

    def _interrupt(self) -> NDArray[np.bool_]:
        """End the rallies that reached the limit, if there is one."""
        if not self.options.max_decisions:
            return np.zeros(self.num_areas, dtype=bool)
        late = self._decision >= self.options.max_decisions
        if late.any():
            self._end(late.nonzero()[0])
            self._decision[late] = 0
        return late

    def _read_action(self, action: NDArray[Any]) -> None:
        expected = (self.num_areas, NUM_AGENTS, ACTION_SIZE)
        action = np.asarray(action)
        if action.shape != expected:
            raise ValueError(
                f"VersusWorld.step: expected actions of shape {expected}, got {action.shape}; "
                "send three numbers per agent of every area"
            )
        if not math.isfinite(float(action.sum())):
            raise ValueError(
                "VersusWorld.step: expected finite actions, got NaN or infinity; "
                "the policy that sent them has diverged"
            )
        speed, jump, tilt = np.clip(action.astype(np.float64), -1.0, 1.0).transpose(2, 1, 0)
        self._drive[:] = speed * tennis.RACKET_SPEED
        self._jump[:] = jump > tennis.JUMP_THRESHOLD
        self.physics.turn(np.arange(self.num_areas), tilt * court.MAX_TILT)

    @property
    def loser(self) -> Ints:
        """[areas] who lost the point in the last fixed step, or ``NOBODY``."""
        return self._loser

    def _fixed_step(self) -> None:
        self.physics.advance(self._drive, self._jump)
        self._loser[:] = NOBODY
        if self.physics.contacts:
            self._judge_all()
        if self.on_fixed_step is not None:
            self.on_fixed_step()

    def _judge_all(self) -> None:
        for contacts in self.physics.contacts:
            self._judge(contacts)
        lost = (self._loser != NOBODY).nonzero()[0]
        if lost.size:
            loser = self._loser[lost]
            self._reward[lost, loser] = -WIN_REWARD
            self._reward[lost, 1 - loser] = WIN_REWARD
            self._terminated[lost] = True
            self._end(lost)

    def _judge(self, contacts: Contacts) -> None:
        """What the rules make of balls that began to touch something. A point is only decided once."""
        undecided = self._loser[contacts.areas] == NOBODY
        areas, bodies = contacts.areas[undecided], contacts.bodies[undecided]
        side = (contacts.ball_x[undecided] > 0.0).astype(np.int64)  # whose half
        for body, rule in ((FLOOR, self._on_floor), (WALL, self._on_wall), (NET, self._on_net)):
            here = bodies == body
            rule(areas[here], side[here])
        struck = bodies <= RACKET_B
        self._on_racket(areas[struck], bodies[struck])

    def _on_floor(self, areas: Ints, side: Ints) -> None:
        """A second bounce, a serve nobody returned, or a stroke into the own floor; else the one legal bounce."""
        floor = self.last_floor[areas]
        lost = (self.last_hit[areas] == side) | (floor == side) | (floor == SERVICE)
        self._loser[areas[lost]] = side[lost]
        legal = areas[~lost]
        self.last_floor[legal] = side[~lost]
        self.net_live[legal] = True

    def _on_wall(self, areas: Ints, side: Ints) -> None:
        """Behind a side that was to play the ball it is that side's loss, else the stroke was long."""
        own = (self.last_hit[areas] == side) | (self.last_floor[areas] == side)
        self._loser[areas] = np.where(own, side, 1 - side)

    def _on_net(self, areas: Ints, _side: Ints) -> None:
        fault = ~self.net_live[areas]
        self._loser[areas[fault]] = self.last_hit[areas[fault]]

    def _on_racket(self, areas: Ints, agent: Ints) -> None:
        """A second stroke in a row loses; a volley is as good as a bounce to make the net live."""
        twice = self.last_hit[areas] == agent
        self._loser[areas[twice]] = agent[twice]
        areas, agent = areas[~twice], agent[~twice]
        self.net_live[areas] |= self.last_floor[areas] != SERVICE
        self.last_hit[areas] = agent
        self.last_floor[areas] = UNSET
        self.strokes[areas] += 1

    def _end(self, areas: Ints) -> None:
        """Note the last observations of rallies and serve the next ones; their agents do nothing until asked."""
        self._final[areas, :, :-FRAME_SIZE] = self._stack[areas, :, FRAME_SIZE:]
        self._final[areas, :, -FRAME_SIZE:] = self._frame()[areas]
        self.ended_strokes[areas] = self.strokes[areas]
        self._drive[:, areas] = 0.0
        self._jump[:, areas] = False
        self.physics.turn(areas, np.zeros((NUM_AGENTS, areas.size)))
        self._serve(areas)

    def _serve(self, areas: Ints) -> None:
        if self.before_serve is not None:
            self.before_serve()
        self.physics.put_ball(areas, self._draws.ball_x(areas), tennis.SERVE_BALL_Y, self.ball_scale / 2.0)
        self.physics.put_rackets(areas, self._draws.racket_x(areas, again=False), tennis.SERVE_RACKET_Y)
        self._draws.next_rally(areas)
        self.last_hit[areas] = NOBODY
        self.last_floor[areas] = SERVICE
        self.net_live[areas] = False
        self.strokes[areas] = 0
        self._stack[areas] = 0.0

    def _frame(self) -> Floats:
        """[areas, 2, 9]: racket x, y, vx, vy, ball x, y, vx, vy, and the entry that is always 0."""
        physics = self.physics
        frame = np.zeros((FRAME_SIZE, NUM_AGENTS, self.num_areas))
        frame[0], frame[1] = physics.racket
        frame[2], frame[3] = physics.racket_velocity
        mirror = court.MIRROR[:, None]
        frame[4], frame[5] = mirror * physics.ball[0], physics.ball[1]
        frame[6], frame[7] = mirror * physics.ball_velocity[0], physics.ball_velocity[1]
        return frame.transpose(2, 1, 0)
