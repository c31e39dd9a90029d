"""Films of a VMAS scenario: agents and landmarks of one area, without VMAS's own viewer, which needs a screen."""

import math
from typing import Any

from mlagents_marl_plugin.player.canvas import INK, Canvas, Colour, png
from mlagents_marl_plugin.player.film import Film

_WIDTH = 480
_GROUND: Colour = (246, 247, 242)
_MARGIN = 0.1


class VmasFilm(Film):
    """Circles, boxes and lines in VMAS's colours; the view widens when somebody leaves it."""

    def __init__(self, env: Any, area: int) -> None:
        self._env, self._area = env, area
        self.seconds = float(env.world.dt)
        self._reach = float(env.scenario.viewer_zoom)

    def drain(self) -> list[bytes]:
        x, y = self._env.scenario.render_origin
        for agent in self._env.world.agents:
            place = self._place(agent)
            self._reach = max(self._reach, abs(place[0] - x) + _MARGIN, abs(place[1] - y) + _MARGIN)
        reach = self._reach
        canvas = Canvas(_WIDTH, (x - reach, y - reach, x + reach, y + reach), _GROUND)
        for entity in (*self._env.world.landmarks, *self._env.world.agents):
            if bool(entity.is_rendering[self._area]):
                self._draw(canvas, entity)
        return [png(canvas.finished())]

    def _draw(self, canvas: Canvas, entity: Any) -> None:
        red, green, blue = (round(255 * part) for part in tuple(entity.color)[:3])
        colour, shape = (red, green, blue), entity.shape
        x, y = self._place(entity)
        turn = float(entity.state.rot[self._area].reshape(-1)[0])
        cos, sin = math.cos(turn), math.sin(turn)

        def at(along: float, across: float) -> tuple[float, float]:
            return x + along * cos - across * sin, y + along * sin + across * cos

        if hasattr(shape, "radius"):
            canvas.disc((x, y), shape.radius, colour, INK)
        elif type(shape).__name__ == "Line":
            canvas.line(at(-shape.length / 2, 0.0), at(shape.length / 2, 0.0), colour)
        else:
            half, wide = shape.length / 2, shape.width / 2
            canvas.polygon([at(half, wide), at(half, -wide), at(-half, -wide), at(-half, wide)], colour)

    def _place(self, entity: Any) -> tuple[float, float]:
        x, y = entity.state.pos[self._area].tolist()
        return x, y
