"""The bridge between a fake build of ML-Agents 0.4, over its real wire, and the player's scenes."""

import io

import numpy as np
import pytest
from PIL import Image

from mlagents_marl_plugin.player.scene import Actions, ActionSpec, SceneError
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters
from tests.udacity.playing import answers, played

TENNIS = "TennisBrain?team=0"


def seen(rows):
    """(seat, done, interrupted, reward, episode, step, tick) of every row."""
    now = rows.observations[0].reshape(len(rows.seat), -1, rows.observations[0].shape[1])[:, 0]
    frame = now[:, -8:] if now.shape[1] == 24 else now
    return [
        (int(s), bool(d), bool(i), float(r), *map(int, o[1:4]))
        for s, d, i, r, o in zip(rows.seat, rows.done, rows.interrupted, rows.reward, frame, strict=True)
    ]


def test_tennis_episode_by_episode():
    """Rallies of 5, 7 and 6 decisions, then the academy ends the fourth after 2."""
    asks, lost, cut = (False, False), (True, False), (True, True)
    rallies = []
    with played("tennis") as (scene, diary):
        frame = scene.reset()
        assert [b.id for b in scene.behaviors] == [TENNIS]
        assert scene.behaviors[0].actions == ActionSpec(continuous=2)
        assert [sensor.shape for sensor in scene.behaviors[0].sensors] == [(24,)]
        for tick in range(21):
            rallies.append(seen(frame[TENNIS]))
            frame = scene.step(answers(scene, frame, tick))
    assert rallies[0] == [(0, *asks, 0.0, 0, 0, 0), (1, *asks, 0.0, 0, 0, 0)]
    assert rallies[1] == [(0, *asks, 0.25, 0, 1, 1), (1, *asks, 0.5, 0, 1, 1)]
    # A last row shows what was seen before the end; the first of the next rally starts without a reward.
    assert rallies[5] == [
        (0, *lost, 1.25, 0, 4, 4),
        (1, *lost, 2.5, 0, 4, 4),
        (0, *asks, 0.0, 1, 0, 5),
        (1, *asks, 0.0, 1, 0, 5),
    ]
    assert rallies[6] == [(0, *asks, 0.25, 1, 1, 6), (1, *asks, 0.5, 1, 1, 6)]
    assert [tick for tick, rows in enumerate(rallies) if len(rows) == 4] == [5, 12, 18, 20]
    assert rallies[20] == [
        (0, *cut, 0.5, 3, 1, 19),
        (1, *cut, 1.0, 3, 1, 19),
        (0, *asks, 0.0, 0, 0, 0),
        (1, *asks, 0.0, 0, 0, 0),
    ]
    assert diary[0] == {"seed": 3}
    commands = [(entry["command"], entry["training"]) for entry in diary[1:-1]]
    assert commands == [("RESET", True)] + 20 * [("STEP", False)] + [("RESET", True), ("STEP", False)]
    assert diary[-1] == {"status": 400}


def test_actions_reach_the_agents_that_they_were_meant_for():
    with played("tennis") as (scene, diary):
        frame = scene.reset()
        for tick in range(4):
            chosen = answers(scene, frame, tick)
            frame = scene.step(chosen)
            np.testing.assert_array_equal(
                frame[TENNIS].observations[0][:, -4:-2], chosen[TENNIS].continuous, f"tick {tick}"
            )
            assert diary[-1]["actions"] == {"TennisBrain": chosen[TENNIS].continuous.tolist()}


def test_an_agents_time_limit_is_an_interruption():
    with played("reacher") as (scene, _):
        frame = scene.reset()
        for tick in range(12):
            frame = scene.step(answers(scene, frame, tick))
    rows = frame["ReacherBrain?team=0"]
    assert rows.seat.tolist() == 2 * list(range(20))
    assert rows.done.tolist() == 20 * [True] + 20 * [False]
    assert rows.interrupted.tolist() == rows.done.tolist()


def test_discrete_actions_are_choices():
    with played("banana") as (scene, diary):
        assert scene.behaviors[0].actions == ActionSpec(branches=(4,))
        frame = scene.reset()
        for tick in range(6):
            frame = scene.step(answers(scene, frame, tick))
        chosen = [entry["actions"]["BananaBrain"] for entry in diary[2:]]
        assert chosen == [[[0.0]], [[1.0]], [[2.0]], [[3.0]], [[0.0]], [[1.0]]]


def test_several_brains_whose_agents_end_at_different_times():
    striker, goalie = "StrikerBrain?team=0", "GoalieBrain?team=0"
    with played("soccer") as (scene, diary):
        assert [b.id for b in scene.behaviors] == [striker, goalie]
        frame = scene.reset()
        assert (frame[striker].seat.tolist(), frame[goalie].seat.tolist()) == ([0, 1], [2, 3])
        for tick in range(5):
            frame = scene.step(answers(scene, frame, tick))
        for brain, first in ((striker, 0), (goalie, 2)):
            assert frame[brain].seat.tolist() == [first, first, first + 1]
            assert frame[brain].done.tolist() == [True, False, False]
            assert frame[brain].reward.tolist() == [1.25, 0.0, 2.5]
        frame = scene.step(answers(scene, frame, 5))
        assert diary[-1]["actions"] == {"StrikerBrain": [[5.0], [0.0]], "GoalieBrain": [[1.0], [2.0]]}


def test_cameras_and_discrete_observations():
    with played("pixels") as (scene, _):
        pixels, basic = scene.behaviors
        assert [(sensor.shape, sensor.png) for sensor in pixels.sensors] == [
            ((3, 8, 12), True),
            ((1, 6, 4), True),
        ]
        assert [sensor.shape for sensor in basic.sensors] == [(40,)]
        frame = scene.reset()
        frame = scene.step(answers(scene, frame, 0))
        colour, grey = frame[pixels.id].observations
        shades = [np.array(Image.open(io.BytesIO(picture)))[0, 0].tolist() for picture in colour]
        assert shades == [[1, 0, 0], [11, 5, 0]]
        assert Image.open(io.BytesIO(grey[0])).size == (4, 6)
        (one_hot,) = frame[basic.id].observations
        assert np.flatnonzero(one_hot[0]).tolist() == [1, 20 + 2]


def test_what_the_first_camera_sees_is_the_film():
    with played("pixels") as (scene, _):
        film = scene.film(0)
        assert film.drain() == [], "nothing was seen yet"
        frame = scene.reset()
        for tick in range(2):
            (shown,) = film.drain()
            assert shown == frame["PixelBrain?team=0"].observations[0][0]
            frame = scene.step(answers(scene, frame, tick))
    with played("tennis") as (scene, _):
        scene.reset()
        film = scene.film(0)
        assert film.drain() == [] and "add --watch after --env-args" in film.why_blind


def test_reset_of_the_trainer_begins_anew_without_an_end():
    with played("tennis") as (scene, diary):
        scene.step(answers(scene, scene.reset(), 0))
        frame = scene.reset()
        assert not frame[TENNIS].done.any()
        assert frame[TENNIS].seat.tolist() == [0, 1]
        frame = scene.step(answers(scene, frame, 0))
        assert seen(frame[TENNIS])[0] == (0, False, False, 0.25, 0, 1, 1)
        assert [entry["command"] for entry in diary[1:]] == ["RESET", "STEP", "RESET", "STEP"]


def test_parameters_that_the_build_has_and_the_trainer_set_go_along_with_reset():
    parameters = EnvironmentParameters()
    parameters.set_value("goal_speed", 2.5)
    parameters.set_value("gravity", 1.0)
    with played("reacher", parameters=parameters, watch=True) as (scene, diary):
        scene.reset()
        assert diary[-1]["parameters"] == {"goal_speed": 2.5}
        assert diary[-1]["training"] is False


@pytest.mark.parametrize(
    ("game", "fault", "message"),
    [
        (
            "tennis",
            "version",
            r"expected one that speaks API-4 \(ML-Agents 0\.4\), got API-5; use the builds",
        ),
        ("tennis", "garbage", r"expected a message of ML-Agents 0\.4, got 3 other bytes"),
        ("tennis", "no_external", "expected a brain of type External, got PlayerBrain; in Unity set"),
        ("tennis", "no_sensors", "brain BlindBrain: expected at least one action and one observation, got 2"),
        ("tennis", "vector", "brain TennisBrain: expected 24 numbers and 0 pictures .*, got 23 and 0; is it"),
        ("tennis", "twice", r"expected every agent once, got ids \[-1266, -1266"),
        ("tennis", "unknown_brain", "build: expected infos of TennisBrain, got Nobody; is it"),
        ("pixels", "picture", "camera 0: expected a PNG file of 12 x 8 pixels, got one of 3 x 3"),
        ("pixels", "no_picture", "camera 0: expected a PNG file of 12 x 8 pixels, got 0 bytes that are none"),
        ("pixels", "index", r"expected discrete observations from 0 to 19, got \[99\.0, 99\.0\]"),
    ],
)
def test_a_build_that_contradicts_itself_is_told_apart(game, fault, message):
    with pytest.raises(SceneError, match=message), played(game, fault) as (scene, _):
        scene.reset()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("quits", "expected status 200, got 400; the build has quit, was its window closed?"),
        ("hangs_up", "got one that ended with exit code 0 while it played; start it by hand"),
    ],
)
def test_a_build_that_ends_while_it_plays(fault, message):
    with played("tennis", fault) as (scene, _):
        frame = scene.reset()
        with pytest.raises(SceneError, match=message):
            for tick in range(6):
                frame = scene.step(answers(scene, frame, tick))


def test_a_camera_needs_graphics():
    with (
        pytest.raises(
            SceneError, match="brain PixelBrain: expected graphics.*got --no-graphics; leave that out"
        ),
        played("pixels", graphics=False),
    ):
        pass


def test_numbers_that_are_none_do_not_reach_the_build():
    with played("tennis") as (scene, diary):
        frame = scene.reset()
        wrong = Actions(frame[TENNIS].seat, np.full((2, 2), np.nan, np.float32), np.zeros((2, 0), np.int64))
        with pytest.raises(SceneError, match="actions of TennisBrain: expected finite numbers, got NaN"):
            scene.step({TENNIS: wrong})
        assert len(diary) == 2
