"""Pictures of a rally: they show the ball where it is and end where the rally ends."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlagents_marl_plugin.player.render import BALL, GAIN, RACKET_COLOUR, film_rally, render_rally
from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis import TennisSnapshot, TennisWorld
from mlagents_marl_plugin.player.scenes.tennis_policies import RallyPolicy


@pytest.fixture(scope="module")
def rally() -> list[TennisSnapshot]:
    return film_rally(TennisWorld(2, seed=0), RallyPolicy(), seconds=5.0, area=1)


def centre_of(image: Image.Image, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Mean place of a colour, as a share of width and height."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    y, x = np.nonzero(np.abs(pixels - colour).sum(axis=-1) < 40)
    assert x.size > 10, "colour not in the picture"
    return x.mean() / image.width, y.mean() / image.height


def test_film_holds_every_fixed_step(rally: list[TennisSnapshot]) -> None:
    assert len(rally) == 250
    ball = np.array([frame.ball[1] for frame in rally])
    assert np.linalg.norm(np.diff(ball, axis=0), axis=1).max() < 1.2, "no serve within the film"
    assert rally[-1].score[1].max() > 0.0
    assert ball[0, 1] == 6.0


def test_film_ends_when_the_ball_is_lost() -> None:
    world = TennisWorld(1, seed=0)
    frames = film_rally(world, lambda obs: np.ones((*obs.shape[:2], 2)) * (1.0, -1.0), seconds=20.0)

    assert len(frames) == 72, "the serve and 71 steps of falling"
    assert frames[-1].ball[0, 1] < -2.7
    assert world.on_fixed_step is None


def test_gif_plays_in_real_time_and_follows_the_ball(rally: list[TennisSnapshot], tmp_path: Path) -> None:
    path = tmp_path / "rally.gif"
    render_rally(rally[50:150], path, area=1)

    assert path.stat().st_size < 150_000
    with Image.open(path) as film:
        assert film.n_frames == 50
        assert film.info["duration"] == 40
        assert film.info["loop"] == 0
        for frame in (0, 20, 45):
            film.seek(frame)
            ball = rally[50 + 2 * frame].ball[1]
            x, y = centre_of(film, BALL)
            assert x == pytest.approx((ball[0] + 12.9) / 25.8, abs=0.04)
            assert y == pytest.approx((8.1 - ball[1]) / 12.2, abs=0.06)
            left, right = (
                centre_of(film, RACKET_COLOUR[court.AGENT_A]),
                centre_of(film, RACKET_COLOUR[court.AGENT_B]),
            )
            assert left[0] < 0.5 < right[0]


def test_strip_has_one_panel_per_flight(rally: list[TennisSnapshot], tmp_path: Path) -> None:
    path = tmp_path / "rally.png"
    render_rally(rally, path, area=1, panels=2)

    assert path.stat().st_size < 300_000
    with Image.open(path) as strip:
        assert strip.size == (2 * 540 + 8, 256)
        second = strip.convert("RGB").crop((548, 0, strip.width, strip.height))
    # The flight after the first stroke crosses the net: the gain stands on the side of who struck the ball.
    served_left = rally[0].ball[1, 0] < 0.0
    assert (centre_of(second, GAIN)[0] < 0.5) == served_left
    assert (centre_of(second, BALL)[0] > 0.5) == served_left


def test_strip_of_four_panels_is_two_rows(rally: list[TennisSnapshot], tmp_path: Path) -> None:
    render_rally(rally, tmp_path / "rally.PNG", area=1)

    with Image.open(tmp_path / "rally.PNG") as strip:
        assert strip.size == (2 * 540 + 8, 2 * 256 + 8)


def test_a_single_frame_can_be_drawn(rally: list[TennisSnapshot], tmp_path: Path) -> None:
    render_rally(rally[:1], tmp_path / "one.png")
    render_rally(rally[:1], tmp_path / "one.gif")

    with Image.open(tmp_path / "one.png") as strip:
        assert strip.size == (540, 256)


def test_wrong_calls_are_refused(rally: list[TennisSnapshot], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least one frame, got none"):
        render_rally([], tmp_path / "rally.gif")
    with pytest.raises(ValueError, match=r"expected a path that ends in \.gif or \.png, got 'rally\.mp4'"):
        render_rally(rally, tmp_path / "rally.mp4")
