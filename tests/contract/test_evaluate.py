"""marl-evaluate against the real player: its scores are those of the same world played in this process."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from mlagents.trainers.demo_loader import load_demonstration
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
from mlagents_envs.environment import UnityEnvironment
from torch import nn

from mlagents_marl_plugin.adapter.demo_files import read_demo
from mlagents_marl_plugin.adapter.export import FlatObservations, export_actor
from mlagents_marl_plugin.core.types import ActionLayout
from mlagents_marl_plugin.player.scenes.tennis import TennisOptions, TennisWorld
from mlagents_marl_plugin.tools import evaluate
from mlagents_marl_plugin.tools.cast import Cast
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher
from tests.contract.playing import PATIENCE

# What torch says of the host's own exports.
pytestmark = pytest.mark.filterwarnings("ignore")

SEED = 3
AREAS = 3
EPISODES = 10


def model(path: Path, seed: int, obs_size: int = 24) -> Path:
    """A linear actor; those of seeds 3 and 8 touch the ball now and then."""
    weights = np.random.default_rng(seed).standard_normal((obs_size, 2)).astype(np.float32) * 0.3
    linear = nn.Linear(obs_size, 2)
    linear.weight.data, linear.bias.data = torch.from_numpy(weights.T.copy()), torch.zeros(2)
    export_actor(FlatObservations(linear), ActionLayout(2), [(obs_size,)], path)
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(launcher(tmp_path_factory.mktemp("scene"), "Tennis"))


def run(build: str | None, *arguments: object, code: int = 0) -> None:
    """marl-evaluate in this process."""
    scene = [] if build is None else ["--env", build]
    port = ["--base-port", free_port(1)] if "--base-port" not in arguments else []
    assert evaluate.main([str(a) for a in (*scene, *port, "--timeout-wait", PATIENCE, *arguments)]) == code


def played_here(
    right: OnnxPolicy, left: OnnxPolicy, num_areas: int = AREAS, **options: Any
) -> list[tuple[float, int, int]]:
    """(score, length, area) of every episode, in order of ending, until each area has played its quota."""
    world = TennisWorld(num_areas, SEED, TennisOptions(**options))
    obs = world.reset()
    total, length = np.zeros((num_areas, 2), np.float64), np.zeros(num_areas, int)
    quota = [EPISODES // num_areas + (area < EPISODES % num_areas) for area in range(num_areas)]
    episodes: list[tuple[float, int, int]] = []
    while sum(quota) > 0:
        if right is left:
            action = right.act([obs.reshape(-1, 24)])[0].reshape(num_areas, 2, 2)
        else:
            action = np.stack([right.act([obs[:, 0]])[0], left.act([obs[:, 1]])[0]], axis=1)
        step = world.step(action)
        obs = step.obs
        total += step.reward
        length += 1
        for area in np.flatnonzero(step.terminated | step.interrupted):
            if quota[area] > 0:
                quota[area] -= 1
                episodes.append((float(total[area].max()), int(length[area]), int(area)))
            total[area], length[area] = 0, 0
    return episodes


def assert_same(result: dict[str, Any], expected: list[tuple[float, int, int]]) -> None:
    scores, lengths, areas = zip(*expected, strict=True)
    assert result["scores"] == pytest.approx(scores, abs=1e-6)
    assert result["lengths"] == list(lengths)
    assert result["areas"] == list(areas)
    assert len(set(np.round(scores, 2))) > 1, "the check needs episodes that differ"


def test_what_was_played_is_recorded_as_unity_would(build: str, tmp_path: Path) -> None:
    """A file per racket, from which the scores come out again; read by what trainers read demonstrations with."""
    path, out, folder = model(tmp_path / "Tennis.onnx", 8), tmp_path / "out.json", tmp_path / "shown"
    arguments = ("--model", path, "--num-areas", 2, "--seed", SEED, "--episodes", 6, "--json", out)
    run(build, *arguments, "--record", folder)
    result = json.loads(out.read_text())
    for area in range(2):
        rackets = []
        for slot in range(2):
            file = folder / "Tennis" / f"area-{area}" / f"slot-0{slot}.demo"
            rackets.append(read_demo(file, load_demonstration(str(file))[0]))
        scores = [max(one.reward.sum(), other.reward.sum()) for one, other in zip(*rackets, strict=True)]
        told = [
            score for score, where in zip(result["scores"], result["areas"], strict=True) if where == area
        ]
        assert scores[: len(told)] == pytest.approx(told, abs=1e-6)
        policy = OnnxPolicy(path)
        for episode in (*rackets[0], *rackets[1]):
            assert episode.action == pytest.approx(policy.act([episode.obs[:-1]])[0], abs=1e-6)
    run(build, *arguments, "--record", folder, code=2)


def test_scores_are_those_of_the_same_world_and_each_area_plays_its_quota(
    build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model(tmp_path / "Tennis.onnx", 8)
    out = tmp_path / "new" / "out.json"
    run(build, "--model", path, "--num-areas", AREAS, "--seed", SEED, "--episodes", EPISODES, "--json", out)
    result = json.loads(out.read_text())
    policy = OnnxPolicy(path)
    assert_same(result, played_here(policy, policy))
    assert [result["areas"].count(area) for area in range(AREAS)] == [4, 3, 3]

    assert result["mean"] == pytest.approx(np.mean(result["scores"]))
    assert result["deviation"] == pytest.approx(np.std(result["scores"]))
    assert (result["minimum"], result["maximum"]) == (min(result["scores"]), max(result["scores"]))
    assert result["length"]["median"] == np.median(result["lengths"])
    expected = {
        "episodes": 10,
        "complete": True,
        "seed": SEED,
        "num_areas": AREAS,
        "greedy": True,
        "env": build,
    }
    assert {key: result[key] for key in expected} == expected
    assert result["models"]["Tennis?team=0 slot 0"]["path"] == str(path)
    assert len(result["models"]["Tennis?team=0 slot 1"]["sha256"]) == 64
    assert result["versions"]["mlagents-envs"] == "1.1.0"
    printed = capsys.readouterr().out
    assert f"mean {result['mean']:.3f}" in printed
    assert "3 areas, groups: 2 with consecutive ids), score = max over agents" in printed


def test_two_models_play_two_slots_teams_or_groups_alike(build: str, tmp_path: Path) -> None:
    right, left = model(tmp_path / "Tennis.onnx", 8), model(tmp_path / "Tennis-slot1.onnx", 3)
    expected = played_here(OnnxPolicy(right), OnnxPolicy(left), max_decisions=40)
    common = ["--num-areas", AREAS, "--seed", SEED, "--episodes", EPISODES, "--json", tmp_path / "o.json"]
    scene = ["--env-args", "--max-decisions", 40]
    for models, option, grouping in (
        ([f"{tmp_path}"], [], "2 with consecutive ids"),
        ([f"{right}"], ["--group-ids"], "by the scene's group ids"),
        ([f"Tennis?team=0={right}", f"Tennis?team=1={left}"], ["--teams"], "2 with consecutive ids"),
    ):
        run(build, *(x for m in models for x in ("--model", m)), *common, *scene, *option)
        result = json.loads((tmp_path / "o.json").read_text())
        assert_same(result, expected)
        assert result["groups"] == grouping
        assert result["env_args"] == ["--max-decisions", "40", *option]


def test_a_behaviour_that_is_not_evaluated_may_do_without_a_model(build: str, tmp_path: Path) -> None:
    path = model(tmp_path / "a.onnx", 8)
    arguments = ["--model", path, "--episodes", 3, "--json", tmp_path / "o.json"]
    run(build, *arguments, "--behavior", "Tennis?team=0", "--env-args", "--teams")
    result = json.loads((tmp_path / "o.json").read_text())
    assert result["groups"] == "1 with consecutive ids"
    assert list(result["models"]) == ["Tennis?team=0 slot 0"]


def test_stochastic_play_repeats_with_its_seed(build: str, tmp_path: Path) -> None:
    sensor = ObservationSpec((24,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "sensor")
    spec = BehaviorSpec([sensor], ActionSpec(2, ()))
    shape = {"conditional_sigma": False, "tanh_squash": False}
    ModelSerializer(TorchPolicy(0, spec, NetworkSettings(), SimpleActor, shape)).export_policy_model(
        str(tmp_path / "ppo")
    )
    lengths = []
    for before, seed in enumerate((1, 1, 2)):
        onnxruntime.set_seed(1000 + before)  # a new process starts from the clock
        arguments = ["--model", tmp_path / "ppo.onnx", "--stochastic", "--seed", seed, "--episodes", 40]
        run(build, *arguments, "--num-areas", 4, "--json", tmp_path / "o.json")
        result = json.loads((tmp_path / "o.json").read_text())
        lengths.append([*result["lengths"], *result["scores"]])
        assert result["greedy"] is False
    assert lengths[0] == lengths[1] != lengths[2]


def test_agents_whose_episode_ended_are_forgotten(
    build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[int] = []
    monkeypatch.setattr(Cast, "forget", lambda _, agent_ids: forgotten.extend(agent_ids))
    run(build, "--model", model(tmp_path / "a.onnx", 8), "--episodes", 4)
    assert forgotten == [0, 1, 2, 3, 4, 5]  # of three episodes; the fourth ended the evaluation


def test_without_env_the_editor_is_awaited(tmp_path: Path) -> None:
    path = model(tmp_path / "a.onnx", 8)
    port = free_port(1)
    play = [
        sys.executable,
        "-m",
        "mlagents_marl_plugin.player",
        "play",
        "Tennis",
        "--mlagents-port",
        str(port),
    ]
    with subprocess.Popen(play, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as player:
        try:
            run(None, "--model", path, "--episodes", 2, "--base-port", port, "--json", tmp_path / "o.json")
        finally:
            player.terminate()
    assert json.loads((tmp_path / "o.json").read_text())["env"] == "Editor"


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_wrong_input_is_explained(build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model(tmp_path / "a.onnx", 8)
    run(build, "--model", tmp_path / "none.onnx", code=2)
    assert "expected a model file (.onnx) or the folder of a run, found nothing at" in complaint(capsys)
    run(build, "--model", f"Soccer={path}", code=2)
    assert "expected a behaviour of the scene (Tennis?team=0), got Soccer" in complaint(capsys)
    run(build, "--model", path, "--behavior", "Soccer", code=2)
    assert "--behavior: expected a behaviour of the scene (Tennis?team=0), got Soccer" in complaint(capsys)
    run(build, "--model", model(tmp_path / "small.onnx", 0, obs_size=8), code=2)
    assert "observation 0 of shape (8,), as it was trained on, got (24,) from sensor" in complaint(capsys)
    run(build, "--model", path, "--num-areas", 3, "--group-size", 4, code=2)
    assert "groups of 4, got 6 that began" in complaint(capsys)


def test_a_missing_build_says_where_it_was_looked_for(
    build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model(tmp_path / "a.onnx", 8)
    run(str(tmp_path / "Tenis"), "--model", path, code=2)
    assert "found none; there is no build in" in complaint(capsys)
    run(str(Path(build).with_name("Tenis")), "--model", path, code=2)
    assert "that folder has Tennis" in complaint(capsys)
    run("/home/john.appleseed/Tennis.x86_64", "--model", path, code=2)
    told = complaint(capsys)
    assert "expected a path without .app inside" in told
    assert "looks for /home/johnleseed/Tennis" in told


def test_a_port_in_use_and_nobody_coming_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model(tmp_path / "a.onnx", 8)
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run(None, "--model", path, "--base-port", port, code=2)
        assert f"expected a free port, got {port}" in complaint(capsys)
    assert evaluate.main(["--model", str(path), "--timeout-wait", "1", "--base-port", str(free_port(1))]) == 1
    assert "no Editor connected to port" in complaint(capsys)


def test_when_the_scene_dies_what_was_played_is_reported(
    build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.json"
    arguments = ["--model", model(tmp_path / "a.onnx", 8), "--json", out]
    run(build, *arguments, "--env-args", "--fault-after", 100, code=1)
    printed = capsys.readouterr()
    result = json.loads(out.read_text())
    assert 0 < result["episodes"] < 100
    assert not result["complete"]
    assert f"stopped after {result['episodes']} of 100 episodes: the scene ended" in printed.err
    assert f"mean {result['mean']:.3f}" in printed.out


def test_ctrl_c_reports_what_was_played(
    build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, closed = [], []
    step, close = UnityEnvironment.step, UnityEnvironment.close

    def interrupted(env: UnityEnvironment) -> None:
        steps.append(1)
        if len(steps) == 50:
            raise KeyboardInterrupt
        step(env)

    monkeypatch.setattr(UnityEnvironment, "step", interrupted)
    monkeypatch.setattr(UnityEnvironment, "close", lambda env: (closed.append(1), close(env)))
    run(build, "--model", model(tmp_path / "a.onnx", 8), "--episodes", 50, code=130)
    printed = capsys.readouterr()
    assert "of 50 episodes: Ctrl+C" in printed.err
    assert "mean " in printed.out
    assert closed


def test_torch_is_not_imported() -> None:
    code = "import sys; import mlagents_marl_plugin.tools.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
