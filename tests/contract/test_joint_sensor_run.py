"""One critic over behaviours that see different things, through the real mlagents-learn: PNG files, and a state."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from mlagents_marl_plugin.core.rows import RowLayout
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config

MEMBERS = ["Lookout", "Runner"]
PICTURE = (3, 6, 5)
SPEC = GroupSpec(
    (
        RoleSpec("Lookout", 1, (PICTURE, (1,)), ActionLayout(0, (3,))),
        RoleSpec("Runner", 2, ((1,), (2,)), ActionLayout(2), state_sensor=0),
    )
)
HYPERPARAMETERS = {
    "joint": {"name": "test", "members": MEMBERS},
    "batch_size": 16,
    "buffer_size": 2_000,
    "buffer_init_steps": 100,
    "steps_per_update": 10,
    "save_replay_buffer": True,
}
NETWORK = {"hidden_units": 16, "num_layers": 1, "normalize": True, "vis_encode_type": "match3"}


def run(folder: Path) -> str:
    settings = {"max_steps": 200, "network_settings": NETWORK}
    path = write_config(folder, "Lookout", "masac", HYPERPARAMETERS, settings)
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    lookout = config["behaviors"]["Lookout"]
    hyperparameters = {**HYPERPARAMETERS, "state_sensor": "State"}
    config["behaviors"]["Runner"] = {**lookout, "hyperparameters": hyperparameters}
    path.write_text(yaml.safe_dump(config))
    scene = ("--env-args", "--parallel-env", "tests.unit.parallel_envs:Lookout", "--groups=area")
    build = launcher(folder, "Parallel")
    where = {"PYTHONPATH": str(Path(__file__).parents[2])}
    ports = f"--base-port={free_port()}"
    return learn(folder, str(path), f"--env={build}", ports, "--num-areas=2", *scene, environment=where)


def test_c37_c61_a_member_sees_pictures_and_another_has_a_state(tmp_path: Path) -> None:
    printed = run(tmp_path)
    assert "joint 'test': grouping 'group_id', 3 agents in a group (1 Lookout + 2 Runner)." in printed
    assert "Runner: the state is sensor 0 (1 numbers); actors read the other 2." in printed
    results = tmp_path / "results" / "run"
    saved = torch.load(results / "Lookout" / "checkpoint.pt", weights_only=True)
    assert saved["updates"] >= 5
    for part in ("actor", "critic"):
        assert any("conv_layers" in name for name in saved["learner"][part])

    replay = torch.load(results / "Lookout" / "last_replay_buffer.pt", weights_only=True)
    obs = replay["rows"][replay["successor"] >= 0, RowLayout.of(SPEC).obs]
    seen, told = SPEC.role_obs(obs, 0)[:, 0], SPEC.role_obs(obs, 1)
    moment = seen[:, -1:]
    assert len(moment) > 150 and len(moment.unique()) >= 15
    assert torch.allclose(seen[:, :-1] * 255, moment.expand(-1, int(np.prod(PICTURE))), atol=1e-3)
    assert torch.equal(told[..., :2], moment.unsqueeze(1).expand(-1, 2, 2)), (
        "state and own, of the same moment"
    )
    assert torch.equal(told[..., 2], torch.tensor([0.0, 1.0]).expand(len(told), 2))

    lookout, runner = (OnnxPolicy(results / f"{name}.onnx") for name in MEMBERS)
    assert lookout.observation_shapes == (PICTURE, (1,)) and lookout.branches == (3,)
    assert runner.observation_shapes == ((1,), (2,)) and runner.continuous_size == 2
    said = [runner.act([np.full((4, 1), s, np.float32), np.ones((4, 2), np.float32)])[0] for s in (0, 1e6)]
    assert np.array_equal(*said), "the state is not read"
