"""On-policy trainers inside the host's own controller: when they learn, from what, and what they save."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from mlagents.trainers.exception import UnityTrainerException
from mlagents.trainers.stats import StatsReporter

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.core.types import RolloutBatch
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import ROLLOUTS, Recorder, assert_same, build, manager, start, tensors

pytestmark = pytest.mark.usefixtures("host_state")
TYPES = ["mappo", "mappo_shared", "ippo", "ippo_shared", "maa2c", "maa2c_shared", "ia2c", "ia2c_shared"]


class Watched(Run):
    """A run whose decisions and updates are written down.

    Attributes:
        decisions: (observation, action as drawn) -> log-probability and how many updates there had been.
        batches: what each update was given, and at which step and episode.
    """

    def __init__(self, folder: Path, scene: SceneManager | None = None, **settings: Any):
        hyper, behavior = settings.pop("hyper", {}), settings.pop("behavior", {})
        trainer_type = settings.pop("trainer_type", "mappo")
        config = options("Counter", trainer_type, {**ROLLOUTS, **hyper}, {"max_steps": 600, **behavior})
        super().__init__(folder, config, scene or manager(), **settings)
        self.decisions: dict[tuple, tuple[float, int]] = {}
        self.batches: list[tuple[RolloutBatch, int, int]] = []
        self.manager.on_step = self._watch

    def _watch(self) -> None:
        table = self.trainer.table
        if self.manager.steps > 1:
            return
        build = table.on_first_agents

        def build_and_watch(first):
            build(first)
            table.decide = dict.fromkeys(table.decide, self._decide)
            self._update, self.trainer.learner.update = self.trainer.learner.update, self._record

        table.on_first_agents = build_and_watch

    def _decide(self, obs, allowed, slots, members, memory):
        decision = self.trainer.acting(obs, allowed, slots, members, memory)
        for seen, action, log_prob in zip(obs, decision.action, decision.log_prob, strict=True):
            key = (*seen.tolist(), *action.tolist())
            self.decisions[key] = (float(log_prob), self.trainer.updates)
        return decision

    def _record(self, batch: RolloutBatch) -> None:
        self.batches.append((batch, self.trainer.get_step, self.trainer.board.episodes))
        self._update(batch)


def rows_of(trainer: Any, batch: RolloutBatch):
    """Every decision of a batch: its key in `Watched.decisions` and its log-probability."""
    num_rows = len(batch.action)
    obs = trainer.spec.role_obs(batch.obs[:num_rows], 0)
    action = trainer.spec.role_action(batch.action, 0)
    for row, slot in batch.acted.nonzero().tolist():
        yield (*obs[row, slot].tolist(), *action[row, slot].tolist()), float(batch.log_prob[row, slot])


def test_an_update_comes_when_enough_agent_steps_are_complete_and_takes_each_once(tmp_path):
    scene = manager(areas=3, workers=2)
    scene.stop_after = 150
    run = Watched(tmp_path, scene, behavior={"time_horizon": 4, "max_steps": 10**6}).start()
    trainer = run.trainer
    assert trainer.updates == len(run.batches) >= 5
    sizes = [int(batch.acted.sum()) for batch, _, _ in run.batches]
    assert sizes == [batch.num_agent_steps for batch, _, _ in run.batches]
    assert all(size >= ROLLOUTS["buffer_size"] for size in sizes)
    # Episodes are handed over whole, two processes of three courts of two at a time.
    assert all(size < ROLLOUTS["buffer_size"] + 2 * 3 * 2 * 12 for size in sizes)
    keys = [key for batch, _, _ in run.batches for key, _ in rows_of(trainer, batch)]
    assert len(keys) == len(set(keys))
    assert sum(sizes) + trainer.store.agent_steps == trainer.assembler.accepted - waiting(trainer)


def waiting(trainer: Any) -> int:
    """Decisions whose outcome is known, in rows that are not yet passed on."""
    staging = trainer.assembler.staging
    rows = np.array([row for pending in trainer.roster.lanes.pending for row in pending], int)
    return int(staging.delivered[rows % staging.capacity].sum())


@pytest.mark.parametrize(("group_size", "waits"), [(1, False), (2, True)])
def test_who_plays_alone_counts_before_its_episode_ends(tmp_path, group_size, waits):
    scene = manager(areas=2, min_length=500, max_length=500)
    hyper = {"group_size": group_size, "grouping": "consecutive"}
    settings = {"max_steps": 200, "time_horizon": 16}
    run = start(tmp_path, trainer_type="ippo", scene=scene, hyper=hyper, behavior=settings)
    assert (run.trainer.updates == 0) == waits


def test_an_update_can_come_by_episodes(tmp_path):
    hyper = {"buffer_size": 10_000, "update_every_episodes": 3}
    run = Watched(tmp_path, hyper=hyper).start()
    counts = [episodes for _, _, episodes in run.batches]
    assert len(counts) >= 5
    assert counts[0] >= 3
    assert all(later - earlier in (3, 4) for earlier, later in zip(counts, counts[1:], strict=False))


def test_a_full_buffer_does_not_wait_for_episodes(tmp_path):
    run = Watched(tmp_path, hyper={"update_every_episodes": 1_000}).start()
    assert len(run.batches) >= 5


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("branches", [(), (3, 2)], ids=["continuous", "hybrid"])
def test_every_row_keeps_the_log_probability_of_its_decision(tmp_path, threaded, branches):
    scene = manager(areas=3, group_ids=True, branches=branches, masks=bool(branches))
    scene.stop_after = 250
    behavior = {"time_horizon": 3, "threaded": threaded, "max_steps": 10**6}
    run = Watched(tmp_path, scene, behavior=behavior).start()
    compared, older = 0, 0
    for number, (batch, _, _) in enumerate(run.batches):
        for key, log_prob in rows_of(run.trainer, batch):
            decided, generation = run.decisions[key]
            assert log_prob == pytest.approx(decided, abs=1e-6)
            compared += 1
            older += generation < number
    assert compared > 500
    assert older > 10, "decisions of an earlier actor whose outcome came after its update"


def test_who_keeps_up_an_action_has_not_decided(tmp_path):
    run = Watched(tmp_path, manager(group_ids=True, periods=(1, 2))).start()
    batch = run.batches[0][0]
    here = batch.agent_mask[: len(batch.acted)]
    assert (batch.acted <= here).all()
    assert 0.3 < float(batch.acted.sum(0).min() / batch.acted.sum(0).max()) < 0.8
    assert not batch.log_prob[batch.acted == 0].any()


def test_the_scene_gets_what_it_knows_and_the_learner_what_was_drawn(tmp_path):
    run = Watched(tmp_path, hyper={"initial_std": 2.0}).start()
    sent = np.array([line["continuous"] for line in run.manager.lines])
    assert np.abs(sent).max() == 1
    drawn = run.batches[0][0].action
    assert drawn.abs().max() > 1.5


@pytest.mark.parametrize("trainer_type", TYPES)
@pytest.mark.parametrize("scene", [{"continuous": 0, "branches": (3, 2), "masks": True}, {"branches": (4,)}])
def test_every_type_learns_from_every_kind_of_action(tmp_path, trainer_type, scene):
    trainer = start(tmp_path, trainer_type=trainer_type, scene=manager(**scene)).trainer
    assert trainer.updates >= 3
    fresh = build(tmp_path / "fresh", trainer_type=trainer_type, scene=manager(**scene))
    for part in ("actor", "critic"):
        before, after = (tensors(t.learner.state_dict()[part]) for t in (fresh, trainer))
        assert any(not torch.equal(before[name], after[name]) for name in before), part


@pytest.mark.parametrize("trainer_type", TYPES)
def test_a_resumed_run_makes_the_very_update_that_it_would_have_made(tmp_path, trainer_type):
    behavior = {"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 2}}
    run = Watched(tmp_path, trainer_type=trainer_type, behavior=behavior).start()
    first, batch = run.trainer, run.batches[-1][0]
    again = build(tmp_path, trainer_type=trainer_type, behavior=behavior, load=True, seed=99)
    assert (again.get_step, again.updates) == (first.get_step, first.updates)
    assert_same(first.learner.state_dict(), again.learner.state_dict())
    for trainer in (first, again):
        trainer._set_progress()
        trainer.learner.update(batch)
    assert_same(first.learner.state_dict(), again.learner.state_dict())
    assert again.board.state_dict() == first.board.state_dict()


def test_draws_go_on_where_they_stopped(tmp_path):
    first = start(tmp_path, trainer_type="mappo").trainer
    saved = checkpoint.read(str(tmp_path / "Counter" / checkpoint.LAST), torch.device("cpu"))
    assert torch.equal(saved["acting"]["generator"], first.acting.generator.get_state())
    again = build(tmp_path, trainer_type="mappo", load=True, seed=99)
    again.saving.restore(saved)
    assert torch.equal(again.acting.generator.get_state(), saved["acting"]["generator"])


def test_schedules_go_on_after_a_resume(tmp_path):
    recorder = Recorder()
    StatsReporter.add_writer(recorder)
    scene = manager()
    scene.stop_after = 60
    behavior = {"max_steps": 800, "summary_freq": 50}
    hyper = {"learning_rate": 1e-2, "learning_rate_schedule": "linear", "epsilon_schedule": "linear"}
    first = start(tmp_path, trainer_type="mappo", scene=scene, hyper=hyper, behavior=behavior).trainer
    assert 0 < first.get_step < 700
    recorder.summaries.clear()
    done = start(tmp_path, trainer_type="mappo", hyper=hyper, behavior=behavior, load=True).trainer
    rates = [s["Policy/Learning Rate"] for s in recorder.summaries if "Policy/Learning Rate" in s]
    assert done.updates > first.updates
    assert rates == sorted(rates, reverse=True)
    assert rates[0] <= 1e-2 * (1 - (first.get_step - 100) / 800)
    assert rates[-1] < rates[0] / 2


def test_initialising_takes_weights_only(tmp_path):
    first = start(tmp_path / "old", trainer_type="mappo").trainer
    path = str(tmp_path / "old" / "Counter" / "checkpoint.pt")
    new = build(tmp_path / "new", trainer_type="mappo", behavior={"init_path": path}, seed=5)
    assert (new.get_step, new.updates, new.board.episodes) == (0, 0, 0)
    for part in ("actor", "critic"):
        assert_same(first.learner.state_dict()[part], new.learner.state_dict()[part])
    assert torch.equal(new.acting.copy.nets[0].parameters, first.learner.actor.nets[0].parameters)


def test_initialising_from_another_type_takes_the_actor(tmp_path, printed):
    first = start(tmp_path / "old", trainer_type="mappo").trainer
    path = str(tmp_path / "old" / "Counter" / "checkpoint.pt")
    new = build(tmp_path / "new", trainer_type="ia2c", behavior={"init_path": path}, seed=5)
    fresh = build(tmp_path / "fresh", trainer_type="ia2c", seed=5)
    assert_same(first.learner.state_dict()["actor"], new.learner.state_dict()["actor"])
    assert_same(fresh.learner.state_dict()["critic"], new.learner.state_dict()["critic"])
    assert "is of trainer_type mappo; its actor is taken over, the critic of ia2c starts anew" in printed.text


def test_an_actor_of_the_other_family_does_not_fit_and_is_named(tmp_path):
    start(tmp_path / "old", trainer_type="maddpg")
    path = str(tmp_path / "old" / "Counter" / "checkpoint.pt")
    with pytest.raises(
        UnityTrainerException,
        match="Counter: the checkpoint does not fit: checkpoint entry value_kind: expected",
    ):
        build(tmp_path / "new", trainer_type="mappo", behavior={"init_path": path})


def test_inference_and_deterministic_play_the_mode(tmp_path):
    start(tmp_path, trainer_type="mappo")
    assert build(tmp_path, trainer_type="mappo", train=False, load=True).acting.greedy
    networks = {"network_settings": {"deterministic": True, "hidden_units": 8, "num_layers": 1}}
    assert build(tmp_path / "b", trainer_type="mappo", behavior=networks).acting.greedy
    assert not build(tmp_path / "c", trainer_type="mappo").acting.greedy


@pytest.mark.parametrize("share_actor", ["shared", "shared_with_id", "separate"])
def test_the_exported_models_play_what_the_actors_do(tmp_path, share_actor):
    hyper = {"share_actor": share_actor, "slots_by": "order", "learning_rate": 1e-2}
    behavior = {"network_settings": {"normalize": True, "hidden_units": 8, "num_layers": 2}}
    scene = manager(branches=(3,))
    trainer = start(tmp_path, trainer_type="mappo", scene=scene, hyper=hyper, behavior=behavior).trainer
    obs = np.random.default_rng(0).uniform(0, 5, (50, 4)).astype(np.float32)
    for slot in range(2):
        path = tmp_path / (
            "Counter.onnx" if slot == 0 or share_actor == "shared" else f"Counter-slot{slot}.onnx"
        )
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        feed = {"obs_0": obs, "action_masks": np.ones((50, 3), np.float32)}
        got = dict(zip(names, session.run(None, feed), strict=True))
        slots = torch.full((50,), slot)
        greedy = trainer.learner.actor.mode_rows(torch.from_numpy(obs), torch.ones(50, 3), slots)
        np.testing.assert_allclose(got["deterministic_continuous_actions"], greedy[:, :2], atol=1e-5)
        assert np.array_equal(got["deterministic_discrete_actions"][:, 0], greedy[:, 2:].argmax(1))
        assert got["continuous_actions"].std() > 0.3


def test_whoever_saves_waits_for_the_update_to_end(tmp_path):
    run = Watched(tmp_path).start()
    trainer, batch = run.trainer, run.batches[-1][0]
    saved, seen = threading.Event(), []

    def save() -> None:
        trainer._checkpoint()
        saved.set()

    def slow(rows: RolloutBatch) -> None:
        threading.Thread(target=save, daemon=True).start()
        seen.append(saved.wait(0.3))
        run._update(rows)

    trainer.learner.update = slow
    trainer.store.take = lambda: batch
    trainer._update_policy()
    assert seen == [False]
    assert saved.wait(20)
    written = checkpoint.read(str(tmp_path / "Counter" / checkpoint.LAST), torch.device("cpu"))
    assert_same(written["learner"], trainer.learner.state_dict())
    assert written["updates"] == trainer.updates


def test_threaded_runs_leave_whole_checkpoints(tmp_path):
    behavior = {"threaded": True, "checkpoint_interval": 100, "max_steps": 1_000, "keep_checkpoints": 3}
    trainer = start(tmp_path, trainer_type="mappo", behavior=behavior).trainer
    assert trainer.updates >= 3
    files = list((tmp_path / "Counter").glob("Counter-*.pt"))
    assert len(files) == 3
    for file in files:
        state = checkpoint.read(str(file), torch.device("cpu"))
        assert checkpoint.not_finite(state["learner"]) is None
        assert file.with_suffix(".onnx").is_file()


def test_nothing_is_kept_that_nothing_learns_from(tmp_path, monkeypatch):
    scene = manager(group_ids=True, areas=3)
    scene.stop_after = 300
    run = Run(tmp_path, options("Counter", "mappo", ROLLOUTS, {"max_steps": 10**6}), scene)

    def stop() -> None:
        if scene.steps == 50:
            monkeypatch.setattr(type(run.trainer), "should_still_train", False)

    scene.on_step = stop
    run.controller._not_done_training = lambda: True
    trainer = run.start().trainer
    assert trainer.board.episodes > 50
    assert trainer.store.rollout.num_complete == 0
    assert trainer.store.rollout.metrics()["open"] <= 6


def test_what_a_summary_holds(tmp_path):
    recorder = Recorder()
    StatsReporter.add_writer(recorder)
    hyper = {"positive_reward_scale": 3.0, "share_actor": "separate", "slots_by": "order"}
    behavior = {"summary_freq": 100, "max_steps": 600}
    start(tmp_path, trainer_type="mappo", behavior=behavior, hyper=hyper, scene=manager(branches=(3,)))
    last = recorder.summaries[-1]
    for name in (
        "Environment/Cumulative Reward",
        "Environment/Episode Length",
        "Losses/Policy Loss",
        "Losses/Value Loss",
        "Policy/Entropy",
        "Policy/Learning Rate",
        "Policy/Epsilon",
        "Policy/Beta",
        "Policy/Extrinsic Value Estimate",
        "Policy/Extrinsic Reward",
        "Is Training",
        "Group/Score 100",
        "Group/Discounted Return",
        "Reward/Shaped Slot 1",
        "Learner/Clip Fraction",
        "Learner/Actor Gradient Norm Slot 1",
        "Learner/Action Diversity",
        "Rollout/Size",
        "Rollout/Open",
        "Rollout/Dropped",
        "Data/Accepted Rows",
        "Speed/Updates per Second",
    ):
        assert name in last, name
        assert np.isfinite(last[name]), name
    assert last["Reward/Shaped"] == pytest.approx(3 * last["Reward/Raw"], rel=1e-5)
    assert last["Policy/Learning Rate"] == pytest.approx(5e-4)
    assert last["Rollout/Dropped"] == 0
    assert not [name for name in last if name.startswith("Replay/")]
