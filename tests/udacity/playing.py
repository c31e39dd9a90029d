"""The bridge's scene with a fake build in a thread of this process."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from mlagents_marl_plugin.player.legacy.academy import Academy
from mlagents_marl_plugin.player.legacy.python_side import PythonSide
from mlagents_marl_plugin.player.legacy.udacity_options import UdacityOptions
from mlagents_marl_plugin.player.legacy.udacity_scene import UdacityScene
from mlagents_marl_plugin.player.scene import Actions, Frame
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters
from tests.udacity.fake_build import FakeBuild, caller
from tests.udacity.games import GAMES

SEED = 3
PROGRAM = Path("Tennis.x86_64")


class ThreadAsProcess:
    """What ``BuildProcess`` is to the bridge, for a build that is a thread."""

    def __init__(self, play: Callable[[], None]) -> None:
        self._play = play
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # As a build whose Python is gone.
        with contextlib.suppress(grpc.RpcError):
            self._play()

    @property
    def exit_code(self) -> int | None:
        return None if self._thread.is_alive() else 0

    def last_words(self) -> str:
        return ""

    def wait(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def end(self) -> None:
        assert self.wait(10)


@contextlib.contextmanager
def played(
    game: str,
    fault: str = "",
    timeout: float = 30.0,
    parameters: EnvironmentParameters | None = None,
    **options: Any,
) -> Iterator[tuple[UdacityScene, list[dict]]]:
    """The scene, and the diary of what its build heard."""
    side = PythonSide()
    build = FakeBuild(GAMES[game], caller(side.port), fault)
    academy = Academy(side, ThreadAsProcess(build.play), timeout)  # type: ignore[arg-type]
    try:
        yield (
            UdacityScene(
                academy, SEED, UdacityOptions(PROGRAM, **options), parameters or EnvironmentParameters()
            ),
            build.diary,
        )
    finally:
        academy.close()


def answers(scene: UdacityScene, frame: Frame, tick: int) -> dict[str, Actions]:
    """Answers that differ by agent, tick and place."""
    given = {}
    for behavior in scene.behaviors:
        if behavior.id not in frame:
            continue
        rows = frame[behavior.id]
        seat = rows.seat if rows.done is None else rows.seat[~rows.done]
        place = np.arange(len(seat))[:, None]
        size = behavior.actions.continuous
        continuous = ((tick + place + np.arange(size)) % 9 - 4) / 4
        branches = np.array(behavior.actions.branches, dtype=np.int64)
        given[behavior.id] = Actions(
            seat,
            continuous.astype(np.float32).reshape(len(seat), size),
            (tick + place) % branches if len(branches) else np.zeros((len(seat), 0), np.int64),
        )
    return given
