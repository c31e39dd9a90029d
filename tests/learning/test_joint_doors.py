"""A keeper and a runner of different behaviour names learn together what neither can alone."""

from pathlib import Path

import numpy as np
import pytest
from mlagents.trainers.settings import RunOptions

from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.unit.conftest import host_state  # noqa: F401
from tests.unit.doors_scene import PLACES, DoorsScene
from tests.unit.simulated_host import Run, SceneManager

GOAL = 0.9  # of 1; 1/3 is what a guessing keeper leaves


def learn(folder: Path, trainer_type: str) -> DoorsScene:
    behavior = {
        "trainer_type": trainer_type,
        "hyperparameters": {
            "joint": {"name": "doors", "members": ["Keeper", "Runner"]},
            "batch_size": 64,
            "buffer_init_steps": 200,
            "steps_per_update": 4,
            "learning_rate": 0.003,
            "critic_learning_rate": 0.003,
        },
        "network_settings": {"hidden_units": 32, "num_layers": 2},
        "reward_signals": {"extrinsic": {"gamma": 0.5}},
        "max_steps": 4_000,
        "time_horizon": 5,
        "summary_freq": 100_000,
        "checkpoint_interval": 100_000,
    }
    config = RunOptions.from_dict({"behaviors": {"Keeper": behavior, "Runner": behavior}})
    made: list[DoorsScene] = []

    def make(process: int) -> DoorsScene:
        made.append(DoorsScene(8, process))
        return made[-1]

    Run(folder, config, SceneManager(make)).start()
    return made[0]


@pytest.mark.usefixtures("host_state")
@pytest.mark.parametrize("trainer_type", ["matd3", "masac"])
def test_both_learn_to_do_their_part(tmp_path: Path, trainer_type: str) -> None:
    scene = learn(tmp_path, trainer_type)
    assert np.mean(scene.paid[:20]) < 0.45
    door = np.arange(3)
    keeper, runner = OnnxPolicy(tmp_path / "Keeper.onnx"), OnnxPolicy(tmp_path / "Runner.onnx")
    opened = keeper.act([np.eye(3, dtype=np.float32)], np.ones((3, 3), np.float32))[1][:, 0]
    place = runner.act([PLACES[:, None]])[0][:, 0]
    assert np.mean((1 - np.abs(place - PLACES)) * (opened == door)) > GOAL
