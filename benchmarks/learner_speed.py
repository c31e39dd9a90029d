"""Updates per second of CPU time of the MADDPG learner alone, beside what the machine's matrix products allow.

    uv run python benchmarks/learner_speed.py [--repeats 5] [--threads 1] [--device cpu]

Shipped defaults (clipping and all) but separate actors and critics, observation 24, action 2, networks 2 x 128, replay
sampling included. The bound is the arithmetic of an update divided by the rate of a batched product of its size,
measured in turns with the learner, so that a busy machine slows both.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

SIZES = [(2, 256), (2, 1024), (8, 256), (32, 256)]
OBS, ACTION, HIDDEN = 24, 2, 128
CAPACITY = 20_000
SECONDS = 1.0


def flops(agents: int, batch: int) -> float:
    """Floating-point operations in the matrix products of one MADDPG update."""
    actor = OBS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * ACTION
    first = agents * (OBS + ACTION) * HIDDEN
    critic = first + HIDDEN * HIDDEN + HIDDEN
    own = HIDDEN * HIDDEN + HIDDEN + ACTION * HIDDEN
    products = actor + critic + (3 * critic - first) + (3 * actor - OBS * HIDDEN) + critic + own
    return 2.0 * products * agents * batch


def learner_update(agents: int, batch: int, device: torch.device) -> Callable[[], None]:
    """One update, its batch drawn from a full replay of random steps."""
    entry = ALGORITHMS["maddpg"]
    config = entry.config(batch_size=batch, share_actor=Sharing.SEPARATE, share_critic=Sharing.SEPARATE)
    spec = GroupSpec((RoleSpec("Agent", agents, ((OBS,),), ActionLayout(ACTION)),))
    learner = entry.learner(
        spec,
        config,
        hidden_units=HIDDEN,
        num_layers=2,
        normalize=False,
        discount=0.99,
        device=device,
        seed=1,
    )
    replay = Replay(spec, CAPACITY, device)
    replay.append(torch.randn(CAPACITY, spec.obs_size), torch.ones(CAPACITY, agents), torch.ones(CAPACITY, 0))
    rows = torch.arange(CAPACITY - 1)
    shape = (CAPACITY - 1, agents)
    replay.complete(
        rows,
        torch.rand(CAPACITY - 1, spec.action_size) * 2 - 1,
        torch.randn(shape),
        torch.ones(shape),
        (torch.rand(shape) < 0.01).float(),
        rows + 1,
        torch.zeros(CAPACITY - 1),
    )
    return lambda: learner.update(replay.sample(batch, config.n_step, learner.discount))


def product(agents: int, batch: int, device: torch.device) -> tuple[Callable[[], None], float]:
    """A batched product of a hidden layer's size, and its operations."""
    left = torch.randn(agents, batch, HIDDEN, device=device)
    right, out = torch.randn(agents, HIDDEN, HIDDEN, device=device), torch.empty_like(left)
    return lambda: torch.bmm(left, right, out=out), 2.0 * agents * batch * HIDDEN * HIDDEN


def rate(function: Callable[[], None], device: torch.device) -> float:
    """Calls per second: of CPU time on the CPU, of wall time on a GPU."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    function()
    calls, begin = 0, clock()
    while clock() - begin < SECONDS:
        for _ in range(5):
            function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        calls += 5
    return calls / (clock() - begin)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(
        f"torch {torch.__version__}, {options.device}, {options.threads} thread(s), median of {options.repeats}"
    )
    print(
        "| agents, batch | updates/s | bound by matrix products | share of the bound |\n| --- | --- | --- | --- |"
    )
    for agents, batch in SIZES:
        update = learner_update(agents, batch, device)
        multiply, operations = product(agents, batch, device)
        updates, bounds = [], []
        for _ in range(options.repeats):
            updates.append(rate(update, device))
            bounds.append(rate(multiply, device) * operations / flops(agents, batch))
        share = statistics.median(u / b for u, b in zip(updates, bounds, strict=True))
        print(
            f"| {agents}, {batch} | {statistics.median(updates):.1f} | {statistics.median(bounds):.1f} | {share:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
