"""Running the real mlagents-learn in tests."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mlagents_marl_plugin.player.launchers import install

TIMEOUT_SECONDS = 150


def free_port(count: int = 8) -> int:
    """The first of ``count`` consecutive ports that are free now."""
    while True:
        with socket.socket() as first:
            first.bind(("localhost", 0))
            port = first.getsockname()[1]
        if port + count < 65_000 and all(_is_free(port + i) for i in range(count)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) != 0


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
    """mlagents-learn in the background, one thread, output in one pipe."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = Path(sys.executable).with_name("mlagents-learn")
    return subprocess.Popen(
        [str(program), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **kwargs,
    )


def learn(folder: Path, *arguments: str, expect: int = 0) -> str:
    """Run mlagents-learn to its end, as run ``run``; returns what it printed."""
    options = list(arguments)
    place = options.index("--env-args") if "--env-args" in options else len(options)
    options[place:place] = ["--run-id=run", "--results-dir=results", "--torch-device=cpu"]
    with start(folder, *options) as process:
        try:
            printed, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
            raise AssertionError(f"mlagents-learn did not end:\n{printed}") from None
    assert process.returncode == expect, printed
    return printed
