"""What the host's own features ask of a trainer, one trainer each. Numbers are those of docs/contract.md."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlagents.trainers.directory_utils import validate_existing_directories
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.settings import RunOptions, TrainerSettings
from mlagents.trainers.training_status import GlobalTrainingStatus, StatusType
from mlagents_envs.base_env import ActionSpec as HostActionSpec
from mlagents_envs.base_env import BehaviorSpec
from mlagents_envs.communicator_objects.unity_rl_output_pb2 import UnityRLOutputProto
from mlagents_envs.rpc_utils import steps_from_proto

from mlagents_marl_plugin.player.row_encoder import encode_with_library
from mlagents_marl_plugin.player.scene import ActionSpec, Behavior, Rows, SensorSpec
from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from tests.unit.conftest import host_state  # noqa: F401
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import manager, small, start

pytestmark = pytest.mark.usefixtures("host_state")


def test_c2_only_the_python_that_the_host_can_use_is_accepted():
    required = importlib.metadata.metadata("mlagents_marl_plugin")["Requires-Python"]
    assert "<3.11" in required


def test_c8_default_settings_are_for_behaviours_of_the_same_type(monkeypatch):
    monkeypatch.setattr(TrainerSettings, "default_override", None)  # the host keeps it for the whole process
    shared = {"trainer_type": "maddpg", "hyperparameters": {"tau": 0.5}}
    alike = RunOptions.from_dict({"default_settings": shared, "behaviors": {"Ball": {"max_steps": 7}}})
    assert alike.behaviors["Ball"].hyperparameters.tau == 0.5
    with pytest.raises(TrainerConfigError, match="for MappoSettings, but is invalid"):
        RunOptions.from_dict({"default_settings": shared, "behaviors": {"Ball": {"trainer_type": "mappo"}}})


def test_c13_an_existing_run_is_not_trained_over_without_being_asked(tmp_path):
    start(tmp_path)
    for flags in ({"resume": True, "force": False}, {"resume": False, "force": True}):
        validate_existing_directories(str(tmp_path), **flags)
    with pytest.raises(UnityTrainerException, match="Previous data from this run ID was found"):
        validate_existing_directories(str(tmp_path), resume=False, force=False)
    with pytest.raises(UnityTrainerException, match="Previous data from this run ID was not found"):
        validate_existing_directories(str(tmp_path / "other"), resume=True, force=False)


class Meta:
    """Torch's default device while tensors that are made without saying where have no data."""

    def __enter__(self) -> None:
        torch.set_default_device("meta")

    def __exit__(self, *_: Any) -> None:
        torch.set_default_device(None)


@pytest.mark.parametrize("trainer_type", ["maddpg", "mappo", "qmix"])
def test_c20_c90_a_run_does_not_rely_on_torchs_default_device(tmp_path, trainer_type):
    with Meta():
        trainer = start(tmp_path, trainer_type=trainer_type).trainer
    assert trainer.updates > 2
    assert (tmp_path / "Counter.onnx").is_file()


def test_c37_agents_in_no_group_are_groups_of_their_own(tmp_path):
    trainer = start(tmp_path, hyper={"grouping": "consecutive", "group_size": 1}).trainer
    assert trainer.spec.num_slots == 1
    assert trainer.assembler.dropped == 0


def test_c37_each_behaviour_of_a_mixed_group_has_a_critic_of_its_own(tmp_path):
    """One critic over agents of different behaviour names does not exist yet: each sees its own."""
    hyper = {name: value for name, value in small("mappo").items() if name != "group_size"}
    config = options("Counter", "mappo", hyper, {"max_steps": 200})
    config.behaviors["CounterB"] = options("CounterB", "mappo", hyper, {"max_steps": 200}).behaviors[
        "CounterB"
    ]
    run = Run(tmp_path, config, manager(agents=4, roles=True, group_ids=True)).start()
    for name, size in (("Counter", 4), ("CounterB", 6)):
        trainer = run.controller.trainers[name]
        assert trainer.spec.num_slots == 2
        assert trainer.spec.roles[0].obs_size == size
        assert trainer.assembler.rejected == trainer.assembler.dropped == 0
        assert trainer.updates > 0


@pytest.mark.parametrize("measure", ["reward", "progress"])
def test_c63_c64_c29_lessons_end_and_reset_the_scene(tmp_path, measure, monkeypatch):
    finished = {
        "measure": measure,
        "behavior": "Counter",
        "min_lesson_length": 4,
        "threshold": -1000.0 if measure == "reward" else 0.3,
        "require_reset": True,
    }
    easy = {"name": "easy", "completion_criteria": finished, "value": 1.0}
    hard = {
        "name": "hard",
        "value": {"sampler_type": "uniform", "sampler_parameters": {"min_value": 2.0, "max_value": 3.0}},
    }
    config = options("Counter", "maddpg", small("maddpg"), {"max_steps": 400})
    lessons = RunOptions.from_dict(
        {
            "behaviors": {"Counter": {"trainer_type": "ppo"}},
            "environment_parameters": {"difficulty": {"curriculum": [easy, hard]}},
        }
    )
    config.environment_parameters = lessons.environment_parameters
    scene = manager(deaths=True, group_ids=True)
    run = Run(tmp_path, config, scene)
    sent = []
    reset = scene._reset_env
    monkeypatch.setattr(scene, "_reset_env", lambda config=None: sent.append(config) or reset(config))
    trainer = run.start().trainer
    assert GlobalTrainingStatus.get_parameter_state("difficulty", StatusType.LESSON_NUM) == 1
    assert [type(parameters["difficulty"]).__name__ for parameters in sent] == [
        "ConstantSettings",
        "UniformSettings",
    ]
    assert trainer.get_step > 400
    assert trainer.assembler.accepted > 0.9 * trainer.get_step


def test_c84_trainers_may_be_made_in_any_order(tmp_path, monkeypatch):
    """The host iterates over a set of names, in an order that differs from process to process."""
    learnt = []
    for reverse in (False, True):
        folder = tmp_path / str(reverse)
        config = options("Counter", "matd3", small("matd3"), {"max_steps": 300})
        other = options("CounterB", "mappo", small("mappo"), {"max_steps": 300})
        config.behaviors["CounterB"] = other.behaviors["CounterB"]
        run = Run(folder, config, manager(agents=4, roles=True, group_ids=True), seed=4)
        make = run.controller._create_trainer_and_manager

        def in_order(env, names, make=make, reverse=reverse):
            for name in sorted(names, reverse=reverse):
                make(env, name)

        monkeypatch.setattr(run.controller, "_create_trainers_and_managers", in_order)
        run.start()
        assert list(run.controller.trainers) == sorted(run.controller.trainers, reverse=reverse)
        learnt.append({name: (folder / f"{name}.onnx").read_bytes() for name in run.controller.trainers})
    assert learnt[0] == learnt[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["observation", "reward"])
def test_c92_what_is_not_finite_never_leaves_the_environment_worker(bad, where):
    behavior = Behavior("Ball", (SensorSpec("Vector", (3,), (1,)),), ActionSpec(1))
    obs, reward = np.zeros((2, 3), np.float32), np.zeros(2, np.float32)
    (obs if where == "observation" else reward)[1] = bad
    rows = Rows(np.arange(2), (obs,), reward)
    infos = UnityRLOutputProto.ListAgentInfoProto()
    infos.ParseFromString(encode_with_library(behavior, rows, np.arange(2)))
    spec = SceneManager(lambda worker: CounterScene(1, 0, CounterOptions())).training_behaviors[
        "Counter?team=0"
    ]
    spec = BehaviorSpec([spec.observation_specs[0]._replace(shape=(3,))], HostActionSpec.create_continuous(1))
    with pytest.raises(RuntimeError, match=r"provided had (NaN|Infinite) values"):
        steps_from_proto(list(infos.value), spec)


def test_c97_apple_silicon_gets_a_grpcio_that_has_a_wheel():
    """The newest that the host allows has none there (docs/adr/0002)."""
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"grpcio==1\.53\.\d+; sys_platform == 'darwin' and platform_machine == 'arm64'", project)
