"""Contact of the Tennis ball with a racket: where it happens and what it does. Arrays of K contacts."""

from typing import NamedTuple

import numpy as np

from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis_court import Flags, Floats

NEVER = 2.0  # a time beyond the step, which is the unit of time here
_RACKET_HALF = court.RACKET_HALF_SIZE[:, None]
_TINY = 1e-30  # keeps a motion of exactly zero from dividing


class Sweep(NamedTuple):
    """Where moving balls first meet the racket box."""

    time: Floats  # [K] fraction of the motion, 0 if they overlap already, 2 if they never meet
    normal: Floats  # [2, K] outward, racket-local; meaningless where they never meet
    depth: Floats  # [K] overlap at the start, metres


def sweep_against_racket(start: Floats, motion: Floats) -> Sweep:
    """``sweep_against_box`` in racket-local axes (normal, face), the motion being relative to the racket."""
    return sweep_against_box(start, motion, _RACKET_HALF, court.BALL_RADIUS)


def sweep_against_box(start: Floats, motion: Floats, half: Floats, radius: float | Floats) -> Sweep:
    """First contact of a ball's centre with a box grown by the ball's radius.

    The grown shape is the Minkowski sum of box and circle: flat sides and round corners.

    Args:
        start: [2, K] ball centre relative to the box centre, along the box's axes.
        motion: [2, K] displacement of the ball relative to the box during the step.
        half: half the box's size, [2, 1] of one box or [2, K].
        radius: the ball's, one for all or [K].
    """
    speed = motion + _TINY
    towards = np.copysign(half + radius, speed)
    enter, leave = (-towards - start) / speed, (towards - start) / speed
    time = enter.max(axis=0)
    missed = (time > leave.min(axis=0)) | (time > 1.0) | (leave.min(axis=0) < 0.0)
    normal = (enter == time) * -np.sign(speed)
    np.maximum(time, 0.0, out=time)
    depth = np.zeros_like(time)

    entry = start + motion * time
    corner = (np.abs(entry) > half).all(axis=0)
    if np.count_nonzero(corner):
        centre = np.copysign(half, entry)
        time = np.where(corner, _enter_circle(start - centre, motion, radius), time)
        normal = np.where(corner, (start + motion * time - centre) / radius, normal)

    beyond = np.abs(start) - half  # negative inside the slab
    outside = np.maximum(beyond, 0.0)
    distance = np.hypot(outside[0], outside[1])
    overlap = distance <= radius
    if np.count_nonzero(overlap):
        nearest_side = beyond.max(axis=0)
        within = distance == 0.0
        rounded = outside / np.where(within, 1.0, distance)
        inner = np.where(within, beyond == nearest_side, rounded)
        normal = np.where(overlap, np.copysign(inner, start), normal)
        depth = np.where(overlap, radius - np.where(within, nearest_side, distance), 0.0)
        time[overlap] = 0.0
        missed &= ~overlap
    time[missed] = NEVER
    return Sweep(time, normal, depth)


def _enter_circle(start: Floats, motion: Floats, radius: float | Floats) -> Floats:
    """Time [K] at which ``start`` + t ``motion`` enters a circle around the origin, from outside."""
    square_speed = (motion * motion).sum(axis=0) + _TINY
    along = (start * motion).sum(axis=0)
    root = along * along - square_speed * ((start * start).sum(axis=0) - radius**2)
    time = (-along - np.sqrt(np.maximum(root, 0.0))) / square_speed
    return np.where((root >= 0.0) & (time >= 0.0) & (time <= 1.0), time, NEVER)


def contact_impulse(
    normal: Floats, approach: Floats, racket_can_yield: Flags, elastic: bool = True
) -> tuple[Floats, Floats]:
    """Velocity changes of ball and racket in a frictionless contact.

    The ball is perfectly elastic above Unity's bounce threshold of 2 m/s and does not bounce below it.
    A free racket takes its share of the momentum (the ball gets 4/4.75 of a full reflection); one that is
    pressed against floor or wall cannot yield along that axis, so the ball gets more. Either way an elastic
    contact conserves the kinetic energy of the pair.

    Args:
        normal: [2, K] from racket to ball.
        approach: [K] relative velocity of the ball along ``normal``, negative when closing.
        racket_can_yield: [2, K] True where the racket is free to be pushed along that axis.
        elastic: False leaves out the bounce at any speed.

    Returns:
        Changes of the ball's and of the racket's velocity, each [2, K], zero for bodies that part.
    """
    yielding = normal * racket_can_yield / court.RACKET_MASS
    inverse_mass = 1.0 / court.BALL_MASS + (normal * yielding).sum(axis=0)
    bounce = 1.0 + elastic * (approach < -court.BOUNCE_THRESHOLD)
    impulse = bounce * np.maximum(-approach, 0.0) / inverse_mass
    return normal * (impulse / court.BALL_MASS), -yielding * impulse
