"""Updates per second of the QMIX learner alone, beside the machine's matrix products and TorchRL.

    uv run python benchmarks/value_speed.py [--peer torchrl=PYTHON] [--device cuda]

Batches of 256 joint steps, drawing them included; separate networks of 2 x 128, observation 24, 9 choices, a mixing
network of 32 units over the joint observation. Ours with its defaults, clipping and double Q among them; TorchRL's loss
has no double Q, and so a pass less per update. How it is measured and how the peer's environment is made: see
learner_speed.py.

The table is printed and written to benchmarks/results/value_speed_<device>.md.
"""

import argparse
from pathlib import Path

import learner_speed

AGENTS, BATCH = (2, 8, 32), 256
PROGRAMS = {"ours": "ours_qmix.py", learner_speed.BOUND: "products_qmix.py", "torchrl": "torchrl_qmix.py"}


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--agents", type=int, action="append", help="default: 2, 8 and 32")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="per turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    peers = dict(text.partition("=")[::2] for text in options.peer)
    for name, python in peers.items():
        if name != "torchrl" or not python:
            parser.error(f"--peer: expected torchrl=PYTHON, got {name}={python}")
    learner_speed.PROGRAMS.update(PROGRAMS)  # its programs, its turns, but this task
    rows = []
    for agents in options.agents or AGENTS:
        rates = learner_speed.measure(agents, BATCH, peers, options)
        rows.append(learner_speed.row(agents, BATCH, rates))
        begin = [] if len(rows) > 1 else learner_speed.head(peers, options)
        print("\n".join([*begin, rows[-1]]), flush=True)
    output = options.output or learner_speed.FOLDER / "results" / f"value_speed_{options.device}.md"
    output.write_text("\n".join([*learner_speed.head(peers, options), *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
