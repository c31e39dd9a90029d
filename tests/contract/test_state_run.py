"""A state that critics alone read, through the real mlagents-learn: a run, its continuation, and its model."""

from pathlib import Path

import numpy as np
import torch
import yaml

from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config

HYPERPARAMETERS = {
    "mappo": {"batch_size": 64, "buffer_size": 128, "num_epoch": 2},
    "qmix": {"batch_size": 32, "buffer_init_steps": 100, "steps_per_update": 20, "discretise": 3},
}


def run(folder: Path, max_steps: int, *options: str, trainer_type: str = "mappo") -> str:
    hyperparameters = {"state_sensor": "State", "group_size": 2, **HYPERPARAMETERS[trainer_type]}
    config = write_config(folder, "Counter", trainer_type, hyperparameters, {"max_steps": max_steps})
    scene = f"--env={launcher(folder, 'Counter')}"
    areas = ("--num-areas=3", "--env-args", "--state-sensor")
    return learn(folder, str(config), scene, f"--base-port={free_port()}", *options, *areas)


def test_a_run_with_a_state_and_its_continuation(tmp_path: Path) -> None:
    printed = run(tmp_path, 400)
    assert "Counter: the state is sensor 0 (3 numbers); actors read the other 4." in printed
    folder = tmp_path / "results" / "run"
    written = yaml.safe_load((folder / "configuration.yaml").read_text())["behaviors"]["Counter"]
    assert written["hyperparameters"]["state_sensor"] == "State"
    first = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    widths = [first["learner"][part]["0.0.weight"].shape[-1] for part in ("actor", "critic")]
    assert widths == [4, 2 * 4 + 3]

    assert f"at step {first['step']}" in run(tmp_path, 800, "--resume")
    last = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert last["updates"] >= first["updates"] + 2

    check_model(folder / "Counter.onnx")


def test_a_mixing_networks_weights_are_made_of_the_state_alone(tmp_path: Path) -> None:
    printed = run(tmp_path, 300, trainer_type="qmix")
    assert "Counter: the state is sensor 0 (3 numbers); actors read the other 4." in printed
    folder = tmp_path / "results" / "run"
    saved = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert saved["updates"] >= 5
    assert saved["learner"]["mixer"]["0.0.weight"].shape[-1] == 3 + 2, (
        "the state, and who of the two is there"
    )
    check_model(folder / "Counter.onnx")


def check_model(path: Path) -> None:
    """It takes the state, which changes nothing."""
    policy = OnnxPolicy(path)
    assert policy.observation_shapes == ((3,), (4,))
    state, own = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
    said = [policy.act([state * scale, own], deterministic=True)[0] for scale in (0, 1, 1e6)]
    assert np.array_equal(said[0], said[1]) and np.array_equal(said[0], said[2])
