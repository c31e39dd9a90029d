"""Fixed-step physics of many Tennis courts at once: two rackets and a ball each, no rules and no rewards."""

import numpy as np

from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis_contact import contact_impulse, sweep_against_racket
from mlagents_marl_plugin.player.scenes.tennis_court import Flags, Floats, Ints

# One row per coordinate: racket x (B, A), racket y (B, A), ball x, ball y.
_NUM_ROWS = 6
_REACH = court.BALL_RADIUS + court.CONTACT_GAP
_MAX_CONTACTS = 4  # of one ball in one step; more than one needs both rackets at the net
_BOTH_AT_NET = court.RACKET_NET_X - 3.0  # no ball gets from one racket to the other in a step beyond this
# From the transform to the centre of the box behind it, along the normal.
_TO_BOX = np.array([[0.5], [0.0]])
_BALL_LOWEST = [[court.BALL_RADIUS - court.WALL_INNER], [court.FLOOR_TOP + court.BALL_RADIUS]]
_BALL_HIGHEST = [[court.WALL_INNER - court.BALL_RADIUS], [np.inf]]


def _to_racket() -> Floats:
    """[4, 6] from coordinates to the ball's place seen from each racket: along normal (B, A), face (B, A)."""
    matrix = np.zeros((2, court.NUM_AGENTS, _NUM_ROWS))
    for axis, direction in enumerate((court.RACKET_NORMAL, court.RACKET_FACE)):
        for agent, mirror in enumerate(court.MIRROR):
            matrix[axis, agent, [agent, 2 + agent]] = -direction
            matrix[axis, agent, [4, 5]] = direction * (mirror, 1.0)
    return matrix.reshape(4, _NUM_ROWS)


def _rows(values: list[float], num_areas: int) -> Floats:
    """[rows, areas] constant. Full arrays keep numpy off its slower broadcasting path."""
    return np.repeat(np.array(values)[:, None], num_areas, axis=1)


class CourtPhysics:
    """State and motion of ``num_areas`` courts.

    Attributes:
        position, velocity: [6, areas], rows: racket x (B, A) in canonical coordinates, racket y (B, A),
            ball x in world coordinates, ball y. The attributes named after them are views of these.
        over_net: [areas] bool, ball inside the trigger plane.
        left_over, lost, touched: what the last ``advance`` saw. ``left_over`` and ``lost`` are [areas] bool,
            judged at the poses with which the step began, as PhysX does, and valid where their number is
            not 0. ``touched`` is (areas, agents) of ball-racket contacts during the step, or None.
        ball_before: [2 (x, y), areas] where the ball was when those were judged.
        num_left_over, num_lost: how many are set, so that a quiet step costs the caller nothing.

    Two deviations from PhysX's discrete detection: the ball is swept against the rackets (a racket moves
    0.6 m per step and would otherwise reach through the ball), and a racket stops at floor and wall instead
    of sinking in and being pushed out. A racket never collides with the net or the other racket: contacts
    are looked for at the poses with which a step begins, and there the net clamp keeps it 0.15 m away.
    """

    def __init__(self, num_areas: int) -> None:
        self.position = np.zeros((_NUM_ROWS, num_areas))
        self.velocity = np.zeros((_NUM_ROWS, num_areas))
        self.racket_x, self.racket_y, self.ball = self.position[0:2], self.position[2:4], self.position[4:6]
        self.racket_vx, self.racket_vy = self.velocity[0:2], self.velocity[2:4]
        self.ball_velocity = self.velocity[4:6]
        self.over_net = np.zeros(num_areas, dtype=bool)
        self.left_over = np.zeros(num_areas, dtype=bool)
        self.lost = np.zeros(num_areas, dtype=bool)
        self.touched: tuple[Ints, Ints] | None = None
        self.num_left_over = 0
        self.num_lost = 0

        self._num_areas = num_areas
        self._racket_rows = self.position[:4].reshape(2, -1), self.velocity[:4].reshape(2, -1)  # [2, 2 areas]
        self._before = np.zeros((_NUM_ROWS, num_areas))
        self.ball_before = self._before[4:6]
        self._motion = np.zeros((_NUM_ROWS, num_areas))
        self._moved = np.zeros((_NUM_ROWS, num_areas))
        self._offset = np.zeros((4, num_areas))
        self._shift = np.zeros((4, num_areas))
        self._gap = np.zeros((4, num_areas))

        # Masks, and constants in the shape in which they are used.
        self._mask = np.zeros((4, num_areas), dtype=bool)
        self._masks = [np.zeros(num_areas, dtype=bool) for _ in range(3)]
        self._abs_x = np.zeros(num_areas)
        self._to_racket = _to_racket()
        self._to_box = _rows([2.0 * float(offset) for offset in _TO_BOX for _ in range(2)], num_areas)
        grown = 2.0 * (court.RACKET_HALF_SIZE + court.BALL_RADIUS)
        self._bound = _rows([grown[0], grown[0], grown[1], grown[1]], num_areas)
        self._limit = _rows([court.RACKET_BACK_X] * 2 + [court.RACKET_REST_Y] * 2, num_areas)
        self._net_x = _rows([court.RACKET_NET_X] * 2, num_areas)
        self._jump_below = _rows([court.JUMP_BELOW_Y] * 2, num_areas)
        self._max_speed = _rows([court.BALL_MAX_SPEED] * 2, num_areas)
        self._min_speed = -self._max_speed
        fall = -court.GRAVITY * court.FIXED_STEP
        self._pull = _rows([0.0, 0.0, fall, fall, 0.0, fall], num_areas)
        self._step = np.full((_NUM_ROWS, num_areas), court.FIXED_STEP)
        self._over_x = np.full(num_areas, court.BALL_RADIUS)
        self._floor_y = np.full(num_areas, court.FLOOR_TOP + _REACH)
        self._wall_x = np.full(num_areas, court.WALL_INNER - _REACH)
        self._net_side = np.full(num_areas, court.NET_HALF_WIDTH + _REACH)
        self._net_top = np.full(num_areas, court.NET_TOP + _REACH)

    def advance(self, drive: Floats, jump: Flags) -> None:
        """One fixed step of 0.02 s.

        Args:
            drive: [2, areas] canonical horizontal racket velocity, m/s.
            jump: [2, areas] bool, agent asks to jump.
        """
        mask = self._mask[:2]
        np.less(self.racket_y, self._jump_below, mask)
        np.logical_and(mask, jump, mask)
        self.racket_vy[mask] = court.JUMP_SPEED
        self.racket_vx[...] = drive
        np.minimum(self.racket_x, self._net_x, self.racket_x)
        ball_velocity = self.ball_velocity
        np.minimum(ball_velocity, self._max_speed, ball_velocity)
        np.maximum(ball_velocity, self._min_speed, ball_velocity)
        self._before[...] = self.position
        self._find_events()
        np.add(self.velocity, self._pull, self.velocity)
        self._move()

    def fall(self, areas: Ints) -> None:
        """One fixed step of the ball alone, in the areas of an index array."""
        velocity = np.clip(self.ball_velocity[:, areas], -court.BALL_MAX_SPEED, court.BALL_MAX_SPEED)
        velocity[1] -= court.GRAVITY * court.FIXED_STEP
        self.ball_velocity[:, areas] = velocity
        self.ball[:, areas] += velocity * court.FIXED_STEP

    def put_ball(self, areas: Ints, x: Floats, y: float) -> None:
        """Move balls to a place, at rest. The trigger notices only at the next step, as in Unity."""
        self.ball[0, areas] = x
        self.ball[1, areas] = y
        self.ball_velocity[:, areas] = 0.0

    def put_rackets(self, areas: Ints, x: Floats, y: float) -> None:
        """Move both rackets of some areas to canonical ``x`` [2, K], at rest."""
        self.racket_x[:, areas] = x
        self.racket_y[:, areas] = y
        self.velocity[:4, areas] = 0.0

    def _find_events(self) -> None:
        """Trigger exits and lost balls, at the poses with which the step begins."""
        (x, y), abs_x = self.ball_before, self._abs_x
        near_net, lost, mask = self._masks[0], self.lost, self._masks[1]
        np.abs(x, abs_x)
        np.less_equal(abs_x, self._over_x, mask)
        np.not_equal(mask, self.over_net, mask)
        self.num_left_over = 0
        if np.count_nonzero(mask):
            past_end = np.maximum(np.maximum(court.OVER_BOTTOM - y, y - court.OVER_TOP), 0.0)
            inside = np.hypot(x, past_end) <= court.BALL_RADIUS
            np.greater(self.over_net, inside, self.left_over)
            self.num_left_over = np.count_nonzero(self.left_over)
            self.over_net[...] = inside

        np.less_equal(y, self._floor_y, lost)
        np.greater_equal(abs_x, self._wall_x, mask)
        np.logical_or(lost, mask, lost)
        # Bounds of the net grown by the ball; its round corners matter only if some ball is in there.
        # They are 1.14 m wide and the hardest stroke sends a ball 1.13 m far: none gets past unseen.
        np.less_equal(abs_x, self._net_side, near_net)
        np.less_equal(y, self._net_top, mask)
        np.logical_and(near_net, mask, near_net)
        if np.count_nonzero(near_net):
            beside = np.maximum(abs_x - court.NET_HALF_WIDTH, 0.0)
            above = np.maximum(y - court.NET_TOP, 0.0)
            np.logical_or(lost, np.hypot(beside, above) <= _REACH, lost)
        self.num_lost = np.count_nonzero(lost)

    def _move(self) -> None:
        position, before, moved = self.position, self._before, self._moved
        np.multiply(self.velocity, self._step, self._motion)
        np.add(position, self._motion, position)
        self._stop_rackets()
        # Interval test on the swept boxes: twice the mean offset against the length of the motion.
        np.subtract(position, before, moved)
        np.dot(self._to_racket, moved, self._shift)
        np.add(position, before, self._motion)
        np.dot(self._to_racket, self._motion, self._offset)
        np.add(self._offset, self._to_box, self._offset)
        np.abs(self._offset, self._gap)
        np.subtract(self._gap, np.abs(self._shift), self._gap)
        near = self._mask
        np.less_equal(self._gap, self._bound, near)
        np.logical_and(near[:2], near[2:], near[:2])
        self.touched = None
        if np.count_nonzero(near[:2]):
            self._collide(near[:2].ravel().nonzero()[0])

    def _stop_rackets(self) -> None:
        """Floor and back wall, without bounce and without friction."""
        position = self.position[:4]
        np.less_equal(position, self._limit, self._mask)
        self.velocity[:4][self._mask] = 0.0
        np.maximum(position, self._limit, position)

    def _collide(self, pairs: Ints) -> None:
        """Contacts among ``pairs``, flat indices into [racket, area]; the bodies have moved freely so far."""
        start = self._from_racket(self._before, pairs) + _TO_BOX
        motion = self._from_racket(self._moved, pairs)
        remaining = np.ones(pairs.size)
        struck = []
        for contact in range(_MAX_CONTACTS):
            pairs, remaining = self._strike(pairs, start, motion, remaining, elastic=contact == 0)
            if not pairs.size:
                break
            struck.append(pairs)
            if not np.count_nonzero(self.racket_x[:, pairs % self._num_areas].min(axis=0) > _BOTH_AT_NET):
                break
            pairs = (pairs + self._num_areas) % (2 * self._num_areas)
            motion = self._from_racket(self.velocity, pairs) * (remaining * court.FIXED_STEP)
            start = self._from_racket(self.position, pairs) + _TO_BOX - motion
        if struck:
            pairs = np.concatenate(struck)
            areas, agents = pairs % self._num_areas, pairs // self._num_areas
            self.touched = areas, agents
            # A struck ball stops where floor or wall would stop it; the next step finds it lost there.
            self.ball[:, areas] = np.minimum(np.maximum(self.ball[:, areas], _BALL_LOWEST), _BALL_HIGHEST)

    def _from_racket(self, rows: Floats, pairs: Ints) -> Floats:
        """Racket-local ball [2, K] of ``rows`` [6, areas], relative to the racket's transform.

        Without a matrix product, whose rounding depends on how many columns there are.
        """
        areas = pairs % self._num_areas
        rackets = rows[:4].reshape(2, -1)[:, pairs]
        x = court.MIRROR[pairs // self._num_areas] * rows[4, areas] - rackets[0]
        local: Floats = court.TO_RACKET[:, :1] * x + court.TO_RACKET[:, 1:] * (rows[5, areas] - rackets[1])
        return local

    def _strike(
        self, pairs: Ints, start: Floats, motion: Floats, remaining: Floats, elastic: bool
    ) -> tuple[Ints, Floats]:
        """Resolve the first contact of each ball.

        Args:
            pairs: [K] flat indices into [racket, area].
            start, motion: [2, K] ball relative to the racket box, racket-local, of what is left of the step.
            remaining: [K] share of the step that ``motion`` covers.
            elastic: False for a ball caught between two rackets, which would else be hit ever harder.

        Returns:
            The pairs that met and the share of the step that remains for each after that.
        """
        sweep = sweep_against_racket(start, motion)
        hit = (sweep.time <= 1.0).nonzero()[0]
        if hit.size > 1:
            order = hit[np.argsort(sweep.time[hit], kind="stable")]
            hit = order[np.unique(pairs[order] % self._num_areas, return_index=True)[1]]
        pairs, time, normal = pairs[hit], sweep.time[hit], sweep.normal[:, hit]
        if not hit.size:
            return pairs, time
        areas = pairs % self._num_areas
        mirror = court.MIRROR[pairs // self._num_areas]
        positions, velocities = self._racket_rows

        # From the motion, not the velocities: those of a racket that reached the wall in this step are zero.
        approach = (motion[:, hit] * normal).sum(axis=0) / (remaining[hit] * court.FIXED_STEP)
        # Canonical from here on.
        normal = court.RACKET_NORMAL[:, None] * normal[0] + court.RACKET_FACE[:, None] * normal[1]
        pressed = (positions[:, pairs] <= [[court.RACKET_BACK_X], [court.RACKET_REST_Y]]) & (normal > 0.0)
        ball_change, racket_change = contact_impulse(normal, approach, ~pressed, elastic)
        remaining = remaining[hit] * (1.0 - time)
        seconds = remaining * court.FIXED_STEP
        velocities[:, pairs] += racket_change
        positions[:, pairs] += racket_change * seconds
        self._stop_rackets()
        push = normal * sweep.depth[hit] + ball_change * seconds
        ball_change[0] *= mirror
        push[0] *= mirror
        self.ball_velocity[:, areas] += ball_change
        self.ball[:, areas] += push
        return pairs, remaining
