"""Self-play: the host's GhostTrainer around ours, where a group is one side (contract items 51 to 55 and 85)."""

from pathlib import Path
from typing import Any

import attr
import numpy as np
import pytest
import torch
import yaml
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.training_status import GlobalTrainingStatus, StatusType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.adapter.settings import SCHEMAS
from mlagents_marl_plugin.algorithms import ALGORITHMS
from tests.contract.host import free_port, launcher, learn
from tests.contract.scenes import DuelOptions, DuelScene
from tests.unit.conftest import host_state, printed  # noqa: F401
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import small

pytestmark = pytest.mark.usefixtures("host_state")

DUEL = DuelOptions()
SELF_PLAY = {"save_steps": 60, "team_change": 120, "swap_steps": 30, "window": 4}
ONE_SIDE = {"self_play": {**SELF_PLAY, "team_change": 10_000}}
FAMILIES = pytest.mark.parametrize("trainer_type", ["matd3", "mappo", "ippo"])


def hyperparameters(trainer_type: str, **more: Any) -> dict[str, Any]:
    """Small values of the fields that the type has; what a side is, the scene says."""
    fields = attr.fields_dict(SCHEMAS[trainer_type]).keys() - {"group_size"}
    return {name: value for name, value in small(trainer_type).items() if name in fields} | more


def play(
    folder: Path,
    trainer_type: str,
    duel: DuelOptions = DUEL,
    *,
    hyper: dict[str, Any] | None = None,
    behavior: dict[str, Any] | None = None,
    **run: Any,
) -> Run:
    scene = SceneManager(lambda process: DuelScene(process, duel), num_workers=2)
    settings = {"self_play": SELF_PLAY, "max_steps": 500, "time_horizon": 3, **(behavior or {})}
    config = options("Duel", trainer_type, hyperparameters(trainer_type, **(hyper or {})), settings)
    return Run(folder, config, scene, **run).start()


@pytest.mark.parametrize("trainer_type", sorted(ALGORITHMS))
def test_c51_every_trainer_type_plays_itself_with_a_side_as_its_group(tmp_path, trainer_type):
    run = play(tmp_path, trainer_type, behavior={**ONE_SIDE, "max_steps": 300})
    inner = run.trainer.trainer
    assert inner.spec.num_slots == 2, "two agents of one side, none of the other"
    assert inner.updates >= 3
    assert inner.assembler.accepted >= 250
    # Before the first step of the first process is over, it is not known who plays with whom.
    assert (inner.assembler.rejected, inner.assembler.dropped) == (4, 0)
    assert (tmp_path / "Duel.onnx").is_file()


@FAMILIES
def test_c54_only_what_the_learning_side_did_is_learnt_from(tmp_path, trainer_type):
    learnt = []
    scene = SceneManager(lambda process: DuelScene(process, DUEL), num_workers=2)
    settings = {"self_play": SELF_PLAY, "max_steps": 500, "time_horizon": 3}
    run = Run(tmp_path, options("Duel", trainer_type, hyperparameters(trainer_type), settings), scene)

    def watch() -> None:
        inner = run.trainer.trainer
        if scene.steps == 2:
            add = inner.assembler.store.add

            def note(steps):
                side = steps.joint_obs.reshape(len(steps.joint_obs), 2, -1)[:, :, 2]
                assert (side == run.trainer._learning_team).all()
                learnt.extend(side[:, 0].tolist())
                add(steps)

            inner.assembler.store.add = note

    scene.on_step = watch
    run.start()
    assert set(learnt) == {0.0, 1.0}, "each side has learnt in its turn"
    assert 2 * len(learnt) == pytest.approx(run.trainer.get_step, abs=40)


@FAMILIES
def test_c52_opponents_are_snapshots_and_stay_what_they_are_between_swaps(tmp_path, trainer_type):
    behavior = {"self_play": {**SELF_PLAY, "swap_steps": 10_000, "team_change": 10_000, "window": 50}}
    run = play(tmp_path, trainer_type, behavior=behavior)
    table = run.trainer.trainer.table
    learning, other = "Duel?team=0", "Duel?team=1"
    if run.trainer._learning_team == 1:
        learning, other = other, learning
    latest = table.latest.copy
    first = run.trainer.policy_snapshots[0]["Duel"]
    weights = {name: acting.copy for name, acting in table.decide.items()}
    assert run.trainer.trainer.updates > 3
    assert same(weights[learning], latest)
    assert not same(weights[other], latest)
    assert first == [], "the host's first snapshot is older than the learner"
    table.load(other, first)
    assert same(weights[other], table._first_weights)


def same(one: Any, other: Any) -> bool:
    """Whether two actors say the same of the same observations."""
    obs, slots = torch.linspace(-1, 1, 40).reshape(8, 5), torch.zeros(8, dtype=torch.int64)
    allowed = torch.ones(8, 0)
    if hasattr(one, "mode_rows"):
        return torch.equal(one.mode_rows(obs, allowed, slots), other.mode_rows(obs, allowed, slots))
    return torch.equal(one.forward_rows(obs, slots), other.forward_rows(obs, slots))


@FAMILIES
def test_c53_results_are_rated_and_the_rating_goes_on_after_a_resume(tmp_path, trainer_type):
    run = play(tmp_path, trainer_type)
    rating = GlobalTrainingStatus.get_parameter_state("Duel", StatusType.ELO)
    assert rating != 1200
    assert rating == run.trainer.current_elo
    resumed = play(tmp_path, trainer_type, behavior={"max_steps": 800}, load=True)
    assert resumed.trainer.initial_elo == rating
    assert resumed.trainer.get_step > 800
    assert resumed.trainer.trainer.updates > run.trainer.trainer.updates
    weights = resumed.trainer.trainer.table
    assert not same(weights._first_weights, run.trainer.trainer.table._first_weights)
    assert same(weights._first_weights, run.trainer.trainer.learner.actor.acting_copy(torch.device("cpu")))


@pytest.mark.parametrize("ids_by_agent", [False, True])
def test_c54_sides_without_group_ids_are_paired_by_their_own_ids(tmp_path, ids_by_agent):
    duel = DuelOptions(areas=3, agents=2, group_ids=False, ids_by_agent=ids_by_agent)
    run = play(tmp_path, "mappo", duel, hyper={"group_size": 2}, behavior=ONE_SIDE)
    inner = run.trainer.trainer
    assert inner.spec.num_slots == 2
    assert (inner.assembler.rejected, inner.assembler.dropped) == (6, 0)
    staging = inner.assembler.staging
    seen = staging.obs[0][: staging.head]
    whole = staging.decided[: staging.head].all(axis=1)
    assert whole.all()
    assert (seen[:, 0, :3] == seen[:, 1, :3]).all(), "one process, one area, one side"
    assert (np.sort(seen[:, :, 3], axis=1) == [0, 1]).all()


def test_c38_a_game_of_two_behaviours_has_a_trainer_for_each(tmp_path):
    duel = DuelOptions(names=("Duel", "Rival"))
    config = options("Duel", "mappo", hyperparameters("mappo"), {"self_play": SELF_PLAY, "max_steps": 200})
    config.behaviors["Rival"] = options(
        "Rival", "matd3", hyperparameters("matd3"), {"self_play": SELF_PLAY, "max_steps": 200}
    ).behaviors["Rival"]
    run = Run(tmp_path, config, SceneManager(lambda process: DuelScene(process, duel))).start()
    for name in ("Duel", "Rival"):
        ghost = run.controller.trainers[name]
        assert ghost.trainer.updates > 0
        assert ghost.trainer.spec.num_slots == 2
        assert (tmp_path / f"{name}.onnx").is_file()


def test_c54_both_sides_in_one_group_are_refused(tmp_path):
    duel = DuelOptions(one_group=True)
    with pytest.raises(UnityTrainerException) as caught:
        play(tmp_path, "mappo", duel)
    assert str(caught.value).startswith(
        "behaviors.Duel.self_play: expected the agents of one side in each group, got group 1 with agents of "
        "Duel?team=0 and Duel?team=1; the host delivers nothing of what opponents did"
    )


def test_c85_a_criterion_that_the_host_would_not_obey_is_refused(tmp_path):
    with pytest.raises(TrainerConfigError) as caught:
        play(tmp_path, "mappo", hyper={"stop_when": {"threshold": 0.5}})
    assert str(caught.value).startswith(
        "behaviors.Duel.hyperparameters.stop_when: expected none in self-play, got stop_when; the host ends"
    )


def test_c84_self_play_repeats_with_its_seed(tmp_path):
    weights = []
    for name in ("a", "b"):
        np.random.seed(3)  # the host draws opponents from it
        inner = play(tmp_path / name, "mappo", seed=4).trainer.trainer
        weights.append(inner.learner.actor.acting_copy(torch.device("cpu")))
    assert same(*weights)


CONFIG = {
    "trainer_type": "mappo",
    "hyperparameters": {"group_size": 1, "batch_size": 64, "buffer_size": 256, "num_epoch": 1},
    "network_settings": {"hidden_units": 16, "num_layers": 1},
    "max_steps": 1500,
    "time_horizon": 32,
    "summary_freq": 500,
    "self_play": {"save_steps": 300, "team_change": 600, "swap_steps": 100, "window": 3},
}


def test_c53_competitive_tennis_through_the_real_host(tmp_path):
    def run(max_steps: int, *flags: str) -> str:
        config = {"behaviors": {"Tennis": {**CONFIG, "max_steps": max_steps}}}
        (tmp_path / "mappo.yaml").write_text(yaml.safe_dump(config))
        build = f"--env={launcher(tmp_path, 'TennisVersus')}"
        return learn(
            tmp_path, "mappo.yaml", build, "--num-areas=8", "--seed=7", f"--base-port={free_port(2)}", *flags
        )

    begun = run(1500)
    assert "Tennis: grouping 'consecutive', 1 agents in a group, which is one side of 2." in begun
    assert "ELO: " in begun
    folder = tmp_path / "results" / "run"
    before = checkpoint.read(str(folder / "Tennis" / checkpoint.LAST), torch.device("cpu"))
    resumed = run(2500, "--resume")
    assert f"at step {before['step']}" in resumed
    summaries = EventAccumulator(str(folder / "Tennis")).Reload()
    ratings = [rating.value for rating in summaries.Scalars("Self-play/ELO")]
    assert len(ratings) >= 3
    assert max(ratings) != min(ratings)
    assert summaries.Scalars("Data/Dropped Group Steps")[-1].value == 0
    assert (folder / "Tennis.onnx").is_file()
