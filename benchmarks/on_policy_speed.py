"""Frames per second of the MAPPO learner alone, beside the machine's matrix products, TorchRL and BenchMARL.

    uv run python benchmarks/on_policy_speed.py [--peer torchrl=PYTHON] [--peer benchmarl=PYTHON] [--device cuda]

A rollout of 10,240 frames (64 lanes x 160 steps; a frame is one step of one environment), values, advantages, then 3
epochs of 10 mini-batches of 1,024 frames; separate actors and centralised critics of 2 x 128, observation 24, action 2.
How it is measured and how TorchRL's environment is made: see learner_speed.py. BenchMARL's:

    python3.10 -m venv benchmarl && benchmarl/bin/pip install benchmarl==1.5.2 torch==2.14.1 torchrl==0.11.1

The table is printed and written to benchmarks/results/on_policy_speed_<device>.md.
"""

import argparse
import statistics
import sys

import learner_speed

sys.path.insert(0, str(learner_speed.FOLDER / "peers"))

from on_policy_task import BATCH, FRAMES

BOUND = learner_speed.BOUND
AGENTS = (2, 3, 8)
PROGRAMS = {
    "ours": "ours_mappo.py",
    BOUND: "products_mappo.py",
    "torchrl": "torchrl_mappo.py",
    "benchmarl": "benchmarl_mappo.py",
}


def row(agents: int, rates: dict[str, list[float]]) -> str:
    """A line of the table."""
    ours = rates["ours"]
    cells = [str(agents), f"{statistics.median(ours) * FRAMES:,.0f}"]
    for name, others in rates.items():
        if name != "ours":
            ratio = statistics.median(mine / other for mine, other in zip(ours, others, strict=True))
            share = f"{ratio:.0%}" if name == BOUND else f"{ratio:.2f} x"
            cells += [f"{statistics.median(others) * FRAMES:,.0f}", share]
    return f"| {' | '.join(cells)} |"


def head(peers: dict[str, str], options: argparse.Namespace) -> list[str]:
    """What was measured with what."""
    unit = "CPU-second" if options.device == "cpu" else "second"
    about = [f"{found['name']} (torch {found['torch']})" for found in options.about.values()]
    columns = ["agents", f"frames per {unit}", "matrix products allow", "share of that"]
    for name in peers:
        columns += [options.about[name]["name"], "ours to that"]
    return [
        f"On {options.device}, {options.threads} thread(s), median of {options.pairs} turns: {', '.join(about)}.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]


def main() -> None:
    """See the module's text."""
    options, peers = learner_speed.options_of(
        __doc__, ("torchrl", "benchmarl"), seconds=3.0, agents="2, 3 and 8"
    )
    learner_speed.PROGRAMS.update(PROGRAMS)  # its programs, its turns, but these tasks
    rows = []
    for agents in options.agents or AGENTS:
        rates = learner_speed.measure(agents, BATCH, peers, options)
        rows.append(row(agents, rates))
        print(rows[-1] if len(rows) > 1 else "\n".join([*head(peers, options), rows[0]]), flush=True)
    output = options.output or learner_speed.FOLDER / "results" / f"on_policy_speed_{options.device}.md"
    output.write_text("\n".join([*head(peers, options), *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
