"""Training in the Editor: mlagents-learn without --env, and Play, Stop, Play as a person presses them.

``marl-player play`` stands in for the Editor's button, and the settings of the environment are those of a shipped YAML.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, interrupt, read_until, start
from tests.contract.playing import TIMEOUT, player

SHIPPED = Path(__file__).resolve().parents[2] / "trainer_configs" / "tennis_matd3.yaml"
PORT = free_port(1)
# The host has no option for the Editor's port, and several tests may run on one machine.
LEARN = f"""
from mlagents_envs.environment import UnityEnvironment
UnityEnvironment.DEFAULT_EDITOR_PORT = {PORT}
from mlagents.trainers.learn import main
main()
"""
LISTENING = f"Listening on port {PORT}. Start training by pressing the Play button"
STEP = re.compile(r"Tennis\. Step: (\d+)")


class Editor:
    """A training that waits for Play, and the Editor in front of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        config = yaml.safe_load(SHIPPED.read_text())
        config["behaviors"]["Tennis"]["summary_freq"] = 100
        (folder / "tennis.yaml").write_text(yaml.safe_dump(config))
        self.printed = ""
        self.playing: subprocess.Popen | None = None

    def learn(self, *flags: str) -> subprocess.Popen:
        return start(
            self.folder, "tennis.yaml", *flags, program=[sys.executable, "-c", LEARN], start_new_session=True
        )

    def play(self, learning: subprocess.Popen) -> int:
        """Wait to be asked, press Play, and wait for a line of figures; returns its step."""
        self.printed += read_until(learning, LISTENING)
        self.playing = subprocess.Popen(player("play", "Tennis", "--mlagents-port", str(PORT)))
        self.printed += read_until(learning, "Tennis. Step: ")
        return int(STEP.findall(self.printed)[-1])

    def stop(self) -> int:
        """Press Stop; the Editor's exit code."""
        assert self.playing is not None
        self.playing.send_signal(signal.SIGINT)
        return self.playing.wait(TIMEOUT)


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
        editor.printed += read_until(learning, LISTENING)
        interrupt(learning)
        editor.printed += learning.communicate(timeout=TIMEOUT)[0]
    assert learning.returncode == 0, editor.printed
    return steps


class TestEditor:
    # Only where the host forks its environment worker does the worker listen on this test's port.
    __test__ = sys.platform == "linux"

    def test_c88_training_goes_on_at_each_play(self, editor: Editor, steps: list[int]) -> None:
        assert steps[0] < steps[1] < steps[2]
        assert editor.printed.count("a player was replaced; what was under way is left out") == 3

    def test_c88_ctrl_c_saves_the_model(self, editor: Editor, steps: list[int]) -> None:
        saved = editor.folder / "results/run/Tennis" / checkpoint.LAST
        assert checkpoint.read(str(saved), torch.device("cpu"))["step"] >= steps[-1]
        assert OnnxPolicy(editor.folder / "results/run/Tennis.onnx").continuous_size == 2
