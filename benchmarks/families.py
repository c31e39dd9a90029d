"""Every family on cooperative tasks of VMAS: three agents share out three goals, or cover three landmarks.

    uv run python benchmarks/families.py --task dispersion_0.2_discrete --families maddpg qmix --seeds 1 2 3 4 5
    uv run python benchmarks/families.py --table            # means, intervals and a ranking of all runs

Without ML-Agents, the same number of frames for everybody; one reward for all. On tasks named discrete all families
choose among nine actions; on the others QMIX, VDN, IQL and COMA choose among three values of each number. One JSON line
per run is appended to benchmarks/results/families.jsonl: the return of 1,000 episodes of the greedy policy (the agents'
mean reward, summed over an episode), of the exploring one over the last part of the training, and the goals found where
the task has them.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dispersion import CPU, Player, play
from families_table import RESULTS, newest, tables
from result_lines import append, commit
from torch import Tensor
from vmas_tasks import AGENTS, TASKS, Areas, Task, test

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.on_policy_samples import AdvantageNormalisation
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.schedules import Schedule

AREAS, DISCOUNT, HIDDEN_UNITS = 64, 0.99, 128
UPDATES_PER_STEP = 2  # of learners from a replay, per step of all areas
FRAMES = 480_000

ACTORS = {"share_actor": Sharing.SEPARATE}  # agents see alike at first: one network would send them one way
BOTH = {**ACTORS, "share_critic": Sharing.SEPARATE}
REPLAY = {"batch_size": 256, "buffer_size": 300_000, "tau": 0.005}
# Exploration fades over about half of the run's agent steps.
NOISE = {"noise_scale": 0.4, "noise_floor": 0.05, "noise_decay": 0.000_05 ** (1 / FRAMES / AGENTS)}
EPSILON = {"epsilon": 1.0, "epsilon_floor": 0.05, "epsilon_decay": 0.002_5 ** (1 / FRAMES / AGENTS)}
CHOICES = {**ACTORS, **REPLAY, **EPSILON, "discretise": 3}
# Chosen for MAPPO on this task (see README.md, Dispersion).
ROLLOUT = {
    **BOTH,
    "buffer_size": 9600,
    "batch_size": 2400,
    "critic_learning_rate": 1e-3,
    "beta": 0.06,
    "beta_schedule": Schedule.LINEAR,
    "advantage_normalisation": AdvantageNormalisation.AGENT,
    "value_clip": 0.0,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "maddpg": {**BOTH, **REPLAY, **NOISE, "learning_rate": 5e-4},
    "matd3": {**BOTH, **REPLAY, **NOISE, "learning_rate": 5e-4},
    "masac": {**BOTH, **REPLAY},
    "mappo": ROLLOUT,
    "ippo": ROLLOUT,
    "qmix": CHOICES,
    "vdn": CHOICES,
    "iql": CHOICES,
    "coma": {**BOTH, "buffer_size": 1920, "batch_size": 480, "discretise": 3},
}


class ExploringPlayer:
    """The acting side of learners from a replay, as `dispersion.Player`."""

    def __init__(self, learner: Any, num_areas: int, seed: int, step: Callable[[], int]) -> None:
        self.actor = learner.actor
        self.slot = torch.arange(AGENTS).repeat(num_areas)
        self.member = torch.arange(num_areas * AGENTS)
        self.layout = learner.spec.roles[0].action
        self.all_choices = torch.ones(num_areas * AGENTS, self.layout.num_choices)
        self.explorer = learner.config.make_explorer(self.layout, torch.Generator().manual_seed(seed))
        self.step = step

    @torch.no_grad()
    def draw(self, obs: Tensor) -> tuple[Tensor, None]:
        """Actions [A, N, 2]."""
        raw = self.actor.forward_rows(obs.view(len(self.slot), -1), self.slot)
        explored = self.explorer.act(raw, self.all_choices, self.member, self.step())
        return explored.view(len(obs), AGENTS, -1), None

    @torch.no_grad()
    def greedy(self, obs: Tensor) -> Tensor:
        """Actions [A, N, 2] without exploration."""
        raw = self.actor.forward_rows(obs.view(len(self.slot), -1), self.slot)
        return actions.mode(self.layout, raw, self.all_choices).view(len(obs), AGENTS, -1)


class ReplayRun:
    """Plays a step of all areas and makes its updates."""

    frames_at_once = AREAS

    def __init__(self, learner: Any, seed: int, task: Task) -> None:
        self.learner = learner
        self.areas = Areas(AREAS, seed, task)
        self.replay = Replay(task.spec, learner.config.buffer_size, CPU, torch.Generator().manual_seed(seed))
        self.permitted = torch.ones(task.spec.allowed_size)
        self.frames = 0
        self.player = self.new_player(AREAS, seed)
        self.rows = self._append(self.areas.obs)

    def new_player(self, num_areas: int, seed: int) -> Any:
        if hasattr(self.learner.config, "make_explorer"):
            return ExploringPlayer(self.learner, num_areas, seed, lambda: self.frames * AGENTS)
        return Player(self.learner, num_areas, seed)

    def _append(self, obs: Tensor) -> Tensor:
        first = self.replay.append(obs, torch.ones(len(obs), AGENTS), self.permitted.expand(len(obs), -1))
        return first + torch.arange(len(obs))

    def go_on(self, progress: float) -> None:
        """See the class."""
        action, _ = self.player.draw(self.areas.obs)
        reward, terminated, ended, final = self.areas.step(action)
        following = self._append(self.areas.obs)
        next_rows = following.clone()
        next_rows[ended] = self._append(final[ended])
        everybody, ends = torch.ones(AREAS, AGENTS), terminated.unsqueeze(1).expand(-1, AGENTS)
        self.replay.complete(
            self.rows, action.flatten(1).clamp(-1.0, 1.0), reward, everybody, ends, next_rows, ended
        )
        self.rows = following
        self.frames += AREAS
        config = self.learner.config
        for _ in range(UPDATES_PER_STEP if self.frames * AGENTS >= config.buffer_init_steps else 0):
            self.learner.update(self.replay.sample(config.batch_size, config.n_step, DISCOUNT))


class RolloutRun:
    """Plays what one update learns from, and makes it."""

    def __init__(self, learner: Any, seed: int, task: Task) -> None:
        self.learner = learner
        self.areas = Areas(AREAS, seed, task)
        self.player = self.new_player(AREAS, seed)
        self.num_steps = learner.config.buffer_size // (AREAS * AGENTS)
        self.frames_at_once = self.num_steps * AREAS

    def new_player(self, num_areas: int, seed: int) -> Player:
        return Player(self.learner, num_areas, seed)

    def go_on(self, progress: float) -> None:
        """See the class."""
        self.learner.set_progress(progress, 0)
        self.learner.update(play(self.areas, self.player, self.num_steps, self.learner.config))


def train(name: str, family: str, seed: int, frames: int, looks: int) -> dict[str, Any]:
    """One run."""
    task, algorithm = TASKS[name], ALGORITHMS[family]
    sizes = {"hidden_units": HIDDEN_UNITS, "num_layers": 2, "normalize": False}
    settings = {"discretise": 0} if task.discrete and "discretise" in SETTINGS[family] else {}
    config = algorithm.config(**SETTINGS[family] | settings)
    learner = algorithm.learner(task.spec, config, **sizes, discount=DISCOUNT, device=CPU, seed=seed)
    run = (ReplayRun if algorithm.data_regime == "off_policy" else RolloutRun)(learner, seed, task)
    begin, done, looked = time.process_time(), 0, 0
    curves: dict[str, list[Any]] = {"greedy_return": [], "exploring_return": [], "goals": []}
    while done < frames:
        run.go_on(done / frames)
        done += run.frames_at_once
        if done * looks // frames > looked:
            looked = done * looks // frames
            shown = test(run.new_player, task)
            seen = shown._asdict() | {"exploring_return": round(run.areas.mean_return(), 3)}
            for what, values in curves.items():
                values.append(seen[what])
            print(f"{name}, {family}, seed {seed}, {done} frames: {seen}", flush=True)
    return {
        "task": name,
        "family": family,
        "seed": seed,
        "frames": done,
        **curves,
        "cpu_minutes": round((time.process_time() - begin) / 60, 2),
    }


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=list(TASKS), default="dispersion_0.2_discrete")
    parser.add_argument("--families", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument(
        "--looks", type=int, default=4, help="greedy tests along the way, the last at the end"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="show all results, run nothing")
    options = parser.parse_args()
    if options.table:
        print("\n".join(tables(newest(options.output))))
        return
    torch.set_num_threads(1)
    made_at = commit()
    for seed in options.seeds:
        for family in options.families:
            result = train(options.task, family, seed, options.frames, options.looks)
            append(options.output, result | {"commit": made_at})


if __name__ == "__main__":
    main()
