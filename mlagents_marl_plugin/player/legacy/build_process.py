"""A 0.4 build as a process of its own, which never outlives the player."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlagents_marl_plugin.player.legacy import guard

_END_SECONDS = 10.0
_LINES_QUOTED = 5
# gRPC would take the way to this machine over a company's proxy.
_PROXIES = ("grpc_proxy", "http_proxy", "https_proxy")


class BuildProcess:
    """The running build, under a guard that ends it when the player is gone, even if that was killed."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - until the build has ended
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(Path(guard.__file__)), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env={name: value for name, value in os.environ.items() if name.lower() not in _PROXIES},
            # Ctrl-C in the trainer's console must not reach the build while the trainer saves.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    @property
    def exit_code(self) -> int | None:
        """None while the build runs; 128 + n if signal n ended it."""
        return self._guard.poll()

    def last_words(self) -> str:
        """The end of what the build wrote to standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", errors="replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-_LINES_QUOTED:])

    def wait(self, seconds: float) -> bool:
        """Whether the build ended within ``seconds``."""
        try:
            self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """End the build, if it still runs."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        if not self.wait(_END_SECONDS):
            self._guard.kill()
            self._guard.wait()
        self._errors.close()
