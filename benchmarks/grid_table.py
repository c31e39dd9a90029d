"""The table of ``results/dispersion_grid.jsonl``: goals found and, in brackets, how differently the agents act."""

import statistics
from itertools import product
from typing import Any

from result_lines import FOLDER

RESULTS = FOLDER / "dispersion_grid.jsonl"
REWARDS = ("individual", "group_mean", "mixed")
ACTORS = ("shared", "shared_with_id", "separate")


def table(lines: list[dict[str, Any]]) -> list[str]:
    """A row per batch and reward, a column per sharing and number of areas; means over seeds."""
    measured: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        measured.setdefault(tuple(line["cell"]), []).append(line)
    columns = list(product(ACTORS, sorted({cell[3] for cell in measured})))
    titles = [f"{actors}, {areas} areas" for actors, areas in columns]
    rows = [f"| {' | '.join(('batch', 'reward', *titles))} |", f"|{' --- |' * (2 + len(columns))}"]
    for batch, reward in product(sorted({cell[0] for cell in measured}), REWARDS):
        cells = [_shown(measured.get((batch, reward, *column), [])) for column in columns]
        rows.append(f"| {' | '.join((f'{batch:,}', reward, *cells))} |")
    return rows


def _shown(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return ""
    goals, diversity = (statistics.mean(run[what] for run in runs) for what in ("goals", "action_diversity"))
    return f"{goals:.2f} ({diversity:.2f})"
