"""The entry point that ``mlagents-learn`` calls at start.

The host swallows every exception raised here and then only says "Invalid trainer type", so nothing optional
is imported on the way.
"""

import gc
import os
import sys
from typing import Any

PYTHON_VARIABLE = "MARL_PLAYER_PYTHON"
_PR_SET_PDEATHSIG = 1


def register() -> tuple[dict[str, Any], dict[str, Any]]:
    """Our trainer types and their settings, by name. One that is broken is left out, with a warning."""
    from mlagents_envs.logging_util import get_logger

    from mlagents_marl_plugin.adapter import interrupts, last_words, settings, trainers

    # The launchers in unity_builds start their player with the interpreter that trains.
    os.environ.setdefault(PYTHON_VARIABLE, sys.executable)
    end_workers_with_us()
    interrupts.count_once()  # before environment workers are forked, which hear Ctrl+C too
    last_words.say_last_words()
    types, schemas = {}, {}
    for name, schema in settings.SCHEMAS.items():
        try:
            types[name] = trainers.trainer_class(name)
        except Exception as error:
            get_logger(__name__).warning(f"trainer_type {name} is not available: {error!r}")
            continue
        schemas[name] = schema
    # All that was imported stays for the run: Python need not look through it for garbage again and again, which
    # took a tenth of the time, nor do the environment workers that are forked get copies of it.
    gc.freeze()
    return types, schemas


def end_workers_with_us() -> None:
    """On Linux, have the host's forked environment workers end when this process is killed.

    Otherwise a kill -9 of ``mlagents-learn`` leaves them behind, holding the port that ``--resume`` needs.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        if os.getppid() != parent:
            return  # a child of a child; its own parent was armed
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(after_in_child=arm)
