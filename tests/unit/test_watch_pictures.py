"""Every scene that can draw itself does, and playing is not changed by it."""

import io

import numpy as np
import pytest
from PIL import Image

from mlagents_marl_plugin.player.canvas import Canvas, mix, png, write_gif
from mlagents_marl_plugin.player.film import pack_pictures, unpack_pictures
from mlagents_marl_plugin.player.row_shapes import check_frame
from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.scenes.battle_options import BattleOptions
from mlagents_marl_plugin.player.scenes.battle_scene import BattleScene
from mlagents_marl_plugin.player.scenes.recall import RecallOptions, RecallScene
from mlagents_marl_plugin.player.scenes.tennis import TennisWorld
from mlagents_marl_plugin.player.scenes.tennis_scene import TennisScene
from mlagents_marl_plugin.player.scenes.versus import VersusWorld
from mlagents_marl_plugin.player.scenes.versus_scene import VersusScene
from mlagents_marl_plugin.player.scenes.vmas_options import VmasOptions
from mlagents_marl_plugin.player.scenes.vmas_scene import VmasScene

SCENES = {
    "Tennis": (lambda: TennisScene(TennisWorld(2, 3)), 30, 0.04),
    "TennisVersus": (lambda: VersusScene(VersusWorld(2, 3)), 30, 0.04),
    "circles": (lambda: VmasScene(2, 3, VmasOptions("simple_tag", max_steps=5)), 12, 0.1),
    "boxes and lines": (lambda: VmasScene(2, 3, VmasOptions("balance", max_steps=5)), 12, 0.1),
    "Recall": (lambda: RecallScene(2, 3, RecallOptions(length=5)), 12, 0.5),
    "Battle": (lambda: BattleScene(2, 3, BattleOptions("scripted", map_size=20, max_steps=5)), 12, 0.1),
}


def play(scene, decisions, film):
    """All observations, and the pictures of each decision, under random actions."""
    rng = np.random.default_rng(0)
    frame = scene.reset()
    seen, pictures = [], []
    for _ in range(decisions):
        answers = {}
        for behavior in scene.behaviors:
            rows, spec = frame[behavior.id], behavior.actions
            seat = rows.seat if rows.done is None else rows.seat[~rows.done]
            continuous = rng.uniform(-1, 1, (len(seat), spec.continuous)).astype(np.float32)
            discrete = rng.integers(0, spec.branches or 1, (len(seat), len(spec.branches)))
            answers[behavior.id] = Actions(seat, continuous, discrete)
        frame = scene.step(answers)
        check_frame({behavior.id: behavior for behavior in scene.behaviors}, frame)
        seen += [observation for rows in frame.values() for observation in rows.observations]
        if film:
            pictures.append(film.drain())
    return seen, pictures


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), int)


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_draws_itself_and_plays_on_as_before(name):
    make, num_pictures, seconds = SCENES[name]
    scene = make()
    film = scene.film(1)
    seen, pictures = play(scene, 12, film)
    unwatched, _ = play(make(), 12, None)
    for one, other in zip(seen, unwatched, strict=True):
        np.testing.assert_array_equal(one, other)
    every = [picture for drained in pictures for picture in drained]
    assert len(every) == num_pictures
    assert film.seconds == pytest.approx(seconds)
    assert film.drain() == [] or name not in ("Tennis", "TennisVersus"), "what was drained is not told again"
    first, last = pixels(every[0]), pixels(every[-1])
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0, "films in common formats have even sides"
    assert first.shape == last.shape and (first != last).any(), "things move"
    assert len(np.unique(last.reshape(-1, 3), axis=0)) > 3


def test_the_area_asked_for_is_drawn():
    scene = TennisScene(TennisWorld(2, 3))
    _, shown = play(scene, 4, scene.film(0))
    scene = TennisScene(TennisWorld(2, 3))
    _, other = play(scene, 4, scene.film(1))
    assert shown[-1][-1] != other[-1][-1]


def test_a_soldier_stands_where_the_field_has_it():
    scene = BattleScene(1, 3, BattleOptions(map_size=20))
    scene.reset()
    (picture,) = scene.film(0).drain()
    shown = pixels(picture)
    column, row = scene.fields[0].cells(0)[0]
    cell = shown.shape[1] / 20
    red, green, blue = shown[int((4 + row + 0.5) * cell), int((column + 0.5) * cell)]
    assert red > 180 and green < 90 and blue < 90


def test_what_an_agent_recalls_is_judged_when_it_is_asked():
    scene = RecallScene(2, 3, RecallOptions(agents=4, length=2))
    film = scene.film(1)
    rows = scene.reset()["Recall?team=0"]
    cue = rows.observations[0][4:, :2].argmax(axis=1)
    right, wrong = (32, 132, 76), (200, 48, 48)

    def judged():
        shown = pixels(film.drain()[0])
        row = round((3.2 - 0.75 - 0.35) * 120)  # within the ring below what was said
        return [tuple(shown[row, 120 * agent + 60]) for agent in range(4)]

    def say(choice):
        scene.step({"Recall?team=0": Actions(np.arange(8), np.zeros((8, 0), np.float32), choice[:, None])})

    say(np.zeros(8, np.int64))
    assert not {right, wrong} & set(judged()), "nothing was asked yet"
    say(np.concatenate([np.zeros(4, np.int64), np.append(cue[:3], 1 - cue[3])]))
    assert judged() == [right, right, right, wrong]


def test_points_of_the_other_tennis_are_counted():
    scene = VersusScene(VersusWorld(1, 3))
    film = scene.film(0)
    scene.reset()
    for _ in range(40):
        scene.step({})
    assert sum(film._points) > 0


def test_pictures_survive_the_wire():
    assert unpack_pictures(pack_pictures([b"one", b"", b"three"], 0.25)) == (
        [b"one", b"", b"three"],
        0.25,
        "",
    )
    assert unpack_pictures(pack_pictures([], 0.5, "too dark – no lamp")) == ([], 0.5, "too dark – no lamp")


def test_a_canvas_has_y_upwards():
    canvas = Canvas(40, (0.0, 0.0, 4.0, 2.0), (0, 0, 0))
    canvas.box(0.0, 1.0, 1.0, 2.0, (255, 0, 0))
    shown = pixels(png(canvas.finished()))
    assert shown.shape == (20, 40, 3)
    assert shown[4, 4].tolist() == [255, 0, 0] and not shown[15, 4].any()
    assert mix((100, 200, 0), 0.25, (0, 0, 40)) == (25, 50, 30)


def test_odd_sides_grow_by_what_is_at_the_edge():
    canvas = Canvas(5, (0.0, 0.0, 5.0, 3.0), (0, 0, 0))
    canvas.box(4.0, 0.0, 5.0, 1.0, (255, 0, 0))
    shown = pixels(png(canvas.finished()))
    assert shown.shape == (4, 6, 3)
    assert (shown[2:, 4:] == (255, 0, 0)).all(), "the corner at the right below"
    assert not shown[:2].any() and not shown[:, :4].any()


def test_a_gif_keeps_pictures_and_pace(tmp_path):
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    write_gif(pictures, tmp_path / "a.gif", 0.04)
    with Image.open(tmp_path / "a.gif") as written:
        assert (written.n_frames, written.info["duration"]) == (3, 40)
