"""Short joint runs on the Counter scene, whose odd agents are of another kind, inside the host's own controller."""

from pathlib import Path
from typing import Any

from mlagents.trainers.settings import RunOptions

from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from tests.unit.simulated_host import Run, SceneManager

MEMBERS = ["Counter", "CounterB"]
SMALL = {"batch_size": 16, "buffer_size": 2_000, "buffer_init_steps": 50, "steps_per_update": 10}


def joint_options(
    trainer_type: str = "matd3",
    *,
    members: list[str] | None = None,
    hyper: dict[str, Any] | None = None,
    behavior: dict[str, Any] | None = None,
    own: dict[str, dict[str, Any]] | None = None,
) -> RunOptions:
    """Run options of a joint run.

    Args:
        members: as listed, and all with an entry.
        own: per behaviour, further fields; its ``hyperparameters`` are added to those of all.
    """
    members = MEMBERS if members is None else members
    behaviors = {}
    for name in members:
        mine = dict((own or {}).get(name, {}))
        joint = {"name": "test", "members": members}
        hyperparameters = {**SMALL, "joint": joint, **(hyper or {}), **mine.pop("hyperparameters", {})}
        behaviors[name] = {
            "trainer_type": trainer_type,
            "hyperparameters": {k: v for k, v in hyperparameters.items() if v is not None},
            "network_settings": {"hidden_units": 8, "num_layers": 1},
            "max_steps": 200,
            "time_horizon": 16,
            "summary_freq": 100_000,
            "checkpoint_interval": 100_000,
            **(behavior or {}),
            **mine,
        }
    return RunOptions.from_dict({"behaviors": behaviors})


def mixed(areas: int = 2, workers: int = 1, **scene: Any) -> SceneManager:
    """Groups of three: two of Counter, one of CounterB."""
    chosen = CounterOptions(**{"agents": 3, "roles": True, "group_ids": True, **scene})
    return SceneManager(lambda worker: CounterScene(areas, worker, chosen), workers)


def start(
    folder: Path, options: RunOptions, scene: SceneManager | None = None, **settings: Any
) -> dict[str, Any]:
    """A joint run to its end; its trainers by name."""
    run = Run(folder, options, scene or mixed(), **settings)
    run.start()
    return run.controller.trainers
