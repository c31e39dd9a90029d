"""Films of the two Tennis games: 25 pictures a second of one court."""

from mlagents_marl_plugin.player.canvas import INK, Canvas, mix, png
from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.render import (
    BALL,
    BALL_EDGE,
    FRAME_STRIDE,
    GROUND,
    RACKET_COLOUR,
    SKY,
    draw_last,
)
from mlagents_marl_plugin.player.scenes import tennis_court
from mlagents_marl_plugin.player.scenes import versus_court as court
from mlagents_marl_plugin.player.scenes.tennis import TennisSnapshot, TennisWorld
from mlagents_marl_plugin.player.scenes.versus import VersusWorld

_WIDTH = 560
_BOUNDS = (-12.6, -7.6, 12.6, 6.6)
_TRAIL = 10
# The colours stand for the same sides in both games, whose agents are numbered the other way round.
_COLOUR = {
    court.AGENT_A: RACKET_COLOUR[tennis_court.AGENT_A],
    court.AGENT_B: RACKET_COLOUR[tennis_court.AGENT_B],
}


class TennisFilm(Film):
    """Tennis by the Udacity rules, with both scores."""

    seconds = tennis_court.FIXED_STEP * FRAME_STRIDE

    def __init__(self, world: TennisWorld, area: int) -> None:
        self._world, self._area = world, area
        self._rally: list[TennisSnapshot] = []
        self._pictures: list[bytes] = []
        self._steps = 0
        world.on_fixed_step = self._look

    def drain(self) -> list[bytes]:
        drained, self._pictures = self._pictures, []
        return drained

    def _look(self) -> None:
        if self._world.physics.num_lost and self._world.physics.lost[self._area]:
            self._rally.clear()
            self._steps = 0
        self._rally.append(self._world.snapshot())
        del self._rally[:-64]
        if self._steps % FRAME_STRIDE == 0:
            seconds = self._steps * tennis_court.FIXED_STEP
            self._pictures.append(png(draw_last(self._rally, self._area, seconds, _WIDTH)))
        self._steps += 1


class VersusFilm(Film):
    """Competitive Tennis, with the points won since filming began."""

    seconds = tennis_court.FIXED_STEP * FRAME_STRIDE

    def __init__(self, world: VersusWorld, area: int) -> None:
        self._world, self._area = world, area
        self._trail: list[tuple[float, float]] = []
        self._pictures: list[bytes] = []
        self._points = [0, 0]
        self._steps = 0
        world.on_fixed_step = self._look

    def drain(self) -> list[bytes]:
        drained, self._pictures = self._pictures, []
        return drained

    def _look(self) -> None:
        loser = int(self._world.loser[self._area])
        if loser >= 0:
            self._points[1 - loser] += 1
            self._trail.clear()
        x, y = self._world.physics.ball[:, self._area].tolist()
        self._trail = [*self._trail[-_TRAIL:], (x, y)]
        if self._steps % FRAME_STRIDE == 0:
            self._pictures.append(png(self._draw().finished()))
        self._steps += 1

    def _draw(self) -> Canvas:
        physics, area = self._world.physics, self._area
        canvas = Canvas(_WIDTH, _BOUNDS, SKY)
        left, bottom, right, top = _BOUNDS
        canvas.box(left, bottom, right, court.FLOOR_TOP, GROUND)
        for side in (-1.0, 1.0):
            inner, outer = sorted((side * court.WALL_INNER, side * right))
            canvas.box(inner, bottom, outer, top, GROUND)
        canvas.box(-0.09, court.FLOOR_TOP, 0.09, court.NET_TOP, INK)
        for agent, colour in _COLOUR.items():
            canvas.polygon(physics.racket_corners(agent, area), colour)
            name = "AB"[agent]
            canvas.text((-court.MIRROR[agent] * 9.2, 5.6), f"{name}  {self._points[agent]}", 19, colour)
        radius = float(physics.ball_radius[area])
        for age, place in enumerate(reversed(self._trail[:-1]), start=1):
            share = 1.0 - age / (_TRAIL + 1)
            canvas.disc(place, radius * (0.35 + 0.5 * share), mix(BALL, 0.75 * share, SKY))
        canvas.disc(self._trail[-1], radius, BALL, BALL_EDGE)
        return canvas
