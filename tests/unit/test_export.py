"""The exported file: Unity's names and constants, torch's answers, and nothing but the actor."""

import os
import sys
import threading
import time
import warnings
from pathlib import Path

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

from mlagents_marl_plugin.adapter import export_check
from mlagents_marl_plugin.adapter.export import ExportError, FlatObservations, _UnityActor, export_actor
from mlagents_marl_plugin.adapter.export_check import Answer, FileCheck, Reference
from mlagents_marl_plugin.core.distributions import GaussianHead, StdType
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import DecentralisedActor, Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

# What torch says of the host's own exports.
pytestmark = pytest.mark.filterwarnings("ignore")

SHAPES = ((8,), (3,))
CONTINUOUS = ActionLayout(2)
DISCRETE = ActionLayout(0, (3, 2))
HYBRID = ActionLayout(2, (3, 2))
ALL_LAYOUTS = pytest.mark.parametrize(
    "layout", [CONTINUOUS, DISCRETE, HYBRID], ids=["continuous", "discrete", "hybrid"]
)


def mlp(layout: ActionLayout, hidden: int = 32, norm: bool = False) -> FlatObservations:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    width = sum(shape[0] for shape in SHAPES)
    for _ in range(2):
        layers += [nn.Linear(width, hidden), *([nn.LayerNorm(hidden)] if norm else []), nn.ReLU()]
        width = hidden
    return FlatObservations(nn.Sequential(*layers, nn.Linear(width, layout.size)))


def layer(actor: FlatObservations, index: int) -> nn.Linear:
    layers = actor.network
    assert isinstance(layers, nn.Sequential)
    found = layers[index]
    assert isinstance(found, nn.Linear)
    return found


def observations(batch: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((batch, *shape)).astype(np.float32) for shape in SHAPES]


def play(path: Path, obs: list[np.ndarray], masks: np.ndarray | None = None) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {f"obs_{i}": o for i, o in enumerate(obs)}
    if masks is not None:
        feed["action_masks"] = masks.astype(np.float32)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def host_export(layout: ActionLayout, folder: Path, tanh: bool) -> Path:
    """A stock policy's file: PPO's, or with ``tanh`` SAC's."""
    sensors = [
        ObservationSpec(shape, (DimensionProperty.NONE,), ObservationType.DEFAULT, f"sensor {i}")
        for i, shape in enumerate(SHAPES)
    ]
    spec = BehaviorSpec(sensors, ActionSpec(layout.continuous, layout.branches))
    policy = TorchPolicy(
        0, spec, NetworkSettings(), SimpleActor, {"conditional_sigma": tanh, "tanh_squash": tanh}
    )
    ModelSerializer(policy).export_policy_model(str(folder / "host"))
    return folder / "host.onnx"


def signature(values: object) -> dict[str, tuple[int, list[int | str]]]:
    """Name -> element type and dimensions, where every symbolic dimension counts as the batch."""
    return {
        v.name: (v.type.tensor_type.elem_type, [d.dim_value or "batch" for d in v.type.tensor_type.shape.dim])
        for v in values  # type: ignore[attr-defined]
    }


@ALL_LAYOUTS
@pytest.mark.parametrize("tanh", [False, True], ids=["ppo", "sac"])
def test_names_types_shapes_and_constants_are_those_of_the_hosts_files(
    layout: ActionLayout, tanh: bool, tmp_path: Path
) -> None:
    export_actor(mlp(layout), layout, SHAPES, tmp_path / "ours.onnx")
    ours = onnx.load(tmp_path / "ours.onnx")
    theirs = onnx.load(host_export(layout, tmp_path, tanh))

    assert signature(ours.graph.input) == signature(theirs.graph.input)
    assert signature(ours.graph.output) == signature(theirs.graph.output)
    assert [v.name for v in ours.graph.output] == [v.name for v in theirs.graph.output]
    assert [(o.domain, o.version) for o in ours.opset_import] == [("", 9)]
    assert ours.ir_version == theirs.ir_version
    masks = np.ones((1, layout.num_choices)) if layout.branches else None
    our_values, their_values = (
        play(tmp_path / f"{n}.onnx", observations(1), masks) for n in ("ours", "host")
    )
    constants = [name for name in our_values if not name.endswith("_actions")]
    assert {"version_number", "memory_size"} < set(constants)
    for name in constants:
        np.testing.assert_array_equal(our_values[name], their_values[name])


@ALL_LAYOUTS
@pytest.mark.parametrize("batch", [1, 7])
def test_the_file_answers_like_torch_and_never_picks_a_masked_choice(
    layout: ActionLayout, batch: int, tmp_path: Path
) -> None:
    actor = mlp(layout, norm=True)
    export_actor(actor, layout, SHAPES, tmp_path / "a.onnx", sample_obs=observations(3))
    obs = observations(batch, seed=1)
    raw = actor([torch.from_numpy(o) for o in obs]).detach().numpy()
    masks = np.array([[0, 1, 1, 0, 1]] * batch) if layout.branches else None
    got = play(tmp_path / "a.onnx", obs, masks)
    for prefix in ("", "deterministic_"):
        if layout.continuous:
            np.testing.assert_allclose(
                got[f"{prefix}continuous_actions"], np.tanh(raw[:, : layout.continuous]), atol=1e-5
            )
        if layout.branches:
            first, second = raw[:, layout.continuous :][:, 1:3].argmax(1) + 1, np.ones(batch)
            np.testing.assert_array_equal(got[f"{prefix}discrete_actions"], np.stack([first, second], 1))


@pytest.mark.parametrize("sharing", list(Sharing))
@pytest.mark.parametrize("norm", list(LayerNormalisation))
def test_every_kind_of_our_own_actors_answers_in_the_file_as_it_acts(
    sharing: Sharing, norm: LayerNormalisation, tmp_path: Path
) -> None:
    spec = GroupSpec((RoleSpec("Agent", 3, SHAPES, HYBRID),))
    generator = torch.Generator().manual_seed(0)
    normaliser = RunningNormaliser(11, 5.0, torch.device("cpu"))
    normaliser.observe(torch.randn(200, 11, generator=generator) * 3 + 1, torch.ones(200))
    actor = DecentralisedActor.create(
        spec, sharing, (32, 32), norm, [normaliser], torch.device("cpu"), generator
    )
    obs = observations(5, seed=2)
    flat = torch.from_numpy(np.concatenate(obs, 1))
    answers = []
    for slot in range(3):
        path = tmp_path / f"{slot}.onnx"
        export_actor(FlatObservations(actor.slot_module(slot)), HYBRID, SHAPES, path, sample_obs=obs)
        raw = actor.forward_rows(flat, torch.full((5,), slot))
        got = play(path, obs, np.ones((5, 5)))
        np.testing.assert_allclose(got["continuous_actions"], raw[:, :2].tanh(), atol=1e-5)
        chosen = torch.stack([raw[:, 2:5].argmax(1), raw[:, 5:].argmax(1)], 1)
        np.testing.assert_array_equal(got["discrete_actions"], chosen)
        answers.append(got["continuous_actions"])
    assert np.array_equal(answers[0], answers[1]) == (sharing is Sharing.SHARED)


def test_tanh_is_not_scaled_again_as_the_hosts_gaussian_is(tmp_path: Path) -> None:
    actor = mlp(CONTINUOUS)
    nn.init.zeros_(layer(actor, -1).weight)
    layer(actor, -1).bias.data[:] = torch.tensor([1.5, -0.5])
    export_actor(actor, CONTINUOUS, SHAPES, tmp_path / "a.onnx")
    got = play(tmp_path / "a.onnx", observations(2))
    np.testing.assert_allclose(got["continuous_actions"], np.tanh([[1.5, -0.5]] * 2), atol=1e-6)


class Policy(nn.Module):
    """Means, logits and deviations that observations shift a little."""

    def __init__(self, layout: ActionLayout, mean: float = 0.2, std: float = 0.3) -> None:
        super().__init__()
        self.layout, self.std = layout, std
        self.actor = mlp(layout)
        nn.init.constant_(layer(self.actor, -1).bias, mean)

    def forward(self, obs: list[Tensor]) -> Tensor:
        raw = self.actor(obs)
        return torch.cat([raw, raw[:, : self.layout.continuous] * 0.0 + self.std], 1)


@ALL_LAYOUTS
def test_a_policy_is_drawn_from_as_the_hosts_own_are(layout: ActionLayout, tmp_path: Path) -> None:
    actor = Policy(layout)
    export_actor(actor, layout, SHAPES, tmp_path / "a.onnx", sample_obs=observations(3), stochastic=True)
    obs = [np.repeat(rows, 4_000, 0) for rows in observations(1, seed=1)]
    raw = actor([torch.from_numpy(o) for o in obs]).detach().numpy()
    got = play(tmp_path / "a.onnx", obs, np.ones((4_000, 5)) if layout.branches else None)
    if layout.continuous:
        mean, drawn = raw[:, : layout.continuous], got["continuous_actions"]
        np.testing.assert_allclose(got["deterministic_continuous_actions"], mean.clip(-1, 1), atol=1e-5)
        np.testing.assert_allclose(drawn.mean(0), mean[0], atol=0.03)
        np.testing.assert_allclose(drawn.std(0), 0.3, atol=0.03)
        assert np.abs(drawn).max() <= 1
    if layout.branches:
        logit = raw[0, layout.continuous : layout.continuous + 3]
        shares = np.bincount(got["discrete_actions"][:, 0], minlength=3) / 4_000
        np.testing.assert_allclose(shares, np.exp(logit) / np.exp(logit).sum(), atol=0.04)
        assert (got["deterministic_discrete_actions"][:, 0] == logit.argmax()).all()


def test_what_a_policy_draws_beyond_the_limits_is_cut_off(tmp_path: Path) -> None:
    export_actor(
        Policy(CONTINUOUS, mean=3.0, std=0.5), CONTINUOUS, SHAPES, tmp_path / "a.onnx", stochastic=True
    )
    got = play(tmp_path / "a.onnx", observations(50))
    assert (got["deterministic_continuous_actions"] == 1).all()
    assert np.abs(got["continuous_actions"]).max() == 1


@pytest.mark.parametrize("wrong", [0.5, 2.0])
def test_a_file_that_draws_with_another_deviation_is_refused(
    wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda like, draw=torch.randn_like: draw(like) * wrong)
    with pytest.raises(
        ExportError, match=r"output continuous_actions: .*got draws of which .* lie below -1.0 dev"
    ):
        export_actor(Policy(CONTINUOUS), CONTINUOUS, SHAPES, tmp_path / "a.onnx", stochastic=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("std_type", list(StdType))
@pytest.mark.parametrize("tanh_mean", [False, True])
@pytest.mark.parametrize("sharing", list(Sharing))
def test_every_kind_of_stochastic_actor_answers_in_the_file_as_it_acts(
    sharing: Sharing, tanh_mean: bool, std_type: StdType, tmp_path: Path
) -> None:
    spec = GroupSpec((RoleSpec("Agent", 2, SHAPES, HYBRID),))
    generator = torch.Generator().manual_seed(0)
    normaliser = RunningNormaliser(11, 5.0, torch.device("cpu"))
    normaliser.observe(torch.randn(200, 11, generator=generator) * 3 + 1, torch.ones(200))
    actor = StochasticActor.create(
        spec,
        sharing,
        GaussianHead(std_type, 0.4, tanh_mean=tanh_mean),
        (16,),
        LayerNormalisation.NONE,
        Initialisation(True, 1.0),
        [normaliser],
        torch.device("cpu"),
        generator,
    )
    obs = observations(5, seed=2)
    flat, allowed = torch.from_numpy(np.concatenate(obs, 1)), torch.ones(5, 5)
    for slot in range(2):
        module = FlatObservations(actor.slot_module(slot))
        export_actor(module, HYBRID, SHAPES, tmp_path / "a.onnx", sample_obs=obs, stochastic=True)
        slots = torch.full((5,), slot)
        greedy = actor.mode_rows(flat, allowed, slots)
        got = play(tmp_path / "a.onnx", obs, np.ones((5, 5)))
        np.testing.assert_allclose(got["deterministic_continuous_actions"], greedy[:, :2], atol=1e-5)
        chosen = torch.stack([greedy[:, 2:5].argmax(1), greedy[:, 5:].argmax(1)], 1)
        np.testing.assert_array_equal(got["deterministic_discrete_actions"], chosen)
        # The deviation that the file draws with is the one whose density the learner is told.
        policy = module([torch.from_numpy(o) for o in obs])
        off_by_one = greedy.clone()
        off_by_one[:, :2] = policy[:, :2] + policy[:, -2:]
        at_mean = greedy.clone()
        at_mean[:, :2] = policy[:, :2]
        drop = actor.log_prob_rows(flat, allowed, slots, at_mean) - actor.log_prob_rows(
            flat, allowed, slots, off_by_one
        )
        torch.testing.assert_close(drop, torch.ones(5), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sharing", list(Sharing))
def test_a_squashed_policy_answers_in_the_file_as_it_acts(sharing: Sharing, tmp_path: Path) -> None:
    """Means and draws go through tanh; as many draws lie below a point as the policy says."""
    device, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    spec = GroupSpec((RoleSpec("Agent", 2, SHAPES, HYBRID),))
    head = GaussianHead(StdType.STATE_DEPENDENT, 0.4, squashed=True)
    plain, drawn_from = LayerNormalisation.NONE, Initialisation(True, 1.0)
    actor = StochasticActor.create(spec, sharing, head, (16,), plain, drawn_from, [None], device, generator)
    obs = observations(1, seed=2)
    flat, allowed, slots = torch.from_numpy(np.concatenate(obs, 1)), torch.ones(1, 5), torch.ones(1).long()
    export_actor(
        FlatObservations(actor.slot_module(1)),
        HYBRID,
        SHAPES,
        tmp_path / "a.onnx",
        sample_obs=obs,
        stochastic=True,
        squashed=True,
    )
    onnxruntime.set_seed(1)
    got = play(tmp_path / "a.onnx", [np.repeat(rows, 4_000, 0) for rows in obs], np.ones((4_000, 5)))
    greedy = actor.mode_rows(flat, allowed, slots)
    np.testing.assert_allclose(got["deterministic_continuous_actions"][:1], greedy[:, :2], atol=1e-5)
    expected, _ = actor.sample_rows(
        flat.expand(4_000, -1), allowed.expand(4_000, -1), slots.expand(4_000), generator
    )
    drawn = got["continuous_actions"]
    assert np.abs(drawn).max() < 1
    for share in (0.1, 0.5, 0.9):
        point = np.quantile(expected[:, :2], share, axis=0)
        np.testing.assert_allclose((drawn < point).mean(0), share, atol=0.03)


def test_a_squashed_policy_that_is_only_cut_off_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_UnityActor, "_bound", lambda self, values: values.clamp(-1.0, 1.0))
    actor = Policy(CONTINUOUS, mean=0.5)
    with pytest.raises(ExportError, match="expected what torch computes"):
        export_actor(actor, CONTINUOUS, SHAPES, tmp_path / "a.onnx", stochastic=True, squashed=True)


def test_drawn_choices_follow_the_softmax_and_the_mask(tmp_path: Path) -> None:
    layout = ActionLayout(0, (3,))
    actor = mlp(layout)
    nn.init.zeros_(layer(actor, -1).weight)
    layer(actor, -1).bias.data[:] = torch.tensor([1.0, 0.0, 1.5])
    export_actor(actor, layout, SHAPES, tmp_path / "a.onnx", stochastic=True)
    onnxruntime.set_seed(1)
    got = play(tmp_path / "a.onnx", observations(20_000), np.tile([1, 1, 0], (20_000, 1)))
    shares = np.bincount(got["discrete_actions"][:, 0], minlength=3) / 20_000
    np.testing.assert_allclose(shares, [np.e / (np.e + 1), 1 / (np.e + 1), 0], atol=0.015)
    assert shares[2] == 0
    assert (got["deterministic_discrete_actions"] == 0).all()


def test_by_default_unity_plays_the_greedy_choice_without_its_flag(tmp_path: Path) -> None:
    export_actor(mlp(DISCRETE), DISCRETE, SHAPES, tmp_path / "a.onnx")
    got = play(tmp_path / "a.onnx", observations(500), np.ones((500, 5)))
    np.testing.assert_array_equal(got["discrete_actions"], got["deterministic_discrete_actions"])
    assert len(np.unique(got["discrete_actions"], axis=0)) > 1


def test_a_plain_actor_needs_only_the_simplest_operators(tmp_path: Path) -> None:
    export_actor(mlp(HYBRID), HYBRID, SHAPES, tmp_path / "a.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node}
    simple = {"Add", "ArgMax", "Concat", "Constant", "Gemm", "Identity", "Mul", "Relu", "Slice", "Tanh"}
    assert operators == simple


def test_an_operator_that_unity_may_not_read_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    export_actor(mlp(CONTINUOUS), CONTINUOUS, SHAPES, path)
    before = path.read_bytes()
    unreadable = FlatObservations(nn.Sequential(nn.Linear(11, 2), nn.GELU()))
    with pytest.raises(
        ExportError, match=r"a\.onnx: expected operators that every Unity version reads, got Erf"
    ):
        export_actor(unreadable, CONTINUOUS, SHAPES, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.onnx"]


def test_what_torch_cannot_write_is_refused_with_torchs_reason(tmp_path: Path) -> None:
    class Unwritable(nn.Module):
        def forward(self, obs: list[Tensor]) -> Tensor:
            return torch.linalg.eigvalsh(obs[0][:, :, None] * obs[0][:, None, :])[:, :2]

    with pytest.raises(ExportError, match=r"a\.onnx: expected a network that torch can write .*eigvalsh"):
        export_actor(Unwritable(), CONTINUOUS, SHAPES, tmp_path / "a.onnx")


def test_an_unused_critic_inside_the_actor_stays_out_of_the_file(tmp_path: Path) -> None:
    actor = mlp(CONTINUOUS)
    size = sum(p.numel() for p in actor.parameters())
    actor.critic = nn.Linear(500, 500)
    export_actor(actor, CONTINUOUS, SHAPES, tmp_path / "a.onnx")
    weights = onnx.load(tmp_path / "a.onnx").graph.initializer
    assert sum(int(np.prod(w.dims)) for w in weights if np.prod(w.dims) > 1) == size


def test_weights_that_are_not_the_actors_are_refused(tmp_path: Path) -> None:
    critic_weight = torch.ones(11, 500)

    class Leaky(nn.Module):
        def forward(self, obs: list[Tensor]) -> Tensor:
            return (torch.cat(obs, 1) @ critic_weight)[:, :2]

    with pytest.raises(ExportError, match=r"expected at most the actor's 0 numbers, got 5500"):
        export_actor(Leaky(), CONTINUOUS, SHAPES, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


class DependsOnBatch(nn.Module):
    """Right for one row, as it is traced, and wrong for seven."""

    def __init__(self, layout: ActionLayout) -> None:
        super().__init__()
        self.actor = mlp(layout)

    def forward(self, obs: list[Tensor]) -> Tensor:
        raw = self.actor(obs)
        return raw if len(raw) == 1 else raw.flip(1)


@pytest.mark.parametrize(
    ("layout", "output"),
    [(CONTINUOUS, "continuous_actions"), (DISCRETE, "deterministic_discrete_actions")],
    ids=["continuous", "discrete"],
)
def test_a_file_that_answers_otherwise_than_torch_is_refused(
    layout: ActionLayout, output: str, tmp_path: Path
) -> None:
    with pytest.raises(
        ExportError, match=rf"a\.onnx, output {output}: .*got a difference of 0\.\d+ at batch 7"
    ):
        export_actor(DependsOnBatch(layout), layout, SHAPES, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@ALL_LAYOUTS
def test_weights_that_are_not_finite_are_refused(layout: ActionLayout, tmp_path: Path) -> None:
    actor = mlp(layout)
    layer(actor, 0).bias.data[:] = torch.nan
    with pytest.raises(ExportError, match="got .* a value that is not finite"):
        export_actor(actor, layout, SHAPES, tmp_path / "a.onnx")


def test_rounding_of_large_observations_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    actor = FlatObservations(nn.Linear(4096, 8))
    layout = ActionLayout(8)
    obs = [np.random.default_rng(0).standard_normal((7, 4096)).astype(np.float32) * 1000]
    assert isinstance(actor.network, nn.Linear)
    weight = actor.network.weight.data
    # A pair of opposite halves cancels exactly, save for rounding.
    weight[:, 2048:] = -weight[:, :2048]
    obs[0][:, 2048:] = obs[0][:, :2048]
    weight[:, 2048:] += 1e-6
    export_actor(actor, layout, [(4096,)], tmp_path / "a.onnx", sample_obs=obs)
    monkeypatch.setattr(export_check, "ROUNDING_FACTOR", 0.0)
    with pytest.raises(ExportError, match="continuous_actions"):
        export_actor(actor, layout, [(4096,)], tmp_path / "b.onnx", sample_obs=obs)


def test_equal_logits_are_no_error(tmp_path: Path) -> None:
    actor = mlp(DISCRETE)
    nn.init.zeros_(layer(actor, -1).weight)
    nn.init.zeros_(layer(actor, -1).bias)
    export_actor(actor, DISCRETE, SHAPES, tmp_path / "a.onnx")


@pytest.mark.parametrize("training", [True, False])
def test_the_actor_is_left_as_it_was(training: bool, tmp_path: Path) -> None:
    actor = mlp(CONTINUOUS, norm=True).train(training)
    before = {name: value.clone() for name, value in actor.state_dict().items()}
    export_actor(actor, CONTINUOUS, SHAPES, tmp_path / "new" / "folder" / "a.onnx")
    assert actor.training is training
    assert all(torch.equal(value, before[name]) for name, value in actor.state_dict().items())


def test_evaluation_mode_is_what_is_exported(tmp_path: Path) -> None:
    actor = FlatObservations(nn.Sequential(nn.Linear(11, 32), nn.BatchNorm1d(32), nn.Linear(32, 2))).train()
    actor(list(map(torch.from_numpy, observations(64))))
    export_actor(actor, CONTINUOUS, SHAPES, tmp_path / "a.onnx")
    obs = observations(5, seed=3)
    expected = torch.tanh(actor.eval()(list(map(torch.from_numpy, obs)))).detach()
    np.testing.assert_allclose(play(tmp_path / "a.onnx", obs)["continuous_actions"], expected, atol=1e-5)


def test_torchs_default_device_does_not_matter(tmp_path: Path) -> None:
    actor = mlp(HYBRID)
    torch.set_default_device("meta")
    try:
        export_actor(actor, HYBRID, SHAPES, tmp_path / "a.onnx", sample_obs=observations(2))
        assert torch.empty(1).device.type == "meta"
    finally:
        torch.set_default_device("cpu")
    assert play(tmp_path / "a.onnx", observations(2), np.ones((2, 5)))


def test_several_threads_may_export_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            export_actor(mlp(HYBRID), HYBRID, SHAPES, tmp_path / f"{index}.onnx")
            export_actor(mlp(HYBRID), HYBRID, SHAPES, tmp_path / "same.onnx")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.onnx", "1.onnx", "2.onnx", "3.onnx", "same.onnx"]


def test_a_failed_write_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Unity holds the file")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        export_actor(mlp(CONTINUOUS), CONTINUOUS, SHAPES, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_without_onnxruntime_the_file_is_written_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    export_check._onnxruntime.cache_clear()
    monkeypatch.setattr(export_check.logger, "propagate", True)
    try:
        for name in ("a.onnx", "b.onnx"):
            export_actor(mlp(CONTINUOUS), CONTINUOUS, SHAPES, tmp_path / name)
    finally:
        export_check._onnxruntime.cache_clear()
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "NOT checked" in caplog.text and "pip install onnxruntime" in caplog.text
    assert len(list(tmp_path.iterdir())) == 2


def test_an_export_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_actor(Policy(HYBRID), HYBRID, SHAPES, tmp_path / "a.onnx", stochastic=True)
    assert not caught
    assert capfd.readouterr() == ("", "")


def test_an_export_takes_less_than_a_second(tmp_path: Path) -> None:
    export_actor(mlp(CONTINUOUS, hidden=128), CONTINUOUS, SHAPES, tmp_path / "warm.onnx")
    start = time.process_time()
    export_actor(mlp(CONTINUOUS, hidden=128), CONTINUOUS, SHAPES, tmp_path / "a.onnx")
    assert time.process_time() - start < 1


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match=r"a\.onnx: expected at least one action to export, got none"):
        export_actor(mlp(CONTINUOUS), ActionLayout(), SHAPES, path)
    with pytest.raises(ValueError, match=r"expected the actor to return \(1, 5\) .* got \(1, 2\)"):
        export_actor(mlp(CONTINUOUS), DISCRETE, SHAPES, path)
    with pytest.raises(
        ValueError, match=r"expected sample observations of shapes .* got \[\(4, 8\), \(4, 2\)\]"
    ):
        export_actor(
            mlp(CONTINUOUS), CONTINUOUS, SHAPES, path, sample_obs=[np.zeros((4, 8)), np.zeros((4, 2))]
        )
    with pytest.raises(ValueError, match="at least one row"):
        export_actor(
            mlp(CONTINUOUS), CONTINUOUS, SHAPES, path, sample_obs=[np.zeros((0, 8)), np.zeros((0, 3))]
        )


def test_draws_outside_the_limits_are_refused() -> None:
    class Unbounded:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.full((len(feed["obs_0"]), 2), 1.5, np.float32)]

    answer = Answer(np.zeros((7, 2)), np.zeros((7, 0)), [np.zeros((7, 2))] * 3, np.zeros((7, 0)))
    reference = Reference({"obs_0": np.zeros((7, 8), np.float32)}, answer, lambda: answer)
    with pytest.raises(ExportError, match=r"output continuous_actions: .* got a value outside \[-1, 1\]"):
        FileCheck("a.onnx", CONTINUOUS, 0, draws=True)._spread(Unbounded(), reference)
