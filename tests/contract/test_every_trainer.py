"""What every registered trainer type has to do in the host's own controller, whatever the scene is like.

Numbers are those of docs/contract.md. A trainer type that is registered later is tested without a change here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attr
import numpy as np
import pytest
import torch
from mlagents.plugins import all_trainer_settings, all_trainer_types
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.policy import Policy
from mlagents.trainers.settings import HyperparamSettings
from mlagents.trainers.trainer.rl_trainer import RLTrainer

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.adapter.settings import SCHEMAS
from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.player.scene import Scene, SensorSpec
from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.scenes import WithSensors
from tests.unit.chaos_scene import ChaosScene, Options
from tests.unit.conftest import host_state, printed  # noqa: F401
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import small

pytestmark = pytest.mark.usefixtures("host_state")

every_type = pytest.mark.parametrize("trainer_type", sorted(ALGORITHMS))
of_each_family = pytest.mark.parametrize(
    "trainer_type",
    sorted({algorithm.learner: name for name, algorithm in reversed(ALGORITHMS.items())}.values()),
)


def hyperparameters(trainer_type: str, **more: Any) -> dict[str, Any]:
    """Small values of the fields that the type has."""
    fields = attr.fields_dict(SCHEMAS[trainer_type])
    given = {**small(trainer_type), "discretise": 3, **more}
    return {name: value for name, value in given.items() if name in fields and value is not None}


def learn(
    folder: Path,
    trainer_type: str,
    make_scene: Callable[[int], Scene],
    *,
    hyper: dict[str, Any] | None = None,
    behavior: dict[str, Any] | None = None,
    name: str = "Counter",
    workers: int = 1,
) -> Any:
    """A short run to its end; returns the trainer."""
    settings = {"max_steps": 300, **(behavior or {})}
    config = options(name, trainer_type, hyperparameters(trainer_type, **(hyper or {})), settings)
    return Run(folder, config, SceneManager(make_scene, workers)).start().trainer


def counter(**scene: Any) -> Callable[[int], Scene]:
    return lambda process: CounterScene(2, process, CounterOptions(**scene))


def model(folder: Path, name: str = "Counter") -> OnnxPolicy:
    return OnnxPolicy(folder / f"{name}.onnx")


# --- registration and life cycle --------------------------------------------------------------------


@every_type
def test_c3_c4_c25_the_class_is_what_the_host_expects(trainer_type):
    trainer = all_trainer_types[trainer_type]
    assert trainer.get_trainer_name() == trainer_type
    assert issubclass(trainer, RLTrainer)
    assert issubclass(all_trainer_settings[trainer_type], HyperparamSettings)
    for method in ("create_policy", "create_optimizer", "add_policy", "get_policy", "end_episode"):
        assert getattr(trainer, method) is not getattr(RLTrainer, method), method
    for method in ("_process_trajectory", "_is_ready_update", "_update_policy", "save_model"):
        assert getattr(trainer, method) is not getattr(RLTrainer, method), method


def test_c11_fields_that_ppo_and_sac_have_too_are_called_the_same():
    on_policy = {"batch_size", "buffer_size", "learning_rate", "beta", "epsilon", "lambd", "num_epoch"}
    schedules = {"learning_rate_schedule", "beta_schedule", "epsilon_schedule"}
    assert on_policy | schedules <= attr.fields_dict(SCHEMAS["mappo"]).keys()
    assert on_policy | schedules <= attr.fields_dict(all_trainer_settings["ppo"]).keys()
    off_policy = {"batch_size", "buffer_size", "buffer_init_steps", "steps_per_update", "save_replay_buffer"}
    for trainer_type, algorithm in ALGORITHMS.items():
        if algorithm.data_regime == "off_policy":
            assert off_policy <= attr.fields_dict(SCHEMAS[trainer_type]).keys(), trainer_type
    assert off_policy <= attr.fields_dict(all_trainer_settings["sac"]).keys()


# --- what is refused --------------------------------------------------------------------------------


@every_type
def test_c12_c61_sensors_that_are_not_read_are_refused_by_name(tmp_path, trainer_type):
    """All of Unity's own are read, see test_sensor_trainer.py."""
    odd = SensorSpec("OddSensor", (5, 3), (1, 1))
    where = r"^behaviors\.Counter: sensor 'OddSensor': expected a vector, a picture .*, got shape \(5, 3\)"
    with pytest.raises(UnityTrainerException, match=where):
        learn(tmp_path, trainer_type, lambda process: WithSensors(counter()(process), odd))


REFUSED_SETTINGS = {
    "reward_signals.curiosity: expected only extrinsic": {
        "reward_signals": {"extrinsic": {}, "curiosity": {}}
    },
    "reward_signals.rnd: expected only extrinsic": {"reward_signals": {"extrinsic": {}, "rnd": {}}},
    "reward_signals.gail: expected only extrinsic": {
        "reward_signals": {"extrinsic": {}, "gail": {"demo_path": "x.demo"}}
    },
    "behavioral_cloning: expected none": {"behavioral_cloning": {"demo_path": "x.demo"}},
    "max_steps: expected a whole number >= 1, got -1": {"max_steps": -1},
}


@every_type
def test_c10_c12_c49_settings_that_are_not_obeyed_are_refused_by_name(tmp_path, trainer_type):
    for message, behavior in REFUSED_SETTINGS.items():
        with pytest.raises(TrainerConfigError) as caught:
            learn(tmp_path, trainer_type, counter(), behavior=behavior)
        assert str(caught.value).startswith(f"behaviors.Counter.{message}")


@every_type
def test_c10_a_batch_larger_than_the_replay_is_refused(trainer_type):
    if ALGORITHMS[trainer_type].data_regime == "on_policy":
        return  # there it means that a rollout is not split
    with pytest.raises(
        TrainerConfigError, match=r"^hyperparameters\.buffer_size: expected at least batch_size \(200\)"
    ):
        options("Counter", trainer_type, {"batch_size": 200, "buffer_size": 100})


@every_type
def test_c45_more_agents_in_a_group_than_was_said_are_refused(tmp_path, trainer_type):
    with pytest.raises(
        UnityTrainerException, match=r"hyperparameters\.group_size: expected at least the 3 agents"
    ):
        learn(tmp_path, trainer_type, counter(agents=3, group_ids=True))


# --- what works -------------------------------------------------------------------------------------


@every_type
def test_c42_c44_c45_agents_may_come_die_and_ask_when_they_like(tmp_path, trainer_type, caplog):
    """Groups by id in two processes; some agents come late, die early or ask at every second step."""
    wild = Options(periods=(1, 2), late=0.3)
    trainer = learn(
        tmp_path,
        trainer_type,
        lambda process: ChaosScene(process, 3, wild),
        name="Chaos",
        workers=2,
        hyper={"group_size": wild.agents},
        behavior={"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 1}},
    )
    assert trainer.updates >= 3
    assert trainer.board.episodes >= 5
    assert trainer.assembler.rejected == 0
    assert checkpoint.not_finite(trainer.learner.state_dict()) is None
    assert np.isfinite(model(tmp_path, "Chaos").act([np.ones((3, 5), np.float32)])[0]).all()
    assert "poca" not in caplog.text.lower(), "C48: no advice to use another trainer"


@of_each_family
@pytest.mark.parametrize(
    "scene",
    [
        {"continuous": 2},
        {"continuous": 0, "branches": (3, 2), "masks": True},
        {"continuous": 1, "branches": (3,), "masks": True},
    ],
    ids=["continuous", "discrete", "hybrid"],
)
def test_c57_c59_c61_every_kind_of_action_from_several_sensors(tmp_path, trainer_type, scene):
    """Masks are never violated in the scene nor by the model, which takes each sensor as an input of its own."""
    stacked = SensorSpec("StackedSensor", (6,), (1,))
    made: list[CounterScene] = []

    def make(process: int) -> Scene:
        made.append(CounterScene(2, process, CounterOptions(**scene)))
        return WithSensors(made[-1], stacked)

    manager = SceneManager(make)
    config = options("Counter", trainer_type, hyperparameters(trainer_type), {"max_steps": 300})
    trainer = Run(tmp_path, config, manager).start().trainer
    assert trainer.updates >= 2
    branches = scene.get("branches", ())
    for line in manager.lines:
        _, agent, _, step = line["obs"]
        for index, choice in enumerate(line["discrete"]):
            assert choice != (step + agent + index) % branches[index]
    exported = model(tmp_path)
    assert exported.observation_shapes == ((4,), (6,))
    random = np.random.default_rng(1)
    seen = [random.normal(size=(200, size)).astype(np.float32) for size in (4, 6)]
    forbidden = [random.integers(0, size, 200) for size in branches]
    columns = [np.arange(size) != choice[:, None] for size, choice in zip(branches, forbidden, strict=True)]
    masks = np.concatenate(columns, axis=1) if branches else None
    for deterministic in (True, False):
        continuous, discrete = exported.act(seen, masks, deterministic)
        assert continuous.shape == (200, scene["continuous"])
        assert (np.abs(continuous) <= 1).all()
        for index, choice in enumerate(forbidden):
            assert (discrete[:, index] != choice).all()


@of_each_family
def test_c27_the_actor_that_acts_is_the_one_that_has_learnt(tmp_path, trainer_type):
    trainer = learn(tmp_path, trainer_type, counter())
    obs, slots = torch.linspace(-1, 1, 16).reshape(4, 4), torch.zeros(4, dtype=torch.int64)
    learnt = trainer.learner.actor.acting_copy(torch.device("cpu"))
    allowed = torch.ones(4, 0)
    if hasattr(learnt, "mode_rows"):
        assert torch.equal(
            trainer.acting.copy.mode_rows(obs, allowed, slots), learnt.mode_rows(obs, allowed, slots)
        )
    else:
        assert torch.equal(trainer.acting.copy.forward_rows(obs, slots), learnt.forward_rows(obs, slots))


@of_each_family
def test_c50_strength_and_gamma_are_the_hosts(tmp_path, trainer_type):
    signal = {"reward_signals": {"extrinsic": {"gamma": 0.7, "strength": 3.0}}}
    trainer = learn(tmp_path, trainer_type, counter(), behavior={**signal, "max_steps": 60})
    assert trainer.learner.discount == 0.7
    means = trainer.rewards.take_means()
    sharing = trainer.hyperparameters.reward_sharing.value
    if sharing == "individual":
        np.testing.assert_allclose(means.shaped, 3 * np.array(means.raw), rtol=1e-5)
    assert sum(means.shaped) != 0


@of_each_family
def test_c62_c96_the_hosts_previous_action_is_not_relied_on(tmp_path, trainer_type):
    trainer = learn(
        tmp_path, trainer_type, counter(continuous=0, branches=(3, 2)), behavior={"max_steps": 40}
    )
    policy: Policy = next(iter(trainer.policies.values()))
    assert policy.retrieve_previous_action(["agent_0-0"]).tolist() == [[0, 0]]
