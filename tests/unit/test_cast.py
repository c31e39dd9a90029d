"""Each agent of a scene is played by its own file, with its own mask and memory."""

from pathlib import Path

import numpy as np
import torch
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)
from torch import nn

from mlagents_marl_plugin.adapter.export import FlatObservations, export_actor
from mlagents_marl_plugin.core.types import ActionLayout
from mlagents_marl_plugin.tools.cast import Cast
from mlagents_marl_plugin.tools.model_choice import ModelChoice

SPEC = BehaviorSpec(
    [ObservationSpec((2,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "sensor")],
    ActionSpec(1, (3, 2)),
)
TENNIS = "Tennis?team=0"


def constant_model(path: Path, value: float, preferences: list[float]) -> Path:
    """An actor that always says ``value`` and prefers choices in this order, whatever it sees."""
    layer = nn.Linear(2, 6)
    layer.weight.data.zero_()
    layer.bias.data = torch.tensor([np.arctanh(value), *preferences], dtype=torch.float32)
    export_actor(FlatObservations(layer), ActionLayout(1, (3, 2)), [(2,)], path)
    return path


def decisions(num_agents: int, forbidden: list[list[bool]] | None = None) -> DecisionSteps:
    masks = None
    if forbidden is not None:
        rows = np.array(forbidden)
        masks = [rows[:, :3], rows[:, 3:]]
    zeros = np.zeros(num_agents, np.float32)
    ids = np.arange(10, 10 + num_agents, dtype=np.int32)
    return DecisionSteps([np.zeros((num_agents, 2), np.float32)], zeros, ids, masks, [0] * num_agents, zeros)


def test_every_slot_is_played_by_its_own_file(tmp_path: Path) -> None:
    first = constant_model(tmp_path / "Tennis.onnx", 0.5, [1, 0, 0, 1, 0])
    second = constant_model(tmp_path / "Tennis-slot1.onnx", -0.5, [0, 0, 1, 0, 1])
    cast = Cast(ModelChoice([str(tmp_path)]), None, deterministic=True)
    action = cast.act(TENNIS, SPEC, decisions(3), slots=[1, 0, 1])
    np.testing.assert_allclose(action.continuous, [[-0.5], [0.5], [-0.5]], atol=1e-6)
    np.testing.assert_array_equal(action.discrete, [[2, 1], [0, 0], [2, 1]])
    assert cast.files == {f"{TENNIS} slot 0": first, f"{TENNIS} slot 1": second}


def test_what_unity_forbids_is_not_chosen(tmp_path: Path) -> None:
    path = constant_model(tmp_path / "a.onnx", 0.0, [3, 2, 1, 1, 0])
    cast = Cast(ModelChoice([str(path)]), None, deterministic=True)
    forbidden = [[True, False, False, False, False], [True, True, False, True, False], [False] * 5]
    action = cast.act(TENNIS, SPEC, decisions(3, forbidden), slots=[0, 0, 0])
    np.testing.assert_array_equal(action.discrete, [[1, 0], [2, 1], [0, 0]])

    named = [f"Tennis={path}", f"Tennis-slot1={constant_model(tmp_path / 'b.onnx', 0.0, [1, 2, 3, 0, 1])}"]
    cast = Cast(ModelChoice(named), None, deterministic=True)
    action = cast.act(TENNIS, SPEC, decisions(3, forbidden), slots=[1, 0, 1])
    np.testing.assert_array_equal(action.discrete, [[2, 1], [2, 1], [2, 1]])


def test_a_behaviour_that_is_not_evaluated_does_nothing_unless_it_has_a_file(tmp_path: Path) -> None:
    path = constant_model(tmp_path / "a.onnx", 0.5, [0, 0, 1, 0, 1])
    cast = Cast(ModelChoice([str(path)]), only="Tennis", deterministic=True)
    idle = cast.act("Soccer?team=0", SPEC, decisions(2), slots=[0, 0])
    np.testing.assert_array_equal(idle.continuous, np.zeros((2, 1)))
    np.testing.assert_array_equal(idle.discrete, np.zeros((2, 2)))
    np.testing.assert_allclose(cast.act(TENNIS, SPEC, decisions(1), slots=[0]).continuous, [[0.5]], atol=1e-6)
    named = Cast(ModelChoice([f"Soccer={path}"]), only="Tennis", deterministic=True)
    np.testing.assert_allclose(
        named.act("Soccer?team=0", SPEC, decisions(1), slots=[0]).continuous, [[0.5]], atol=1e-6
    )
