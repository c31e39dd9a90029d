"""Updates per second of the MADDPG learner alone, beside the machine's matrix products and other libraries.

    uv run python benchmarks/learner_speed.py [--peer agilerl=PYTHON] [--peer torchrl=PYTHON] [--device cuda]

Shipped defaults (clipping and all) but separate actors and critics, observation 24, action 2, networks 2 x 128, drawing
the batch included; per second of CPU time on the CPU, where other processes do not count, of wall time on a GPU. Every
library runs in an interpreter of its own, in turns with ours; a ratio is the median over the turns. The peers'
environments are made like this (they need different versions of a library):

    python3.11 -m venv agilerl && agilerl/bin/pip install torch==2.13.0 agilerl==2.58.0 peft
    python3.11 -m venv torchrl && torchrl/bin/pip install torch==2.13.0 torchrl==0.14.1

The table is printed and written to benchmarks/results/learner_speed_<device>.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SIZES = {"cpu": [(2, 256), (2, 1024), (8, 256), (32, 256)], "cuda": [(2, 256), (32, 1024)]}
BOUND = "products"
PROGRAMS = {
    "ours": "ours.py",
    BOUND: "products.py",
    "agilerl": "agilerl_maddpg.py",
    "torchrl": "torchrl_maddpg.py",
}


class Program:
    """One library at one size, waiting to be told to measure."""

    def __init__(self, name: str, python: str, agents: int, batch: int, options: argparse.Namespace) -> None:
        command = [python, str(FOLDER / "peers" / PROGRAMS[name]), str(agents), str(batch)]
        command += [f"--threads={options.threads}", f"--device={options.device}"]
        threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **threads},
        )
        self._failure = (
            f"{name}: expected a program that measures, it ended; run {' '.join(command)} to see why"
        )
        self.about = self._read()

    def rate(self, seconds: float) -> float:
        """Updates per second."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._read()["rate"])

    def end(self) -> None:
        """Close the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _read(self) -> dict[str, str]:
        """The next line of JSON; libraries print other things too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, str] = json.loads(line)
                return answer
        raise SystemExit(self._failure)


def measure(
    agents: int, batch: int, peers: dict[str, str], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Rates of everybody, one per turn; prints who takes part."""
    interpreters = {"ours": sys.executable, BOUND: sys.executable, **peers}
    programs = {name: Program(name, python, agents, batch, options) for name, python in interpreters.items()}
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(options.pairs):
        for name, program in programs.items():
            rates[name].append(program.rate(options.seconds))
    options.about = {name: program.about for name, program in programs.items()}
    for program in programs.values():
        program.end()
    return rates


def row(agents: int, batch: int, rates: dict[str, list[float]]) -> str:
    """A line of the table."""
    ours = rates["ours"]
    cells = [f"{agents}, {batch}", f"{statistics.median(ours):.4g}"]
    for name, others in rates.items():
        if name != "ours":
            ratio = statistics.median(mine / other for mine, other in zip(ours, others, strict=True))
            share = f"{ratio:.0%}" if name == BOUND else f"{ratio:.2f} x"
            cells += [f"{statistics.median(others):.4g}", share]
    return f"| {' | '.join(cells)} |"


def head(peers: dict[str, str], options: argparse.Namespace) -> list[str]:
    """What was measured with what."""
    unit = "CPU-second" if options.device == "cpu" else "second"
    about = [f"{found['name']} (torch {found['torch']})" for found in options.about.values()]
    columns = ["agents, batch", f"updates per {unit}", "matrix products allow", "share of that"]
    for name in peers:
        columns += [options.about[name]["name"], "ours to that"]
    return [
        f"On {options.device}, {options.threads} thread(s), median of {options.pairs} turns: {', '.join(about)}.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]


def options_of(
    text: str | None, known: tuple[str, ...], seconds: float, agents: str = ""
) -> tuple[argparse.Namespace, dict[str, str]]:
    """What these scripts take on the command line, and the peers' Pythons by name.

    Args:
        text: the script's description.
        known: the peers that there are programs for.
        seconds: per turn, unless told otherwise.
        agents: which numbers of agents are measured unless told otherwise, where that can be told.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    if agents:
        parser.add_argument("--agents", type=int, action="append", help=f"default: {agents}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=seconds, help="per turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=list(SIZES))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    peers = dict(text.partition("=")[::2] for text in options.peer)
    for name, python in peers.items():
        if name not in known or not python:
            expected = " or ".join(f"{name}=PYTHON" for name in known)
            parser.error(f"--peer: expected {expected}, got {name}={python}")
    return options, peers


def main() -> None:
    """See the module's text."""
    options, peers = options_of(__doc__, ("agilerl", "torchrl"), seconds=1.5)
    rows = []
    for agents, batch in SIZES[options.device]:
        rates = measure(agents, batch, peers, options)
        rows.append(row(agents, batch, rates))
        print(rows[-1] if len(rows) > 1 else "\n".join([*head(peers, options), rows[0]]), flush=True)
    output = options.output or FOLDER / "results" / f"learner_speed_{options.device}.md"
    output.write_text("\n".join([*head(peers, options), *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
