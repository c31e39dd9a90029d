"""Players that fail in the middle of a run, in every way that the wire allows, at random moments.

A run on the Counter scene with one or two environment processes, one of whose players fails once. Afterwards every row
of the replay is looked up in the scene's own log, and the run must have gone on or have ended well: saved, with a last
line that says what to do.
"""

import random
import tempfile
from pathlib import Path
from typing import NamedTuple

from mlagents_marl_plugin.player.faults import FAULTS
from soaks.processes import free_ports, learn, prepare
from tests.contract.row_runs import HYPERPARAMETERS, Run

STOPS = ("nan", "shape")  # the host cannot go on after these; after all others it does
END_SECONDS = 600
BEHAVIOR = {
    "trainer_type": "maddpg",
    "hyperparameters": {**HYPERPARAMETERS, "group_size": 2},
    "network_settings": {"hidden_units": 16, "num_layers": 1},
    "time_horizon": 16,
    "summary_freq": 500,
    "checkpoint_interval": 100_000,
}


class Fault(NamedTuple):
    """One player's fault and what came of it."""

    kind: str
    workers: int
    areas: int
    after: int  # steps
    rows: int  # of the replay, each agent's counted, that agree with the scene's log
    wrong: str  # empty if all is well


def soak(count: int, seed: int, kinds: list[str]) -> bool:
    """Let so many players fail, print a line each; True if all went well."""
    moments = random.Random(seed)
    faults = []
    for number in range(count):
        kind, workers = kinds[number % len(kinds)], 1 + number // len(kinds) % 2
        faults.append(fail_once(kind, workers, moments.randint(1, 4), moments.randint(10, 150)))
        print(f"{number + 1}: {faults[-1]}", flush=True)
    survived = sum(not fault.wrong for fault in faults)
    rows = sum(fault.rows for fault in faults)
    print(
        f"| a player that fails ({', '.join(kinds)}) | {len(faults)} | {survived}, {rows:,} rows compared |"
    )
    return survived == len(faults)


def fail_once(kind: str, workers: int, areas: int, after: int) -> Fault:
    """One run with one player that fails after so many steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, "Counter", {**BEHAVIOR, "max_steps": 2 * areas * (after + 200) * workers})
        marker, events = folder / "failed", folder / "events.jsonl"
        fault = ("--fault", kind, "--fault-after", str(after), "--fault-once", str(marker))
        flags = (f"--num-envs={workers}", f"--num-areas={areas}", "--timeout-wait=20")
        run = learn(folder, "Counter", free_ports(), *flags, "--env-args", "--event-log", str(events), *fault)
        try:
            printed, _ = run.communicate(timeout=END_SECONDS)
        finally:
            run.kill()
        if not marker.exists():
            return Fault(kind, workers, areas, after, 0, f"the player did not fail:\n{printed[-1_000:]}")
        rows, wrong = 0, _how_it_ended(kind, run.returncode, printed)
        try:
            result = Run(folder, 2)
            rows = result.check()
            result.check_mates()
        except (AssertionError, OSError) as error:
            wrong += f"; {type(error).__name__} {error}"
        return Fault(kind, workers, areas, after, rows, wrong)


def _how_it_ended(kind: str, code: int, printed: str) -> str:
    last = (printed.strip().splitlines() or [""])[-1]
    if kind in STOPS:
        return "" if code == 1 and last.startswith("scene: expected") else f"ended with {code} and {last!r}"
    return "" if code == 0 else f"ended with {code}:\n{printed[-1_500:]}"


ALL = sorted(FAULTS)
