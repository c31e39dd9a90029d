"""What the programs of a comparison share: how a rate is taken, and how they take turns.

Each library runs in an interpreter of its own, builds its learner once, and then measures whenever it is told to, so
that all of them see the same ups and downs of the machine. Needs nothing but torch.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch

OBS, ACTION, HIDDEN, CAPACITY = 24, 2, 128, 20_000


def rate(update: Callable[[], object], seconds: float, device: str) -> float:
    """Updates per second: of CPU time on the CPU, where other processes do not count, of wall time on a GPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    update()
    calls, begin = 0, clock()
    while clock() - begin < seconds:
        update()
        if device != "cpu" and calls % 50 == 0:
            torch.cuda.synchronize()  # or the host would run ahead for minutes
        calls += 1
    if device != "cpu":
        torch.cuda.synchronize()
    return calls / (clock() - begin)


def serve(name: str, build: Callable[[int, int, str], Callable[[], object]]) -> None:
    """Build one learner and measure it once per line of input, which holds the seconds to measure.

    Prints a line of JSON when ready, and one per measurement.

    Args:
        name: the library and its version.
        build: (agents, batch, device) -> one update, drawing its batch included.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("agents", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    update = build(options.agents, options.batch, options.device)
    for _ in range(3):
        update()
    print(json.dumps({"name": name, "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"rate": rate(update, float(line), options.device)}), flush=True)
