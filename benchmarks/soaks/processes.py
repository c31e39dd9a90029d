"""Processes of a run: starting it, who belongs to it, what each holds."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mlagents_marl_plugin.player.launchers import install

FEW_PORTS = 8


def free_ports() -> int:
    """The first of a few consecutive ports that nobody listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port + FEW_PORTS < 65_000 and not any(_listens(port + i) for i in range(FEW_PORTS)):
            return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def prepare(folder: Path, scene: str, behavior: dict[str, Any]) -> None:
    """A launcher of a scene and ``soak.yaml``."""
    install(folder / "builds", scenes=[scene])
    (folder / "soak.yaml").write_text(yaml.safe_dump({"behaviors": {scene: behavior}}))


def learn(folder: Path, scene: str, port: int, *flags: str, log: Any = subprocess.PIPE) -> subprocess.Popen:
    """mlagents-learn on ``soak.yaml`` in the background, with one thread; ``--env-args`` come last in ``flags``."""
    program = Path(sys.executable).with_name("mlagents-learn")
    arguments = ["soak.yaml", f"--env={folder / 'builds' / scene}", "--run-id=run", f"--base-port={port}"]
    return subprocess.Popen(
        [str(program), *arguments, "--torch-device=cpu", *flags],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )


def descendants(pid: int) -> list[int]:
    """All processes that a process started, and that those started."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.strip().startswith("Z")


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition became true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.002)
    return condition()
