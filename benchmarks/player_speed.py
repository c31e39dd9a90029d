"""How many agent-steps the player makes per second of its own CPU time, protocol included, by scene.

    python benchmarks/player_speed.py [SCENE ...] [--areas 32] [--steps 1000] [--repeats 3]

The other side is a trainer in this process that only acknowledges, with random actions drawn beforehand. The figure
is what the player itself counted (``time.process_time`` since the first reset) and wrote at the end of its log.
For scenarios of VMAS it also says what a message takes beside VMAS's own work, timed in the same process.
Measure on a quiet machine: a busy one makes every step cost more, since caches are cold.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from acknowledging import Acknowledging

AGENTS = 3  # of an area of VMAS's scenarios here
# Each line of the table: the scene, its options, and the rate to reach (None: no figure was set).
BENCHES: dict[str, tuple[str, list[str], int | None]] = {
    "Tennis": ("Tennis", [], 30_000),
    "TennisVersus": ("TennisVersus", [], None),
    "Dispersion": ("Vmas", ["--scenario", "dispersion", "--n-agents", "3"], None),
    "Parallel": ("Parallel", ["--parallel-env", "pettingzoo.mpe.simple_spread_v2:parallel_env"], None),
    "SimpleSpread": ("Vmas", ["--scenario", "simple_spread"], None),
    "Battle": ("Battle", [], 25_000),
}


class Measured(NamedTuple):
    """What a player said at its end."""

    rate: float  # agent-steps per CPU second
    vmas: float | None  # milliseconds that VMAS itself took per step, where it makes the scene


def measure(folder: Path, scene: str, options: list[str], areas: int, steps: int) -> Measured:
    """One player, started anew."""
    trainer = Acknowledging(areas, steps)
    command = [sys.executable, str(Path(__file__).with_name("timed_player.py")), scene, *options]
    command += ["--mlagents-port", str(trainer.port), "-logFile", str(folder / "player.log")]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        trainer.stop()
    log = (folder / "player.log").read_text(encoding="utf-8")
    rate = re.search(r"([0-9]+) agent-steps per CPU second", log)
    if rate is None:
        raise RuntimeError(f"the player's log has no figure:\n{log}")
    vmas = re.search(r"^VMAS (\S+) ms$", said, re.MULTILINE)
    return Measured(float(rate[1]), float(vmas[1]) if vmas else None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--areas", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    unknown = set(arguments.scenes) - set(BENCHES)
    if unknown:
        parser.error(f"expected scenes of {', '.join(BENCHES)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.scenes or BENCHES:
            scene, options, target = BENCHES[name]
            measured = [
                measure(Path(folder), scene, options, arguments.areas, arguments.steps)
                for _ in range(arguments.repeats)
            ]
            listed = ", ".join(f"{one.rate:,.0f}" for one in measured)
            aim = f"; target {target:,}" if target else ""
            print(
                f"{name}, {arguments.areas} areas, {arguments.steps} steps: "
                f"{statistics.median(one.rate for one in measured):,.0f} "
                f"agent-steps per CPU second of the player (runs: {listed}{aim})",
                flush=True,
            )
            if scene == "Vmas":
                tell_what_is_added(arguments.areas * AGENTS, measured)


def tell_what_is_added(agents: int, measured: list[Measured]) -> None:
    """What a message takes beside VMAS's own step, run by run."""
    parts = [(agents / one.rate * 1000, one.vmas) for one in measured if one.vmas is not None]
    listed = ", ".join(f"{whole - vmas:.2f} ({whole:.2f} less VMAS's {vmas:.2f})" for whole, vmas in parts)
    print(f"  milliseconds that the player adds to a message of {agents} agents: {listed}", flush=True)


if __name__ == "__main__":
    main()
