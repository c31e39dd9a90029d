"""Pictures of Tennis: a rally as an animated GIF, or as a PNG strip with one panel per stroke."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlagents_marl_plugin.player.canvas import Canvas, Colour, mix, write_gif
from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis import TennisSnapshot, TennisWorld
from mlagents_marl_plugin.player.scenes.tennis_court import Floats

SKY, GROUND, LINE, INK, FAINT = (
    (246, 247, 242),
    (92, 122, 104),
    (255, 255, 255),
    (44, 52, 58),
    (204, 208, 200),
)
RACKET_COLOUR: tuple[Colour, Colour] = ((214, 96, 52), (42, 104, 178))  # B, A
BALL, BALL_EDGE, GAIN = (235, 213, 61), (120, 104, 14), (32, 132, 76)
_LEFT, _RIGHT, _BOTTOM, _TOP = -12.9, 12.9, -4.1, 8.1  # metres shown
FRAME_STRIDE = 2  # of the 50 fixed steps per second a GIF shows 25
_TRAIL = 14  # fixed steps
_GAIN_SHOWN = 30  # fixed steps
_LOOK_BACK = 1 + max(_TRAIL, _GAIN_SHOWN)
_GIF_WIDTH = 560
_PANEL_COLUMNS = 2
_NAMES = ("B", "A")
_SCORE_X = 9.2


def film_rally(
    world: TennisWorld,
    policy: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    seconds: float = 10.0,
    area: int = 0,
) -> list[TennisSnapshot]:
    """Serve anew and record every fixed step of 0.02 s, until ``area`` loses the ball or time is up."""
    frames: list[TennisSnapshot] = []
    lost = False

    def look() -> None:
        nonlocal lost
        lost = lost or bool(world.physics.num_lost and world.physics.lost[area])
        if not lost:
            frames.append(world.snapshot())

    obs = world.reset()
    frames.append(world.snapshot())
    world.on_fixed_step = look
    try:
        while not lost and len(frames) * court.FIXED_STEP < seconds:
            obs = world.step(policy(obs)).obs
    finally:
        world.on_fixed_step = None
    return frames[: int(seconds / court.FIXED_STEP)]


def render_rally(frames: Sequence[TennisSnapshot], path: str | Path, area: int = 0, panels: int = 4) -> None:
    """Write a rally to ``path``: ``.gif`` animates it, ``.png`` shows one flight of the ball per panel.

    Args:
        frames: one snapshot per fixed step, from ``film_rally``.
        panels: at most this many in a strip.

    Raises:
        ValueError: if there is no frame or the ending is neither .gif nor .png.
    """
    if not frames:
        raise ValueError("render_rally: expected at least one frame, got none; film a rally first")
    path = Path(path)
    film = _Film.of(frames, area)
    if path.suffix.lower() == ".gif":
        _write_gif(film, path)
    elif path.suffix.lower() == ".png":
        _strip(film, panels).save(path, optimize=True)
    else:
        raise ValueError(
            f"render_rally: expected a path that ends in .gif or .png, got {path.name!r}; "
            "choose .gif for an animation or .png for a strip"
        )


@dataclass(frozen=True)
class _Film:
    """One court over time: T fixed steps."""

    ball: Floats  # [T, 2]
    racket: Floats  # [T, 2 (B, A), 2]
    score: Floats  # [T, 2]
    strokes: list[int]  # moments at which a racket met the ball

    @classmethod
    def of(cls, frames: Sequence[TennisSnapshot], area: int) -> "_Film":
        # Against gravity only a racket lifts the ball; what follows at once is the clamp of its speed.
        lift = np.diff([frame.ball_velocity[area, 1] for frame in frames])
        lifted = [0, *(int(step) + 1 for step in np.flatnonzero(lift > court.GRAVITY * court.FIXED_STEP))]
        return cls(
            ball=np.array([frame.ball[area] for frame in frames]),
            racket=np.array([frame.racket[area] for frame in frames]),
            score=np.array([frame.score[area] for frame in frames]),
            strokes=[step for step, last in zip(lifted[1:], lifted, strict=False) if step > last + 3],
        )

    def __len__(self) -> int:
        return len(self.ball)


class _CourtCanvas(Canvas):
    """Draws a court in metres."""

    def __init__(self, width: int) -> None:
        super().__init__(width, (_LEFT, _BOTTOM, _RIGHT, _TOP), SKY)

    def racket(self, place: Sequence[float], agent: int, colour: Colour) -> None:
        mirror = (court.MIRROR[agent], 1.0)
        centre = np.asarray(place) + court.RACKET_BOX_OFFSET * mirror
        along, across = court.RACKET_HALF_SIZE
        corners = [
            centre + (u * along * court.RACKET_NORMAL + w * across * court.RACKET_FACE) * mirror
            for u, w in ((1, 1), (1, -1), (-1, -1), (-1, 1))
        ]
        self.polygon(corners, colour)

    def court(self) -> None:
        """Ground, walls, net and the plane above it that pays."""
        self.box(_LEFT, _BOTTOM, _RIGHT, court.FLOOR_TOP, GROUND)
        for side in (-1.0, 1.0):
            inner, outer = sorted((side * court.WALL_INNER, side * 13.0))
            self.box(inner, _BOTTOM, outer, _TOP, GROUND)
        for bottom in np.arange(court.OVER_BOTTOM + 0.2, 6.6, 0.5):
            self.box(-0.02, bottom, 0.02, bottom + 0.2, FAINT)
        self.box(-0.09, court.FLOOR_TOP, 0.09, court.NET_TOP, INK)


def _score_board(canvas: _CourtCanvas, score: Floats, before: Floats) -> None:
    """Both scores, each on its player's side, and below them what was earned since ``before``."""
    for agent in (court.AGENT_B, court.AGENT_A):
        x = -court.MIRROR[agent] * _SCORE_X
        canvas.text((x, 7.2), f"{_NAMES[agent]}  {score[agent]:.2f}", 19, RACKET_COLOUR[agent])
        gain = score[agent] - before[agent]
        if gain > 0.0:
            canvas.text((x, 6.1), f"+{gain:.1f}", 15, GAIN)


def draw_last(frames: Sequence[TennisSnapshot], area: int, seconds: float, width: int) -> Image.Image:
    """The last of these fixed steps of one rally, with the ball's trail; ``seconds`` into it."""
    film = _Film.of(frames[-_LOOK_BACK:], area)
    return _moment(film, len(film) - 1, width, seconds)


def _moment(film: _Film, now: int, width: int, seconds: float) -> Image.Image:
    """The court at one fixed step, with the ball's trail and the latest reward."""
    canvas = _CourtCanvas(width)
    canvas.court()
    _score_board(canvas, film.score[now], film.score[max(0, now - _GAIN_SHOWN)])
    canvas.text((0.0, 7.2), f"{seconds:.1f} s", 14)
    for past in range(max(0, now - _TRAIL), now, 2):
        share = 1.0 - (now - past) / (_TRAIL + 2)
        canvas.disc(film.ball[past], court.BALL_RADIUS * (0.35 + 0.5 * share), mix(BALL, 0.75 * share, SKY))
    for agent, colour in enumerate(RACKET_COLOUR):
        canvas.racket(film.racket[now, agent], agent, colour)
    canvas.disc(film.ball[now], court.BALL_RADIUS, BALL, BALL_EDGE)
    return canvas.finished()


def _write_gif(film: _Film, path: Path) -> None:
    shown = range(0, len(film), FRAME_STRIDE)
    pictures = [_moment(film, now, _GIF_WIDTH, now * court.FIXED_STEP) for now in shown]
    write_gif(pictures, path, court.FIXED_STEP * FRAME_STRIDE)


def _strip(film: _Film, panels: int) -> Image.Image:
    """Panels in two columns; each shows one flight: from the serve or a stroke to the next one."""
    bounds = [0, *film.strokes, len(film) - 1]
    flights = [(start, end) for start, end in zip(bounds[:-1], bounds[1:], strict=True) if end > start][
        :panels
    ]
    flights = flights or [(0, len(film) - 1)]
    pictures = [_flight(film, start, end, width=540) for start, end in flights]
    width, height = pictures[0].size
    gutter = 8
    rows = -(-len(pictures) // _PANEL_COLUMNS)
    columns = min(_PANEL_COLUMNS, len(pictures))
    strip = Image.new("RGB", (columns * (width + gutter) - gutter, rows * (height + gutter) - gutter), LINE)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, _PANEL_COLUMNS)
        strip.paste(picture, (column * (width + gutter), row * (height + gutter)))
    return strip


def _flight(film: _Film, start: int, end: int, width: int) -> Image.Image:
    """One flight of the ball, with rackets where they stood (pale) and where they ended."""
    canvas = _CourtCanvas(width)
    canvas.court()
    _score_board(canvas, film.score[end], film.score[start])
    striker = _NAMES[court.AGENT_A if film.ball[start, 0] < 0.0 else court.AGENT_B]
    title = "serve" if start == 0 else f"{striker} strikes"
    canvas.text((0.0, 7.2), f"{title}, {start * court.FIXED_STEP:.1f} s", 15)
    for agent, colour in enumerate(RACKET_COLOUR):
        canvas.racket(film.racket[start, agent], agent, mix(colour, 0.25, SKY))
    for step in range(start, end, 4):
        share = 0.25 + 0.6 * (step - start) / max(1, end - start)
        canvas.disc(film.ball[step], 0.55 * court.BALL_RADIUS, mix(BALL, share, SKY))
    for agent, colour in enumerate(RACKET_COLOUR):
        canvas.racket(film.racket[end, agent], agent, colour)
    canvas.disc(film.ball[end], court.BALL_RADIUS, BALL, BALL_EDGE)
    return canvas.finished()
