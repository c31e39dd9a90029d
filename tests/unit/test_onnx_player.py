"""Model files played without torch: the host's and ours give the actions that torch gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mlagents.trainers.policy.torch_policy import TorchPolicy
from mlagents.trainers.settings import NetworkSettings
from mlagents.trainers.torch_entities.model_serialization import ModelSerializer
from mlagents.trainers.torch_entities.networks import SimpleActor
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)
from torch import nn

from mlagents_marl_plugin.adapter.export import FlatObservations, export_actor
from mlagents_marl_plugin.core.types import ActionLayout
from mlagents_marl_plugin.tools.onnx_player import ModelError, OnnxPolicy

# What torch says of the host's own exports.
pytestmark = pytest.mark.filterwarnings("ignore")

HYBRID = ActionSpec(2, (3, 2))


def spec(*sizes: int, actions: ActionSpec = HYBRID) -> BehaviorSpec:
    sensors = [
        ObservationSpec((size,), (DimensionProperty.NONE,), ObservationType.DEFAULT, f"sensor {i}")
        for i, size in enumerate(sizes)
    ]
    return BehaviorSpec(sensors, actions)


def host_model(folder: Path, memory: bool = False) -> tuple[Path, TorchPolicy]:
    torch.manual_seed(0)
    settings = NetworkSettings(
        memory=NetworkSettings.MemorySettings(sequence_length=4, memory_size=16) if memory else None
    )
    policy = TorchPolicy(
        0, spec(4, 3), settings, SimpleActor, {"conditional_sigma": False, "tanh_squash": False}
    )
    ModelSerializer(policy).export_policy_model(str(folder / "host"))
    return folder / "host.onnx", policy


def our_model(path: Path, layout: ActionLayout | None = None) -> Path:
    layout = layout or ActionLayout(2, (3, 2))
    torch.manual_seed(0)
    export_actor(FlatObservations(nn.Linear(7, layout.size)), layout, [(4,), (3,)], path)
    return path


def observations(batch: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((batch, size)).astype(np.float32) for size in (4, 3)]


def torchs_answer(
    policy: TorchPolicy, obs: list[np.ndarray], masks: np.ndarray, memory: torch.Tensor
) -> list[np.ndarray]:
    with torch.no_grad():
        outputs = policy.actor([torch.from_numpy(o) for o in obs], torch.from_numpy(masks), memory)
    return [output.numpy() for output in outputs]


def test_the_constants_of_a_file_are_read(tmp_path: Path) -> None:
    for path in (host_model(tmp_path)[0], our_model(tmp_path / "ours.onnx")):
        policy = OnnxPolicy(path)
        assert policy.observation_shapes == ((4,), (3,))
        assert (policy.continuous_size, policy.branches, policy.memory_size) == (2, (3, 2), 0)
    assert OnnxPolicy(host_model(tmp_path, memory=True)[0]).memory_size == 16


def test_a_host_model_acts_as_torch_does(tmp_path: Path) -> None:
    path, policy = host_model(tmp_path)
    obs = observations(5)
    masks = np.array([[1, 1, 0, 0, 1]] * 5, np.float32)
    answer = torchs_answer(policy, obs, masks, torch.zeros(5, 1, 0))
    greedy_continuous, greedy_discrete = answer[4], answer[7]
    continuous, discrete = OnnxPolicy(path).act(obs, masks)
    np.testing.assert_allclose(continuous, greedy_continuous, atol=1e-5)
    np.testing.assert_array_equal(discrete, greedy_discrete)
    assert (continuous.dtype, discrete.dtype) == (np.float32, np.int32)
    assert (discrete[:, 1] == 1).all()
    assert (discrete[:, 0] < 2).all()


def test_stochastic_actions_vary_and_respect_the_mask(tmp_path: Path) -> None:
    policy = OnnxPolicy(host_model(tmp_path)[0])
    obs = [np.zeros((400, 4), np.float32), np.zeros((400, 3), np.float32)]
    masks = np.array([[1, 0, 1, 1, 1]] * 400, np.float32)
    continuous, discrete = policy.act(obs, masks, deterministic=False)
    assert continuous.std() > 0.1
    assert set(discrete[:, 0]) == {0, 2}
    assert policy.act(obs, masks)[0].std(axis=0).max() == 0


def test_memories_belong_to_agents_and_end_with_their_episode(tmp_path: Path) -> None:
    path, policy = host_model(tmp_path, memory=True)
    player = OnnxPolicy(path)
    obs, masks = observations(2), np.ones((2, 5), np.float32)
    memory = torch.zeros(1, 2, 16)
    for _ in range(3):
        *_, recurrent = answer = torchs_answer(policy, obs, masks, memory)
        continuous, _ = player.act(obs, masks, agent_ids=[7, 9])
        np.testing.assert_allclose(continuous, answer[4], atol=1e-5)
        memory = torch.from_numpy(recurrent)
    # The same two agents in another order, then one of them anew.
    swapped = [o[::-1] for o in obs]
    expected = torchs_answer(policy, obs, masks, memory)[4]
    np.testing.assert_allclose(player.act(swapped, masks, agent_ids=[9, 7])[0], expected[::-1], atol=1e-5)
    player.forget([7, 8])
    fresh = torchs_answer(policy, obs, masks, torch.zeros(1, 2, 16))[4]
    np.testing.assert_allclose(player.act(obs, masks, agent_ids=[7, 9])[0][0], fresh[0], atol=1e-5)
    with pytest.raises(ModelError, match="expected the ids of 2 agents, got None"):
        player.act(obs, masks)


def test_no_agents_no_actions(tmp_path: Path) -> None:
    continuous, discrete = OnnxPolicy(our_model(tmp_path / "a.onnx")).act(observations(0))
    assert continuous.shape == (0, 2)
    assert discrete.shape == (0, 2)


def test_a_model_that_does_not_fit_is_refused_by_sensor_and_size(tmp_path: Path) -> None:
    policy = OnnxPolicy(our_model(tmp_path / "a.onnx"))
    policy.check_fits("Tennis", spec(4, 3))
    with pytest.raises(
        ModelError, match=r"expected 2 observations, .*got 1 from behaviour Tennis \(sensor 0"
    ):
        policy.check_fits("Tennis", spec(4))
    with pytest.raises(ModelError, match=r"observation 1 of shape \(3,\), .*got \(9,\) from .*sensor 1"):
        policy.check_fits("Tennis", spec(4, 9))
    with pytest.raises(ModelError, match=r"expected 2 continuous actions and .*\(3, 2\), .*got 2 and \(\)"):
        policy.check_fits("Tennis", spec(4, 3, actions=ActionSpec(2, ())))


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a model file .*got none"):
        OnnxPolicy(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="cannot read"):
        OnnxPolicy(tmp_path / "text.onnx")
    plain = nn.Linear(4, 2)
    torch.onnx.export(plain, (torch.zeros(1, 4),), str(tmp_path / "plain.onnx"), dynamo=False)
    with pytest.raises(ModelError, match=r"expected an ML-Agents model of version 3, got no version_number"):
        OnnxPolicy(tmp_path / "plain.onnx")


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlagents_marl_plugin.adapter.export.MODEL_VERSION", 2)
    path = our_model(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="version 3, got version_number 2"):
        OnnxPolicy(path)


def test_a_file_without_greedy_actions_can_only_be_played_stochastically(tmp_path: Path) -> None:
    path = our_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    kept = [output for output in model.graph.output if not output.name.startswith("deterministic_")]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, path)
    policy = OnnxPolicy(path)
    with pytest.raises(ModelError, match="expected the output deterministic_continuous.*--stochastic"):
        policy.act(observations(1))
    assert policy.act(observations(1), deterministic=False)[0].shape == (1, 2)
