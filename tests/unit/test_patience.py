"""Files that somebody else holds for a moment."""

import os

import pytest

from mlagents_marl_plugin.adapter import patience
from mlagents_marl_plugin.adapter.patience import WAITS, patiently
from tests.unit.trainer_runs import start

pytestmark = pytest.mark.usefixtures("host_state")


@pytest.fixture
def waited(monkeypatch):
    """The seconds waited, without waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", seconds.append)
    return seconds


def test_what_is_held_for_a_moment_is_tried_again(waited):
    answers = [PermissionError(), PermissionError(), None]

    def act(*arguments):
        assert arguments == (1, "two")
        if (answer := answers.pop(0)) is not None:
            raise answer

    patiently(act, 1, "two")
    assert (answers, tuple(waited)) == ([], WAITS[:2])


def test_what_stays_held_is_told_and_other_errors_are_told_at_once(waited):
    def act(error):
        raise error

    with pytest.raises(PermissionError):
        patiently(act, PermissionError())
    assert tuple(waited) == WAITS
    with pytest.raises(FileNotFoundError):
        patiently(act, FileNotFoundError())
    assert tuple(waited) == WAITS


def test_a_run_whose_files_are_held_for_a_moment_saves_them_all(tmp_path, monkeypatch, waited):
    replace, held = os.replace, set()

    def replace_unless_held(source, target):
        if target not in held:
            held.add(target)
            raise PermissionError(13, "held by a scanner")
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_unless_held)
    start(tmp_path)
    assert (tmp_path / "Counter" / "checkpoint.pt").is_file()
    assert (tmp_path / "Counter.onnx").is_file()
    assert len(held) > 2
