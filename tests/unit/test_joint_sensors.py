"""Joint runs whose members see different things: a picture, a list, a state; inside the host's controller."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlagents.trainers.exception import UnityTrainerException

from mlagents_marl_plugin.adapter import state_sensor
from mlagents_marl_plugin.core.rows import RowLayout
from mlagents_marl_plugin.player.scene import SensorSpec
from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.scenes import WithSensors
from tests.unit.joint_runs import MEMBERS, joint_options, start
from tests.unit.simulated_host import SceneManager
from tests.unit.trainer_runs import assert_same

pytestmark = pytest.mark.usefixtures("host_state")

CAMERA = SensorSpec("CameraSensor", (1, 5, 6), (1, 2, 2))
THINGS = SensorSpec("BufferSensor", (4, 3), (4, 1))
NETWORK = {"hidden_units": 8, "num_layers": 1, "normalize": True, "vis_encode_type": "match3"}
BEHAVIOR = {"network_settings": NETWORK, "max_steps": 120}


def scene(*sensors: SensorSpec, of: str = "CounterB", **options: Any) -> SceneManager:
    """Groups of two Counters and one CounterB, which alone (or ``of``) has these sensors too."""
    chosen = CounterOptions(agents=3, roles=True, group_ids=True, **options)
    return SceneManager(lambda process: WithSensors(CounterScene(3, process, chosen), *sensors, of=of))


def with_state(*names: str) -> dict[str, Any]:
    """What these members say for themselves."""
    return {name: {"hyperparameters": {"state_sensor": "State"}} for name in names}


@pytest.mark.parametrize("trainer_type", ["matd3", "masac"])
def test_c37_c61_one_member_sees_pictures_and_lists(tmp_path: Path, trainer_type: str) -> None:
    hyper = {"save_replay_buffer": True}
    config = joint_options(trainer_type, hyper=hyper, behavior=BEHAVIOR)
    leader = start(tmp_path, config, scene(CAMERA, THINGS))["Counter"]
    assert leader.updates >= 5 and leader.learner.is_finite()
    assert [role.observation_shapes for role in leader.spec.roles] == [((4,),), ((6,), (1, 5, 6), (4, 3))]
    rows = leader.replay.state_dict()["rows"]
    layout = RowLayout.of(leader.spec)
    here = rows[:, layout.agent_mask][:, 2] > 0
    seen = leader.spec.role_obs(rows[:, layout.obs], 1)[here][:, 0]
    assert len(seen) > 20 and torch.equal(seen[:, 6:], seen[:, 3:4].expand(-1, 30 + 12)), (
        "the step, everywhere"
    )
    shapes = [OnnxPolicy(tmp_path / f"{name}.onnx").observation_shapes for name in MEMBERS]
    assert shapes == [((4,),), ((6,), (1, 5, 6), (4, 3))]
    again = scene(CAMERA, THINGS)
    again.stop_after, again.on_step = 0, lambda: again._queue_steps() if again.steps == 1 else None
    longer = joint_options(trainer_type, hyper=hyper, behavior={**BEHAVIOR, "max_steps": 10_000})
    resumed = start(tmp_path, longer, again, load=True)["Counter"]
    assert_same(resumed.learner.state_dict(), leader.learner.state_dict())


def test_the_critic_sees_the_picture_and_the_blind_members_actor_does_not(tmp_path: Path) -> None:
    leader = start(tmp_path, joint_options(behavior=BEHAVIOR), scene(CAMERA))["Counter"]
    spec, learner = leader.spec, leader.learner
    batch = leader.replay.sample(32, 1, 0.9)
    other = batch.obs.clone()
    spec.role_obs(other, 1)[..., 6:] += 1.0

    def values(obs: torch.Tensor) -> torch.Tensor:
        return learner.critic(learner._joint_input(obs, batch.action, batch.agent_mask))

    assert ((values(other) - values(batch.obs)).abs().amax((0, 1)) > 1e-6).all(), "what it says of every slot"
    blind = OnnxPolicy(tmp_path / "Counter.onnx")
    assert blind.observation_shapes == ((4,),)


@pytest.mark.parametrize("whose", [("Counter",), ("CounterB",), ("Counter", "CounterB")], ids="+".join)
def test_a_state_may_be_one_members_or_each_ones(
    tmp_path: Path, whose: tuple[str, ...], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sensor, "logger", logging.getLogger("marl.test"))
    caplog.set_level(logging.INFO, "marl.test")
    config = joint_options(own=with_state(*whose), behavior=BEHAVIOR)
    leader = start(tmp_path, config, scene(CAMERA, state_sensor=True))["Counter"]
    assert leader.updates >= 5 and leader.learner.is_finite()
    assert [role.state_sensor for role in leader.spec.roles] == [0 if n in whose else None for n in MEMBERS]
    for name, size in zip(MEMBERS, (4, 6 + 30), strict=True):
        told = f"{name}: the state is sensor 0 (3 numbers); actors read the other {size}."
        assert (told in caplog.text) == (name in whose)
        policy = OnnxPolicy(tmp_path / f"{name}.onnx")
        obs = [np.ones((2, *shape), np.float32) for shape in policy.observation_shapes]
        said, other = (policy.act([obs[0] * by, *obs[1:]], deterministic=True)[0] for by in (1, 100))
        assert np.array_equal(said, other) == (name in whose), "whether its actor reads the state"


REFUSED = [
    (
        {"own": {"CounterB": {"hyperparameters": {"state_sensor": "Stat"}}}},
        r"behaviors\.CounterB\.hyperparameters\.state_sensor: expected the name of one sensor of this behavior, which "
        r"sends 'State', 'VectorSensor_size6', 'CameraSensor', got 'Stat'; copy one",
    ),
    (
        {"behavior": {"network_settings": {**NETWORK, "vis_encode_type": "resnet"}}},
        r"behaviors\.CounterB\.network_settings\.vis_encode_type: expected one for pictures of 6 x 5 \(sensor "
        r"'CameraSensor'\), got resnet, which needs 15 x 15",
    ),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=["state", "picture"])
def test_what_one_member_does_not_have_or_cannot_read_is_refused_by_its_name(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnityTrainerException, match=f"^{message}"):
        start(tmp_path, joint_options(**{"behavior": BEHAVIOR, **settings}), scene(CAMERA, state_sensor=True))
