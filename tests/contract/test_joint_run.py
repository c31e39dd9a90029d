"""Two behaviours with one critic through the real mlagents-learn, real processes and real files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config
from tests.unit.joint_rows import JointRows

MEMBERS = ["Counter", "CounterB"]
SPEC = GroupSpec(
    (
        RoleSpec("Counter", 2, ((4,),), ActionLayout(2)),
        RoleSpec("CounterB", 1, ((6,),), ActionLayout(3)),
    )
)
HYPERPARAMETERS = {
    "joint": {"name": "test", "members": MEMBERS},
    "batch_size": 16,
    "buffer_size": 20_000,
    "buffer_init_steps": 200,
    "steps_per_update": 20,
    "random_steps": 10_000_000,
    "save_replay_buffer": True,
}


def run(folder: Path, *options: str, max_steps: int = 600, scene: tuple[str, ...] = ()) -> str:
    """Groups of two Counters and one CounterB."""
    path = write_config(folder, "Counter", "matd3", HYPERPARAMETERS, {"max_steps": max_steps})
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config["behaviors"]["CounterB"] = config["behaviors"]["Counter"]
    path.write_text(yaml.dump(config))  # with an anchor, as docs/joint.md advises
    assert "&id001" in path.read_text()
    build = launcher(folder, "Counter")
    scene = ("--env-args", "--roles", "--agents=3", "--group-ids", *scene)
    return learn(folder, str(path), f"--env={build}", f"--base-port={free_port()}", *options, *scene)


def weights(path: Path) -> dict[str, torch.Tensor]:
    learner = checkpoint.read(str(path), torch.device("cpu"))["learner"]
    return {f"{part}.{name}": value for part in ("actor", "critic") for name, value in learner[part].items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joint")
    run(folder, "--num-envs=2", "--num-areas=2", scene=("--event-log", str(folder / "events.jsonl")))
    return folder


def test_c37_every_row_of_both_behaviours_is_what_the_scene_logged(trained: Path) -> None:
    lines = [
        {**line, "obs": line["obs"][0], "next_obs": line["next_obs"][0]}
        for log in trained.glob("events-*.jsonl")
        for line in map(json.loads, log.read_text().splitlines())
    ]
    saved = torch.load(trained / "results/run/Counter/last_replay_buffer.pt", weights_only=True)
    rows = JointRows(SPEC, saved, lines)
    compared = rows.check()
    rows.check_mates()
    assert compared[0] == 2 * compared[1]
    assert sum(compared) > 0.7 * len(lines)


def test_each_behaviour_has_a_model_of_its_own_and_one_file_the_weights(trained: Path) -> None:
    results = trained / "results" / "run"
    for role in SPEC.roles:
        model = OnnxPolicy(results / f"{role.name}.onnx")
        assert model.observation_shapes == role.observation_shapes
        assert model.act([np.zeros((5, role.obs_size), np.float32)])[0].shape == (5, role.action.continuous)
    assert weights(results / "Counter" / "checkpoint.pt")
    pointer = checkpoint.read_any(str(results / "CounterB" / "checkpoint.pt"), torch.device("cpu"))
    assert pointer["joint"] == {"name": "test", "members": MEMBERS}
    assert pointer.keys() == {"format", "trainer", "step", "joint"}


def test_a_joint_run_is_resumed_and_another_begins_with_its_weights(trained: Path) -> None:
    before = weights(trained / "results/run/Counter/checkpoint.pt")
    printed = run(trained, "--resume", max_steps=800)
    assert "Resuming from results/run/Counter/checkpoint.pt at step 6" in printed
    after = weights(trained / "results/run/Counter/checkpoint.pt")
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    pointer = checkpoint.read_any(str(trained / "results/run/CounterB/checkpoint.pt"), torch.device("cpu"))
    assert pointer["step"] >= 400
    printed = run(trained, "--run-id=second", "--initialize-from=run", max_steps=60)
    assert "Initializing from results/run/Counter/checkpoint.pt." in printed
    begun = weights(trained / "results/second/Counter/checkpoint.pt")
    assert begun.keys() == after.keys()
    assert all(torch.equal(value, begun[name]) for name, value in after.items())
    for name in MEMBERS:
        assert (trained / "results" / "second" / f"{name}.onnx").is_file()
