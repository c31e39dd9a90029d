"""Tennis from the shipped YAMLs, seed by seed, through the real mlagents-learn.

    uv run python benchmarks/tennis_seeds.py --config tennis_maddpg --seeds 1 2 3 4 5

Each run uses ``trainer_configs/<config>.yaml`` as it is, one torch thread, and the player of ``unity_builds``.
Then ``marl-evaluate`` plays the best model (chosen by training score only) for 100 greedy episodes. One JSON line
per run is appended to ``benchmarks/results/tennis.jsonl``; ``benchmarks/tables.py`` makes the tables of it.

An episode's number is its place in the order in which episodes end, over all areas; "solved" is the first
episode at which the mean score (maximum over the two agents) of the last 100 is at least 0.5, as the trainer
announces it.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from result_lines import FOLDER, ROOT, append, commit

RESULTS = FOLDER / "tennis.jsonl"
SOLVED = re.compile(r"solved at episode (\d+) \(step (\d+)\)")
EPISODE = re.compile(r"Episode (\d+)\. .*Mean of the last 100: ([-\d.]+)\..* Updates (\d+)\.")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """An installed command of this environment."""
    return str(Path(sys.executable).with_name(name))


def run_logged(command: list[str], log: Path) -> Iterator[tuple[float, str]]:
    """Each line that a command prints, with the minutes since its start; all of them stand in the log too."""
    begin = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            minutes = (time.monotonic() - begin) / 60
            file.write(f"{minutes:6.2f} {line}")
            file.flush()
            yield minutes, line
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}, see {log}")


def train(config: str, seed: int, folder: Path) -> dict:
    """One run; its log stays in the folder."""
    command = [
        program("mlagents-learn"),
        str(ROOT / "trainer_configs" / f"{config}.yaml"),
        f"--env={ROOT / 'unity_builds' / 'Tennis'}",
        f"--run-id={config}_{seed}",
        f"--results-dir={folder}",
        f"--seed={seed}",
        f"--base-port={free_port()}",
        "--torch-device=cpu",
        "--force",
    ]
    result: dict = {"solved_episode": None, "solved_step": None, "solved_minutes": None}
    begin = time.monotonic()
    for minutes, line in run_logged(command, folder / f"{config}_{seed}.log"):
        if found := SOLVED.search(line):
            result["solved_episode"], result["solved_step"] = int(found[1]), int(found[2])
            result["solved_minutes"] = round(minutes, 2)
        if found := EPISODE.search(line):
            result["episodes"], result["final_mean"] = int(found[1]), float(found[2])
            result["updates"] = int(found[3])
    result["minutes"] = round((time.monotonic() - begin) / 60, 2)
    return result


def evaluate(model: Path, seed: int) -> dict:
    """100 greedy episodes of a model, on a seed that no training used."""
    report = model.with_suffix(".evaluation.json")
    command = [program("marl-evaluate"), f"--env={ROOT / 'unity_builds' / 'Tennis'}", f"--model={model}"]
    command += ["--episodes=100", "--num-areas=10", f"--seed={1000 + seed}", f"--base-port={free_port()}"]
    command += ["--group-size=2", f"--json={report}"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    scores = json.loads(report.read_text())["scores"]
    return {
        "greedy_mean": round(sum(scores) / len(scores), 3),
        "greedy_median": sorted(scores)[len(scores) // 2],
        "greedy_max": max(scores),
    }


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="name of a file in trainer_configs, without .yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "tennis_seeds")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_load(
        (ROOT / "trainer_configs" / f"{options.config}.yaml").read_text(encoding="utf-8")
    )
    made_at = commit()
    for seed in options.seeds:
        run = train(options.config, seed, options.folder)
        best = options.folder / f"{options.config}_{seed}" / "Tennis-best.onnx"
        line = {
            "config": options.config,
            "seed": seed,
            "areas": settings.get("env_settings", {}).get("num_areas", 1),
            "agent_steps": settings["behaviors"]["Tennis"]["max_steps"],
            "commit": made_at,
            **run,
            **evaluate(best, seed),
        }
        append(RESULTS, line)


if __name__ == "__main__":
    main()
