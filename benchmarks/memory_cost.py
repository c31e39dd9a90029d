"""What a memory costs: whole updates of MAPPO, COMA and QMIX with one and without.

    uv run python benchmarks/memory_cost.py [--device cuda]

Two agents with networks of their own, 2 x 128, a GRU of 128, observation 24, two numbers to act with (of which COMA and
QMIX choose three values each), sequences of 16 steps. MAPPO and COMA learn from a rollout of 64 lanes x 160 steps, in
mini-batches of 1,024 steps; QMIX from batches of 256 steps out of a replay. With a memory and without take turns in one
process; times are of its own processor on the CPU, of the clock on a GPU.

The table is printed and written to benchmarks/results/memory_cost_<device>.md.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rollout import Rollout
from mlagents_marl_plugin.core.sequence_replay import SequenceReplay
from mlagents_marl_plugin.core.sequences import Memory
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from on_policy_task import BATCH, FRAMES, LANES
from turns import ACTION, HIDDEN, OBS, rate

FOLDER = Path(__file__).resolve().parent
AGENTS, STEPS, MEMORY, REPLAY_BATCH = 2, 16, 128, 256
SPEC = GroupSpec((RoleSpec("Agent", AGENTS, ((OBS,),), ActionLayout(ACTION)),))
ROLLOUT = {
    "batch_size": BATCH * AGENTS,
    "buffer_size": FRAMES * AGENTS,
    "num_epoch": 3,
    "share_actor": Sharing.SEPARATE,
    "share_critic": Sharing.SEPARATE,
}
# By the name of a row: the family, its settings, and what only those with a memory have.
ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mappo": ("mappo", ROLLOUT, {}),
    "coma": ("coma", ROLLOUT | {"discretise": 3}, {}),
    "coma, recurrent_critic: false": ("coma", ROLLOUT | {"discretise": 3}, {"recurrent_critic": False}),
    "qmix": ("qmix", {"batch_size": REPLAY_BATCH, "discretise": 3, "share_actor": Sharing.SEPARATE}, {}),
}
Update = Callable[[], object]


def learner(family: str, settings: dict[str, Any], memory: Memory | None, device: torch.device) -> Update:
    """A whole update on what random agents played."""
    algorithm = ALGORITHMS[family]
    sizes = {"hidden_units": HIDDEN, "num_layers": 2, "normalize": False, "discount": 0.99}
    made = algorithm.learner(
        SPEC, algorithm.config(**settings), device=device, seed=1, memory=memory, **sizes
    )
    size, here = MEMORY if memory else 0, torch.ones(FRAMES + LANES, AGENTS)
    is_rollout = algorithm.data_regime != "off_policy"
    store: Any
    if is_rollout:
        store = Rollout(SPEC, FRAMES + LANES, device, size)
    else:
        store = SequenceReplay(SPEC, FRAMES + LANES, device, torch.Generator(device).manual_seed(1), size)
    remembered = torch.zeros(FRAMES + LANES, AGENTS * size) if memory else None
    store.append(torch.randn(FRAMES + LANES, SPEC.obs_size), here, torch.ones(FRAMES + LANES, 0), remembered)
    rows, ends = torch.arange(FRAMES), (torch.rand(FRAMES, 1) < 0.01).float()
    outcome = (
        torch.rand(FRAMES, SPEC.action_size) * 2 - 1,
        torch.randn(FRAMES, AGENTS),
        here[:FRAMES],
        ends.expand(-1, AGENTS),
        rows + LANES,
        ends.squeeze(1),
    )
    if is_rollout:
        store.complete(rows, *outcome, torch.zeros(FRAMES, AGENTS), here[:FRAMES])
        batch = store.take()
        return lambda: made.update(batch)
    store.complete(rows, *outcome)
    if made.sequences is None:
        return lambda: made.update(store.sample(REPLAY_BATCH, 1, made.discount))
    return lambda: made.update(store.sample_sequences(REPLAY_BATCH // STEPS, made.sequences, made.discount))


def row(name: str, options: argparse.Namespace) -> str:
    """A line of the table."""
    family, settings, only_with = ROWS[name]
    device = torch.device(options.device)
    pair = (
        learner(family, settings | only_with, Memory(MEMORY, STEPS), device),
        learner(family, settings, None, device),
    )
    turns = [
        [1e3 / rate(update, options.seconds, options.device) for update in pair] for _ in range(options.turns)
    ]
    with_memory, without = (statistics.median(times) for times in zip(*turns, strict=True))
    ratio = statistics.median(one / other for one, other in turns)
    return f"| `{name}` | {with_memory:.1f} | {without:.1f} | {ratio:.2f} |"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per turn")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = [
        f"On {options.device}, one thread, torch {torch.__version__}, median of {options.turns} turns.",
        "",
        "| family | an update with a memory, ms | without, ms | ratio |",
        "| --- | --- | --- | --- |",
    ]
    print("\n".join(found), flush=True)
    for name in ROWS:
        found.append(row(name, options))
        print(found[-1], flush=True)
    output = FOLDER / "results" / f"memory_cost_{options.device}.md"
    output.write_text("\n".join([*found, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
