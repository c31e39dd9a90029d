"""The tables of ``benchmarks/results/families.jsonl``: means over seeds with their intervals, best family first."""

from pathlib import Path
from typing import Any

import numpy as np
from result_lines import FOLDER, read

RESULTS = FOLDER / "families.jsonl"
RESAMPLES = 10_000
ENOUGH = 5  # seeds for a rank and an interval
TITLES = (
    "rank",
    "family",
    "seeds",
    "greedy return, mean",
    "95 % interval",
    "each seed",
    "on the way, mean",
    "exploring, mean",
    "goals of 3, mean (each)",
    "CPU-minutes",
)


def newest(path: Path) -> list[dict[str, Any]]:
    """The last run of every task, family, seed and number of frames."""
    lines = read(path)
    return list(
        {tuple(line[key] for key in ("task", "family", "seed", "frames")): line for line in lines}.values()
    )


def interval(values: list[float]) -> tuple[float, float]:
    """95 % of the means of as many values drawn with replacement lie between these (percentile bootstrap)."""
    drawn = np.random.default_rng(0).choice(np.array(values), (RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(1), [2.5, 97.5])
    return float(low), float(high)


def tables(lines: list[dict[str, Any]]) -> list[str]:
    """A table per task and number of frames."""
    tasks: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for line in lines:
        # Runs of learners from rollouts end with the rollout: up to 3,200 frames later.
        tasks.setdefault((line["task"], line["frames"] // 10_000 * 10_000), []).append(line)
    shown = []
    for (task, frames), runs in tasks.items():
        shown += [f"`{task}`, {frames:,} frames:", "", *table(runs), ""]
    return shown[:-1]


def table(lines: list[dict[str, Any]]) -> list[str]:
    """A row per family, best mean first; those with fewer than ``ENOUGH`` seeds have no rank and no interval.

    A family shares the rank of the one above if their intervals overlap with that rank's first.
    """
    families: dict[str, list[dict[str, Any]]] = {}
    for line in sorted(lines, key=lambda line: int(line["seed"])):
        families.setdefault(line["family"], []).append(line)
    reached = {family: _last(runs, "greedy_return") for family, runs in families.items()}
    rows = [f"| {' | '.join(TITLES)} |", f"|{' --- |' * len(TITLES)}"]
    place, rank, lowest = 0, 0, 0.0
    for family in sorted(reached, key=lambda name: -float(np.mean(reached[name]))):
        runs, shown = families[family], ["", ""]
        if len(runs) >= ENOUGH:
            place += 1
            low, high = interval(reached[family])
            if place == 1 or high < lowest:
                rank, lowest = place, low
            shown = [str(rank), f"{low:.2f} to {high:.2f}"]
        goals = _last(runs, "goals")
        cells = [
            shown[0],
            f"`{family}`",
            ", ".join(str(line["seed"]) for line in runs),
            f"{np.mean(reached[family]):.2f}",
            shown[1],
            _each(reached[family]),
            _each(np.mean([line["greedy_return"] for line in runs], 0)),
            f"{np.mean(_last(runs, 'exploring_return')):.2f}",
            f"{np.mean(goals):.2f} ({_each(goals)})" if None not in goals else "",
            f"{np.mean([line['cpu_minutes'] for line in runs]):.1f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _last(runs: list[dict[str, Any]], what: str) -> list[Any]:
    return [line[what][-1] for line in runs]


def _each(values: Any) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
