"""How a trainer learns that the host has replaced a player that died: the host says so in its log and nowhere else."""

import logging
from collections.abc import Callable
from weakref import WeakMethod

from mlagents.trainers import subprocess_env_manager

_BEGINNING = "Restarting worker["


class _Watch(logging.Filter):
    """Sees every line of the host's environment manager and holds none back."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[WeakMethod] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage().startswith(_BEGINNING):
            self.listeners = [listener for listener in self.listeners if listener() is not None]
            for listener in self.listeners:
                told = listener()
                if told is not None:
                    told()
        return True


_watch = _Watch()
subprocess_env_manager.logger.addFilter(_watch)


def on_restart(listener: Callable[[], None]) -> None:
    """Call a bound method whenever a player is replaced, before the host resets all players; held weakly."""
    _watch.listeners.append(WeakMethod(listener))
