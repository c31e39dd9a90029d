"""A privileged observation: actors and exported files do not read it, wherever it stands among the others."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.adapter.export import FlatObservations, export_actor
from mlagents_marl_plugin.core.distributions import GaussianHead
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec
from tests.unit.groups import CPU, HYBRID

SHAPES = ((2,), (3,), (1,))
PLACES = pytest.mark.parametrize("sensor", range(len(SHAPES)))


def role(sensor: int | None) -> RoleSpec:
    return RoleSpec("a", 2, SHAPES, HYBRID, sensor)


def actor(sensor: int, sharing: Sharing, memory_size: int = 0) -> StochasticActor:
    generator = torch.Generator().manual_seed(0)
    normaliser = RunningNormaliser(6, 5.0, CPU)
    normaliser.observe(torch.randn(200, 6, generator=generator) * 3 + torch.arange(6.0), torch.ones(200))
    return StochasticActor.create(
        GroupSpec((role(sensor),)),
        sharing,
        GaussianHead(),
        (16,),
        LayerNormalisation.NONE,
        Initialisation(True, 1.0),
        [normaliser],
        CPU,
        generator,
        memory_size,
    )


def raw(made: StochasticActor, obs: Tensor) -> Tensor:
    slots = torch.arange(len(obs)) % 2
    return made.networks.forward_rows(obs, slots)


def rows(count: int = 6) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(3))


@PLACES
def test_where_the_state_stands(sensor: int) -> None:
    obs, parts = torch.arange(12.0).view(2, 6), [2, 3, 1]
    by_sensor = list(obs.split(parts, -1))
    assert torch.equal(role(sensor).state(obs), by_sensor.pop(sensor))
    assert torch.equal(role(sensor).actor_obs(obs), torch.cat(by_sensor, -1))
    assert role(sensor).actor_size == 6 - parts[sensor]


def test_without_a_state_an_actor_reads_everything() -> None:
    obs = rows()
    assert torch.equal(role(None).actor_obs(obs), obs) and role(None).state(obs).shape == (6, 0)


@PLACES
@pytest.mark.parametrize("sharing", list(Sharing))
def test_actors_do_not_read_it(sharing: Sharing, sensor: int) -> None:
    made, obs = actor(sensor, sharing), rows()
    other = obs.clone()
    role(sensor).state(other).fill_(float("nan"))
    assert torch.equal(raw(made, other), raw(made, obs))
    read = role(sensor).actor_obs(torch.arange(6)).tolist()
    for column in read:
        other = obs.clone()
        other[:, column] += 1.0
        assert (raw(made, other) - raw(made, obs)).abs().max() > 1e-4


@PLACES
@pytest.mark.parametrize("memory_size", [0, 4])
def test_files_take_it_and_do_not_read_it(tmp_path: Path, sensor: int, memory_size: int) -> None:
    """They are compared with torch as they are written; here, that Unity finds every input that it sends."""
    made, path = actor(sensor, Sharing.SHARED_WITH_ID, memory_size), tmp_path / "a.onnx"
    module = FlatObservations(made.slot_module(1))
    export_actor(module, HYBRID, SHAPES, path, stochastic=True, memory_size=memory_size)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in onnx.load(path).graph.input
    }
    assert [shapes[f"obs_{i}"] for i in range(3)] == [["batch", 2], ["batch", 3], ["batch", 1]]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {f"obs_{i}": part.numpy() for i, part in enumerate(rows().split([2, 3, 1], 1))}
    feed["action_masks"] = np.ones((6, 3), np.float32)
    if memory_size:
        feed["recurrent_in"] = np.ones((6, 1, memory_size), np.float32)
    output = ["deterministic_continuous_actions"]
    (before,) = session.run(output, feed)
    (after,) = session.run(output, feed | {f"obs_{sensor}": feed[f"obs_{sensor}"] * np.float32(np.nan)})
    np.testing.assert_array_equal(after, before)
    assert np.abs(before).max() > 1e-3
