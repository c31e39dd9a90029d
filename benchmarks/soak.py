"""Kills mlagents-learn again and again at random moments, and looks at what is left and whether it goes on.

    uv run python benchmarks/soak.py --kills 200

One run on the Counter scene that saves about once a second, with two environment processes, is killed with
``kill -9``, looked at, resumed on the same port, and killed again. Every second kill waits for a file to be half
written. Linux and macOS. Prints one line per fault and a row for docs/faults.md.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.player.launchers import install
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy

PORT = 5105
START_SECONDS = 90
END_SECONDS = 10
LONGEST_LIFE_SECONDS = 6.0
CONFIG = {
    "trainer_type": "matd3",
    "hyperparameters": {
        "batch_size": 16,
        "buffer_size": 20_000,
        "buffer_init_steps": 100,
        "steps_per_update": 20,
        "group_size": 2,
        "save_replay_buffer": True,
    },
    "network_settings": {"hidden_units": 64, "num_layers": 2},
    "max_steps": 100_000_000,
    "time_horizon": 16,
    "summary_freq": 1_000,
    "checkpoint_interval": 300,
    "keep_checkpoints": 3,
}


class Fault(NamedTuple):
    """One kill and what came of it."""

    in_a_save: bool
    step: int  # of the newest checkpoint afterwards
    wrong: str  # empty if all is well


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install(folder / "builds", scenes=["Counter"])
        (folder / "soak.yaml").write_text(yaml.safe_dump({"behaviors": {"Counter": CONFIG}}))
        for number in range(options.kills):
            faults.append(kill_once(folder, moments, in_a_save=number % 2 == 1))
            print(f"{number + 1}: {faults[-1]}", flush=True)
    survived = sum(not fault.wrong for fault in faults)
    in_a_save = sum(fault.in_a_save for fault in faults)
    print(f"| `kill -9` of a run | {len(faults)}, {in_a_save} of them in the middle of a save | {survived} |")
    return int(survived < len(faults))


def kill_once(folder: Path, moments: random.Random, in_a_save: bool) -> Fault:
    """Start or resume the run, kill it, and look at what is left."""
    results = folder / "results" / "soak"
    before = newest_step(results)
    flags = ["--resume"] if results.exists() else []
    log = folder / "log.txt"
    with log.open("w") as output:
        run = subprocess.Popen(command(folder, flags), cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    started = wait_for(lambda: resumed(log, flags) or run.poll() is not None, START_SECONDS)
    if not started or run.poll() is not None:
        run.kill()
        run.wait()
        return Fault(in_a_save, before, f"did not start:\n{log.read_text()[-2_000:]}")
    children = descendants(run.pid)
    if in_a_save:
        wait_for(lambda: any(results.rglob("*.pt.*.tmp")) or run.poll() is not None, START_SECONDS)
    else:
        time.sleep(moments.uniform(0, LONGEST_LIFE_SECONDS))
    run.send_signal(signal.SIGKILL)
    run.wait()
    wrong = look_at(results, before)
    if not wait_for(lambda: not any(map(alive, children)), END_SECONDS):
        wrong += f"; processes {[pid for pid in children if alive(pid)]} are left"
        for pid in filter(alive, children):
            os.kill(pid, signal.SIGKILL)
    return Fault(in_a_save, newest_step(results), wrong)


def command(folder: Path, flags: list[str]) -> list[str]:
    """mlagents-learn on two players."""
    program = Path(sys.executable).with_name("mlagents-learn")
    arguments = ["soak.yaml", f"--env={folder / 'builds' / 'Counter'}", "--num-envs=2", "--run-id=soak"]
    return [str(program), *arguments, f"--base-port={PORT}", "--torch-device=cpu", "--num-areas=4", *flags]


def resumed(log: Path, flags: list[str]) -> bool:
    """Whether the run plays; resumed, from where it said."""
    said = log.read_text(errors="replace")
    begun = "grouping 'consecutive'" in said
    if flags and begun and not re.search(r"Resuming from|starting at step 0", said):
        raise RuntimeError(f"a resumed run does not say from where:\n{said}")
    return begun


def look_at(results: Path, before: int) -> str:
    """What is wrong with the files; empty if nothing."""
    wrong = []
    for path in results.rglob("*.pt"):
        try:
            checkpoint.load(str(path), torch.device("cpu"))
        except Exception as error:
            wrong.append(f"{path.name}: {error}")
    for path in results.rglob("*.onnx"):
        try:
            OnnxPolicy(path)
        except Exception as error:
            wrong.append(f"{path.name}: {error}")
    if newest_step(results) < before:
        wrong.append(f"the newest checkpoint is of step {newest_step(results)}, it was {before} already")
    return "; ".join(wrong)


def newest_step(results: Path) -> int:
    """The step of the checkpoint that --resume takes; 0 if there is none."""
    path = results / "Counter" / checkpoint.LAST
    return checkpoint.read(str(path), torch.device("cpu"))["step"] if path.is_file() else 0


def descendants(pid: int) -> list[int]:
    """All processes that a process started, and that those started."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.strip().startswith("Z")


def wait_for(condition: object, seconds: float) -> bool:
    """Whether a condition became true in time."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.002)
    return bool(condition())


if __name__ == "__main__":
    sys.exit(main())
