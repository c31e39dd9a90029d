"""Writes the tables of ``benchmarks/results/*.jsonl`` into the pages that show them.

uv run python benchmarks/tables.py            # rewrite
uv run python benchmarks/tables.py --check    # exit 1 if a page does not show what was measured
"""

import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

import families_table
import grid_table
import scene_runs
import vmas_fidelity
from result_lines import FOLDER, ROOT, read

RESULTS = FOLDER / "tennis.jsonl"
COLUMNS = [
    ("seed", "seed"),
    ("solved_episode", "solved at episode"),
    ("solved_minutes", "minutes to solve"),
    ("minutes", "minutes in all"),
    ("episodes", "episodes in all"),
    ("final_mean", "last 100 training episodes"),
    ("greedy_mean", "best model, greedy: mean of 100"),
    ("greedy_max", "max"),
]


def latest() -> dict[str, list[dict]]:
    """Per configuration the newest run of each seed, by seed."""
    runs: dict[str, dict[int, dict]] = {}
    for line in read(RESULTS):
        runs.setdefault(line["config"], {})[line["seed"]] = line
    return {config: [by_seed[seed] for seed in sorted(by_seed)] for config, by_seed in sorted(runs.items())}


def summary(runs: dict[str, list[dict]]) -> list[str]:
    """A row per configuration."""
    rows = [
        "| configuration | seeds | solved | episodes to solve, median (all) | minutes to solve, median | "
        "best model, greedy mean, median (all) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for config, lines in runs.items():
        solved = [line["solved_episode"] for line in lines if line["solved_episode"] is not None]
        minutes = [line["solved_minutes"] for line in lines if line["solved_minutes"] is not None]
        greedy = [line["greedy_mean"] for line in lines]
        cells = [
            f"`{config}.yaml`",
            str(len(lines)),
            f"{len(solved)} of {len(lines)}",
            f"{_median(solved, lines)} ({_all(_shown(line['solved_episode']) for line in lines)})",
            _median(minutes, lines),
            f"{statistics.median(greedy):.2f} ({_all(f'{score:.2f}' for score in greedy)})",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _median(values: list, lines: list) -> str:
    """The median over all runs; those that never got there count as worst."""
    ordered = sorted(values) + [None] * (len(lines) - len(values))
    middle = ordered[len(ordered) // 2]
    return "not reached" if middle is None else f"{middle:g}"


def _all(values: Iterable) -> str:
    return ", ".join(str(value) for value in values)


def seed_by_seed(runs: dict[str, list[dict]]) -> list[str]:
    """A table per configuration, with what it takes to repeat it."""
    rows = []
    for config, lines in runs.items():
        first = lines[0]
        commits = ", ".join(sorted({line["commit"] for line in lines}))
        rows += [
            "",
            f"**{config}.yaml** · {first['areas']} area(s) · {first['agent_steps']} agent steps · "
            f"1 torch thread, 2 cores shared with other work · commit {commits} · "
            f"`uv run python benchmarks/tennis_seeds.py --config {config}`",
            "",
            "| " + " | ".join(title for _, title in COLUMNS) + " |",
            "| " + " | ".join("---" for _ in COLUMNS) + " |",
        ]
        for line in lines:
            rows.append("| " + " | ".join(_shown(line.get(key)) for key, _ in COLUMNS) + " |")
    return rows


def _shown(value: object) -> str:
    if value is None:
        return "never"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def fill(text: str, page: Path, block: str, rows: list[str]) -> str:
    """A page's text with a block of results replaced."""
    begin, end = f"<!-- {block}:begin -->\n", f"<!-- {block}:end -->"
    before, found, rest = text.partition(begin)
    if not found:
        raise SystemExit(f"{page}: expected a line {begin.strip()}, found none; add it with {end} below")
    return before + begin + "\n".join(rows) + "\n" + rest[rest.index(end) :]


def main() -> int:
    """See the module's text."""
    runs = latest()
    families = families_table.tables(families_table.newest(families_table.RESULTS))
    pages = {
        ROOT / "README.md": {"results": summary(runs)},
        ROOT / "trainer_configs" / "README.md": {
            "results": [*summary(runs), *seed_by_seed(runs)],
            "scenes": scene_runs.table(read(scene_runs.RESULTS)),
        },
        ROOT / "benchmarks" / "README.md": {
            "grid": grid_table.table(read(grid_table.RESULTS)),
            "results": families,
        },
        ROOT / "docs" / "vmas.md": {"fidelity": vmas_fidelity.sentence(read(vmas_fidelity.RESULTS))},
    }
    stale = 0
    for page, blocks in pages.items():
        old = new = page.read_text(encoding="utf-8")
        for block, rows in blocks.items():
            new = fill(new, page, block, rows)
        if "--check" in sys.argv:
            stale |= new != old
        else:
            page.write_text(new, encoding="utf-8")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
