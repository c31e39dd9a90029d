"""Real players on the other side of mlagents_envs' own UnityEnvironment."""

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.environment import UnityEnvironment

from tests.contract.host import free_port, launcher

TIMEOUT = 60
# The host looks after its players every tenth of its patience, in whole seconds: 19 is the longest with one second.
PATIENCE = 19
_LISTEN = "0A"  # a state in /proc/net/tcp
# Of Windows: the right to wait for a process, and what waiting says of one that still runs.
_SYNCHRONIZE = 0x00100000
_WAIT_TIMEOUT = 0x102


@contextlib.contextmanager
def environment(folder: Path, scene: str, *options: str, **settings: Any) -> Iterator[UnityEnvironment]:
    """A launched player behind the official client; its log is ``folder / "Player-0.log"``."""
    settings = {"base_port": free_port(1), "timeout_wait": TIMEOUT, "log_folder": str(folder), **settings}
    played = UnityEnvironment(str(launcher(folder, scene)), additional_args=list(options), **settings)
    try:
        yield played
    finally:
        if played._loaded:
            played.close()


def player(*arguments: str) -> list[str]:
    """The command line of ``marl-player``."""
    return [sys.executable, "-m", "mlagents_marl_plugin.player", *arguments]


def run_player(*arguments: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess:
    return subprocess.run(player(*arguments), capture_output=True, text=True, timeout=timeout, check=False)


def send(played: UnityEnvironment, behavior: str, continuous: np.ndarray) -> None:
    """Set the continuous actions [agents, size] of everyone who asked, in their order."""
    played.set_actions(behavior, ActionTuple(continuous=np.asarray(continuous, np.float32)))


def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT) -> bool:
    """Whether ``condition`` became true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def listening(pid: int) -> list[str]:
    """The addresses, as the kernel writes them, on which a process accepts connections; Linux."""
    sockets, found = set(), []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            sockets.add(os.readlink(f"/proc/{pid}/fd/{entry}"))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1].partition(":")[0])
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (one that ended and is not yet collected does not)."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    if sys.platform == "win32":
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _alive_on_windows(pid: int) -> bool:
    """There ``os.kill(pid, 0)`` sends Ctrl+C, so the process is asked for as Windows does it."""
    kernel = ctypes.WinDLL("kernel32")
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
    if not handle:
        return False
    handle = ctypes.c_void_p(handle)
    try:
        return kernel.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT
    finally:
        kernel.CloseHandle(handle)
