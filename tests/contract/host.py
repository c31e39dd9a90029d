"""Running the real mlagents-learn in tests."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from mlagents_marl_plugin.player.launchers import install

TIMEOUT_SECONDS = 600

# Below the ports that systems give to whoever calls out: no player of another test gets one of these by chance.
_BLOCKS = range(20_000, 32_000, 10)
_next_block = itertools.cycle(itertools.chain(_BLOCKS[os.getpid() % len(_BLOCKS) :], _BLOCKS))
_claims: list[socket.socket] = []


def free_port(count: int = 8) -> int:
    """The first of ``count`` (at most 9) consecutive ports that nobody uses and that no other test is given.

    The port before them stays bound while the tests run, which keeps other test runs of this machine away from them.
    """
    for block in itertools.islice(_next_block, len(_BLOCKS)):
        claim = socket.socket()
        if _bound(claim, block) and all(_is_free(block + 1 + i) for i in range(count)):
            _claims.append(claim)
            return block + 1
        claim.close()
    raise AssertionError("expected free ports, got none")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return _bound(probe, port)


def _bound(taking: socket.socket, port: int) -> bool:
    try:
        taking.bind(("", port))
    except OSError:
        return False
    return True


def launcher(folder: Path, scene: str) -> Path:
    """A build of the player's scene, as ``--env`` takes it."""
    install(folder / "builds", scenes=[scene])
    return folder / "builds" / scene


def write_config(
    folder: Path,
    behavior: str,
    trainer_type: str,
    hyperparameters: dict[str, Any],
    settings: dict[str, Any] | None = None,
) -> Path:
    """A small YAML; ``settings`` are further fields of the behaviour."""
    config = {
        "behaviors": {
            behavior: {
                "trainer_type": trainer_type,
                "hyperparameters": hyperparameters,
                "network_settings": {"hidden_units": 16, "num_layers": 1},
                "max_steps": 1000,
                "time_horizon": 16,
                "summary_freq": 500,
                "checkpoint_interval": 100_000,
                **(settings or {}),
            }
        }
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(folder: Path, *arguments: str, **kwargs: Any) -> subprocess.Popen:
    """mlagents-learn in the background, one thread, output in one pipe.

    ``--run-id=run`` unless the arguments say otherwise, and ``--seed=1`` unless they or ``seed`` do (without one the
    host draws it, and a test would be another one every time); ``environment`` adds variables, and ``program`` is
    another command in the place of mlagents-learn.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **kwargs.pop("environment", {})}
    program = kwargs.pop("program", [str(Path(sys.executable).with_name("mlagents-learn"))])
    options = list(arguments)
    place = options.index("--env-args") if "--env-args" in options else len(options)
    given = " ".join(options)
    seed = kwargs.pop("seed", 1)
    defaults = ["--run-id=run", "--results-dir=results", "--torch-device=cpu"]
    defaults += [] if seed is None else [f"--seed={seed}"]
    options[place:place] = [option for option in defaults if option.split("=")[0] not in given]
    return subprocess.Popen(
        [*program, *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **kwargs,
    )


def learn(folder: Path, *arguments: str, expect: int = 0, **kwargs: Any) -> str:
    """Run mlagents-learn to its end; returns what it printed."""
    with start(folder, *arguments, **kwargs) as process:
        try:
            printed, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
            raise AssertionError(f"mlagents-learn did not end:\n{printed}") from None
    assert process.returncode == expect, printed
    return printed


def interrupt(process: subprocess.Popen) -> None:
    """Ctrl+C in the process's terminal, which all its children hear too; started with ``start_new_session``."""
    os.killpg(process.pid, signal.SIGINT)


def read_until(process: subprocess.Popen, text: str) -> str:
    """What a process prints up to the first line with ``text``."""
    assert process.stdout is not None
    printed = ""
    timer = threading.Timer(TIMEOUT_SECONDS, process.kill)
    timer.start()
    for line in process.stdout:
        printed += line
        if text in line:
            timer.cancel()
            return printed
    timer.cancel()
    raise AssertionError(f"expected a line with {text!r}, got:\n{printed}")
