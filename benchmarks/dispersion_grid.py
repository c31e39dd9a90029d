"""What does a larger batch teach agents that should part? MAPPO on Dispersion, 72 cells.

    uv run python benchmarks/dispersion_grid.py --seeds 1
    uv run python benchmarks/dispersion_grid.py --table

Batches of 512, 4,096, 8,192 and 65,536 samples; each agent's own reward, the mean of all, and half of each; one actor,
one that is told whose turn it is, and an actor per agent; 256 and 512 areas. Goals of radius 0.2, 480,000 frames,
rollouts of 65,536 samples (or the most whole steps below), 4 epochs. One JSON line per run is appended to
benchmarks/results/dispersion_grid.jsonl; cells that it holds already are not run again.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from dispersion import train
from grid_table import RESULTS, table
from result_lines import append, commit, read

from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.on_policy_samples import AdvantageNormalisation
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.schedules import Schedule

ROLLOUT, RADIUS, FRAMES = 65_536, 0.2, 480_000
BATCHES = (512, 4_096, 8_192, 65_536)
REWARDS = (RewardSharing.INDIVIDUAL, RewardSharing.GROUP_MEAN, RewardSharing.MIXED)
ACTORS = (Sharing.SHARED, Sharing.SHARED_WITH_ID, Sharing.SEPARATE)
AREAS = (256, 512)


class Cell(NamedTuple):
    """One setting."""

    batch: int
    reward: RewardSharing
    actors: Sharing
    areas: int

    @property
    def key(self) -> tuple[Any, ...]:
        """As in the file."""
        return (self.batch, self.reward.value, self.actors.value, self.areas)

    def run(self, seed: int) -> dict[str, Any]:
        """Goals found, and how differently the agents act on equal observations."""
        settings = {
            "buffer_size": ROLLOUT,
            "batch_size": self.batch,
            "num_epoch": 4,
            "critic_learning_rate": 1e-3,
            "beta": 0.06,
            "beta_schedule": Schedule.LINEAR,
            "advantage_normalisation": AdvantageNormalisation.AGENT,
            "value_clip": 0.0,
            "share_actor": self.actors,
            "share_critic": Sharing.SEPARATE,
            "reward_sharing": self.reward,
        }
        options = argparse.Namespace(
            radius=RADIUS,
            reward="per-agent",
            areas=self.areas,
            frames=FRAMES,
            gamma=0.99,
            hidden_units=128,
            looks=4,
        )
        return train(options, settings, seed)


CELLS = [Cell(*cell) for cell in product(BATCHES, REWARDS, ACTORS, AREAS)]


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="show all results, run nothing")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table(read(options.output))))
        return
    torch.set_num_threads(1)
    made_at = commit()
    done = {(*line["cell"], line["seed"]) for line in read(options.output)}
    for seed, cell in product(options.seeds, CELLS):
        if (*cell.key, seed) in done:
            continue
        line = {"cell": cell.key, "seed": seed, "commit": made_at} | cell.run(seed)
        append(options.output, line)


if __name__ == "__main__":
    main()
