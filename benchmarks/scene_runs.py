"""The shipped YAMLs of other scenes than Tennis, each by the very command that its first lines tell.

    uv run python benchmarks/scene_runs.py dispersion_mappo dispersion_vdn --seeds 1

One torch thread, a free port and a results folder of its own are added to the command, nothing else. Then
``marl-evaluate`` plays the last model for 200 greedy episodes on a seed that no training used. One JSON line per run is
appended to ``benchmarks/results/scenes.jsonl``; ``benchmarks/tables.py`` makes the table of it. Returns are of one
episode of one area, the mean of its agents.
"""

import argparse
import json
import re
import shlex
import subprocess
import time
from pathlib import Path

import yaml
from result_lines import FOLDER, ROOT, append, commit
from tennis_seeds import free_port, program, run_logged

RESULTS = FOLDER / "scenes.jsonl"
EPISODES = 200
SUMMARY = re.compile(r"Mean Reward: (-?[\d.]+)\. Std")  # a line of the host, of the episodes since its last


def documented_command(config: str) -> list[str]:
    """What the comment at the head of a YAML tells to type: ``mlagents-learn`` and its arguments."""
    text = (ROOT / "trainer_configs" / f"{config}.yaml").read_text(encoding="utf-8")
    head = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    told = "\n".join(head).replace("\\\n", " ")
    commands = [line for line in told.splitlines() if line.startswith("uv run mlagents-learn")]
    if not commands:
        raise SystemExit(f"{config}.yaml: expected a comment with 'uv run mlagents-learn ...', found none")
    return shlex.split(commands[0])[2:]


def train(config: str, seed: int, folder: Path) -> dict:
    """One run; its log stays in the folder."""
    words = documented_command(config)
    place = words.index("--env-args")
    own = [
        f"--run-id={config}_{seed}",
        f"--results-dir={folder}",
        f"--seed={seed}",
        "--torch-device=cpu",
        "--force",
    ]
    command = [program(words[0]), *words[1:place], *own, f"--base-port={free_port()}", *words[place:]]
    begin = time.monotonic()
    log = folder / f"{config}_{seed}.log"
    found = [seen[1] for _, line in run_logged(command, log) if (seen := SUMMARY.search(line))]
    return {"exploring_return": float(found[-1]), "minutes": round((time.monotonic() - begin) / 60, 2)}


def evaluate(config: str, seed: int, folder: Path) -> float:
    """The last model's mean return over greedy episodes."""
    words = documented_command(config)
    place = words.index("--env-args")
    environment = [word for word in words[1:place] if word.startswith("--env=")]
    run = folder / f"{config}_{seed}"
    report = run / "evaluation.json"
    (behavior,) = yaml.safe_load((ROOT / words[1]).read_text(encoding="utf-8"))["behaviors"]
    command = [program("marl-evaluate"), *environment, f"--model={run / behavior}.onnx", f"--json={report}"]
    command += [
        f"--episodes={EPISODES}",
        "--num-areas=20",
        f"--seed={1000 + seed}",
        f"--base-port={free_port()}",
    ]
    subprocess.run(
        [*command, "--score=mean", *words[place:]], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    scores = json.loads(report.read_text(encoding="utf-8"))["scores"]
    return round(sum(scores) / len(scores), 3)


def table(lines: list[dict]) -> list[str]:
    """A row per configuration and seed, the newest runs."""
    newest = {(line["config"], line["seed"]): line for line in lines}
    rows = [
        "| configuration | seed | agent steps | minutes | exploring, last summary | "
        f"last model, greedy, {EPISODES} episodes | commit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (config, seed), line in sorted(newest.items()):
        length = f"{line['agent_steps']:,} | {line['minutes']:.1f}"
        returns = f"{line['exploring_return']:.2f} | {line['greedy_return']:.2f}"
        rows.append(f"| `{config}.yaml` | {seed} | {length} | {returns} | {line['commit']} |")
    return rows


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", help="names of files in trainer_configs, without .yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "scene_runs")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    made_at = commit()
    for config in options.configs:
        settings = yaml.safe_load((ROOT / "trainer_configs" / f"{config}.yaml").read_text(encoding="utf-8"))
        (behavior,) = settings["behaviors"].values()
        for seed in options.seeds:
            line = {"config": config, "seed": seed, "agent_steps": behavior["max_steps"], "commit": made_at}
            line |= train(config, seed, options.folder)
            append(RESULTS, line | {"greedy_return": evaluate(config, seed, options.folder)})


if __name__ == "__main__":
    main()
