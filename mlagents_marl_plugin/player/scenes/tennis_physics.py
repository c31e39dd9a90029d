"""Fixed-step physics of many Tennis courts at once: two rackets and a ball each, no rules and no rewards."""

from typing import NamedTuple

import numpy as np

from mlagents_marl_plugin.player.scenes import tennis_court as court

_NEVER = 2.0  # a time of impact beyond the step, which is the unit of time here


class Sweep(NamedTuple):
    """Where moving points first meet the rounded racket box; all arrays have one row per point."""

    time: np.ndarray  # [K] fraction of the motion, 0 if it overlaps already, 2 if it never meets
    normal: np.ndarray  # [2, K] outward, racket-local
    depth: np.ndarray  # [K] overlap at the start, metres


def sweep_against_racket(start: np.ndarray, motion: np.ndarray) -> Sweep:
    """First contact of a ball's centre with the racket box grown by the ball's radius.

    The shape is the Minkowski sum of box and circle: flat sides and round corners.

    Args:
        start: [2, K] ball centre relative to the box centre, in racket-local axes (normal, face).
        motion: [2, K] displacement of the ball relative to the racket during the step.
    """
    half = court.RACKET_HALF_SIZE[:, None]
    radius = court.BALL_RADIUS
    signed = np.abs(start) - half  # [2, K], negative inside the slab
    outside = np.maximum(signed, 0.0)
    distance = np.hypot(outside[0], outside[1])

    time, normal = _sweep_sides(start, motion, half + radius)
    entry = start + motion * time
    corner = (np.abs(entry) > half).all(axis=0) & (time <= 1.0)
    if corner.any():
        centre = np.copysign(half, entry)
        corner_time = _sweep_circle(start - centre, motion, radius)
        time = np.where(corner, corner_time, time)
        normal = np.where(corner, (start + motion * time - centre) / radius, normal)

    overlap = distance <= radius
    if overlap.any():
        side = np.copysign(np.where(signed == signed.max(axis=0), 1.0, 0.0), start)
        deep = distance == 0.0
        rounded = np.copysign(outside, start) / np.where(deep, 1.0, distance)
        normal = np.where(overlap, np.where(deep, side, rounded), normal)
        time = np.where(overlap, 0.0, time)
    depth = np.where(overlap, radius - np.where(distance > 0.0, distance, signed.max(axis=0)), 0.0)
    return Sweep(time, normal, depth)


def _sweep_sides(start: np.ndarray, motion: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entry time [K] into the box of half size ``half`` [2, 1] (0 from inside) and the side's normal [2, K]."""
    speed = np.where(motion == 0.0, 1e-12, motion)
    towards = np.copysign(half, speed)
    enter = (-towards - start) / speed
    leave = (towards - start) / speed
    first, last = enter.max(axis=0), leave.min(axis=0)
    time = np.where((first <= last) & (last >= 0.0) & (first <= 1.0), np.maximum(first, 0.0), _NEVER)
    normal = np.where(enter == first, -np.sign(speed), 0.0)
    return time, normal


def _sweep_circle(start: np.ndarray, motion: np.ndarray, radius: float) -> np.ndarray:
    """Time [K] at which ``start`` + t ``motion`` enters the circle around the origin; start lies outside."""
    a = np.maximum(np.square(motion).sum(axis=0), 1e-24)
    b = (start * motion).sum(axis=0)
    discriminant = b * b - a * (np.square(start).sum(axis=0) - radius * radius)
    time = (-b - np.sqrt(np.maximum(discriminant, 0.0))) / a
    return np.where((discriminant >= 0.0) & (time >= 0.0) & (time <= 1.0), time, _NEVER)


def contact_impulse(
    normal: np.ndarray, approach: np.ndarray, racket_can_yield: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Velocity changes of ball and racket in a frictionless contact.

    The ball is perfectly elastic above Unity's bounce threshold of 2 m/s and does not bounce below it.
    A free racket takes its share of the momentum (the ball gets 4/4.75 of a full reflection); one that is
    pressed against floor or wall cannot yield along that axis, so the ball gets more. Either way the
    kinetic energy of the pair is conserved.

    Args:
        normal: [2, K] from racket to ball.
        approach: [K] relative velocity of the ball along ``normal``, negative when closing.
        racket_can_yield: [2, K] 1 where the racket is free to be pushed along that axis, else 0.

    Returns:
        Changes of the ball's and of the racket's velocity, each [2, K], zero for bodies that part.
    """
    restitution = np.where(approach < -court.BOUNCE_THRESHOLD, 1.0, 0.0)
    yielding = normal * racket_can_yield / court.RACKET_MASS
    inverse_mass = 1.0 / court.BALL_MASS + (normal * yielding).sum(axis=0)
    impulse = (1.0 + restitution) * np.maximum(-approach, 0.0) / inverse_mass
    return normal * (impulse / court.BALL_MASS), -yielding * impulse


class CourtPhysics:
    """State and motion of ``num_areas`` courts.

    Attributes:
        position, velocity: [2 (x, y), 3 (racket B, racket A, ball), areas]. Rackets in canonical x, the ball
            in world x.
        over_net: [areas] bool, ball inside the trigger plane.
        left_over, lost, touched: what the last ``advance`` saw. ``left_over`` and ``lost`` are [areas] bool,
            judged at the poses with which the step began, as PhysX does. ``touched`` is (areas, agents) of
            ball-racket contacts during the step.
        start_of_step_ball: [2, areas] where the ball was when those were judged.
        num_left_over, num_lost: how many are set, so that a quiet step costs the caller nothing.

    Two deviations from PhysX's discrete detection: the ball is swept against the rackets (a racket moves
    0.6 m per step and would otherwise reach through the ball), and a racket stops at floor and wall instead
    of sinking in and being pushed out. A racket never collides with the net or the other racket: contacts
    are looked for at the poses with which a step begins, and there the net clamp keeps it 0.15 m away.
    """

    def __init__(self, num_areas: int) -> None:
        shape = (2, court.NUM_AGENTS + 1, num_areas)
        self.position = np.zeros(shape)
        self.velocity = np.zeros(shape)
        self.over_net = np.zeros(num_areas, dtype=bool)
        self.left_over = np.zeros(num_areas, dtype=bool)
        self.lost = np.zeros(num_areas, dtype=bool)
        self.touched: tuple[np.ndarray, np.ndarray] | None = None
        self.start_of_step_ball = np.zeros((2, num_areas))
        self.num_left_over = 0
        self.num_lost = 0

        self.ball_position, self.ball_velocity = self.position[:, 2], self.velocity[:, 2]
        self.racket_position, self.racket_velocity = self.position[:, :2], self.velocity[:, :2]
        self._num_areas = num_areas
        self._mirror = court.MIRROR[:, None]
        self._motion = np.zeros(shape)
        # Ball against racket: [2 (x, y), 2 (offset, motion), 2 (racket), areas], then the same turned.
        self._relative = np.zeros((2, 2, court.NUM_AGENTS, num_areas))
        self._local = np.zeros((2, 2, court.NUM_AGENTS, num_areas))
        self._reach = np.zeros((2, court.NUM_AGENTS, num_areas))
        self._near = np.zeros((2, court.NUM_AGENTS, num_areas), dtype=bool)
        self._bound = (court.RACKET_HALF_SIZE + court.BALL_RADIUS)[:, None, None]
        self._racket_mask = np.zeros((court.NUM_AGENTS, num_areas), dtype=bool)
        self._area_mask = np.zeros(num_areas, dtype=bool)
        self._area_mask2 = np.zeros(num_areas, dtype=bool)
        self._abs_x = np.zeros(num_areas)
        self._shot_through_net = np.zeros(num_areas, dtype=bool)

    def advance(self, drive: np.ndarray, jump: np.ndarray) -> None:
        """One fixed step of 0.02 s.

        Args:
            drive: [2, areas] canonical horizontal racket velocity, m/s.
            jump: [2, areas] bool, agent asks to jump.
        """
        self._apply_action(drive, jump)
        np.minimum(self.ball_velocity, court.BALL_MAX_SPEED, out=self.ball_velocity)
        np.maximum(self.ball_velocity, -court.BALL_MAX_SPEED, out=self.ball_velocity)
        self._find_events()
        self.velocity[1] -= court.GRAVITY * court.FIXED_STEP
        self._move()

    def fall(self, areas: np.ndarray) -> None:
        """One fixed step of the ball alone, in the areas of an index array."""
        velocity = np.clip(self.ball_velocity[:, areas], -court.BALL_MAX_SPEED, court.BALL_MAX_SPEED)
        velocity[1] -= court.GRAVITY * court.FIXED_STEP
        self.ball_velocity[:, areas] = velocity
        self.ball_position[:, areas] += velocity * court.FIXED_STEP

    def put_ball(self, areas: np.ndarray, x: np.ndarray, y: float) -> None:
        """Move balls to a place, at rest. The trigger notices only at the next step, as in Unity."""
        self.ball_position[0, areas] = x
        self.ball_position[1, areas] = y
        self.ball_velocity[:, areas] = 0.0
        self._shot_through_net[areas] = False

    def put_rackets(self, areas: np.ndarray, distance: np.ndarray, y: float) -> None:
        """Move both rackets of some areas to ``distance`` [2, K] behind the net, at rest."""
        self.racket_position[0][:, areas] = -distance
        self.racket_position[1][:, areas] = y
        self.racket_velocity[:, :, areas] = 0.0

    def _apply_action(self, drive: np.ndarray, jump: np.ndarray) -> None:
        (x, y), (vx, vy), mask = self.racket_position, self.racket_velocity, self._racket_mask
        np.less(y, court.JUMP_BELOW_Y, out=mask)
        np.logical_and(mask, jump, out=mask)
        np.copyto(vy, court.JUMP_SPEED, where=mask)
        np.copyto(vx, drive)
        np.minimum(x, court.RACKET_NET_X, out=x)

    def _find_events(self) -> None:
        """Trigger exits and lost balls, at the poses with which the step begins."""
        np.copyto(self.start_of_step_ball, self.ball_position)
        x, y = self.start_of_step_ball
        abs_x, mask, lost = np.abs(x, out=self._abs_x), self._area_mask, self.lost
        np.less_equal(abs_x, court.BALL_RADIUS, out=mask)
        np.not_equal(mask, self.over_net, out=mask)
        self.num_left_over = 0
        if np.count_nonzero(mask):
            above = np.maximum(np.maximum(court.OVER_BOTTOM - y, y - court.OVER_TOP), 0.0)
            inside = np.hypot(x, above) <= court.BALL_RADIUS
            np.logical_and(self.over_net, ~inside, out=self.left_over)
            self.num_left_over = np.count_nonzero(self.left_over)
            self.over_net[:] = inside

        reach = court.BALL_RADIUS + court.CONTACT_GAP
        np.less_equal(y, court.FLOOR_TOP + reach, out=lost)
        np.greater_equal(abs_x, court.WALL_INNER - reach, out=mask)
        np.logical_or(lost, mask, out=lost)
        # Bounds of the net grown by the ball; round corners are looked at only if some ball is in there.
        np.less_equal(abs_x, court.NET_HALF_WIDTH + reach, out=mask)
        np.less_equal(y, court.NET_TOP + reach, out=self._area_mask2)
        np.logical_and(mask, self._area_mask2, out=mask)
        if np.count_nonzero(mask):
            beside = np.maximum(abs_x - court.NET_HALF_WIDTH, 0.0)
            above = np.maximum(y - court.NET_TOP, 0.0)
            np.logical_or(lost, np.hypot(beside, above) <= reach, out=lost)
        np.logical_or(lost, self._shot_through_net, out=lost)
        self.num_lost = np.count_nonzero(lost)
        if self.num_lost:
            self._shot_through_net[lost] = False

    def _move(self) -> None:
        position, velocity, motion, mask = self.position, self.velocity, self._motion, self._racket_mask
        relative, local = self._relative, self._local
        np.multiply(self._mirror, position[0, 2], out=relative[0, 0])
        np.subtract(relative[0, 0], position[0, :2], out=relative[0, 0])
        np.subtract(position[1, 2], position[1, :2], out=relative[1, 0])
        np.multiply(velocity, court.FIXED_STEP, out=motion)
        relative[:, 1] = position[:, :2]  # kept to measure how far the rackets really get
        np.add(position, motion, out=position)
        self._stop_rackets(mask)
        np.subtract(relative[:, 1], position[:, :2], out=relative[:, 1])
        relative[0, 1] += self._mirror * motion[0, 2]
        relative[1, 1] += motion[1, 2]

        np.matmul(court.TO_RACKET, relative.reshape(2, -1), out=local.reshape(2, -1))
        local[0, 0] += 0.5  # from the transform to the box centre, which hangs 0.5 behind it
        reach = np.abs(local, out=relative)  # relative has served
        np.subtract(reach[:, 0], reach[:, 1], out=self._reach)
        np.less_equal(self._reach, self._bound, out=self._near)
        np.logical_and(self._near[0], self._near[1], out=mask)
        self.touched = None
        if np.count_nonzero(mask):
            self._collide(np.flatnonzero(mask))

    def _stop_rackets(self, mask: np.ndarray) -> None:
        """Floor and back wall, without bounce and without friction."""
        (x, y), (vx, vy) = self.racket_position, self.racket_velocity
        np.less_equal(y, court.RACKET_REST_Y, out=mask)
        np.copyto(vy, 0.0, where=mask)
        np.maximum(y, court.RACKET_REST_Y, out=y)
        np.less_equal(x, court.RACKET_BACK_X, out=mask)
        np.copyto(vx, 0.0, where=mask)
        np.maximum(x, court.RACKET_BACK_X, out=x)

    def _collide(self, pairs: np.ndarray) -> None:
        """Contacts among ``pairs``, flat indices into [racket, area]; the bodies have already moved freely."""
        local = self._local.reshape(2, 2, -1)
        sweep = sweep_against_racket(local[:, 0, pairs], local[:, 1, pairs])
        hit = np.flatnonzero(sweep.time <= 1.0)
        if not hit.size:
            return
        # A ball between two rackets meets one per step: the first.
        hit = hit[np.argsort(sweep.time[hit], kind="stable")]
        areas, first = np.unique(pairs[hit] % self._num_areas, return_index=True)
        hit = hit[first]
        agents = pairs[hit] // self._num_areas

        mirror = court.MIRROR[agents]
        normal = court.TO_RACKET.T @ sweep.normal[:, hit]  # [2, K] canonical
        ball = self.velocity[:, 2, areas]
        racket = self.velocity[:, agents, areas]
        place = self.position[:, agents, areas]
        closing = (ball[0] * mirror - racket[0]) * normal[0] + (ball[1] - racket[1]) * normal[1]
        pressed = (place <= [[court.RACKET_BACK_X], [court.RACKET_REST_Y]]) & (normal > 0.0)
        ball_change, racket_change = contact_impulse(normal, closing, np.where(pressed, 0.0, 1.0))

        rest_of_step = (1.0 - sweep.time[hit]) * court.FIXED_STEP
        self.velocity[:, agents, areas] = racket + racket_change
        self.position[:, agents, areas] = place + racket_change * rest_of_step
        self._stop_rackets(self._racket_mask)
        push = normal * sweep.depth[hit] + ball_change * rest_of_step
        ball_change[0] *= mirror
        push[0] *= mirror
        self.velocity[:, 2, areas] = ball + ball_change
        self.position[:, 2, areas] += push
        self._find_shots_through_net(areas)
        self.touched = areas, agents

    def _find_shots_through_net(self, areas: np.ndarray) -> None:
        """A struck ball can fly a metre before its speed is clamped: further than the net is wide."""
        x, y = self.position[:, 2, areas]
        crossed = self.start_of_step_ball[0, areas] * x < 0.0
        if crossed.any():
            vx, vy = self.velocity[:, 2, areas]
            height = y - x * vy / np.where(vx == 0.0, 1.0, vx)
            self._shot_through_net[areas] = crossed & (height < court.NET_TOP + court.BALL_RADIUS)
