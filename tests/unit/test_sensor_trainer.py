"""Trainers of agents that see more than vectors, inside the host's own controller."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlagents.trainers.exception import UnityTrainerException

from mlagents_marl_plugin.player.scene import SensorSpec
from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from mlagents_marl_plugin.player.scenes.signs import SignsOptions, SignsScene
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.scenes import WithSensors
from tests.unit.conftest import host_state, printed  # noqa: F401
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import small

pytestmark = pytest.mark.usefixtures("host_state")

SHOWN = SignsOptions(uncompressed=True)
NETWORK = {"hidden_units": 32, "num_layers": 1}
HYPERPARAMETERS = {"batch_size": 128, "buffer_size": 256, "num_epoch": 4, "learning_rate": 0.001}
SMALL_RUNS = [
    ("mappo", True),
    ("ippo_shared", False),
    ("coma", False),
    ("isac", False),
    ("matd3", False),
    ("vdn", True),
]


def signs(
    folder: Path,
    trainer_type: str,
    max_steps: int,
    hyper: dict[str, Any],
    network: dict[str, Any] | None = None,
) -> tuple[Run, SignsScene]:
    """A run on 16 areas of Signs."""
    scene = SceneManager(lambda process: SignsScene(16, 3, SHOWN))
    settings = {"network_settings": {**NETWORK, **(network or {})}, "max_steps": max_steps}
    run = Run(folder, options("Signs", trainer_type, {"group_size": 2, **hyper}, settings), scene).start()
    return run, scene.workers[0].scene


def test_c61_what_a_picture_a_list_and_a_goal_show_is_learnt_and_exported(tmp_path: Path) -> None:
    """Each tells a branch of its own, so that each has to be read."""
    _, scene = signs(tmp_path, "mappo", 2_600, HYPERPARAMETERS)
    scores = np.array(scene.scores)
    assert (scores[-16:].mean(0) > 0.8).all() and (np.abs(scores[:8].mean(0)) < 0.5).all()
    exported = OnnxPolicy(tmp_path / "Signs.onnx")
    assert exported.observation_shapes == ((5, 3), (3, 20, 20), (2,), (2,))
    anew = SignsScene(50, 11, SHOWN)
    seen = anew.reset()["Signs?team=0"].observations
    _, said = exported.act([np.asarray(sensor) for sensor in seen])
    assert ((said == anew.sign).mean(0) > 0.85).all()


@pytest.mark.parametrize(("trainer_type", "memory"), SMALL_RUNS)
def test_agents_that_see_have_actors_of_their_own_and_memories(
    tmp_path: Path, trainer_type: str, memory: bool
) -> None:
    network = {"memory": {"memory_size": 8, "sequence_length": 4}} if memory else {"normalize": True}
    hyper = {**small(trainer_type), "share_actor": "separate", "slots_by": "order"}
    run, _ = signs(tmp_path, trainer_type, 200, hyper, {"hidden_units": 8, **network})
    assert run.trainer.updates >= 1 and run.trainer.learner.is_finite()
    assert OnnxPolicy(tmp_path / "Signs-slot1.onnx").memory_size == 8 * memory


CAMERA = SensorSpec("CameraSensor", (3, 18, 12), (1, 2, 2))
GOALS = SensorSpec("GoalsSensor", (5, 3), (4, 1), goal_signal=True)
BAD_SENSORS = {
    CAMERA: r"\.network_settings\.vis_encode_type: expected one for pictures of 12 x 18 \(sensor 'CameraSensor'\), "
    r"got simple, which needs 20 x 20; enlarge the picture, or use fully_connected or match3$",
    GOALS: r"\.network_settings\.goal_conditioning_type: expected none where a goal is a list "
    r"\(sensor 'GoalsSensor'\), got hyper",
}


@pytest.mark.parametrize("sensor", BAD_SENSORS)
def test_what_the_encoders_cannot_read_is_refused_by_name(tmp_path: Path, sensor: SensorSpec) -> None:
    def run(sensor: SensorSpec, **network: Any) -> None:
        scene = SceneManager(lambda process: WithSensors(CounterScene(2, process, CounterOptions()), sensor))
        settings = {"max_steps": 40, "network_settings": {"hidden_units": 8, "num_layers": 1, **network}}
        Run(tmp_path, options("Counter", "mappo", small("mappo"), settings), scene).start()

    with pytest.raises(UnityTrainerException, match="^behaviors.Counter" + BAD_SENSORS[sensor]):
        run(sensor)
    run(sensor, vis_encode_type="match3", goal_conditioning_type="none")


@pytest.mark.parametrize("trainer_type", ["mappo", "qmix"])
def test_the_state_may_be_a_picture_where_actors_read_vectors(tmp_path: Path, trainer_type: str) -> None:
    scene = SceneManager(lambda process: WithSensors(CounterScene(2, process, CounterOptions()), CAMERA))
    hyper = {**small(trainer_type), "state_sensor": CAMERA.name}
    network = {"hidden_units": 8, "num_layers": 1, "vis_encode_type": "match3"}
    settings = {"max_steps": 200, "network_settings": network}
    run = Run(tmp_path, options("Counter", trainer_type, hyper, settings), scene).start()
    assert run.trainer.updates >= 1 and run.trainer.learner.is_finite()
    assert {(3, 18, 12), (4,)} == set(OnnxPolicy(tmp_path / "Counter.onnx").observation_shapes)


def test_what_sees_vectors_only_needs_no_encoder(tmp_path: Path) -> None:
    """A goal that conditions nothing is a vector like any other."""
    goal = replace(GOALS, shape=(2,), dimension_properties=(1,))
    scene = SceneManager(lambda process: WithSensors(CounterScene(2, process, CounterOptions()), goal))
    network = {"hidden_units": 8, "num_layers": 1, "goal_conditioning_type": "none"}
    settings = {"max_steps": 40, "network_settings": network}
    run = Run(tmp_path, options("Counter", "mappo", small("mappo"), settings), scene).start()
    learner = run.trainer.learner
    assert learner.actor.learnt == learner.actor.nets and learner.actor.nets[0].shape.num_inputs == 6
