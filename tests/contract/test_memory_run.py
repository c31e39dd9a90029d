"""Agents that remember, through the real mlagents-learn: a run, its continuation, and the model that it leaves."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config

HYPERPARAMETERS = {
    "mappo": {"group_size": 2, "batch_size": 64, "buffer_size": 128, "num_epoch": 2, "burn_in": 2},
    "coma": {
        "group_size": 2,
        "batch_size": 64,
        "buffer_size": 128,
        "burn_in": 2,
        "discretise": 3,
        "memory_cell": "lstm",
    },
    "qmix": {
        "group_size": 2,
        "batch_size": 64,
        "buffer_size": 1_000,
        "buffer_init_steps": 100,
        "steps_per_update": 30.0,
        "burn_in": 2,
        "lambd": 0.5,
        "discretise": 3,
        "save_replay_buffer": True,
    },
}
NETWORK = {"hidden_units": 16, "num_layers": 1, "memory": {"memory_size": 8, "sequence_length": 4}}


def run(folder: Path, trainer_type: str, max_steps: int, *options: str) -> str:
    settings = {"max_steps": max_steps, "summary_freq": 300, "network_settings": NETWORK}
    config = write_config(folder, "Counter", trainer_type, HYPERPARAMETERS[trainer_type], settings)
    scene = f"--env={launcher(folder, 'Counter')}"
    areas = ("--num-areas=3", "--env-args", "--branches=3,2", "--masks")
    return learn(folder, str(config), scene, f"--base-port={free_port()}", *options, *areas)


def test_a_run_with_a_memory_and_its_continuation(tmp_path: Path) -> None:
    run(tmp_path, "mappo", 600)
    folder = tmp_path / "results" / "run"
    written = yaml.safe_load((folder / "configuration.yaml").read_text())["behaviors"]["Counter"]
    assert written["network_settings"]["memory"] == NETWORK["memory"]
    assert written["hyperparameters"]["burn_in"] == 2
    first = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert "0.memory.weight" in first["learner"]["actor"] and "0.memory.weight" in first["learner"]["critic"]

    printed = run(tmp_path, "mappo", 1_200, "--resume")
    assert f"at step {first['step']}" in printed and "Counter. Step: 1200." in printed
    last = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert last["updates"] >= first["updates"] + 3

    policy = OnnxPolicy(folder / "Counter.onnx")
    assert policy.memory_size == 8
    obs, masks = [np.ones((2, 4), np.float32)], np.ones((2, 5), np.float32)
    values = [policy.act(obs, masks, agent_ids=[4, 9])[0] for _ in range(2)]
    assert np.abs(values[0] - values[1]).max() > 1e-6, "it remembers the first step in the second"
    policy.forget([4])
    again = policy.act(obs, masks, agent_ids=[4, 9])[0]
    assert again[0] == pytest.approx(values[0][0], abs=1e-6)
    assert np.abs(again[1] - values[0][1]).max() > 1e-6


def test_action_values_with_a_memory_and_their_continuation(tmp_path: Path) -> None:
    run(tmp_path, "qmix", 600)
    folder = tmp_path / "results" / "run" / "Counter"
    first = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert "0.memory.weight" in first["learner"]["actor"] and first["updates"] > 5

    printed = run(tmp_path, "qmix", 900, "--resume")
    assert f"at step {first['step']}" in printed and "collect" not in printed
    last = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert last["updates"] >= first["updates"] + 5

    policy = OnnxPolicy(folder.with_suffix(".onnx"))
    assert policy.memory_size == 8
    obs, masks = [np.ones((2, 4), np.float32)], np.ones((2, 5), np.float32)
    values, choices = policy.act(obs, masks, agent_ids=[4, 9])[:2]
    assert set(values.flatten().tolist()) <= {-1.0, 0.0, 1.0} and choices.shape == (2, 2)


def test_counterfactual_advantages_with_a_memory(tmp_path: Path) -> None:
    run(tmp_path, "coma", 300)
    folder = tmp_path / "results" / "run"
    written = yaml.safe_load((folder / "configuration.yaml").read_text())["behaviors"]["Counter"]
    assert written["hyperparameters"]["recurrent_critic"] is True
    saved = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert saved["updates"] >= 2 and "1.memory.weight" in saved["learner"]["critic"]
    policy = OnnxPolicy(folder / "Counter.onnx")
    assert policy.memory_size == 8
    values, choices = policy.act(
        [np.ones((2, 4), np.float32)], np.ones((2, 5), np.float32), agent_ids=[4, 9]
    )[:2]
    assert set(values.flatten().tolist()) <= {-1.0, 0.0, 1.0} and choices.shape == (2, 2)
