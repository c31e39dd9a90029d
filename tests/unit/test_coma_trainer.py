"""COMA inside the host's own controller: what it plays, keeps, shows and exports."""

import numpy as np
import onnxruntime
import pytest
import torch
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.stats import StatsReporter

from tests.unit.trainer_runs import Recorder, assert_same, build, manager, start

pytestmark = pytest.mark.usefixtures("host_state")
CHOICES = {"continuous": 0, "branches": (3, 2), "masks": True}
VALUES = {"continuous": 2, "branches": (3,)}
NETWORK = {"hidden_units": 16, "num_layers": 1}
MEMORY = {"memory_size": 8, "sequence_length": 4}


@pytest.mark.parametrize(
    ("actions", "memory"),
    [(CHOICES, None), (VALUES, None), (VALUES, MEMORY)],
    ids=["choices", "values", "remembered values"],
)
def test_a_run_learns_shows_exports_and_is_resumed(tmp_path, actions, memory):
    recorder = Recorder()
    StatsReporter.add_writer(recorder)
    network = NETWORK if memory is None else NETWORK | {"memory": memory}
    behavior = {"summary_freq": 100, "network_settings": network}
    settings = {"trainer_type": "coma", "behavior": behavior}
    first = start(tmp_path, scene=manager(**actions), **settings).trainer
    assert first.updates > 2
    last = recorder.summaries[-1]
    names = {"Policy/Entropy", "Policy/Beta", "Policy/Learning Rate", "Policy/Critic Learning Rate"}
    names |= {"Losses/Value Loss", "Learner/Explained Variance", "Learner/Advantage Std Slot 1"}
    assert names <= last.keys()
    assert not {"Learner/Clip Fraction", "Policy/Epsilon"} & last.keys()
    again = build(tmp_path, scene=manager(**actions), load=True, seed=99, **settings)
    assert_same(first.learner.state_dict(), again.learner.state_dict())

    (model,) = tmp_path.glob("*.onnx")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    num_choices = sum(actions["branches"])
    masks = np.ones((200, num_choices), np.float32)
    masks[:, 0] = 0.0
    obs = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * 5
    feed = {"obs_0": obs, "action_masks": masks}
    if memory is not None:
        feed["recurrent_in"] = np.zeros((200, 1, memory["memory_size"]), np.float32)
    answer = session.run(None, feed)
    named = dict(zip((output.name for output in session.get_outputs()), answer, strict=True))
    for output in ("discrete_actions", "deterministic_discrete_actions"):
        assert (named[output][:, 0] != 0).all()
    drawn = not np.array_equal(named["discrete_actions"], named["deterministic_discrete_actions"])
    assert drawn is (actions is CHOICES)
    assert ("recurrent_out" in named) is (memory is not None)
    if actions["continuous"]:
        assert set(named["continuous_actions"].flatten().round(6)) <= {-1.0, 0.0, 1.0}


def test_what_is_played_lies_on_the_grid(tmp_path):
    run = start(tmp_path, trainer_type="coma", scene=manager(**VALUES))
    sent = torch.tensor([line["continuous"] for line in run.manager.lines])
    torch.testing.assert_close(sent.unique(), torch.tensor([-1.0, 0.0, 1.0]), rtol=0.0, atol=1e-6)


def test_continuous_actions_are_refused_before_anything_starts(tmp_path):
    with pytest.raises(
        TrainerConfigError, match=r"^behaviors\.Counter\.hyperparameters\.discretise: expected .+, got 0; set"
    ):
        build(tmp_path, trainer_type="coma", hyper={"discretise": 0})
