"""Pictures of PettingZoo environments: by their own render, of both interfaces, and a reason where there are none."""

import io

import numpy as np
import pytest
from PIL import Image

from mlagents_marl_plugin.player.scenes.parallel_area import ParallelArea
from mlagents_marl_plugin.player.scenes.parallel_options import ParallelOptions
from mlagents_marl_plugin.player.scenes.parallel_scene import ParallelScene
from tests.unit.parallel_envs import Diary, OldDiary

SOURCE = "tests.unit.parallel_envs:Diary"


class Painted(Diary):
    """The new interface: how it draws is chosen when it is made."""

    metadata = {"render_fps": 20}

    def __init__(self, render_mode="rgb_array", channels=3):
        super().__init__()
        self.render_mode, self._channels, self.calls = render_mode, channels, 0

    def render(self):
        self.calls += 1
        return np.full((6, 8, self._channels), 40 + self._step, np.uint8)


class OldPainted(OldDiary):
    """The old interface: ``render`` is told, and opens a window unless it is."""

    metadata = {"video.frames_per_second": 5}

    def render(self, mode="human"):
        assert mode == "rgb_array"
        return np.full((6, 8, 3), 40 + self._step, np.uint8)


class Broken(OldDiary):
    def __init__(self, drawn):
        super().__init__()
        self._drawn = drawn

    def render(self):
        if isinstance(self._drawn, Exception):
            raise self._drawn
        return self._drawn


def filmed(env):
    """The film of an area of such an environment, which has been reset."""
    other = OldDiary() if isinstance(env, OldDiary) else Diary()
    areas = [ParallelArea(other, SOURCE), ParallelArea(env, SOURCE)]
    scene = ParallelScene(areas, 1, ParallelOptions(SOURCE))
    film = scene.film(1)  # asked for before the first reset, when nothing can be drawn yet
    scene.reset()
    return film


@pytest.mark.parametrize(
    ("make", "seconds"), [(Painted, 0.05), (lambda: Painted(channels=4), 0.05), (OldPainted, 0.2)]
)
def test_an_environment_of_either_interface_is_drawn_as_it_draws_itself(make, seconds):
    env = make()
    film = filmed(env)
    assert film.seconds == pytest.approx(seconds)
    shown = []
    for _ in range(2):
        (picture,) = film.drain()
        with Image.open(io.BytesIO(picture)) as opened:
            assert (opened.format, opened.size, opened.mode) == ("PNG", (8, 6), "RGB")
            shown.append(opened.getpixel((0, 0)))
        env.step(dict.fromkeys(env.agents, 0.0))
    assert shown == [(40, 40, 40), (41, 41, 41)] and film.why_blind == ""


@pytest.mark.parametrize(
    ("env", "says"),
    [
        (Diary(), "(ValueError: it has none)"),
        (Broken(None), "(ValueError: expected bytes of height x width x 3, got object of shape ())"),
        (Broken(np.zeros((4, 4), np.uint8)), "got uint8 of shape (4, 4))"),
        (Broken(OSError("no screen")), "(OSError: no screen)"),
        (Broken(NotImplementedError()), "(NotImplementedError)"),
        (Painted("human"), "(ValueError: expected render_mode rgb_array, got human)"),
        (Painted(None), "(ValueError: expected render_mode rgb_array, got None)"),
    ],
)
def test_one_that_cannot_draw_says_why_and_plays_on(env, says):
    film = filmed(env)
    assert film.why_blind == ""
    assert film.drain() == film.drain() == []
    assert film.why_blind.startswith("the environment's render() gave none (") and says in film.why_blind
    assert "--set render_mode=rgb_array" in film.why_blind
    assert getattr(env, "calls", 0) == 0, "no window was opened"
