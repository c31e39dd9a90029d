"""Fixed-step physics of many courts of competitive Tennis: two turning rackets, a ball that bounces off everything.

No rules and no rewards; ``contacts`` tells the rules what met what.
"""

from typing import NamedTuple

import numpy as np

from mlagents_marl_plugin.player.scenes import tennis_court as tennis
from mlagents_marl_plugin.player.scenes import versus_court as court
from mlagents_marl_plugin.player.scenes.tennis_contact import NEVER, contact_impulse, sweep_against_box
from mlagents_marl_plugin.player.scenes.tennis_court import Flags, Floats, Ints

RACKET_A, RACKET_B, FLOOR, WALL, NET = range(5)
_NUM_BODIES = 5
_MAX_CONTACTS = 6  # of one ball in one step
_X, _Y = 0, 1
_RACKET_HALF = court.RACKET_HALF_SIZE[:, None]
_NET_HALF = court.NET_HALF_SIZE[:, None]
_NET_CENTRE = np.array([[0.0], [court.NET_CENTRE_Y]])
_MIRROR = court.MIRROR[:, None]
# Half the size of rackets A and B and the net, [2 (along its axes), 3].
_BOX_HALVES = np.concatenate([_RACKET_HALF, _RACKET_HALF, _NET_HALF], 1)
# From world to canonical, [2 (x, y), 2 (A, B), 1].
_TO_CANONICAL = np.stack([_MIRROR, np.ones_like(_MIRROR)])


class Contacts(NamedTuple):
    """Balls that began to touch something; an area is in it once at most."""

    areas: Ints  # [K]
    bodies: Ints  # [K] RACKET_A, RACKET_B, FLOOR, WALL or NET
    ball_x: Floats  # [K] where, world coordinates


class VersusPhysics:
    """State and motion of ``num_areas`` courts.

    Attributes:
        racket, racket_velocity: [2 (x, y), 2 (A, B), areas], canonical.
        ball, ball_velocity: [2 (x, y), areas], world.
        ball_radius: [areas].
        gravity: m/s^2, downwards.
        contacts: of the last ``advance``, in the order in which they happened. A ball that rests on a body or
            slides along it touches it once, as Unity's OnCollisionEnter has it.

    Bodies that meet more slowly than the bounce threshold do not bounce, and nothing has friction where a ball
    is concerned. Three deviations from PhysX: a racket stops at floor and back wall instead of sinking in and
    being pushed out, it meets neither the net nor the other racket, and the ball is swept along its path within
    a step, contact by contact.
    """

    def __init__(self, num_areas: int) -> None:
        self.racket = np.zeros((2, 2, num_areas))
        self.racket_velocity = np.zeros((2, 2, num_areas))
        self.ball = np.zeros((2, num_areas))
        self.ball_velocity = np.zeros((2, num_areas))
        self.ball_radius = np.full(num_areas, court.BALL_SCALE / 2.0)
        self.gravity = tennis.GRAVITY
        self.contacts: list[Contacts] = []
        self._normal = np.zeros((2, 2, num_areas))
        self._face = np.zeros((2, 2, num_areas))
        self._extent = np.zeros((2, 2, num_areas))  # of a racket along x and y, from its centre
        self._limit = np.zeros((2, 2, num_areas))  # lowest canonical x and y of a racket's centre
        self._touching = np.zeros((_NUM_BODIES, num_areas), dtype=bool)
        self.turn(np.arange(num_areas), np.zeros((2, num_areas)))

    def turn(self, areas: Ints, tilt: Floats) -> None:
        """Set how rackets are tilted, [2 (A, B), K] radians; they keep it until turned again."""
        normal, face = court.racket_axes(tilt)
        self._normal[:, :, areas], self._face[:, :, areas] = normal, face
        thickness, length = court.RACKET_HALF_SIZE
        extent = thickness * np.abs(normal) + length * np.abs(face)
        self._extent[:, :, areas] = extent
        self._limit[:, :, areas] = extent + np.array([-court.WALL_INNER, court.FLOOR_TOP])[:, None, None]

    def racket_corners(self, agent: int, area: int) -> Floats:
        """[4, 2] corners of a racket, world coordinates, one after another."""
        thickness, length = court.RACKET_HALF_SIZE
        along, across = self._normal[:, agent, area] * thickness, self._face[:, agent, area] * length
        corners = self.racket[:, agent, area] + np.array(
            [along + across, along - across, -along - across, across - along]
        )
        mirrored: Floats = corners * np.array([court.MIRROR[agent], 1.0])
        return mirrored

    def put_ball(self, areas: Ints, x: Floats, y: float, radius: float) -> None:
        """Move balls to a place, at rest."""
        self.ball[_X, areas], self.ball[_Y, areas] = x, y
        self.ball_velocity[:, areas] = 0.0
        self.ball_radius[areas] = radius
        self._touching[:, areas] = False

    def put_rackets(self, areas: Ints, x: Floats, y: float) -> None:
        """Move both rackets of some areas to canonical ``x`` [2, K], at rest."""
        self.racket[_X][:, areas] = x
        self.racket[_Y][:, areas] = y
        self.racket_velocity[:, :, areas] = 0.0

    def advance(self, drive: Floats, jump: Flags) -> None:
        """One fixed step of 0.02 s.

        Args:
            drive: [2 (A, B), areas] canonical horizontal racket velocity, m/s.
            jump: [2, areas] bool, agent asks to jump.
        """
        racket, velocity, ball_velocity = self.racket, self.racket_velocity, self.ball_velocity
        velocity[_Y][jump & (racket[_Y] < tennis.JUMP_BELOW_Y)] = tennis.JUMP_SPEED
        velocity[_X] = drive
        np.minimum(racket[_X], tennis.RACKET_NET_X, out=racket[_X])
        np.minimum(ball_velocity, tennis.BALL_MAX_SPEED, out=ball_velocity)
        np.maximum(ball_velocity, -tennis.BALL_MAX_SPEED, out=ball_velocity)
        racket_before, ball_before = racket.copy(), self.ball.copy()

        fall = self.gravity * tennis.FIXED_STEP
        velocity[_Y] -= fall
        ball_velocity[_Y] -= fall
        racket += velocity * tennis.FIXED_STEP
        self._stop_rackets()
        self.ball += ball_velocity * tennis.FIXED_STEP
        self.contacts = []
        near = self._near(ball_before, racket_before).nonzero()[0]
        if near.size:
            self._collide(near, ball_before[:, near], racket_before[:, :, near])

    def _stop_rackets(self) -> None:
        """Floor and back wall, without bounce and without friction."""
        stopped = self.racket <= self._limit
        self.racket_velocity[stopped] = 0.0
        np.maximum(self.racket, self._limit, out=self.racket)

    def _near(self, ball_before: Floats, racket_before: Floats) -> Flags:
        """[areas] True where the ball's path in this step comes to a body, by the bounds of that path."""
        ball, radius = self.ball, self.ball_radius
        near = self._touching.any(axis=0)
        near |= (ball[_Y] <= court.FLOOR_TOP + radius) | (np.abs(ball[_X]) >= court.WALL_INNER - radius)
        # Interval tests: twice the distance of the path's middle from the box against the path's length.
        sum_, difference = ball + ball_before, np.abs(ball - ball_before)
        to_net = np.abs(sum_ - 2.0 * _NET_CENTRE) - difference
        near |= (to_net <= 2.0 * (_NET_HALF + radius)).all(axis=0)
        start, end = (
            _TO_CANONICAL * ball_before[:, None] - racket_before,
            _TO_CANONICAL * ball[:, None] - self.racket,
        )
        to_racket = np.abs(start + end) - np.abs(end - start)
        near |= (to_racket <= 2.0 * (self._extent + radius)).all(axis=0).any(axis=0)
        return near

    def _collide(self, areas: Ints, ball_before: Floats, racket_before: Floats) -> None:
        """Play the step of some areas again, from contact to contact; their bodies have moved freely so far."""
        moved = (self.racket[:, :, areas] - racket_before) / tennis.FIXED_STEP
        scene = _Near(
            ball=ball_before,
            ball_velocity=self.ball_velocity[:, areas],
            radius=self.ball_radius[areas],
            racket=racket_before,
            racket_velocity=moved,
            normal=self._normal[:, :, areas],
            face=self._face[:, :, areas],
            limit=self._limit[:, :, areas],
        )
        met = np.zeros((_NUM_BODIES, areas.size), dtype=bool)
        for _ in range(_MAX_CONTACTS):
            hit, bodies = scene.next_contact()
            if not hit.size:
                break
            entered = ~(self._touching[bodies, areas[hit]] | met[bodies, hit])
            if entered.any():
                began = hit[entered]
                self.contacts.append(Contacts(areas[began], bodies[entered], scene.ball[_X, began].copy()))
            met[bodies, hit] = True
        scene.finish()
        self.ball[:, areas], self.ball_velocity[:, areas] = scene.ball, scene.ball_velocity
        struck = np.repeat((met[RACKET_A : RACKET_B + 1])[None], 2, axis=0)
        place, velocity = self.racket[:, :, areas], self.racket_velocity[:, :, areas]
        place[struck] = scene.racket[struck]
        velocity[struck] += scene.racket_change[struck]
        self.racket[:, :, areas], self.racket_velocity[:, :, areas] = place, velocity
        self._stop_rackets()
        touching = self._touching[:, areas] | met
        if touching.any():
            touching &= scene.gaps() <= tennis.CONTACT_GAP
            self._touching[:, areas] = touching


class _Near:
    """The K courts in which a ball may touch something in this step, moved on from contact to contact."""

    def __init__(
        self,
        ball: Floats,  # [2, K]
        ball_velocity: Floats,  # [2, K]
        radius: Floats,  # [K]
        racket: Floats,  # [2 (x, y), 2 (A, B), K], like all that follow
        racket_velocity: Floats,  # what it moves by in this step, which floor and wall may cut short
        normal: Floats,
        face: Floats,
        limit: Floats,
    ) -> None:
        self.ball, self.ball_velocity, self.racket = ball, ball_velocity, racket
        self.racket_change = np.zeros_like(racket)
        self._radius, self._racket_velocity = radius, racket_velocity
        self._normal, self._face, self._limit = normal, face, limit
        self._seconds = np.full(radius.size, tennis.FIXED_STEP)  # of the step that are left

    def next_contact(self) -> tuple[Ints, Ints]:
        """Go on to each ball's next contact and resolve it.

        Returns:
            The courts that had one, as indices into K, and the body that each ball met.
        """
        time, normals, depths, approaches = self._sweep()
        body = time.argmin(axis=0)
        first = time.min(axis=0)
        hit = (first <= 1.0).nonzero()[0]
        if not hit.size:
            return hit, hit
        body, until = body[hit], first[hit] * self._seconds[hit]
        self._move(hit, until)
        self._seconds[hit] -= until
        normal, approach = normals[body, :, hit].T, approaches[body, hit]
        self.ball[:, hit] += normal * depths[body, hit]
        self._bounce(hit, body, normal, approach)
        return hit, body

    def finish(self) -> None:
        """Move on to the end of the step."""
        self._move(np.arange(self._radius.size), self._seconds)

    def gaps(self) -> Floats:
        """[5, K] distance between the ball's surface and each body."""
        x, y = self.ball
        gap = np.empty((_NUM_BODIES, self._radius.size))
        start, _ = self._from_rackets()
        gap[:2] = np.hypot(*np.maximum(np.abs(start) - _RACKET_HALF[:, None], 0.0))
        gap[FLOOR], gap[WALL] = y - court.FLOOR_TOP, court.WALL_INNER - np.abs(x)
        gap[NET] = np.hypot(*np.maximum(np.abs(self.ball - _NET_CENTRE) - _NET_HALF, 0.0))
        return gap - self._radius

    def _sweep(self) -> tuple[Floats, Floats, Floats, Floats]:
        """For each body the first contact in what is left of the step.

        Returns:
            time: [5, K] share of what is left, above 1 if they do not meet or part.
            normal: [5, 2, K] world coordinates, towards the ball.
            depth: [5, K] overlap to push the ball out of.
            approach: [5, K] relative velocity along the normal, negative.
        """
        n = self._radius.size
        time, depth = np.full((_NUM_BODIES, n), NEVER), np.zeros((_NUM_BODIES, n))
        approach, normal = np.zeros((_NUM_BODIES, n)), np.zeros((_NUM_BODIES, 2, n))

        start, velocity = self._from_rackets()
        boxes = [RACKET_A, RACKET_B, NET]
        velocity = np.concatenate([velocity, self.ball_velocity[:, None]], 1)  # [2, 3, K]
        swept = sweep_against_box(
            np.concatenate([start, (self.ball - _NET_CENTRE)[:, None]], 1).reshape(2, -1),
            (velocity * self._seconds).reshape(2, -1),
            np.repeat(_BOX_HALVES, n, axis=1),
            np.tile(self._radius, len(boxes)),
        )
        local = swept.normal.reshape(2, len(boxes), n)
        time[boxes], depth[boxes] = swept.time.reshape(-1, n), swept.depth.reshape(-1, n)
        approach[boxes] = (velocity * local).sum(axis=0)
        racket, normal[NET] = local[:, :2], local[:, 2]
        normal[:2, _X] = _MIRROR * (self._normal[_X] * racket[0] + self._face[_X] * racket[1])
        normal[:2, _Y] = self._normal[_Y] * racket[0] + self._face[_Y] * racket[1]

        side = np.where(self.ball_velocity[_X] < 0.0, -1.0, 1.0)
        normal[WALL, _X], normal[FLOOR, _Y] = -side, 1.0
        room = court.WALL_INNER - self._radius - side * self.ball[_X]
        height = self.ball[_Y] - self._radius - court.FLOOR_TOP
        for body, gap, axis in ((WALL, room, _X), (FLOOR, height, _Y)):
            approach[body] = self.ball_velocity[axis] * normal[body, axis]
            towards = np.maximum(-approach[body] * self._seconds, 1e-30)
            time[body] = np.maximum(gap, 0.0) / towards
            depth[body] = np.maximum(-gap, 0.0)
        time[approach >= 0.0] = NEVER
        return time, normal, depth, approach

    def _from_rackets(self) -> tuple[Floats, Floats]:
        """Ball's place and velocity relative to both rackets, along normal and face: each [2, 2 (A, B), K]."""
        x, y = _MIRROR * self.ball[_X] - self.racket[_X], self.ball[_Y] - self.racket[_Y]
        vx = _MIRROR * self.ball_velocity[_X] - self._racket_velocity[_X]
        vy = self.ball_velocity[_Y] - self._racket_velocity[_Y]
        normal, face = self._normal, self._face
        start = np.stack([normal[_X] * x + normal[_Y] * y, face[_X] * x + face[_Y] * y])
        velocity = np.stack([normal[_X] * vx + normal[_Y] * vy, face[_X] * vx + face[_Y] * vy])
        return start, velocity

    def _move(self, courts: Ints, seconds: Floats) -> None:
        self.ball[:, courts] += self.ball_velocity[:, courts] * seconds
        moved = self.racket[:, :, courts] + self._racket_velocity[:, :, courts] * seconds
        self.racket[:, :, courts] = np.maximum(moved, self._limit[:, :, courts])

    def _bounce(self, courts: Ints, body: Ints, normal: Floats, approach: Floats) -> None:
        """Change the velocities: elastic and frictionless, whatever the ball meets.

        Args:
            courts, body, approach: [K].
            normal: [2, K] world coordinates.
        """
        fixed = body > RACKET_B
        stay, by = courts[fixed], 1.0 + (approach[fixed] < -tennis.BOUNCE_THRESHOLD)
        self.ball_velocity[:, stay] -= normal[:, fixed] * (by * approach[fixed])
        swung = courts[~fixed]
        if not swung.size:
            return
        agent, mirror = body[~fixed], court.MIRROR[body[~fixed]]
        canonical = normal[:, ~fixed] * np.stack([mirror, np.ones_like(mirror)])
        pressed = (self.racket[:, agent, swung] <= self._limit[:, agent, swung]) & (canonical > 0.0)
        ball_change, racket_change = contact_impulse(canonical, approach[~fixed], ~pressed)
        ball_change[_X] *= mirror
        self.ball_velocity[:, swung] += ball_change
        self._racket_velocity[:, agent, swung] += racket_change
        self.racket_change[:, agent, swung] += racket_change
