"""What BenchMARL's own MADDPG, MAPPO and QMIX reach on the tasks of families.py, with BenchMARL's settings.

    BENCHMARL/bin/python benchmarks/peers/benchmarl_returns.py --task simple_spread --family mappo --seeds 1 2

Its defaults (parameters shared among agents), but networks of 2 x 128. One JSON line per run is appended to
benchmarks/results/benchmarl.jsonl: returns of 1,000 greedy episodes and of the exploring policy, after each quarter of
the frames. How its environment is made: see on_policy_speed.py.
"""

import argparse
import json
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmarl.algorithms import IddpgConfig, IppoConfig, MaddpgConfig, MappoConfig, QmixConfig, VdnConfig
from benchmarl.environments import VmasTask
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models import MlpConfig
from tensordict import TensorDictBase

RESULTS = Path(__file__).parents[1] / "results" / "benchmarl.jsonl"
FAMILIES = {
    "maddpg": MaddpgConfig,
    "iddpg": IddpgConfig,
    "mappo": MappoConfig,
    "ippo": IppoConfig,
    "qmix": QmixConfig,
    "vdn": VdnConfig,
}
CHOOSE = ("qmix", "vdn")
DISPERSION = {"max_steps": 100, "n_agents": 3, "n_food": 3, "share_reward": True, "penalise_by_time": True}
TASKS = {
    "dispersion_0.2": (VmasTask.DISPERSION, DISPERSION | {"food_radius": 0.2}),
    "dispersion_0.05": (VmasTask.DISPERSION, DISPERSION | {"food_radius": 0.05}),
    "simple_spread": (VmasTask.SIMPLE_SPREAD, {"max_steps": 100, "n_agents": 3, "obs_agents": True}),
}
FRAMES, LOOKS, AREAS, EPISODES = 480_000, 4, 60, 1000


class Returns(Callback):
    """Keeps the greedy returns, and what exploring came to in the five batches before."""

    def __init__(self) -> None:
        super().__init__()
        self.greedy: list[float] = []
        self.exploring: list[float] = []
        self._collected: list[float] = []

    def on_batch_collected(self, batch: TensorDictBase) -> None:
        """BenchMARL has its mean return by now."""
        self._collected.append(self.experiment.mean_return)

    def on_evaluation_end(self, rollouts: list[TensorDictBase]) -> None:
        """The one after the very first batch is not kept."""
        if len(self._collected) > 1:
            (group,) = self.experiment.group_map
            outcomes = [played["next"] for played in rollouts]
            returns = [_first_return(outcome[group, "reward"], outcome["done"]) for outcome in outcomes]
            self.greedy.append(round(statistics.mean(returns), 3))
            self.exploring.append(round(statistics.mean(self._collected[-5:]), 3))
            print(self.greedy[-1], self.exploring[-1], flush=True)


def _first_return(reward: torch.Tensor, done: torch.Tensor) -> float:
    """The agents' mean reward [T, N, 1], summed over a rollout's first episode."""
    ended = done.flatten().nonzero()
    return float(reward[: int(ended[0]) + 1 if len(ended) else None].mean(1).sum())


def train(name: str, family: str, seed: int) -> dict[str, Any]:
    """One run."""
    config = ExperimentConfig.get_from_yaml()
    config.max_n_frames, config.evaluation_interval = FRAMES, FRAMES // LOOKS
    config.evaluation_episodes, config.render, config.loggers, config.create_json = (
        EPISODES,
        False,
        ["csv"],
        False,
    )
    config.on_policy_n_envs_per_worker = config.off_policy_n_envs_per_worker = AREAS
    config.prefer_continuous_actions = family not in CHOOSE
    model = MlpConfig.get_from_yaml()
    model.num_cells = [128, 128]
    task, options = TASKS[name]
    seen = Returns()
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        config.save_folder = folder
        Experiment(
            task=task.get_task(options),
            algorithm_config=FAMILIES[family].get_from_yaml(),
            model_config=model,
            critic_model_config=model,
            seed=seed,
            config=config,
            callbacks=[seen],
        ).run()
    return {
        "task": name,
        "family": family,
        "seed": seed,
        "frames": FRAMES,
        "greedy_return": seen.greedy,
        "exploring_return": seen.exploring,
        "cpu_minutes": round((time.process_time() - begin) / 60, 2),
        "benchmarl": version("benchmarl"),
    }


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=list(TASKS), required=True)
    parser.add_argument("--family", choices=list(FAMILIES), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        result = train(options.task, options.family, seed)
        with options.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
