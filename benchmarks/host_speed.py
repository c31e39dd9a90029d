"""Agent steps per second of mlagents-learn on Tennis: our trainers beside the host's own.

    uv run python benchmarks/host_speed.py off_policy [--areas 16] [--repeats 5]
    uv run python benchmarks/host_speed.py on_policy [--areas 16] [--repeats 5]

Same scene, networks 2 x 128, one torch thread; the runs are interleaved. The rate is taken between two summaries
well after the start, by the host's own clock.

``off_policy``: matd3 beside stock SAC, one update per 32 agent steps. SAC's batch of 256 agent steps stands beside 128
and 256 group steps of two agents for matd3, and beside a run without updates.

``on_policy``: mappo beside stock PPO and POCA, batch 1,024, buffer 10,240, 3 epochs, courts as groups; and the ceiling,
a stock trainer that drops every trajectory, so that nothing but the host's loop is left.
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
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
SUMMARY = re.compile(r"Step: (\d+)\. Time Elapsed: ([\d.]+) s")
DROP = "--drop-every-trajectory"


class Case(NamedTuple):
    """A trainer to measure."""

    name: str
    trainer_type: str
    hyperparameters: dict[str, Any]
    options: tuple[str, ...] = ()


class Comparison(NamedTuple):
    """Cases that are measured together; the others are told as multiples of the first."""

    steps: int  # agent steps per run
    cases: tuple[Case, ...]
    scene: tuple[str, ...] = ()


OFF_POLICY = {"steps_per_update": 32, "buffer_init_steps": 2_000, "buffer_size": 50_000}
ON_POLICY = {"batch_size": 1_024, "buffer_size": 10_240, "num_epoch": 3}
COMPARISONS = {
    "off_policy": Comparison(
        40_000,
        (
            Case("sac, 256 agent steps", "sac", {**OFF_POLICY, "batch_size": 256}),
            Case("matd3, 128 group steps", "matd3", {**OFF_POLICY, "batch_size": 128, "group_size": 2}),
            Case("matd3, 256 group steps", "matd3", {**OFF_POLICY, "batch_size": 256, "group_size": 2}),
            Case("matd3, no updates", "matd3", {**OFF_POLICY, "buffer_init_steps": 10**9, "group_size": 2}),
        ),
    ),
    "on_policy": Comparison(
        80_000,
        (
            Case("ppo", "ppo", ON_POLICY),
            Case("poca", "poca", ON_POLICY),
            Case("mappo", "mappo", ON_POLICY),
            Case("ceiling", "ppo", ON_POLICY, (DROP,)),
        ),
        ("--group-ids",),
    ),
}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def configuration(case: Case, steps: int, areas: int) -> dict[str, Any]:
    """A run of one trainer."""
    return {
        "behaviors": {
            "Tennis": {
                "trainer_type": case.trainer_type,
                "hyperparameters": case.hyperparameters,
                "network_settings": {"hidden_units": 128, "num_layers": 2},
                "max_steps": steps,
                "time_horizon": 64,
                "summary_freq": 10_000,
                "checkpoint_interval": 100_000_000,
            }
        },
        "env_settings": {"num_areas": areas},
    }


def rate(case: Case, comparison: Comparison, areas: int, folder: Path) -> float:
    """Agent steps per second of a trainer."""
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(configuration(case, comparison.steps, areas)))
    command = [sys.executable, str(Path(__file__)), "run", *case.options, str(path)]
    command += [f"--env={ROOT / 'unity_builds' / 'Tennis'}", "--run-id=run", f"--results-dir={folder}"]
    command += [f"--base-port={free_port()}", "--torch-device=cpu", "--force", "--seed=1"]
    if comparison.scene:
        command += ["--env-args", *comparison.scene]
    return rate_of(command)


def rate_of(command: list[str]) -> float:
    """Agent steps per second of a run, between its first and its last summary."""
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


def learn(arguments: list[str]) -> None:
    """``mlagents-learn`` with these arguments, its PPO without experience if asked."""
    from mlagents.trainers import learn as host
    from mlagents.trainers.ppo.trainer import PPOTrainer
    from mlagents.trainers.trainer.rl_trainer import RLTrainer

    if arguments[0] == DROP:
        arguments = arguments[1:]
        PPOTrainer._process_trajectory = RLTrainer._process_trajectory
    sys.argv = ["mlagents-learn", *arguments]
    host.main()


def compare(comparison: Comparison, areas: int, repeats: int) -> None:
    """Measure all cases in turn and print the table."""
    rates: dict[str, list[float]] = {case.name: [] for case in comparison.cases}
    for _ in range(repeats):
        for case in comparison.cases:
            with tempfile.TemporaryDirectory() as folder:
                rates[case.name].append(rate(case, comparison, areas, Path(folder)))
            print(f"{case.name}: {rates[case.name][-1]:.0f} agent steps/s", flush=True)
    first = comparison.cases[0].name
    print(f"| trainer | agent steps/s, each run | median | times {first}, median of the turns |")
    print("| --- | --- | --- | --- |")
    for name, values in rates.items():
        each = ", ".join(f"{value:.0f}" for value in values)
        ratio = statistics.median(one / base for one, base in zip(values, rates[first], strict=True))
        print(f"| {name} | {each} | {statistics.median(values):.0f} | {ratio:.2f} |")
    print(json.dumps({"areas": areas, "rates": rates}))


def main() -> None:
    """See the module's text."""
    if sys.argv[1:2] == ["run"]:
        learn(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", choices=sorted(COMPARISONS))
    parser.add_argument("--areas", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    compare(COMPARISONS[options.family], options.areas, options.repeats)


if __name__ == "__main__":
    main()
