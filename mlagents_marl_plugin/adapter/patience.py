"""Files that somebody else holds for a moment: on Windows a virus scanner, an indexer, or Unity while it imports."""

import time
from collections.abc import Callable
from typing import Any

WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between tries."""


def patiently(action: Callable[..., Any], *arguments: Any) -> None:
    """Do something with files, again after a while as long as it is not permitted.

    Raises:
        PermissionError: if it is not after all `WAITS`.
    """
    for seconds in WAITS:
        try:
            action(*arguments)
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    action(*arguments)
