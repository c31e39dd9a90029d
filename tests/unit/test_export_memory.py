"""Exported models that remember: what Unity reads, and the same answers as in training from step to step."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
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
from torch import Tensor, nn

from mlagents_marl_plugin.adapter.export import ExportError, FlatObservations, export_actor
from mlagents_marl_plugin.core.distributions import GaussianHead
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

SHAPES = ((5,), (2,))
LAYOUT = ActionLayout(2, (3,))
SIZE = 8
CPU = torch.device("cpu")


def actor(
    sharing: Sharing, normalisation: LayerNormalisation = LayerNormalisation.NONE, cell: Cell = Cell.GRU
) -> StochasticActor:
    generator = torch.Generator().manual_seed(0)
    normaliser = RunningNormaliser(7, 5.0, CPU)
    normaliser.observe(torch.randn(200, 7, generator=generator) * 3 + 1, torch.ones(200))
    made = StochasticActor.create(
        GroupSpec((RoleSpec("Agent", 2, SHAPES, LAYOUT),)),
        sharing,
        GaussianHead(initial_std=0.4),
        (16,),
        normalisation,
        Initialisation(True, 1.0),
        [normaliser],
        CPU,
        generator,
        SIZE,
        cell,
    )
    made.nets[0].part("1.bias").normal_(generator=generator)
    if cell is Cell.GRU:
        made.nets[0].part("memory.bias").normal_(generator=generator)
    return made


def export(module: nn.Module, path: Path, stochastic: bool = True) -> onnxruntime.InferenceSession:
    export_actor(module, LAYOUT, SHAPES, path, stochastic=stochastic, memory_size=SIZE)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


KINDS = [(sharing, norm, Cell.GRU) for sharing in Sharing for norm in list(LayerNormalisation)[:2]]
KINDS += [
    (sharing, LayerNormalisation.NONE, Cell.LSTM) for sharing in (Sharing.SEPARATE, Sharing.SHARED_WITH_ID)
]


@pytest.mark.parametrize(("sharing", "normalisation", "cell"), KINDS)
def test_the_file_remembers_what_the_actor_does(
    tmp_path: Path, sharing: Sharing, normalisation: LayerNormalisation, cell: Cell
) -> None:
    made, generator = actor(sharing, normalisation, cell), torch.Generator().manual_seed(4)
    for slot in range(2):
        session = export(FlatObservations(made.slot_module(slot)), tmp_path / "a.onnx")
        names = [output.name for output in session.get_outputs()]
        memory, carried = torch.zeros(6, SIZE), np.zeros((6, 1, SIZE), np.float32)
        for _ in range(4):
            obs = torch.randn(6, 7, generator=generator)
            policy, memory = made.policy_rows(obs, torch.ones(6, 3), torch.full((6,), slot), memory)
            feed = {"obs_0": obs[:, :5].numpy(), "obs_1": obs[:, 5:].numpy(), "recurrent_in": carried}
            feed["action_masks"] = np.ones((6, 3), np.float32)
            got = dict(zip(names, session.run(None, feed), strict=True))
            carried = got["recurrent_out"]
            np.testing.assert_allclose(carried[:, 0], memory, atol=1e-5)
            greedy = policy.mode()
            np.testing.assert_allclose(got["deterministic_continuous_actions"], greedy[:, :2], atol=1e-5)
            np.testing.assert_array_equal(
                got["deterministic_discrete_actions"][:, 0], greedy[:, 2:].argmax(1)
            )


def described(path: Path) -> dict[str, Any]:
    """Names, and shapes but for those that the exporter only guesses, of a file's inputs and outputs."""
    graph = onnx.load(path).graph
    return {
        value.name: [
            d.dim_param[:5] if d.dim_param else d.dim_value for d in value.type.tensor_type.shape.dim
        ]
        for value in (*graph.input, *graph.output)
    }


@pytest.mark.filterwarnings("ignore")  # of the host's exporter
def test_names_and_shapes_are_those_of_the_hosts_own_file(tmp_path: Path) -> None:
    sensors = [
        ObservationSpec(shape, (DimensionProperty.NONE,), ObservationType.DEFAULT, "") for shape in SHAPES
    ]
    memory = NetworkSettings.MemorySettings(memory_size=SIZE, sequence_length=4)
    settings = NetworkSettings(hidden_units=16, num_layers=1, memory=memory)
    arguments = {"conditional_sigma": False, "tanh_squash": False}
    with torch.device("cpu"):
        policy = TorchPolicy(0, BehaviorSpec(sensors, ActionSpec(2, (3,))), settings, SimpleActor, arguments)
        ModelSerializer(policy).export_policy_model(str(tmp_path / "host"))
    session = export(FlatObservations(actor(Sharing.SHARED).slot_module(0)), tmp_path / "ours.onnx")
    ours, hosts = described(tmp_path / "ours.onnx"), described(tmp_path / "host.onnx")
    assert list(ours) == list(hosts)
    guessed = [name for name in hosts if name.startswith("deterministic") or name == "recurrent_out"]
    for name in hosts:
        assert ours[name][1:] == hosts[name][1:], name
        assert name in guessed or ours[name] == hosts[name], name
    constants = session.run(["memory_size", "version_number"], {k: zeros(v) for k, v in inputs(session)})
    assert [constant.tolist() for constant in constants] == [[float(SIZE)], [3.0]]
    versions = [onnx.load(tmp_path / f"{name}.onnx").opset_import[0].version for name in ("ours", "host")]
    assert versions == [9, 9]
    operators = {node.op_type for node in onnx.load(tmp_path / "ours.onnx").graph.node}
    assert not operators & {"GRU", "LSTM", "RNN"}


def inputs(session: onnxruntime.InferenceSession) -> list[tuple[str, list[Any]]]:
    return [(value.name, value.shape) for value in session.get_inputs()]


def zeros(shape: list[Any]) -> np.ndarray:
    return np.zeros([size if isinstance(size, int) else 1 for size in shape], np.float32)


class Forgetful(nn.Module):
    """As it is traced, with one row of zeros, it remembers otherwise than it does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7 + SIZE, LAYOUT.size + SIZE)

    def forward(self, obs: list[Tensor], memory: Tensor) -> tuple[Tensor, Tensor]:
        said = torch.tanh(self.layer(torch.cat([*obs, memory], 1)))
        then = said[:, LAYOUT.size :]
        return said[:, : LAYOUT.size], then if len(then) == 1 else then.flip(1)


def test_a_file_that_remembers_something_else_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(1)
    with pytest.raises(ExportError, match=r"output recurrent_out: expected what torch computes .*at batch 7"):
        export(Forgetful(), tmp_path / "a.onnx", stochastic=False)
    assert not list(tmp_path.iterdir())
