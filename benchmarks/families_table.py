"""The table of ``benchmarks/results/families.jsonl``: means over seeds with their intervals, best family first."""

import json
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results" / "families.jsonl"
RESAMPLES = 10_000


def newest(path: Path) -> list[dict[str, Any]]:
    """The last run of every family, seed and number of frames."""
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    return list({(line["family"], line["seed"], line["frames"]): line for line in lines}.values())


def interval(values: list[float]) -> tuple[float, float]:
    """95 % of the means of as many values drawn with replacement lie between these (percentile bootstrap)."""
    drawn = np.random.default_rng(0).choice(np.array(values), (RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(1), [2.5, 97.5])
    return float(low), float(high)


def table(lines: list[dict[str, Any]]) -> list[str]:
    """A row per family, ranked by the mean of what its seeds reached.

    A family shares the rank of the one above if their intervals overlap with that rank's first.
    """
    goals: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        goals.setdefault(line["family"], []).append(line)
    found = {family: [line["goals"] for line in runs] for family, runs in goals.items()}
    rows = [
        "| rank | family | seeds | goals of 3, mean | 95 % interval | each seed | along the way, mean | CPU-minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    rank, lowest = 0, 0.0
    for place, family in enumerate(sorted(found, key=lambda name: -float(np.mean(found[name]))), 1):
        low, high = interval(found[family])
        if place == 1 or high < lowest:
            rank, lowest = place, low
        runs = sorted(goals[family], key=lambda line: int(line["seed"]))
        curve = np.mean([line["curve"] for line in runs], 0)
        cells = [
            str(rank),
            f"`{family}`",
            ", ".join(str(line["seed"]) for line in runs),
            f"{np.mean(found[family]):.2f}",
            f"{low:.2f} to {high:.2f}",
            ", ".join(f"{line['goals']:.2f}" for line in runs),
            ", ".join(f"{value:.2f}" for value in curve),
            f"{np.mean([line['cpu_minutes'] for line in runs]):.1f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows
