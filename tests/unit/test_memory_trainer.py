"""Trainers whose agents remember, inside the host's own controller, and the settings that say so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.settings import NetworkSettings

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.sequence_replay import SequenceSize
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.types import RolloutBatch
from mlagents_marl_plugin.player.scenes.recall import RecallOptions, RecallScene
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.unit.conftest import host_state, printed  # noqa: F401
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import assert_same, manager, small, start

pytestmark = pytest.mark.usefixtures("host_state")

MEMORY = {"memory_size": 16, "sequence_length": 3}
NETWORK = {"hidden_units": 16, "num_layers": 1}
REMEMBERS = [name for name, algorithm in ALGORITHMS.items() if algorithm.supports_memory]
FORGETS = [name for name in ALGORITHMS if name not in REMEMBERS]
LENGTH = 4  # decisions of an episode of Recall


def remembering(**behavior: Any) -> dict[str, Any]:
    return {"network_settings": {**NETWORK, "memory": MEMORY}, **behavior}


RECALL: dict[str, tuple[dict[str, Any], int, int]] = {  # with how many steps it is learnt, and surely not
    "mappo": (
        {"batch_size": 512, "buffer_size": 512, "num_epoch": 5, "critic_learning_rate": 0.005},
        16_000,
        16_000,
    ),
    "qmix": (
        {"buffer_size": 4_000, "buffer_init_steps": 500, "steps_per_update": 16.0, "epsilon_decay": 0.9995},
        8_000,
        5_000,
    ),
}


def recall(folder: Path, trainer_type: str, memory: bool) -> RecallScene:
    """A run on 16 areas of `RecallScene`."""
    own, enough, too_few = RECALL[trainer_type]
    scene = SceneManager(lambda process: RecallScene(16, 3, RecallOptions(length=LENGTH)))
    network = NETWORK | ({"memory": {"memory_size": 16, "sequence_length": LENGTH}} if memory else {})
    hyper = {"learning_rate": 0.005, "group_size": 2} | own
    behavior = {"max_steps": enough if memory else too_few, "network_settings": network}
    Run(folder, options("Recall", trainer_type, hyper, behavior), scene).start()
    played: RecallScene = scene.workers[0].scene
    return played


@pytest.mark.parametrize("trainer_type", RECALL)
def test_what_must_be_remembered_is_learnt_with_a_memory_and_only_so(
    tmp_path: Path, trainer_type: str
) -> None:
    scene = recall(tmp_path / "with", trainer_type, True)
    assert np.mean(scene.scores[-20:]) > 0.9
    scene = recall(tmp_path / "without", trainer_type, False)
    assert abs(np.mean(scene.scores[-40:])) < 0.15

    policy = OnnxPolicy(tmp_path / "with" / "Recall.onnx")
    assert policy.memory_size == 16
    cues, ids = [0, 1, 0, 1], [10, 11, 12, 13]
    answer(policy, [[1 - cue, cue, 0] for cue in cues], ids)
    for _ in range(LENGTH - 2):
        answer(policy, [[0, 0, 0]] * 4, ids[::-1])  # by id, not by row
    assert answer(policy, [[0, 0, 1]] * 4, ids) == cues
    policy.forget(ids)
    assert len(set(answer(policy, [[0, 0, 1]] * 4, ids))) == 1, "who remembers nothing knows nothing"


def answer(policy: OnnxPolicy, obs: list[list[float]], ids: list[int]) -> list[int]:
    chosen: list[int] = policy.act([np.array(obs, np.float32)], agent_ids=ids)[1][:, 0].tolist()
    return chosen


UNLIKE = {
    "agents": 3,
    "group_ids": True,
    "deaths": True,
    "periods": (1, 2),
    "branches": (3, 2),
    "masks": True,
}
STILL = {"learning_rate": 1e-12, "critic_learning_rate": 1e-12, "batch_size": 10_000, "group_size": 3}


@pytest.mark.parametrize("trainer_type", ["mappo", "ia2c_shared"])
def test_the_first_epoch_finds_what_was_played_by_agents_of_any_group(
    tmp_path: Path, trainer_type: str
) -> None:
    """Decisions of different periods, deaths, and rollouts that begin in the middle of episodes.

    Weights that do not move, since trajectories that were under way at an update were played by older ones.
    """
    differences: list[float] = []
    scene = manager(areas=3, workers=2, **UNLIKE)

    def watch() -> None:
        if scene.steps == 2:
            learner = run.trainer.learner
            update = learner.update

            def watched(batch: RolloutBatch) -> None:
                update(batch)
                off = [(part.log_ratio * part.mask).abs().max() for part in learner._policy_steps]
                differences.append(float(torch.stack(off).max()))

            learner.update = watched

    scene.on_step = watch
    hyper = {**small(trainer_type), **STILL}
    run = Run(tmp_path, options("Counter", trainer_type, hyper, remembering(max_steps=600)), scene)
    run.start()
    assert len(differences) >= 4 and max(differences) < 1e-5


def test_memories_are_staged_as_they_were_played(tmp_path: Path) -> None:
    """From row to row: what a decision left behind; the same while none is made; nothing for whoever is new."""
    scene = manager(areas=3, workers=2, **UNLIKE)
    run = start(tmp_path, trainer_type="mappo", scene=scene, hyper=STILL, behavior=remembering())
    staging, role = run.trainer.assembler.staging, run.trainer.learner.actor.roles[0]
    moved = held = 0
    for row in range(staging.head):
        after = int(staging.successor[row])
        for slot in np.flatnonzero(staging.present[row]):
            if after < 0 or not staging.present[after, slot]:
                continue
            before, then = staging.memory[row, slot], staging.memory[after, slot]
            if staging.end[row, slot]:
                assert (then == 0).all()
            elif not staging.decided[row, slot]:
                held += 1
                assert (then == before).all()
            else:
                moved += 1
                obs = torch.from_numpy(staging.obs[0][row, slot : slot + 1])
                _, expected = role.step_rows(obs, torch.tensor([slot]), torch.from_numpy(before[None]))
                np.testing.assert_allclose(then, expected[0], atol=1e-6)
    assert moved > 100 and held > 20
    lanes = run.trainer.roster.lanes
    assert (lanes.memory[~lanes.present] == 0).all()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_resumed_run_remembers_the_same_weights(tmp_path: Path, cell: str) -> None:
    run: dict[str, Any] = {"trainer_type": "mappo", "hyper": {"memory_cell": cell}}
    first = start(tmp_path, **run, behavior=remembering())
    saved = torch.load(tmp_path / "Counter" / "checkpoint.pt", weights_only=True)
    assert_same(saved["learner"], first.trainer.learner.state_dict())
    again = start(tmp_path, **run, behavior=remembering(max_steps=800), load=True)
    assert again.trainer.updates > first.trainer.updates
    shape = again.trainer.learner.actor.nets[0].shape
    assert (shape.cell.value, shape.cell_size) == (cell, 16 if cell == "gru" else 8)
    assert OnnxPolicy(tmp_path / "Counter.onnx").memory_size == 16


def test_sequences_of_a_replay_lead_to_the_memories_that_were_played(tmp_path: Path) -> None:
    """Decisions of different periods, deaths and newcomers: what networks remember after a row stands in the next."""
    hyper = {"learning_rate": 1e-12, "group_size": 3}
    scene = manager(areas=3, workers=2, **UNLIKE)
    behavior = remembering(max_steps=900)
    trainer = start(tmp_path, trainer_type="qmix", scene=scene, hyper=hyper, behavior=behavior).trainer
    learner, replay, num_slots, size = trainer.learner, trainer.replay, 3, MEMORY["memory_size"]
    batch = replay.sample_sequences(100, learner.sequences, 0.99)
    num_steps, obs = MEMORY["sequence_length"], torch.cat([batch.steps.obs, batch.steps.next_obs[-100:]])
    role = learner.actor.roles[0]
    recurrence = Recurrence((100,) * (num_steps + 1), batch.memory, batch.held)
    role(learner.spec.role_obs(obs, 0), recurrence=recurrence)
    after = role.net.memories[0, 100 * num_slots :].view(num_steps + 1, 100, num_slots, size)
    begun = replay.sample_sequences(2_000, SequenceSize(1, 0, size), 0.99)
    stored = {
        row.numpy().tobytes(): memory for row, memory in zip(begun.steps.obs, begun.memory, strict=True)
    }
    compared = kept = 0
    for step in range(num_steps - 1):
        for s in (batch.follows.view(num_steps, 100)[step] == 1).nonzero().squeeze(1).tolist():
            row = (step + 1) * 100 + s
            memory = stored.get(obs[row].numpy().tobytes())
            if memory is not None:
                here = batch.steps.agent_mask[row] == 1
                torch.testing.assert_close(after[step, s][here], memory[here], rtol=0.0, atol=1e-5)
                compared += int(here.sum())
                kept += int((here & (batch.held[step * 100 + s] == 1)).sum())
    assert compared > 100 and kept > 20


@pytest.mark.parametrize("trainer_type", FORGETS)
def test_a_memory_is_refused_where_nothing_learns_it(tmp_path: Path, trainer_type: str) -> None:
    expected = rf"network_settings\.memory: expected none for {trainer_type}, got memory; .*mappo"
    with pytest.raises(TrainerConfigError, match=expected):
        start(tmp_path, trainer_type=trainer_type, behavior=remembering())


@pytest.mark.parametrize("trainer_type", REMEMBERS)
def test_every_type_that_remembers_learns(tmp_path: Path, trainer_type: str) -> None:
    run = start(tmp_path, trainer_type=trainer_type, behavior=remembering(max_steps=200))
    assert run.trainer.updates >= 2 and run.trainer.learner.is_finite()


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    nothing = NetworkSettings.MemorySettings(sequence_length=0)
    with pytest.raises(TrainerConfigError, match=r"sequence_length: expected a whole number >= 1, got 0"):
        network = {**NETWORK, "memory": {"memory_size": 8, "sequence_length": nothing.sequence_length}}
        start(tmp_path, trainer_type="mappo", behavior={"network_settings": network})
    with pytest.raises(
        TrainerConfigError, match=r"burn_in: expected 0 without network_settings\.memory, got 2"
    ):
        start(tmp_path, trainer_type="mappo", hyper={"burn_in": 2})
    with pytest.raises(
        TrainerConfigError, match=r"memory_cell: expected gru without network_settings\.memory, got lstm"
    ):
        start(tmp_path, trainer_type="mappo", hyper={"memory_cell": "lstm"})
    with pytest.raises(TrainerConfigError, match=r"burn_in: expected a whole number >= 0, got -1"):
        start(tmp_path, trainer_type="mappo", hyper={"burn_in": -1})
    with pytest.raises(TrainerConfigError, match=r"layer_normalisation: expected none or layer with .*batch"):
        start(tmp_path, trainer_type="qmix", hyper={"layer_normalisation": "batch"}, behavior=remembering())
