"""Recall: what is shown when, and what is paid."""

import numpy as np
import pytest

from mlagents_marl_plugin.player.scene import Actions, Rows
from mlagents_marl_plugin.player.scenes.recall import RecallOptions, RecallScene

ID = "Recall?team=0"


def answer(scene: RecallScene, choice: np.ndarray) -> Rows:
    """All agents say something."""
    seat = np.arange(scene.num_seats)
    said = Actions(seat, np.zeros((scene.num_seats, 0), np.float32), choice[:, None])
    return scene.step({ID: said})[ID]


def test_the_cue_is_shown_once_and_asked_for_at_the_end() -> None:
    scene = RecallScene(2, 1, RecallOptions(agents=3, cues=4, length=3))
    rows, wrong = scene.reset()[ID], np.zeros(6, np.int64)
    for _ in range(5):
        (seen,) = rows.observations
        begun = seen[-6:]
        assert (begun.sum(1) == 1).all() and not begun[:, -1].any()
        cue = begun.argmax(1)
        wrong[:3], right = (cue[:3] + 1) % 4, cue[3:]
        (between,) = answer(scene, cue).observations
        assert not between.any()
        rows = answer(scene, cue)
        assert (rows.observations[0] == [0, 0, 0, 0, 1]).all() and not rows.reward.any()
        rows = answer(scene, np.concatenate([wrong[:3], right]))
        assert rows.seat.tolist() == [*range(6), *range(6)]
        assert rows.done.tolist() == [True] * 6 + [False] * 6 and not rows.interrupted.any()
        assert rows.reward.tolist() == [-1.0] * 3 + [1.0] * 3 + [0.0] * 6
        assert rows.group.tolist() == [1, 1, 1, 2, 2, 2] * 2
    assert scene.scores == [0.0] * 5
    shown = scene.drain_statistics()
    assert [(one.name, one.value) for one in shown] == [("Recall/Right", 0.5)] * 5


def test_cues_are_drawn_anew_and_alike_for_all() -> None:
    scene = RecallScene(50, 7, RecallOptions(cues=3, length=2))
    (seen,) = scene.reset()[ID].observations
    counts = np.zeros((100, 3))
    for _ in range(60):
        counts += seen[-100:, :3]
        answer(scene, np.zeros(100, np.int64))
        (seen,) = answer(scene, np.zeros(100, np.int64)).observations
    assert (np.abs(counts.sum(0) / counts.sum() - 1 / 3) < 0.03).all()
    assert counts.min() > 5, "every agent is shown every cue"


@pytest.mark.parametrize(("name", "value"), [("agents", 0), ("cues", 1), ("length", 1)])
def test_options_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^Recall\.{name}: expected a whole number >= \d, got {value}"):
        RecallOptions(**{name: value})
