"""Ctrl+C saves: pressing it again while that goes on must not undo it.

Saving takes a moment, and people press twice; some launchers also hand one Ctrl+C on twice.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 5.0
"""Presses that are closer together count as one."""


def count_once() -> None:
    """From now on, several Ctrl+C within `GRACE_SECONDS` raise one KeyboardInterrupt, the first.

    Leaves a program alone that handles Ctrl+C itself, and does nothing outside the main thread.
    """
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _FirstOfSeveral())


class _FirstOfSeveral:
    def __init__(self) -> None:
        self._pressed_at = float("-inf")

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._pressed_at >= GRACE_SECONDS:
            self._pressed_at = now
            raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl+C does nothing in this block, which writes a run's last files: there is nothing left to interrupt."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or not _in_main_thread():  # which alone hears Ctrl+C
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
