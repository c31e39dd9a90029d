"""Trainers of action values inside the host's own controller: what they do, keep, resume, show and export."""

import numpy as np
import onnxruntime
import pytest
import torch
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.stats import StatsReporter

from mlagents_marl_plugin.adapter.acting import ExploringActing
from mlagents_marl_plugin.algorithms.qmix import QmixConfig, QmixLearner
from mlagents_marl_plugin.core.epsilon_greedy import EpsilonGreedy
from mlagents_marl_plugin.core.exploration import ExplorationSchedule
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from tests.unit.trainer_runs import Recorder, assert_same_next_update, build, manager, start

pytestmark = pytest.mark.usefixtures("host_state")
FAMILY = pytest.mark.parametrize("trainer_type", ["qmix", "vdn", "iql", "iql_shared"])
CHOICES = {"continuous": 0, "branches": (3, 2), "masks": True}
VALUES = {"continuous": 2, "branches": (3,)}


@FAMILY
@pytest.mark.parametrize("actions", [CHOICES, VALUES], ids=["choices", "values"])
def test_a_resumed_run_makes_the_very_update_that_it_would_have_made(tmp_path, trainer_type, actions):
    hyper = {"save_replay_buffer": True, "n_step": 3, "target_update_interval": 3}
    behavior = {"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 2}}
    settings = {"trainer_type": trainer_type, "hyper": hyper, "behavior": behavior}
    first = start(tmp_path, scene=manager(**actions), **settings).trainer
    assert first.updates > 10
    again = build(tmp_path, scene=manager(**actions), load=True, seed=99, **settings)
    assert_same_next_update(first, again)
    assert again.acting.explorer.figures(0) == first.acting.explorer.figures(0)


@pytest.mark.parametrize("lambd", [0.0, 0.8])
def test_a_resumed_run_draws_the_very_sequences_that_it_would_have_drawn(tmp_path, lambd):
    memory = {"memory_size": 8, "sequence_length": 4}
    network = {"hidden_units": 8, "num_layers": 1, "memory": memory}
    hyper = {"save_replay_buffer": True, "burn_in": 2, "lambd": lambd}
    settings = {"trainer_type": "qmix", "hyper": hyper, "behavior": {"network_settings": network}}
    first = start(tmp_path, scene=manager(**CHOICES), **settings).trainer
    again = build(tmp_path, scene=manager(**CHOICES), load=True, seed=99, **settings)
    assert_same_next_update(first, again)
    assert first.updates > 10


@FAMILY
def test_only_permitted_choices_are_made_and_learnt_from(tmp_path, trainer_type):
    replay = start(tmp_path, trainer_type=trainer_type, scene=manager(**CHOICES)).trainer.replay
    batch = replay.sample(256, 1, 0.9)
    assert bool((batch.action <= batch.allowed).all())
    assert bool((batch.allowed == 0).any())
    assert torch.equal(batch.action.sum(1), 2.0 * batch.agent_mask.sum(1))


def test_values_that_are_cut_reach_the_scene_as_values_of_the_grid(tmp_path):
    trainer = start(tmp_path, trainer_type="qmix", scene=manager(continuous=2)).trainer
    action = trainer.replay.sample(512, 1, 0.9).action
    torch.testing.assert_close(action.unique(), torch.tensor([-1.0, 0.0, 1.0]), rtol=0.0, atol=1e-6)


def test_continuous_actions_are_refused_before_anything_starts(tmp_path):
    with pytest.raises(
        TrainerConfigError, match=r"^behaviors\.Counter\.hyperparameters\.discretise: expected .+, got 0; set"
    ):
        build(tmp_path, trainer_type="qmix", hyper={"discretise": 0})


@FAMILY
def test_what_a_summary_shows(tmp_path, trainer_type):
    recorder = Recorder()
    StatsReporter.add_writer(recorder)
    start(
        tmp_path,
        trainer_type=trainer_type,
        scene=manager(**CHOICES),
        behavior={"summary_freq": 100},
        hyper={"learning_rate_schedule": "linear"},
    )
    last = recorder.summaries[-1]
    names = {"Policy/Epsilon", "Policy/Learning Rate", "Policy/Extrinsic Value Estimate", "Losses/Value Loss"}
    names |= {f"Learner/{name}" for name in ("Td Error", "Q Max", "Chosen Q Slot 1", "Mixing Weight Slot 0")}
    names |= {"Learner/Action Diversity", "Learner/Q Gradient Norm"}
    assert names <= last.keys()
    assert all(np.isfinite(last[name]) for name in names)
    assert ("Learner/Mixer Gradient Norm" in last) is (trainer_type == "qmix")
    assert not {"Policy/Noise Scale", "Policy/Critic Learning Rate"} & last.keys()
    epsilons = [summary["Policy/Epsilon"] for summary in recorder.summaries]
    assert epsilons == sorted(epsilons, reverse=True)
    assert 0.6 < epsilons[-1] < 0.75  # 0.999 after 300 to 400 agent steps
    assert last["Policy/Learning Rate"] < 2.5e-4


def test_epsilon_goes_on_falling_on_its_line_in_a_resumed_run(tmp_path):
    hyper = {"epsilon_decay": 0.9999, "epsilon_anneal_steps": 1_000}
    start(tmp_path, trainer_type="qmix", scene=manager(**CHOICES), hyper=hyper)
    again = build(tmp_path, trainer_type="qmix", scene=manager(**CHOICES), load=True, hyper=hyper)
    assert 400 <= again.get_step < 900
    assert again.figures()["Policy/Epsilon"] == pytest.approx(1.0 - 0.95 * again.get_step / 1_000)


@pytest.mark.parametrize("actions", [CHOICES, VALUES], ids=["choices", "values"])
def test_the_exported_model_is_the_greedy_policy(tmp_path, actions):
    """The file is compared with torch as it is written; here, that what it says is on the grid and permitted."""
    behavior = {"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 2}}
    start(tmp_path, trainer_type="qmix", scene=manager(**actions), behavior=behavior)
    session = onnxruntime.InferenceSession(str(tmp_path / "Counter.onnx"))
    num_choices = sum(actions["branches"])
    masks = np.ones((40, num_choices), np.float32)
    masks[:, 0] = 0.0
    obs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32) * 5
    answer = session.run(None, {"obs_0": obs, "action_masks": masks})
    named = dict(zip((output.name for output in session.get_outputs()), answer, strict=True))
    assert (named["deterministic_discrete_actions"][:, 0] != 0).all()
    assert np.array_equal(named["discrete_actions"], named["deterministic_discrete_actions"])
    if actions["continuous"]:
        assert set(named["continuous_actions"].flatten().round(6)) <= {-1.0, 0.0, 1.0}


def test_acting_explores_only_while_it_is_told_to():
    layout = ActionLayout(0, (4,))
    spec = GroupSpec((RoleSpec("A", 2, ((3,),), layout),))
    sizes = {"hidden_units": 8, "num_layers": 1, "normalize": False, "discount": 0.9}
    learner = QmixLearner(spec, QmixConfig(), **sizes, device=torch.device("cpu"), seed=0)
    obs, rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), torch.arange(500)

    def act(epsilon: float | None) -> torch.Tensor:
        explorer = None
        if epsilon is not None:
            schedule = ExplorationSchedule(epsilon, 0.0)
            explorer = EpsilonGreedy(layout, schedule, torch.Generator().manual_seed(1))
        acting = ExploringActing(learner.actor, layout, torch.device("cpu"), explorer, lambda: 0)
        return acting(obs, torch.ones(500, 4), rows % 2, rows).action

    assert torch.equal(act(None), act(0.0))
    changed = float((act(0.5) != act(None)).any(1).float().mean())
    assert changed == pytest.approx(0.5 * 3 / 4, abs=0.06)
