"""The trainer inside the host's own controller: saving, resuming, starting from another run, and what it refuses."""

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpointManager
from mlagents.trainers.stats import StatsReporter
from mlagents.trainers.training_status import GlobalTrainingStatus, StatusType

from mlagents_marl_plugin.adapter import checkpoint, marl_trainer, metrics, scores
from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import (
    SMALL,
    Recorder,
    assert_same,
    build,
    manager,
    small,
    start,
    tensors,
)

pytestmark = pytest.mark.usefixtures("host_state")
BOTH = pytest.mark.parametrize("trainer_type", ["maddpg", "mappo"])


def update_once(trainer: Any) -> None:
    trainer._debt_paid = (
        int((trainer._step - trainer._debt_origin) / trainer.hyperparameters.steps_per_update) - 1
    )
    assert trainer._is_ready_update()
    trainer._update_policy()


@pytest.mark.parametrize("trainer_type", ["maddpg", "matd3", "iddpg", "maddpg_shared", "matd3_shared"])
def test_a_resumed_run_makes_the_very_update_that_it_would_have_made(tmp_path, trainer_type):
    hyper = {"save_replay_buffer": True, "noise_type": "ornstein_uhlenbeck", "n_step": 3}
    behavior = {"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 2}}
    first = start(tmp_path, trainer_type=trainer_type, hyper=hyper, behavior=behavior).trainer
    assert first.updates > 10
    again = build(tmp_path, trainer_type=trainer_type, hyper=hyper, behavior=behavior, load=True, seed=99)
    assert (again._step, again.updates) == (first._step, first.updates)
    assert (again._debt_origin, again._debt_paid) == (first._debt_origin, first._debt_paid)
    assert_same(first.learner.state_dict(), again.learner.state_dict())
    assert_same(first.replay.state_dict(), again.replay.state_dict())
    update_once(first)
    update_once(again)
    assert_same(first.learner.state_dict(), again.learner.state_dict())
    assert again.board.state_dict() == first.board.state_dict()


def test_exploration_goes_on_where_it_stopped(tmp_path):
    first = start(tmp_path).trainer
    saved = checkpoint.read(str(tmp_path / "Counter" / checkpoint.LAST), torch.device("cpu"))
    again = build(tmp_path, load=True, behavior={"max_steps": 10_000})
    assert saved["step"] == first._step == again._step
    assert again.acting.explorer.schedule.scale_at(again._step) == pytest.approx(0.3 * 0.999**first._step)


def test_without_its_replay_a_resumed_run_collects_before_it_updates(tmp_path):
    first = start(tmp_path).trainer
    again = build(tmp_path, load=True)
    assert len(again.replay) == 0
    assert again._debt_origin == first._step + SMALL["buffer_init_steps"]
    assert not again._is_ready_update()


@pytest.mark.parametrize("steps_per_update", [1, 400])
def test_another_rate_of_updates_counts_from_the_resumed_step_on(tmp_path, steps_per_update):
    hyper = {"save_replay_buffer": True}
    first = start(tmp_path, hyper=hyper).trainer
    assert first.updates > 10
    again = build(tmp_path, hyper={**hyper, "steps_per_update": steps_per_update}, load=True)
    assert not again._is_ready_update()
    again._step += 2 * steps_per_update
    assert again._updates_owed() == 2


def test_another_rate_of_updates_keeps_what_is_still_to_come(tmp_path):
    """The steps before ``buffer_init_steps``, and the updates from demonstrations alone."""
    trainer = build(tmp_path)
    trainer._step = 40
    trainer._resume_debt({"debt_origin": 100, "debt_paid": -7, "steps_per_update": 3})
    assert (trainer._debt_origin, trainer._debt_paid) == (100, -7)
    trainer._resume_debt({"debt_origin": 10, "debt_paid": 2})
    assert (trainer._debt_origin, trainer._debt_paid) == (10, 2), "an early version's checkpoint"


def test_steps_scores_and_schedules_go_on_after_a_resume(tmp_path):
    behavior = {"max_steps": 800}
    hyper = {"learning_rate_schedule": "linear", "solved_when": {"threshold": 0.0, "window": 3}}
    scene = manager()
    scene.stop_after = 100
    first = start(tmp_path, scene=scene, hyper=hyper, behavior=behavior).trainer
    assert 0 < first._step < 800
    done = start(tmp_path, hyper=hyper, behavior=behavior, load=True).trainer
    assert done._step > 800
    assert done.board.episodes > first.board.episodes
    assert done.board.solved_at == first.board.solved_at == 3
    assert done.updates > first.updates
    assert first.learning_rate_fraction() == pytest.approx(1 - first._step / 800)
    assert done.learning_rate_fraction() == 1e-7


def test_resuming_with_another_network_names_the_entry(tmp_path):
    start(tmp_path)
    with pytest.raises(UnityTrainerException) as caught:
        build(tmp_path, load=True, behavior={"network_settings": {"hidden_units": 9, "num_layers": 1}})
    message = str(caught.value)
    assert message.startswith("behaviors.Counter: the checkpoint does not fit: checkpoint entry actor.")
    assert "expected shape" in message
    assert "resume with the networks, scene and settings that the run was started with" in message


def test_resuming_with_another_trainer_type_says_which_it_was(tmp_path):
    start(tmp_path, trainer_type="matd3")
    with pytest.raises(
        UnityTrainerException, match="trainer_type: expected matd3, got maddpg; change it back"
    ):
        build(tmp_path, load=True)


@pytest.mark.parametrize("trainer_type", ["masac", "mappo"])
def test_a_refused_resume_leaves_every_file_as_it_was(tmp_path, trainer_type):
    """The host saves whatever there is when it ends by an error; what has not gone on from the run is not it."""
    hyper = {"save_replay_buffer": True} if trainer_type == "masac" else {}
    start(tmp_path, trainer_type=trainer_type, hyper=hyper)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".pt", ".onnx")}
    assert len(before) > 3
    more = {"network_settings": {"hidden_units": 16, "num_layers": 1}, "max_steps": 800}
    with pytest.raises(UnityTrainerException, match="the checkpoint does not fit: checkpoint entry actor"):
        start(tmp_path, trainer_type=trainer_type, hyper=hyper, behavior=more, load=True)
    assert before == {path: path.read_bytes() for path in before}
    again = start(tmp_path, trainer_type=trainer_type, hyper=hyper, behavior={"max_steps": 800}, load=True)
    assert again.trainer.get_step >= 800


def test_resuming_with_another_scene_names_the_entry(tmp_path):
    start(tmp_path, hyper={"save_replay_buffer": True})
    with pytest.raises(UnityTrainerException, match="the checkpoint does not fit: checkpoint entry actor"):
        build(tmp_path, load=True, scene=manager(echo=True))


def test_a_missing_checkpoint_is_known_before_the_scene_is_asked(tmp_path):
    with pytest.raises(UnityTrainerException, match=r"checkpoint.pt: expected a checkpoint, found no file"):
        build(tmp_path, load=True, train=False)
    (tmp_path / "Another").mkdir()
    (tmp_path / "Another" / "checkpoint.pt").touch()
    with pytest.raises(UnityTrainerException, match=r"checkpoint.pt: expected a checkpoint, found no file"):
        build(tmp_path, load=True)


def test_initialising_takes_weights_only(tmp_path):
    first = start(tmp_path / "old").trainer
    path = str(tmp_path / "old" / "Counter" / "checkpoint.pt")
    new = build(tmp_path / "new", behavior={"init_path": path}, seed=5)
    assert (new._step, new.updates, new.board.episodes, len(new.replay)) == (0, 0, 0, 0)
    for part in ("actor", "critic", "target_actor", "target_critic"):
        assert_same(first.learner.state_dict()[part], new.learner.state_dict()[part])
    assert all(not value.any() for value in tensors(new.learner.state_dict()["critic_optimiser"]).values())
    acting = new.acting.copy.nets[0].parameters
    assert torch.equal(acting, first.learner.actor.nets[0].parameters)


def test_initialising_from_another_trainer_type_takes_the_actor_and_says_so(tmp_path, printed):
    first = start(tmp_path / "old", trainer_type="maddpg").trainer
    path = str(tmp_path / "old" / "Counter" / "checkpoint.pt")
    new = build(tmp_path / "new", trainer_type="matd3", behavior={"init_path": path}, seed=5)
    assert_same(first.learner.state_dict()["actor"], new.learner.state_dict()["actor"])
    fresh = build(tmp_path / "fresh", trainer_type="matd3", seed=5)
    assert_same(fresh.learner.state_dict()["critic"], new.learner.state_dict()["critic"])
    assert (
        "the checkpoint is of trainer_type maddpg; its actor is taken over, the critic of matd3 starts anew"
        in (printed.text)
    )


def test_initialising_from_the_hosts_own_trainers_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"Policy": {"weight": torch.ones(2)}, "Optimizer:adam": {}}, path)
    with pytest.raises(
        UnityTrainerException, match="expected a checkpoint of this package, got one of another trainer"
    ):
        build(tmp_path, behavior={"init_path": str(path)})


def test_resume_wins_over_init_path(tmp_path, printed):
    first = start(tmp_path).trainer
    again = build(tmp_path, load=True, behavior={"init_path": "elsewhere/checkpoint.pt"})
    assert again._step == first._step
    assert "--resume was given, so init_path (elsewhere/checkpoint.pt) has no effect" in printed.text


@BOTH
def test_inference_changes_nothing(tmp_path, trainer_type):
    trained = start(tmp_path, trainer_type=trainer_type).trainer
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.suffix in (".pt", ".onnx")}
    scene = manager()
    scene.stop_after = 60
    acting = start(tmp_path, trainer_type=trainer_type, scene=scene, train=False, load=True).trainer
    assert acting.updates == trained.updates
    assert acting.assembler.store is None
    assert acting.board.episodes > trained.board.episodes
    assert {path: path.read_bytes() for path in before} == before
    assert_same(acting.learner.state_dict()["actor"], trained.learner.state_dict()["actor"])


def test_deterministic_acts_without_noise(tmp_path):
    networks = {"network_settings": {"deterministic": True, "hidden_units": 8, "num_layers": 1}}
    assert build(tmp_path, behavior=networks).acting.explorer is None


@BOTH
def test_the_same_seed_gives_the_same_run(tmp_path, trainer_type):
    first = start(tmp_path / "a", trainer_type=trainer_type, seed=7).trainer
    second = start(tmp_path / "b", trainer_type=trainer_type, seed=7).trainer
    other = start(tmp_path / "c", trainer_type=trainer_type, seed=8).trainer
    assert_same(first.learner.state_dict(), second.learner.state_dict())
    assert first.board.state_dict() == second.board.state_dict()
    one, another = first.learner.actor.nets[0].parameters, other.learner.actor.nets[0].parameters
    assert not torch.equal(one, another)


def poison(run_scene: SceneManager, trainer_of: Any, at: int) -> None:
    def spoil() -> None:
        if run_scene.steps == at:
            trainer_of().learner.critic.nets[0].parameters.data[..., :1] = float("nan")

    run_scene.on_step = spoil


@pytest.mark.parametrize("threaded", [False, True])
@BOTH
def test_weights_that_are_not_finite_stop_the_run_and_are_never_saved(tmp_path, threaded, trainer_type):
    scene = manager()
    behavior = {"max_steps": 5_000, "checkpoint_interval": 100, "summary_freq": 50, "threaded": threaded}
    run = Run(tmp_path, options("Counter", trainer_type, small(trainer_type), behavior), scene)
    poison(scene, lambda: run.trainer, 120)
    with pytest.raises(UnityTrainerException) as caught:
        run.start()
    message = str(caught.value)
    assert "expected finite" in message
    assert "got NaN or Inf" in message
    assert "the last checkpoint is from before that. Lower learning_rate" in message
    run.controller.kill_trainers = True
    folder = tmp_path / "Counter"
    last = checkpoint.read(str(folder / checkpoint.LAST), torch.device("cpu"))
    assert checkpoint.not_finite(last["learner"]) is None
    assert 0 < last["step"] < run.trainer.get_step


@BOTH
def test_an_actor_that_puts_out_nan_stops_the_run(tmp_path, trainer_type):
    scene = manager()
    run = Run(tmp_path, options("Counter", trainer_type, small(trainer_type), {"max_steps": 5_000}), scene)

    def spoil() -> None:
        if scene.steps == 40:
            for net in run.trainer.learner.actor.nets:
                net.parameters.data.fill_(float("nan"))
            run.trainer.acting.swap(run.trainer.learner.actor)

    scene.on_step = spoil
    with pytest.raises(UnityTrainerException, match="expected finite actions, got NaN or Inf from the actor"):
        run.start()
    assert not (tmp_path / "Counter.onnx").exists()


def test_an_error_in_the_trainers_own_thread_ends_the_run(tmp_path):
    scene = manager()
    run = Run(tmp_path, options("Counter", "maddpg", SMALL, {"max_steps": 10**7, "threaded": True}), scene)

    def fail() -> None:
        if scene.steps == 30:
            run.trainer.assembler.flush = lambda: 1 / 0

    scene.on_step = fail
    ended = threading.Event()

    def to_its_end() -> None:
        with pytest.raises(ZeroDivisionError):
            run.start()
        ended.set()

    thread = threading.Thread(target=to_its_end, daemon=True)
    thread.start()
    thread.join(60)
    run.controller.kill_trainers = True
    assert ended.is_set(), "the host must not wait for a trainer that is no more"


@BOTH
def test_checkpoints_are_pruned_with_everything_that_belongs_to_them(tmp_path, trainer_type):
    behavior = {"checkpoint_interval": 60, "keep_checkpoints": 2}
    hyper = {"share_actor": "separate", "slots_by": "order"}
    start(tmp_path, trainer_type=trainer_type, hyper=hyper, behavior=behavior)
    folder = tmp_path / "Counter"
    steps = sorted({path.stem.split("-")[1] for path in folder.glob("Counter-*.pt")}, key=int)
    assert len(steps) == 2
    for step in steps:
        for name in (f"Counter-{step}.pt", f"Counter-{step}.onnx", f"Counter-{step}-slot1.onnx"):
            assert (folder / name).is_file(), name
    assert len(list(folder.glob("*.onnx"))) == 4
    assert (tmp_path / "Counter.onnx").is_file()
    assert (tmp_path / "Counter-slot1.onnx").is_file()
    kept = ModelCheckpointManager.get_checkpoints("Counter")
    assert [str(entry["steps"]) for entry in kept] == steps
    final = GlobalTrainingStatus.get_parameter_state("Counter", StatusType.FINAL_CHECKPOINT)
    assert final["file_path"] == str(tmp_path / "Counter.onnx")


def models(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.onnx")}


def test_models_of_slots_that_there_are_no_more_go(tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "WINDOW", 5)
    own = {"share_actor": "separate", "slots_by": "order"}
    names = {"Counter.onnx", "Counter-best.onnx"}
    start(tmp_path, hyper=own)
    assert models(tmp_path) == names | {"Counter-slot1.onnx", "Counter-best-slot1.onnx"}
    start(tmp_path)
    assert models(tmp_path) == names
    (tmp_path / "Counter-slot7.onnx").touch()  # of an older version, say
    start(tmp_path, load=True, behavior={"max_steps": 800})
    assert models(tmp_path) == names


def test_a_run_that_is_overwritten_leaves_nothing_of_itself(tmp_path, printed):
    start(tmp_path, hyper={"save_replay_buffer": True}, behavior={"checkpoint_interval": 60})
    neighbours = [tmp_path / "CounterB.onnx", tmp_path / "Counter" / "events.out.tfevents.1"]
    for path in neighbours:
        path.touch()
    build(tmp_path)
    assert not list(tmp_path.rglob("*.pt"))
    assert models(tmp_path) == {"CounterB.onnx"}
    assert all(path.is_file() for path in neighbours)
    assert "files of the run that is overwritten" in printed.text


@BOTH
def test_the_best_model_stays_although_its_checkpoints_are_pruned(
    tmp_path, trainer_type, monkeypatch, printed
):
    monkeypatch.setattr(scores, "WINDOW", 5)
    behavior = {"checkpoint_interval": 60, "keep_checkpoints": 1}
    trainer = start(tmp_path, trainer_type=trainer_type, behavior=behavior).trainer
    best = checkpoint.read(str(tmp_path / "Counter" / "best.pt"), torch.device("cpu"))
    assert (tmp_path / "Counter-best.onnx").is_file()
    assert best["scores"]["best"] == trainer.board.best
    assert best["step"] <= trainer.get_step


@BOTH
def test_a_run_stops_when_asked_and_does_not_go_on_with_the_same_threshold(tmp_path, trainer_type, printed):
    stop = {"stop_when": {"metric": "episode_length", "window": 3, "threshold": 1}}
    behavior = {"max_steps": 5_000}
    trainer = start(
        tmp_path, trainer_type=trainer_type, scene=manager(areas=8), hyper=stop, behavior=behavior
    ).trainer
    assert trainer.get_step < 1_000
    assert not trainer.should_still_train
    assert "Counter: stop_when reached at episode 3 (step" in printed.text
    assert printed.text.count("stop_when reached") == 1, "whatever else ends before the run does"
    with pytest.raises(
        TrainerConfigError, match=r"behaviors.Counter.hyperparameters.stop_when.threshold: expected more"
    ):
        build(tmp_path, trainer_type=trainer_type, hyper=stop, load=True, behavior=behavior)
    higher = {"stop_when": {"metric": "episode_length", "window": 3, "threshold": 1.5}}
    again = build(tmp_path, trainer_type=trainer_type, hyper=higher, load=True, behavior=behavior)
    assert again.should_still_train
    played = build(tmp_path, trainer_type=trainer_type, hyper=stop, load=True, train=False)
    assert played.get_step == trainer.get_step


def test_solved_is_announced_once_and_training_goes_on(tmp_path, printed):
    solved = {"solved_when": {"threshold": 0.0, "window": 2}, "console_episodes": 5}
    trainer = start(tmp_path, hyper=solved).trainer
    assert trainer.get_step >= 400
    assert printed.text.count("solved at episode 2") == 1
    assert "mean score of the last 2 episodes is at least 0.0" in printed.text
    assert "Counter. Episode 5. Score " in printed.text
    assert "Counter. Episode 6. " not in printed.text


def test_what_a_summary_holds(tmp_path):
    recorder = Recorder()
    StatsReporter.add_writer(recorder)
    behavior = {"summary_freq": 100, "max_steps": 600}
    hyper = {"positive_reward_scale": 3.0, "share_actor": "separate", "slots_by": "order"}
    trainer = start(tmp_path, behavior=behavior, hyper=hyper).trainer
    last = recorder.summaries[-1]
    for name in (
        "Environment/Cumulative Reward",
        "Environment/Episode Length",
        "Losses/Policy Loss",
        "Losses/Value Loss",
        "Policy/Extrinsic Value Estimate",
        "Policy/Extrinsic Reward",
        "Policy/Learning Rate",
        "Policy/Critic Learning Rate",
        "Policy/Noise Scale",
        "Is Training",
        "Step",
        "Group/Score",
        "Group/Score 100",
        "Group/Score Sum",
        "Group/Episode Length",
        "Group/Episodes",
        "Group/Discounted Return",
        "Group/Slot 1 Score",
        "Reward/Raw",
        "Reward/Shaped Slot 0",
        "Learner/Q Max",
        "Learner/Td Error",
        "Learner/Saturated Share Slot 1",
        "Learner/Raw Magnitude",
        "Learner/Actor Gradient Norm",
        "Learner/Critic Gradient Norm",
        "Learner/Updates Without Gradient",
        "Replay/Size",
        "Replay/Mean Age",
        "Replay/Dropped",
        "Data/Accepted Rows",
        "Data/Rejected Rows",
        "Data/Dropped Group Steps",
        "Data/Observation Mean Slot 1",
        "Data/Observation Deviation Slot 0",
        "Speed/Agent Steps per Second",
        "Speed/Updates per Second",
    ):
        assert name in last, name
        assert np.isfinite(last[name]), name
    assert last["Reward/Shaped"] == pytest.approx(3 * last["Reward/Raw"], rel=1e-5)
    assert last["Reward/Raw"] == pytest.approx(
        (last["Reward/Raw Slot 0"] + last["Reward/Raw Slot 1"]) / 2, rel=1e-5
    )
    assert last["Data/Observation Mean Slot 1"] != last["Data/Observation Mean Slot 0"]
    assert last["Replay/Size"] <= len(trainer.replay)
    assert "Environment/Group Cumulative Reward" not in last


def test_every_step_is_accepted_or_rejected_once(tmp_path, monkeypatch):
    """Also those of agents whose group is not known, which are decided without a ticket."""
    scene = SceneManager(lambda worker: CounterScene(1, worker, CounterOptions(agents=2 + worker)), 2)
    trainer = start(tmp_path, scene=scene, hyper={"grouping": "consecutive"}).trainer
    figures = {}
    monkeypatch.setattr(trainer.reporter.stats, "set_stat", figures.__setitem__)
    trainer.reporter.summarise()
    accepted, rejected = figures["Data/Accepted Rows"], figures["Data/Rejected Rows"]
    assert rejected > 50, "3 agents are not two groups of 2"
    assert accepted + rejected == trainer.get_step


def test_group_rewards_are_shown_where_there_are_any_and_lessons_see_them(tmp_path, monkeypatch):
    recorder, tell = Recorder(), metrics.Reporter.agent_ended
    StatsReporter.add_writer(recorder)
    ended = []
    monkeypatch.setattr(
        metrics.Reporter,
        "agent_ended",
        lambda self, own, group: ended.append((own, group)) or tell(self, own, group),
    )
    trainer = start(tmp_path, scene=manager(group_ids=True), behavior={"summary_freq": 100}).trainer
    assert recorder.summaries[-1]["Environment/Group Cumulative Reward"] > 0
    assert ended[-1][1] > 0
    assert trainer.reward_buffer[0] == sum(ended[-1])


def test_an_actor_without_gradient_is_told_of_once_and_shaken_if_asked(tmp_path, printed):
    trainer = build(tmp_path, hyper={"saturation_nudge": 0.25})
    stuck = [0.0, 250.0]
    trainer._watch_gradient(stuck, [0.0, 0.9])
    trainer._watch_gradient(stuck, [0.0, 0.9])
    assert printed.text.count("the actor of slot 1 has had no usable gradient in its last 250 updates") == 1
    assert "with 90% of its actions at their limits" in printed.text
    assert trainer.acting.explorer.nudge == 0.25
    trainer._watch_gradient([0.0, 0.0], [0.0, 0.1])
    assert trainer.acting.explorer.nudge == 0.0
    trainer._watch_gradient(stuck, [0.0, 0.9])
    assert printed.text.count("no usable gradient") == 2


def test_a_summary_may_come_before_the_first_update_of_the_actors(tmp_path, printed):
    """matd3 updates them at every second update; here there is one."""
    hyper = {"steps_per_update": 250, "saturation_nudge": 0.2}
    trainer = start(tmp_path, trainer_type="matd3", hyper=hyper, behavior={"summary_freq": 50}).trainer
    assert trainer.updates == 1
    assert trainer.acting.explorer.nudge == 0.0


def test_a_nudge_only_if_asked_for(tmp_path, printed):
    trainer = build(tmp_path)
    trainer._watch_gradient([100.0, 0.0], [1.0, 0.0])
    assert "saturation_nudge: 0.2 adds noise" in printed.text
    assert trainer.acting.explorer.nudge == 0.0


def test_nothing_grows_with_the_length_of_a_run(tmp_path):
    scene = manager(areas=3, deaths=True, group_ids=True, agents=3)
    scene.reset_at = set(range(50, 800, 50))
    scene.kill_at = dict.fromkeys(range(75, 800, 100), 0)
    scene.stop_after = 800
    hyper = {"buffer_init_steps": 10**6, "group_size": 3, "noise_type": "ornstein_uhlenbeck"}
    trainer = start(tmp_path, scene=scene, hyper=hyper, behavior={"max_steps": 10**6}).trainer
    assert trainer.board.episodes > 100
    roster = trainer.roster
    assert len(trainer._reward_sums) <= 9
    assert sum(len(worker.members) for worker in roster.workers.values()) <= 9
    assert sum(len(worker.lanes) for worker in roster.workers.values()) <= 3
    assert len(roster.lanes.row) == 64
    assert len(roster.lanes.free) >= 58
    assert len(trainer.assembler._totals) <= 3
    assert len(trainer.assembler.staging.final_obs) <= 9
    assert sum(len(rewards) for rewards in trainer.collected_rewards.values()) == 0
    assert len(roster.departed) <= 9


def test_separate_actors_need_slots_that_differ(tmp_path):
    with pytest.raises(
        TrainerConfigError, match="share_actor: expected shared for agents that differ in neither"
    ):
        build(tmp_path, hyper={"share_actor": "separate"})
    build(tmp_path, hyper={"share_actor": "separate"}, scene=manager(teams=True))


def test_a_team_that_comes_later_is_refused(tmp_path):
    trainer = build(tmp_path)
    late = type("Late", (), {"behavior_id": "Counter?team=1"})()
    with pytest.raises(
        UnityTrainerException, match=r"Counter\?team=1: expected all teams of Counter to be there from"
    ):
        trainer.add_policy(late, None)


def test_a_scene_that_overruns_the_ring_is_told_of(tmp_path, monkeypatch, printed):
    from mlagents_marl_plugin.adapter import assembler
    from mlagents_marl_plugin.adapter.staging import StagingTable

    monkeypatch.setattr(assembler, "logger", logging.getLogger("marl.test"))
    monkeypatch.setattr(marl_trainer, "StagingTable", lambda spec, **more: StagingTable(spec, 16, **more))
    trainer = start(tmp_path, scene=manager(group_ids=True, areas=3), behavior={"time_horizon": 64}).trainer
    assert trainer.assembler.dropped > 0
    assert printed.text.count("Counter: 16 steps of groups were begun before the first of them was over") == 1


def test_courts_that_end_together_may_bring_more_than_the_replay_holds(tmp_path):
    """What consecutive courts bring is held back until their episodes have ended."""
    scene = manager(areas=4, min_length=20, max_length=20)
    trainer = start(tmp_path, scene=scene, hyper={"buffer_size": 50}, behavior={"time_horizon": 64}).trainer
    assert trainer.replay.next_id > 4 * 20
    assert 0 < len(trainer.replay) <= 50
    assert trainer.updates > 0


def test_a_summary_never_reports_weights_that_are_not_finite(tmp_path):
    trainer = build(tmp_path)
    trainer.learner.critic.nets[0].parameters.data.fill_(float("inf"))
    with pytest.raises(UnityTrainerException) as caught:
        trainer._write_summary(0)
    assert str(caught.value).startswith(
        "behaviors.Counter: expected finite weights, got NaN or Inf at step 0"
    )
    with pytest.raises(UnityTrainerException, match=r"\(critic\."):
        trainer._checkpoint()
    trainer.save_model()
    assert not list(tmp_path.rglob("*.pt"))


def test_saving_does_not_wait_for_all_updates_that_are_owed(tmp_path):
    trainer = start(tmp_path).trainer
    trainer._debt_paid -= 1_000
    done = []
    update = trainer.learner.update

    def slow(batch):
        done.append(batch)
        if len(done) == 3:
            trainer.saving.wanted.set()
        update(batch)

    trainer.learner.update = slow
    assert trainer._update_policy()
    assert len(done) == 3
    trainer.saving.wanted.clear()
