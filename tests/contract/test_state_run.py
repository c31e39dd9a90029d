"""A state that critics alone read, through the real mlagents-learn: a run, its continuation, and its model."""

from pathlib import Path

import numpy as np
import torch
import yaml

from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config

HYPERPARAMETERS = {
    "state_sensor": "State",
    "group_size": 2,
    "batch_size": 64,
    "buffer_size": 128,
    "num_epoch": 2,
}


def run(folder: Path, max_steps: int, *options: str) -> str:
    config = write_config(folder, "Counter", "mappo", HYPERPARAMETERS, {"max_steps": max_steps})
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

    policy = OnnxPolicy(folder / "Counter.onnx")
    assert policy.observation_shapes == ((3,), (4,))
    state, own = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
    said = [policy.act([state * scale, own], deterministic=True)[0] for scale in (0, 1, 1e6)]
    assert np.array_equal(said[0], said[1]) and np.array_equal(said[0], said[2])
