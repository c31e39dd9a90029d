"""The player, which tells at its end how many milliseconds VMAS itself took per step in the player's process.

Driven directly and in one go, VMAS finds its data in the processor's caches; between two messages it does not.
"""

import sys
import time
from typing import Any

from mlagents_marl_plugin.player.cli import main
from mlagents_marl_plugin.player.scenes import vmas_scene

_ENTRANCES = ("step", "reset_at", "get_from_scenario")  # what the scene calls while it plays


class _Timed:
    """An environment of VMAS whose entrances are timed."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self.steps, self.seconds = 0, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._environment, name)
        if name not in _ENTRANCES:
            return found

        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.thread_time()
            result = found(*arguments, **options)
            self.seconds += time.thread_time() - begin
            self.steps += name == "step"
            return result

        return timed


if __name__ == "__main__":
    made: list[_Timed] = []

    def make(*arguments: Any) -> _Timed:
        """VMAS's environment, timed."""
        made.append(_Timed(original(*arguments)))
        return made[-1]

    original, vmas_scene.make_env = vmas_scene.make_env, make
    code = main(["run", *sys.argv[1:]])
    for environment in made:
        print(f"VMAS {environment.seconds / environment.steps * 1000} ms")
    sys.exit(code)
