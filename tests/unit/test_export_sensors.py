"""Exported models with encoders: an input per sensor as Unity sends it, the host's operators, torch's answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mlagents.trainers.policy.torch_policy import TorchPolicy
from mlagents.trainers.settings import ConditioningType, EncoderType, NetworkSettings
from mlagents.trainers.torch_entities.model_serialization import ModelSerializer
from mlagents.trainers.torch_entities.networks import SimpleActor
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)

from mlagents_marl_plugin.adapter.export import export_actor
from mlagents_marl_plugin.adapter.specs import role_from_behavior
from mlagents_marl_plugin.core.distributions import GaussianHead
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy

CPU = torch.device("cpu")
NONE, MOVES = DimensionProperty.NONE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE
LIST = ObservationSpec((5, 3), (DimensionProperty.VARIABLE_SIZE, NONE), ObservationType.DEFAULT, "list")
GOAL = ObservationSpec((2,), (NONE,), ObservationType.GOAL_SIGNAL, "goal")
VECTOR = ObservationSpec((4,), (NONE,), ObservationType.DEFAULT, "vector")
HEIGHTS = {EncoderType.NATURE_CNN: 36, EncoderType.MATCH3: 6, EncoderType.FULLY_CONNECTED: 4}  # others: 20


def behavior(encoder: EncoderType) -> BehaviorSpec:
    """Pictures are about as small as the encoder takes them."""
    height = HEIGHTS.get(encoder, 20)
    shape, properties = (3, height, height + 4), (NONE, MOVES, MOVES)
    picture = ObservationSpec(shape, properties, ObservationType.DEFAULT, "picture")
    return BehaviorSpec([LIST, picture, GOAL, VECTOR], ActionSpec(2, (3,)))


def shapes_of(network: NetworkSettings) -> list[tuple[int, ...]]:
    return [tuple(sensor.shape) for sensor in behavior(network.vis_encode_type).observation_specs]


def settings(encoder: EncoderType, conditioning: ConditioningType) -> NetworkSettings:
    return NetworkSettings(
        hidden_units=16, num_layers=1, vis_encode_type=encoder, goal_conditioning_type=conditioning
    )


def observations(network: NetworkSettings, num_rows: int) -> list[np.ndarray]:
    """Lists of every length from none to full, padded with zeros."""
    random = np.random.default_rng(num_rows)
    seen = [random.normal(size=(num_rows, *shape)).astype(np.float32) * 2 for shape in shapes_of(network)]
    seen[0][np.arange(5) >= (np.arange(num_rows) % 6)[:, None]] = 0.0
    return seen


def actor(network: NetworkSettings, memory_size: int, state: int | None = None) -> StochasticActor:
    role = role_from_behavior("Agent", behavior(network.vis_encode_type), 2, network)
    role = replace(role, state_sensor=state)
    generator = torch.Generator().manual_seed(0)
    normaliser = RunningNormaliser.of(role, 5.0, CPU)
    flat = np.concatenate([sensor.reshape(60, -1) for sensor in observations(network, 60)], 1)
    normaliser.observe(torch.from_numpy(flat), torch.ones(60))
    head, rest = GaussianHead(initial_std=0.4), (CPU, generator, memory_size)
    start = (LayerNormalisation.NONE, Initialisation(True, 1.0), [normaliser])
    return StochasticActor.create(GroupSpec((role,)), Sharing.SEPARATE, head, (16,), *start, *rest)


@pytest.mark.parametrize(
    ("encoder", "conditioning", "memory_size"),
    [
        (EncoderType.SIMPLE, ConditioningType.HYPER, 0),
        (EncoderType.NATURE_CNN, ConditioningType.NONE, 8),
        (EncoderType.RESNET, ConditioningType.NONE, 0),
        (EncoderType.MATCH3, ConditioningType.NONE, 0),
        (EncoderType.FULLY_CONNECTED, ConditioningType.HYPER, 8),
    ],
)
def test_c75_the_file_answers_as_the_actor_does(
    tmp_path: Path, encoder: EncoderType, conditioning: ConditioningType, memory_size: int
) -> None:
    """Over two steps if it remembers, at batches of 1 and 7, with lists of every length."""
    network = settings(encoder, conditioning)
    made, shapes = actor(network, memory_size), shapes_of(network)
    role, path = made.roles[0].role, tmp_path / "agent.onnx"
    for slot in range(2):
        module, more = made.slot_module(slot), {"stochastic": True, "memory_size": memory_size}
        export_actor(module, role.action, shapes, path, sample_obs=observations(network, 12), **more)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs = {i.name: i.shape[1:] for i in session.get_inputs()}
        assert [tuple(inputs[f"obs_{i}"]) for i in range(4)] == shapes
        names = [output.name for output in session.get_outputs()]
        for num_rows in (1, 7):
            memory = torch.zeros(num_rows, memory_size)
            allowed = torch.ones(num_rows, 3)
            allowed[:, num_rows % 3] = 0.0
            for step in range(2 if memory_size else 1):
                seen = [sensor[:num_rows] for sensor in observations(network, num_rows + step)]
                flat = torch.from_numpy(np.concatenate([part.reshape(num_rows, -1) for part in seen], 1))
                feed = {f"obs_{i}": part for i, part in enumerate(seen)} | {"action_masks": allowed.numpy()}
                if memory_size:
                    feed["recurrent_in"] = memory.unsqueeze(1).numpy()
                got = dict(zip(names, session.run(None, feed), strict=True))
                slots = torch.full((num_rows,), slot)
                policy, memory = made.policy_rows(flat, allowed, slots, memory)
                mode = policy.mode()
                np.testing.assert_allclose(got["deterministic_continuous_actions"], mode[:, :2], atol=1e-5)
                np.testing.assert_array_equal(
                    got["deterministic_discrete_actions"][:, 0], mode[:, 2:].argmax(1)
                )
                if memory_size:
                    np.testing.assert_allclose(got["recurrent_out"][:, 0], memory, atol=1e-5)


@pytest.mark.parametrize(("state", "memory_size"), [(0, 0), (1, 8), (2, 0), (3, 0)])
def test_c61_a_state_beside_pictures_is_an_input_that_is_not_read(
    tmp_path: Path, state: int, memory_size: int
) -> None:
    """Whichever sensor it is: Unity asks for an input of each."""
    network = settings(EncoderType.MATCH3, ConditioningType.NONE)
    made, shapes, path = actor(network, memory_size, state), shapes_of(network), tmp_path / "agent.onnx"
    more = {"stochastic": True, "memory_size": memory_size}
    export_actor(made.slot_module(0), made.roles[0].role.action, shapes, path, **more)
    policy = OnnxPolicy(path)
    assert list(policy.observation_shapes) == shapes
    seen, masks = observations(network, 3), np.ones((3, 3), np.float32)
    said = policy.act(seen, masks, agent_ids=[0, 1, 2])[0]
    seen[state] = np.full_like(seen[state], np.nan)
    policy.forget([0, 1, 2])
    np.testing.assert_array_equal(policy.act(seen, masks, agent_ids=[0, 1, 2])[0], said)


@pytest.mark.parametrize("conditioning", list(ConditioningType))
def test_c76_operators_are_those_of_the_hosts_own_file(
    tmp_path: Path, conditioning: ConditioningType
) -> None:
    network = settings(EncoderType.SIMPLE, conditioning)
    host = TorchPolicy(
        1,
        behavior(EncoderType.SIMPLE),
        network,
        SimpleActor,
        {"conditional_sigma": False, "tanh_squash": False},
    )
    ModelSerializer(host).export_policy_model(str(tmp_path / "host"))
    made = actor(network, 0)
    path = tmp_path / "ours.onnx"
    export_actor(made.slot_module(0), made.roles[0].role.action, shapes_of(network), path, stochastic=True)
    known, ours = (
        {node.op_type for node in onnx.load(str(file)).graph.node} for file in (tmp_path / "host.onnx", path)
    )
    plain = {
        "Relu",
        "Squeeze",
        "Unsqueeze",
        "Tanh",
        "Identity",
        "Clip",
        "Flatten",
    }  # of files without encoders too
    assert {"Conv", "Softmax", "ReduceMean"} <= ours
    assert ours <= known | plain
