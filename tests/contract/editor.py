"""The Editor's buttons in front of a mlagents-learn without --env; ``marl-player play`` stands in for the scene.

The settings of the environment are those of a shipped YAML. Linux: only where the host forks its environment worker
does the worker listen on a port of the test's choice.
"""

import re
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from tests.contract.host import free_port, read_until, start
from tests.contract.playing import TIMEOUT, player

SHIPPED = Path(__file__).resolve().parents[2] / "trainer_configs" / "tennis_matd3.yaml"
# The host has no option for the Editor's port, and several tests may run on one machine.
LEARN = """
from mlagents_envs.environment import UnityEnvironment
UnityEnvironment.DEFAULT_EDITOR_PORT = {port}
from mlagents.trainers.learn import main
main()
"""
STEP = re.compile(r"Tennis\. Step: (\d+)")


class Editor:
    """A training that waits for Play, and the Editor in front of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port(1)
        self.listening = f"Listening on port {self.port}. Start training by pressing the Play button"
        config = yaml.safe_load(SHIPPED.read_text())
        config["behaviors"]["Tennis"]["summary_freq"] = 100
        (folder / "tennis.yaml").write_text(yaml.safe_dump(config))
        self.printed = ""
        self.playing: subprocess.Popen | None = None

    def learn(self, *flags: str) -> subprocess.Popen:
        program = [sys.executable, "-c", LEARN.format(port=self.port)]
        return start(self.folder, "tennis.yaml", *flags, program=program, start_new_session=True)

    def play(self, learning: subprocess.Popen) -> int:
        """Wait to be asked, press Play, and wait for a line of figures; returns its step."""
        self.printed += read_until(learning, self.listening)
        self.playing = subprocess.Popen(player("play", "Tennis", "--mlagents-port", str(self.port)))
        self.printed += read_until(learning, "Tennis. Step: ")
        return int(STEP.findall(self.printed)[-1])

    def stop(self) -> int:
        """Press Stop; the Editor's exit code."""
        assert self.playing is not None
        self.playing.send_signal(signal.SIGINT)
        return self.playing.wait(TIMEOUT)
