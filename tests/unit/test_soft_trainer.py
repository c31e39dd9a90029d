"""Trainers of soft actor-critic inside the host's own controller: what they do, keep, resume, show and export."""

import numpy as np
import onnxruntime
import pytest
from mlagents.trainers.stats import StatsReporter

from mlagents_marl_plugin.adapter.acting import SamplingActing
from tests.unit.trainer_runs import Recorder, assert_same_next_update, build, manager, start

pytestmark = pytest.mark.usefixtures("host_state")
FAMILY = pytest.mark.parametrize("trainer_type", ["masac", "masac_shared", "isac", "isac_shared"])
BOTH = {"continuous": 2, "branches": (3, 2), "masks": True}


@FAMILY
def test_a_resumed_run_makes_the_very_update_that_it_would_have_made(tmp_path, trainer_type):
    hyper = {"save_replay_buffer": True, "n_step": 3}
    behavior = {"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 2}}
    settings = {"trainer_type": trainer_type, "hyper": hyper, "behavior": behavior}
    first = start(tmp_path, scene=manager(**BOTH), **settings).trainer
    assert first.updates > 10
    again = build(tmp_path, scene=manager(**BOTH), load=True, seed=99, **settings)
    assert_same_next_update(first, again)


def test_actions_are_drawn_in_training_and_greedy_where_it_is_asked_for(tmp_path):
    trainer = start(tmp_path / "drawn", trainer_type="masac", scene=manager(**BOTH)).trainer
    batch = trainer.replay.sample(256, 1, 0.9)
    assert bool((trainer.spec.role_action(batch.action, 0)[..., :2].abs() < 1).all())
    assert trainer.spec.role_action(batch.action, 0)[..., :2].std() > 0.3
    assert bool((trainer.spec.role_action(batch.action, 0)[..., 2:].flatten(1) <= batch.allowed).all())
    networks = {"network_settings": {"deterministic": True}}
    greedy = build(tmp_path / "greedy", trainer_type="masac", scene=manager(**BOTH), behavior=networks)
    assert isinstance(greedy.acting, SamplingActing)
    assert greedy.acting.greedy
    assert not trainer.acting.greedy


@FAMILY
def test_what_a_summary_shows(tmp_path, trainer_type):
    recorder = Recorder()
    StatsReporter.add_writer(recorder)
    start(
        tmp_path,
        trainer_type=trainer_type,
        scene=manager(**BOTH),
        behavior={"summary_freq": 100},
        hyper={"learning_rate_schedule": "linear"},
    )
    last = recorder.summaries[-1]
    names = {"Policy/Entropy", "Policy/Learning Rate", "Policy/Critic Learning Rate", "Losses/Value Loss"}
    names |= {
        "Policy/Temperature Learning Rate",
        "Losses/Policy Loss",
        "Policy/Extrinsic Value Estimate",
        "Learner/Action Diversity",
    }
    names |= {f"Learner/{name} Slot 1" for name in ("Temperature", "Choice Temperature", "Policy Std")}
    assert names <= last.keys()
    assert all(np.isfinite(last[name]) for name in names)
    assert not {"Policy/Noise Scale", "Policy/Epsilon"} & last.keys()
    assert last["Policy/Learning Rate"] < 1.5e-4


def test_the_exported_model_draws_and_knows_the_greedy_action(tmp_path):
    trainer = start(tmp_path, trainer_type="masac", scene=manager(**BOTH)).trainer
    (model,) = tmp_path.glob("*.onnx")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    obs = np.repeat(trainer.assembler.staging.obs[0][:1, 0], 500, axis=0)
    inputs = {name.name: obs for name in session.get_inputs() if name.name.startswith("obs")}
    outputs = dict(
        zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {**inputs, "action_masks": np.ones((500, 5), np.float32)}),
            strict=True,
        )
    )
    greedy, drawn = outputs["deterministic_continuous_actions"], outputs["continuous_actions"]
    assert (greedy == greedy[0]).all()
    assert (drawn.std(0) > 0.1).all()
    assert np.abs(drawn).max() < 1
