"""``state_sensor`` inside the host's own controller: what is refused, who reads what, and that runs go on."""

from typing import Any

import numpy as np
import pytest
import torch
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.unit.trainer_runs import assert_same, build, manager, start

pytestmark = pytest.mark.usefixtures("host_state")
STATE = {"state_sensor": "State"}
NETWORK = {"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 1}}


def scene(trainer_type: str = "mappo", **options: Any) -> Any:
    continuous = {} if ALGORITHMS[trainer_type].supports_continuous else {"continuous": 0, "branches": (3,)}
    return manager(state_sensor=True, **continuous, **options)


@pytest.mark.parametrize("name", ["Sate", "state", "1"])
def test_an_unknown_sensor_is_refused_with_the_names_of_those_that_are_sent(tmp_path, name):
    with pytest.raises(
        UnityTrainerException,
        match=rf"^behaviors\.Counter\.hyperparameters\.state_sensor: expected the name of one sensor of this behavior, "
        rf"which sends 'State', 'VectorSensor_size4', got '{name}'; copy one",
    ):
        build(tmp_path, trainer_type="mappo", scene=scene(), hyper={"state_sensor": name})


def test_a_state_leaves_something_to_act_by(tmp_path):
    with pytest.raises(
        UnityTrainerException,
        match=r"state_sensor: expected a sensor besides those that the actor reads, got 'VectorSensor_size4'",
    ):
        build(tmp_path, trainer_type="qmix", hyper={"state_sensor": "VectorSensor_size4"})


def test_a_number_is_no_name(tmp_path):
    with pytest.raises(
        TrainerConfigError, match=r"^hyperparameters\.state_sensor: expected text, got 0; put"
    ):
        build(tmp_path, hyper={"state_sensor": 0})


@pytest.mark.parametrize("trainer_type", ["mappo", "coma", "maddpg", "masac", "qmix"])
def test_actors_and_files_do_not_read_it_and_a_run_goes_on(tmp_path, trainer_type, printed):
    hyper = STATE | (
        {"save_replay_buffer": True} if ALGORITHMS[trainer_type].data_regime == "off_policy" else {}
    )
    settings = {"trainer_type": trainer_type, "hyper": hyper, "behavior": NETWORK}
    trainer = start(tmp_path, scene=scene(trainer_type), **settings).trainer
    assert trainer.updates >= 2
    assert "Counter: the state is sensor 0 (3 numbers); actors read the other 4." in printed.text
    policy = OnnxPolicy(tmp_path / "Counter.onnx")
    assert policy.observation_shapes == ((3,), (4,))
    state, own = np.ones((5, 3), np.float32), np.arange(20, dtype=np.float32).reshape(5, 4)
    continuous, discrete = policy.act([state, own], deterministic=True)
    other = policy.act([state * 100, own], deterministic=True)
    assert np.array_equal(other[0], continuous) and np.array_equal(other[1], discrete)
    again = build(tmp_path, scene=scene(trainer_type), load=True, seed=99, **settings)
    assert_same(trainer.learner.state_dict(), again.learner.state_dict())


@pytest.mark.parametrize("option", [{}, {"deaths": True, "group_ids": True}])
def test_the_rows_that_critics_read_hold_it(tmp_path, option):
    trainer = start(tmp_path, trainer_type="maddpg", scene=scene(**option), hyper=STATE).trainer
    batch, role = trainer.replay.sample(512, 1, 0.9), trainer.spec.roles[0]
    obs, here = trainer.spec.role_obs(batch.obs, 0), batch.agent_mask > 0
    state, own = role.state(obs), role.actor_obs(obs)
    assert torch.equal(state[here], own[here][:, [0, 2, 3]])  # area, episode and step
    assert bool((state[here] > 0).any())


def test_another_state_is_another_checkpoint(tmp_path):
    start(tmp_path, trainer_type="mappo", scene=scene(), hyper=STATE, behavior={"max_steps": 100})
    with pytest.raises(
        UnityTrainerException, match=r"the checkpoint does not fit: checkpoint entry actor\.0"
    ):
        build(tmp_path, trainer_type="mappo", scene=scene(), load=True)


def test_the_scene_sends_what_the_whole_area_knows():
    made = CounterScene(2, 3, CounterOptions(state_sensor=True, roles=True, min_length=5))
    assert [sensor.name for sensor in made.behaviors[0].sensors] == ["State", "VectorSensor_size4"]
    frames = [made.reset(), made.step({}), made.step({})]
    for frame in frames:
        for rows in frame.values():
            np.testing.assert_array_equal(rows.observations[0], rows.observations[1][:, [0, 2, 3]])
    assert frames[2]["CounterB?team=0"].observations[0][0].tolist() == [0, 0, 2]
