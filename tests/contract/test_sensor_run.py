"""Cameras as PNG files, lists and goals through the real mlagents-learn: a run, its continuation, and its model."""

from pathlib import Path

import numpy as np
import torch
import yaml

from mlagents_marl_plugin.player.scenes.signs import SignsOptions, SignsScene
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config

HYPERPARAMETERS = {"group_size": 2, "batch_size": 64, "buffer_size": 128, "num_epoch": 2}
NETWORK = {"hidden_units": 16, "num_layers": 1, "normalize": True, "vis_encode_type": "match3"}


def run(folder: Path, max_steps: int, *options: str) -> str:
    settings = {"max_steps": max_steps, "summary_freq": 200, "network_settings": NETWORK}
    config = write_config(folder, "Signs", "mappo", HYPERPARAMETERS, settings)
    scene = f"--env={launcher(folder, 'Signs')}"
    areas = ("--num-areas=4", "--env-args", "--pixels=10")
    return learn(folder, str(config), scene, f"--base-port={free_port()}", *options, *areas)


def test_c61_a_run_that_sees_and_its_continuation(tmp_path: Path) -> None:
    run(tmp_path, 400)
    folder = tmp_path / "results" / "run"
    written = yaml.safe_load((folder / "configuration.yaml").read_text())["behaviors"]["Signs"]
    assert written["network_settings"]["vis_encode_type"] == "match3"
    assert written["network_settings"]["goal_conditioning_type"] == "hyper"
    first = torch.load(folder / "Signs" / "checkpoint.pt", weights_only=True)
    for part in ("actor", "critic"):
        assert any("conv_layers" in name for name in first["learner"][part])

    printed = run(tmp_path, 800, "--resume")
    assert f"at step {first['step']}" in printed and "Signs. Step: 800." in printed
    last = torch.load(folder / "Signs" / "checkpoint.pt", weights_only=True)
    assert last["updates"] >= first["updates"] + 2

    policy = OnnxPolicy(folder / "Signs.onnx")
    assert policy.observation_shapes == ((5, 3), (3, 10, 10), (2,), (2,))
    rows = SignsScene(5, 0, SignsOptions(pixels=10, uncompressed=True)).reset()["Signs?team=0"]
    said = policy.act([np.asarray(sensor) for sensor in rows.observations])[1]
    assert said.shape == (10, 3)
