"""Dispersion: do three agents that start at one point share out three goals? MAPPO on VMAS, without ML-Agents.

    uv run python benchmarks/dispersion.py --radius 0.2 --reward shared --seeds 1 2 3 4 5
    uv run python benchmarks/dispersion.py --table          # what all runs came to

A frame is one step of one area; episodes last at most 100 and end once all goals are found. Settings of
`MappoConfig` follow as NAME=VALUE. One JSON line per run is appended to
benchmarks/results/dispersion.jsonl: the goals that 1,000 episodes of the greedy policy reached (of 3), and how
differently the agents act on equal observations (0 to 1).
"""

import argparse
import statistics
import time
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch
import yaml
from result_lines import FOLDER, append, commit, read
from torch import Tensor
from vmas_tasks import AGENTS, Areas, dispersion, test

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rewards import share_rewards
from mlagents_marl_plugin.core.types import RolloutBatch

RESULTS = FOLDER / "dispersion.jsonl"
CPU = torch.device("cpu")
DEFAULTS = {
    "buffer_size": 9600,
    "batch_size": 1920,
    "num_epoch": 10,
    "share_actor": Sharing.SEPARATE,
    "share_critic": Sharing.SEPARATE,
}


class Player:
    """The acting side of a learner: all agents of all areas at once."""

    def __init__(self, learner: MappoLearner, num_areas: int, seed: int) -> None:
        self.actor = learner.actor
        self.slot = torch.arange(AGENTS).repeat(num_areas)
        choices = learner.spec.roles[0].action.num_choices
        self.all_choices = torch.ones(num_areas * AGENTS, choices)
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [A, N, size] and their log-probabilities [A, N]."""
        rows = obs.view(len(self.slot), -1)
        action, log_prob = self.actor.sample_rows(rows, self.all_choices, self.slot, self.generator)
        return action.view(len(obs), AGENTS, -1), log_prob.view(len(obs), AGENTS)

    def greedy(self, obs: Tensor) -> Tensor:
        """Actions [A, N, size] without exploration."""
        rows = obs.view(len(self.slot), -1)
        return self.actor.mode_rows(rows, self.all_choices, self.slot).view(len(obs), AGENTS, -1)


def play(areas: Areas, player: Player, num_steps: int, config: MappoConfig) -> RolloutBatch:
    """What came of so many steps of all areas; rewards are shared as the settings say."""
    steps, ends, num_areas = [], [areas.obs[:0]], len(areas.obs)
    num_rows = num_steps * num_areas
    num_ends = 0
    for number in range(1, num_steps + 1):
        obs = areas.obs
        action, log_prob = player.draw(obs)
        reward, terminated, ended, final = areas.step(action)
        successor = torch.arange(number * num_areas, (number + 1) * num_areas)
        # Behind the R rows come the observations after the last of them, then those at ends.
        places = num_rows + num_areas + num_ends + torch.arange(int(ended.sum()))
        successor[ended] = places
        ends.append(final[ended])
        num_ends += len(places)
        steps.append((obs, action.flatten(1), log_prob, reward, terminated, ended, successor))
    obs, action, log_prob, reward, terminated, ended, successor = map(torch.cat, zip(*steps, strict=True))
    everybody = torch.ones(num_rows, AGENTS)
    nobody = torch.zeros(num_rows)
    reward = share_rewards(reward, nobody, everybody, config.reward_sharing, config.reward_mix)
    return RolloutBatch(
        obs=torch.cat([obs, areas.obs, *ends]),
        agent_mask=torch.ones(num_rows + num_areas + num_ends, AGENTS),
        action=action,
        allowed=torch.ones(num_rows, areas.spec.allowed_size),
        log_prob=log_prob,
        acted=everybody,
        value_mask=everybody,
        reward=reward,
        terminated=terminated.float().unsqueeze(1).expand(-1, AGENTS),
        cut=ended.float(),
        successor=successor,
    )


def train(options: argparse.Namespace, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """One run."""
    algorithm = ALGORITHMS["mappo"]
    config = algorithm.config(**settings)
    task = dispersion(options.radius, options.reward == "shared")
    learner = algorithm.learner(
        task.spec,
        config,
        hidden_units=options.hidden_units,
        num_layers=2,
        normalize=False,
        discount=options.gamma,
        device=CPU,
        seed=seed,
    )
    areas = Areas(options.areas, seed, task)
    player = Player(learner, options.areas, seed)
    num_steps = max(1, config.buffer_size // (options.areas * AGENTS))
    begin, frames, curve = time.process_time(), 0, []
    while frames < options.frames:
        learner.set_progress(frames / options.frames, 0)
        learner.update(play(areas, player, num_steps, config))
        frames += num_steps * options.areas
        if frames * options.looks // options.frames > len(curve):
            curve.append(test(partial(Player, learner), task).goals)
            print(f"seed {seed}, {frames} frames: {curve[-1]} goals", flush=True)
    return {
        "frames": frames,
        "goals": test(partial(Player, learner), task).goals,
        "curve": curve,
        "action_diversity": round(float(learner.metrics()["action_diversity"]), 3),
        "cpu_minutes": round((time.process_time() - begin) / 60, 2),
    }


def parsed(texts: list[str]) -> dict[str, Any]:
    """Settings of `MappoConfig` from NAME=VALUE, as YAML has them."""
    settings: dict[str, Any] = dict(DEFAULTS)
    fields = attrs.fields_dict(MappoConfig)
    for text in texts:
        name, _, value = text.partition("=")
        if name not in fields:
            raise SystemExit(f"{text}: expected a setting of MappoConfig, got {name}")
        kind, plain = fields[name].default, yaml.safe_load(value)
        settings[name] = type(kind)(plain)
    return settings


def table() -> str:
    """A row per setting, over its seeds."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for line in read(RESULTS):
        what = [f"{name}={value}" for name, value in line["settings"].items()]
        about = (
            str(line["radius"]),
            line["reward"],
            str(line["areas"]),
            f"{line['frames']:,}",
            ", ".join(what),
        )
        groups.setdefault(" | ".join(about), []).append(line)
    rows = [
        "| radius | reward | areas | frames | settings | seeds | goals of 3, mean (each) | action diversity |"
    ]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for about, lines in groups.items():
        goals = [line["goals"] for line in lines]
        each = ", ".join(f"{value:.2f}" for value in goals)
        diversity = statistics.mean(line["action_diversity"] for line in lines)
        seeds = ", ".join(str(line["seed"]) for line in lines)
        rows.append(f"| {about} | {seeds} | {statistics.mean(goals):.2f} ({each}) | {diversity:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--radius", type=float, default=0.2)
    parser.add_argument("--reward", choices=["shared", "per-agent"], default="shared")
    parser.add_argument("--areas", type=int, default=64)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--hidden-units", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--looks", type=int, default=10, help="greedy tests along the way")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="show all results, run nothing")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    torch.set_num_threads(1)
    made_at = commit()
    for seed in options.seeds:
        settings = parsed(options.settings)
        result = train(options, settings, seed)
        shown = {name: value.value if isinstance(value, Enum) else value for name, value in settings.items()}
        about = {"seed": seed, "commit": made_at, "settings": shown}
        about |= {
            name: getattr(options, name) for name in ("radius", "reward", "areas", "gamma", "hidden_units")
        }
        append(options.output, about | result)


if __name__ == "__main__":
    main()
