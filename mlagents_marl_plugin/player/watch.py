"""Notices a trainer that was killed while its environment worker lives on.

mlagents-learn forks a worker per environment, and on Linux a forked worker holds copies of its own pipe's
other end: when the trainer is killed, the worker waits for ever, and so would the player behind it. The
player therefore watches the worker's parent. Elsewhere workers are started afresh and end by themselves, and
the connection with them.
"""

import _thread
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from mlagents_marl_plugin.player.protocol import TrainerGone

_INTERVAL = 1.0
_PATIENCE = 10.0  # with a scene that closes, and with it what it has started
TRAINER_KILLED_EXIT_CODE = 0


def watch_forked_parent(log: logging.Logger) -> None:
    """End this process within seconds of its trainer's death, if a forked worker launched it."""
    if sys.platform == "win32":
        return  # whose workers are never forks
    worker = os.getppid()
    trainer = _trainer_of_forked_worker(worker)
    if trainer is None:
        return

    def watch() -> None:
        while os.getppid() == worker and _parent(worker) == trainer:
            time.sleep(_INTERVAL)
        log.info("Ending: the trainer's process %d is gone.", trainer)
        # The main thread may be deep in a call to the worker that will never be answered: only signals reach it there.
        _thread.interrupt_main(signal.SIGUSR1)
        time.sleep(_PATIENCE)
        logging.shutdown()
        os._exit(TRAINER_KILLED_EXIT_CODE)

    signal.signal(signal.SIGUSR1, _interrupt)
    threading.Thread(target=watch, name="watch-trainer", daemon=True).start()


def _interrupt(*_: object) -> None:
    raise TrainerGone("killed")


def _trainer_of_forked_worker(worker: int) -> int | None:
    """The worker's parent if the worker is a fork of it (same command line), else None."""
    trainer = _parent(worker)
    if trainer is None or trainer <= 1:
        return None
    command = _command_line(worker)
    return trainer if command and command == _command_line(trainer) else None


def _parent(pid: int) -> int | None:
    """Parent of a process, None if there is no such process or the system has no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command's name in brackets and may hold anything.
    return int(stat.rpartition(")")[2].split()[1])


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
