"""Films of Recall: above each agent what it sees, below what it said last, and whether that was right."""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.canvas import INK, WHITE, Canvas, Colour, png
from mlagents_marl_plugin.player.film import Film

_WIDTH, _COLUMNS = 480, 4  # pixels; at least so many agents wide
_NOTHING: Colour = (224, 227, 220)
_RIGHT, _WRONG = (32, 132, 76), (200, 48, 48)
_SEES, _SAYS, _TOP = 2.3, 0.75, 3.2
_RADIUS = 0.3


class RecallView(NamedTuple):
    """One area after a step, of n agents.

    Attributes:
        seen: [n, cues + 1] what they observe now.
        said: [n] the cue that each named last, -1 none yet.
        right: [n] whether that was the answer asked for, None if nothing was asked.
    """

    seen: NDArray[np.float32]
    said: NDArray[np.int64]
    right: NDArray[np.bool_] | None


class RecallFilm(Film):
    """A column for each agent; a cue has its number and a colour of its own."""

    seconds = 0.5

    def __init__(self, look: Callable[[], RecallView]) -> None:
        self._look = look

    def drain(self) -> list[bytes]:
        view = self._look()
        agents, cues = len(view.seen), view.seen.shape[1] - 1
        wide = max(_COLUMNS, agents)
        canvas = Canvas(_WIDTH, (0.0, 0.0, wide, _TOP), WHITE)
        size = max(8, round(0.3 * _WIDTH / wide))
        for agent in range(agents):
            x = (wide - agents) / 2 + agent + 0.5
            shown, asked = view.seen[agent, :-1], bool(view.seen[agent, -1])
            cue = int(shown.argmax()) if shown.any() else -1
            canvas.text((x, _TOP - 0.25), "sees", size // 2)
            canvas.disc((x, _SEES), _RADIUS, _colour(cue, cues), INK)
            canvas.text((x, _SEES), "?" if asked else _name(cue), size)
            said = int(view.said[agent])
            if view.right is not None:
                canvas.disc((x, _SAYS), 1.3 * _RADIUS, _RIGHT if view.right[agent] else _WRONG)
            canvas.text((x, _SAYS + 0.6), "said", size // 2)
            canvas.disc((x, _SAYS), _RADIUS, _colour(said, cues), INK)
            canvas.text((x, _SAYS), _name(said), size)
        return [png(canvas.finished())]


def _name(cue: int) -> str:
    return "" if cue < 0 else str(cue)


def _colour(cue: int, cues: int) -> Colour:
    if cue < 0:
        return _NOTHING
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(0.08 + cue / cues, 0.55, 0.95))
    return red, green, blue
