"""Training in the Editor: mlagents-learn without --env, and Play, Stop, Play as a person presses them."""

import sys
from collections.abc import Iterator

import pytest
import torch

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.editor import Editor
from tests.contract.host import interrupt, read_until
from tests.contract.playing import TIMEOUT


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    editor = Editor(tmp_path_factory.mktemp("editor"))
    yield editor
    if editor.playing is not None and editor.playing.poll() is None:
        editor.playing.kill()


@pytest.fixture(scope="module")
def steps(editor: Editor) -> list[int]:
    """Play, Stop, Play, Stop, Play, Stop within a minute, then Ctrl+C in the shell while it waits for Play."""
    steps = []
    with editor.learn() as learning:
        for _ in range(3):
            steps.append(editor.play(learning))
            assert editor.stop() == 0
        editor.printed += read_until(learning, editor.listening)
        interrupt(learning)
        editor.printed += learning.communicate(timeout=TIMEOUT)[0]
    assert learning.returncode == 0, editor.printed
    return steps


class TestEditor:
    # See tests/contract/editor.py.
    __test__ = sys.platform == "linux"

    def test_c88_training_goes_on_at_each_play(self, editor: Editor, steps: list[int]) -> None:
        assert steps[0] < steps[1] < steps[2]
        assert editor.printed.count("a player was replaced; what was under way is left out") == 3

    def test_c88_ctrl_c_saves_the_model(self, editor: Editor, steps: list[int]) -> None:
        saved = editor.folder / "results/run/Tennis" / checkpoint.LAST
        assert checkpoint.read(str(saved), torch.device("cpu"))["step"] >= steps[-1]
        assert OnnxPolicy(editor.folder / "results/run/Tennis.onnx").continuous_size == 2
