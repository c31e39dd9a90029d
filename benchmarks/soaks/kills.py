"""Kills mlagents-learn again and again at random moments, and looks at what is left and whether it goes on.

One run on the Counter scene that saves about once a second, with two environment processes, is killed with
``kill -9``, looked at, resumed on the same port, and killed again. Every second kill waits for a file to be half
written. Linux and macOS.
"""

import json
import os
import random
import re
import signal
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from mlagents_marl_plugin.adapter import checkpoint, run_files
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from soaks.processes import alive, descendants, free_ports, learn, prepare, wait_for

START_SECONDS = 300
END_SECONDS = 30
LONGEST_LIFE_SECONDS = 6.0
BEHAVIOR = {
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


def soak(count: int, seed: int) -> bool:
    """Kill a run so many times, print a line each; True if it survived all."""
    moments = random.Random(seed)
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_ports()
        prepare(folder, "Counter", BEHAVIOR)
        for number in range(count):
            faults.append(kill_once(folder, port, moments, in_a_save=number % 2 == 1))
            print(f"{number + 1}: {faults[-1]}", flush=True)
    survived = sum(not fault.wrong for fault in faults)
    in_a_save = sum(fault.in_a_save for fault in faults)
    print(f"| `kill -9` of a run | {len(faults)}, {in_a_save} of them in the middle of a save | {survived} |")
    return survived == len(faults)


def kill_once(folder: Path, port: int, moments: random.Random, in_a_save: bool) -> Fault:
    """Start or resume the run, kill it, and look at what is left."""
    results = folder / "results" / "run"
    before = newest_step(results)
    flags = ["--resume"] if results.exists() else []
    log = folder / "log.txt"
    with log.open("w") as output:
        run = learn(folder, "Counter", port, "--num-envs=2", "--num-areas=4", *flags, log=output)
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
    for read, name in ((json.loads, run_files.STATUS), (yaml.safe_load, run_files.CONFIGURATION)):
        path = results / name
        try:
            whole = bool(read(path.read_text())) if path.is_file() else before == 0
        except (ValueError, yaml.YAMLError) as error:
            wrong.append(f"{name}: {error}")
        else:
            wrong += [] if whole else [f"{name} is empty or missing"]
    wrong += generations(results)
    if newest_step(results) < before:
        wrong.append(f"the newest checkpoint is of step {newest_step(results)}, it was {before} already")
    return "; ".join(wrong)


def generations(results: Path) -> list[str]:
    """What is wrong with the numbers of the checkpoint and the list: a kill may come between the two, no more."""
    last, status = results / "Counter" / checkpoint.LAST, results / run_files.STATUS
    if not last.is_file() or not status.is_file():
        return []
    saved = checkpoint.read(str(last), torch.device("cpu"))["generation"]
    listed = json.loads(status.read_text())[run_files.OURS]["generation"]
    return [] if saved - listed in (0, 1) else [f"generation {saved} in the checkpoint, {listed} in the list"]


def newest_step(results: Path) -> int:
    """The step of the checkpoint that --resume takes; 0 if there is none."""
    path = results / "Counter" / checkpoint.LAST
    return checkpoint.read(str(path), torch.device("cpu"))["step"] if path.is_file() else 0
