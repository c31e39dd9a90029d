"""Faults on demand, so that tests see what a trainer does when its player dies."""

import os
from pathlib import Path
from typing import NamedTuple

CRASH_EXIT_CODE = 70


class Faults(NamedTuple):
    """When to crash.

    Attributes:
        crash_after: die after this many steps, without a word to the trainer; None is never.
        crash_once: a file that the crashing player makes; while it exists no player crashes. So of all
            players of a run, and of their successors, one dies.
    """

    crash_after: int | None = None
    crash_once: Path | None = None

    def after_step(self, step: int) -> None:
        if self.crash_after is None or step < self.crash_after:
            return
        if self.crash_once is not None and not _claim(self.crash_once):
            return
        os._exit(CRASH_EXIT_CODE)


def _claim(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
