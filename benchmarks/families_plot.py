"""Curves of ``results/families.jsonl`` with those of BenchMARL beside them, a picture per task.

    uv run --with matplotlib python benchmarks/families_plot.py --task simple_spread --families mappo maddpg matd3

Means over seeds with their 95 % intervals, of the greedy and of the exploring policy; crosses are what BenchMARL was
measured to reach before, of which only these points are known. Written to docs/images/<task>.svg.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from families_table import RESULTS, interval, newest
from matplotlib.axes import Axes
from result_lines import FOLDER, ROOT

matplotlib.use("svg")
from matplotlib import pyplot

BENCHMARL = FOLDER / "benchmarl.jsonl"
# Frames and return while exploring, of one or two seeds, see README.md.
BEFORE = {
    ("simple_spread", "maddpg"): (320_000, -461),
    ("simple_spread", "mappo"): (480_000, -498),
    ("simple_spread", "ippo"): (320_000, -525),
    ("dispersion_0.05", "maddpg"): (480_000, -0.61),
}
KINDS = {"greedy_return": "greedy", "exploring_return": "exploring"}


def draw(axes: Axes, runs: list[dict[str, Any]], kind: str, label: str, **look: Any) -> None:
    """The mean of some runs over the frames, with its interval."""
    seeds = "seed" if len(runs) == 1 else "seeds"
    values = np.array([run[kind] for run in runs])
    looks = values.shape[1]
    frames = runs[0]["frames"] / looks * np.arange(1, looks + 1) / 1000
    axes.plot(frames, values.mean(0), label=f"{label} ({len(runs)} {seeds})", **look)
    if len(runs) > 1:
        low, high = zip(*(interval(column.tolist()) for column in values.T), strict=True)
        axes.fill_between(frames, low, high, alpha=0.2, color=look["color"], linewidth=0)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", required=True)
    parser.add_argument("--families", nargs="+", required=True)
    parser.add_argument("--output", type=Path, help="default: docs/images/<task>.svg")
    options = parser.parse_args()
    pyplot.rcParams["svg.hashsalt"] = options.task  # the same results make the same file
    figure, panels = pyplot.subplots(1, 2, figsize=(12, 4), sharey=True, layout="constrained")
    for axes, (kind, title) in zip(panels, KINDS.items(), strict=True):
        for source, name, style in ((RESULTS, "", "-"), (BENCHMARL, "BenchMARL's ", "--")):
            lines = [line for line in newest(source) if line["task"] == options.task]
            for number, family in enumerate(options.families):
                runs = [line for line in lines if line["family"] == family]
                if runs:
                    draw(axes, runs, kind, name + family, color=f"C{number}", linestyle=style)
        for number, family in enumerate(options.families):
            if kind == "exploring_return" and (options.task, family) in BEFORE:
                frames, value = BEFORE[options.task, family]
                label = f"BenchMARL's {family}, before"
                axes.plot(frames / 1000, value, "x", color=f"C{number}", label=label)
        axes.set(title=title, xlabel="thousand frames")
    panels[0].set_ylabel("return of an episode")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    output = options.output or ROOT / "docs" / "images" / f"{options.task}.svg"
    output.parent.mkdir(exist_ok=True)
    figure.savefig(output, metadata={"Date": None})
    print(f"Wrote {output}")


if __name__ == "__main__":
    main()
