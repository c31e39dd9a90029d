"""Agents that remember, through the real mlagents-learn: a run, its continuation, and the model that it leaves."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config

HYPERPARAMETERS = {"group_size": 2, "batch_size": 64, "buffer_size": 128, "num_epoch": 2, "burn_in": 2}
NETWORK = {"hidden_units": 16, "num_layers": 1, "memory": {"memory_size": 8, "sequence_length": 4}}


def run(folder: Path, max_steps: int, *options: str) -> str:
    settings = {"max_steps": max_steps, "summary_freq": 300, "network_settings": NETWORK}
    config = write_config(folder, "Counter", "mappo", HYPERPARAMETERS, settings)
    scene = f"--env={launcher(folder, 'Counter')}"
    areas = ("--num-areas=3", "--env-args", "--branches=3,2", "--masks")
    return learn(folder, str(config), scene, f"--base-port={free_port()}", *options, *areas)


def test_a_run_with_a_memory_and_its_continuation(tmp_path: Path) -> None:
    run(tmp_path, 600)
    folder = tmp_path / "results" / "run"
    written = yaml.safe_load((folder / "configuration.yaml").read_text())["behaviors"]["Counter"]
    assert written["network_settings"]["memory"] == NETWORK["memory"]
    assert written["hyperparameters"]["burn_in"] == 2
    first = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert "0.memory.weight" in first["learner"]["actor"] and "0.memory.weight" in first["learner"]["critic"]

    printed = run(tmp_path, 1_200, "--resume")
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
