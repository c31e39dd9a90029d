"""Short runs of our trainers on the Counter scene, inside the host's own controller."""

from pathlib import Path
from typing import Any

import torch
from mlagents.trainers.stats import StatsWriter

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from tests.unit.simulated_host import Run, SceneManager, options

SMALL = {
    "batch_size": 16,
    "buffer_size": 2_000,
    "buffer_init_steps": 100,
    "steps_per_update": 20,
    "group_size": 2,
}
EXPLORATION = {
    "noise_decay": 0.999,
    "epsilon_decay": 0.999,
    "discretise": 3,
}  # for those who have such a setting
ROLLOUTS = {"batch_size": 32, "buffer_size": 64, "num_epoch": 2, "group_size": 2}


def small(trainer_type: str) -> dict[str, Any]:
    """Hyperparameters with which a few hundred steps hold several updates."""
    algorithm = ALGORITHMS[trainer_type]
    base = ROLLOUTS if algorithm.data_regime == "on_policy" else SMALL
    return base | {name: value for name, value in EXPLORATION.items() if hasattr(algorithm.config(), name)}


def manager(areas: int = 2, workers: int = 1, **scene: Any) -> SceneManager:
    return SceneManager(lambda worker: CounterScene(areas, worker, CounterOptions(**scene)), workers)


def start(
    folder: Path, *, trainer_type: str = "maddpg", scene: SceneManager | None = None, **settings: Any
) -> Run:
    """A run to its end; ``settings`` go to ``options`` (hyper, behavior) or to `Run`."""
    hyper, behavior = settings.pop("hyper", {}), settings.pop("behavior", {})
    config = options(
        "Counter", trainer_type, {**small(trainer_type), **hyper}, {"max_steps": 400, **behavior}
    )
    return Run(folder, config, scene or manager(), **settings).start()


def build(
    folder: Path, *, trainer_type: str = "maddpg", scene: SceneManager | None = None, **settings: Any
) -> Any:
    """A trainer that has met its agents and done nothing yet."""
    scene = scene or manager()
    scene.stop_after = 0
    scene.on_step = lambda: scene._queue_steps() if scene.steps == 1 else None
    hyper, behavior = settings.pop("hyper", {}), settings.pop("behavior", {})
    config = options(
        "Counter", trainer_type, {**small(trainer_type), **hyper}, {"max_steps": 10_000, **behavior}
    )
    run = Run(folder, config, scene, **settings)
    run.controller._save_models = lambda: None
    return run.start().trainer


def tensors(state: Any, name: str = "") -> dict[str, torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return {name: state}
    if isinstance(state, dict):
        return {k: v for key, part in state.items() for k, v in tensors(part, f"{name}.{key}").items()}
    return {}


def assert_same(one: Any, other: Any) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert first
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def assert_same_next_update(first: Any, again: Any) -> None:
    """Two off-policy trainers that owe an update are in the same state, and are so after making it."""
    assert_same(first.learner.state_dict(), again.learner.state_dict())
    for trainer in (first, again):
        trainer._debt_paid = trainer._updates_owed() + trainer._debt_paid - 1
        assert trainer._is_ready_update()
        trainer._update_policy()
    assert_same(first.learner.state_dict(), again.learner.state_dict())


class Recorder(StatsWriter):
    """Keeps every summary that the host writes."""

    def __init__(self):
        self.summaries: list[dict[str, float]] = []

    def write_stats(self, category, values, step):
        self.summaries.append({name: summary.aggregated_value for name, summary in values.items()})
