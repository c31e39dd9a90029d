"""Does a long run grow? Resident memory, threads and open files of all its processes, while agents play at random.

A run of two million agent steps of Tennis, about 50,000 rallies, so that whatever is kept per episode shows.
It updates and saves now and then. "Flat" is from twice the time that it takes to fill the replay.
"""

import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from soaks.processes import descendants, free_ports, learn, prepare

REPLAY_STEPS = 100_000
SETTLED_STEPS = 2 * REPLAY_STEPS  # the replay is full, and what is made once has been made
GROWTH = 0.02
SECONDS = 5.0
BEHAVIOR = {
    "trainer_type": "matd3",
    "hyperparameters": {
        "batch_size": 64,
        "buffer_size": REPLAY_STEPS,
        "buffer_init_steps": 1_000,
        "steps_per_update": 1_000,
        "random_steps": 10**9,
        "group_size": 2,
        "console_episodes": 5_000,
    },
    "network_settings": {"hidden_units": 64, "num_layers": 2},
    "time_horizon": 64,
    "summary_freq": 5_000,
    "checkpoint_interval": 20_000,
    "keep_checkpoints": 3,
}
STEP = re.compile(r"Tennis\. Step: (\d+)")


class Held(NamedTuple):
    """What the processes of a run hold at a moment; a list has the trainer first, then its children by age."""

    step: int
    kib: list[int]
    threads: list[int]
    files: list[int]


class Middle(NamedTuple):
    """What one process held in the middle of several looks."""

    kib: float
    threads: float
    files: float


def soak(agent_steps: int, samples: Path | None) -> bool:
    """Run, look every few seconds, print a row; True if nothing grew.

    Args:
        samples: a file that gets one JSON line per look.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, "Tennis", {**BEHAVIOR, "max_steps": agent_steps})
        with (folder / "log.txt").open("w") as log:
            run = learn(folder, "Tennis", free_ports(), "--num-areas=16", log=log)
            try:
                seen = list(_watch(run, folder / "log.txt", samples))
            finally:
                run.kill()
                run.wait()
        episodes = re.findall(r"Episode (\d+)\.", (folder / "log.txt").read_text())
        if run.returncode:
            print((folder / "log.txt").read_text()[-2_000:])
    return _judge(seen, int(episodes[-1]) if episodes else 0) and run.returncode == 0


def _watch(run: subprocess.Popen, log: Path, samples: Path | None) -> Iterator[Held]:
    while run.poll() is None:
        time.sleep(SECONDS)
        said = STEP.findall(log.read_text(errors="replace"))
        if not said:
            continue
        held = hold(int(said[-1]), [run.pid, *descendants(run.pid)])
        if held is None:
            continue
        if samples:
            with samples.open("a") as file:
                file.write(json.dumps(held._asdict()) + "\n")
        yield held


def hold(step: int, pids: list[int]) -> Held | None:
    """What these processes hold now; None if one of them has just ended. Linux."""
    try:
        status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        files = [sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in pids]
        kib = [int(re.search(r"VmRSS:\s+(\d+)", text)[1]) for text in status]
        threads = [int(re.search(r"Threads:\s+(\d+)", text)[1]) for text in status]
    except (OSError, TypeError):
        return None
    return Held(step, kib, threads, files)


def _judge(seen: list[Held], episodes: int) -> bool:
    # A run's last look may come when its children have ended already.
    whole = max(len(held.kib) for held in seen) if seen else 0
    settled = [held for held in seen if held.step >= SETTLED_STEPS and len(held.kib) == whole]
    if len(settled) < 20:
        print(
            f"expected a run well beyond {SETTLED_STEPS} agent steps, got {len(settled)} looks; ask for more"
        )
        return False
    # By steps, not by looks: a busy machine is looked at more often while it is slow.
    tenth = (settled[-1].step - SETTLED_STEPS) / 10
    begin = [held for held in settled if held.step <= SETTLED_STEPS + tenth]
    end = [held for held in settled if held.step >= settled[-1].step - tenth]
    flat = True
    print(f"{seen[-1].step} agent steps, {episodes} episodes, {len(seen)} looks")
    for number, name in enumerate(["mlagents-learn", *(f"process {n}" for n in range(1, len(begin[0].kib)))]):
        before, after = (_medians(part, number) for part in (begin, end))
        growth = after.kib / before.kib - 1
        grew = growth > GROWTH or after.threads > before.threads or after.files > before.files
        flat &= not grew
        print(
            f"{name}: {before.kib / 1024:.1f} MiB at first, {after.kib / 1024:.1f} MiB at last ({growth:+.2%}), "
            f"threads {before.threads:g} and {after.threads:g}, files {before.files:g} and {after.files:g}"
            f"{', GREW' if grew else ''}"
        )
    return flat


def _medians(part: list[Held], process: int) -> Middle:
    kib, threads, files = (
        statistics.median(getattr(held, what)[process] for held in part)
        for what in ("kib", "threads", "files")
    )
    return Middle(kib, threads, files)
