"""Agent steps per second of mlagents-learn on Tennis: our matd3 beside stock SAC.

    uv run python benchmarks/host_speed.py [--areas 16] [--repeats 3]

Same scene, networks 2 x 128, one update per 32 agent steps, one torch thread; the runs are interleaved. The
rate is taken between two summaries well after the start, by the host's own clock. SAC's batch of 256 agent steps
stands beside 128 and 256 group steps of two agents for matd3, and beside a run without updates.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SUMMARY = re.compile(r"Step: (\d+)\. Time Elapsed: ([\d.]+) s")
STEPS = 40_000


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def configuration(trainer_type: str, hyperparameters: dict, areas: int) -> dict:
    """A run of one trainer."""
    return {
        "behaviors": {
            "Tennis": {
                "trainer_type": trainer_type,
                "hyperparameters": {"steps_per_update": 32, "buffer_init_steps": 2000, **hyperparameters},
                "network_settings": {"hidden_units": 128, "num_layers": 2},
                "max_steps": STEPS,
                "time_horizon": 64,
                "summary_freq": 10_000,
                "checkpoint_interval": 1_000_000,
            }
        },
        "env_settings": {"num_areas": areas},
    }


def rate(config: dict, name: str, folder: Path) -> float:
    """Agent steps per second between the first and the last summary."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("mlagents-learn")), str(path)]
    command += [f"--env={ROOT / 'unity_builds' / 'Tennis'}", f"--run-id={name}", f"--results-dir={folder}"]
    command += [f"--base-port={free_port()}", "--torch-device=cpu", "--force", "--seed=1"]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    points = [(int(step), float(time)) for step, time in SUMMARY.findall(run.stdout + run.stderr)]
    (first_step, first_time), (last_step, last_time) = points[0], points[-1]
    return (last_step - first_step) / (last_time - first_time)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--areas", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ours = {"group_size": 2, "buffer_size": 50_000}
    runs = {
        "sac, 256 agent steps": ("sac", {"batch_size": 256, "buffer_size": 50_000}),
        "matd3, 128 group steps": ("matd3", {**ours, "batch_size": 128}),
        "matd3, 256 group steps": ("matd3", {**ours, "batch_size": 256}),
        "matd3, no updates": ("matd3", {**ours, "batch_size": 256, "buffer_init_steps": 10 * STEPS}),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for number, (name, (trainer_type, hyperparameters)) in enumerate(runs.items()):
                config = configuration(trainer_type, hyperparameters, options.areas)
                rates[name].append(rate(config, f"run{number}", Path(folder)))
                print(f"{name}: {rates[name][-1]:.0f} agent steps/s", flush=True)
    sac = statistics.median(rates["sac, 256 agent steps"])
    print("| trainer | agent steps/s, each run | median | times SAC |\n| --- | --- | --- | --- |")
    for name, values in rates.items():
        each = ", ".join(f"{value:.0f}" for value in values)
        print(
            f"| {name} | {each} | {statistics.median(values):.0f} | {statistics.median(values) / sac:.2f} |"
        )
    print(json.dumps({"areas": options.areas, "rates": rates}))


if __name__ == "__main__":
    main()
