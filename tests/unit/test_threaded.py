"""``threaded: true``: what the host's main thread does at the worst moment of the trainer's own thread.

Nothing here is left to chance: one thread plays both, in the order in which they can meet.
"""

from collections import defaultdict

import numpy as np
import pytest

from mlagents_marl_plugin.adapter.metrics import Reporter
from mlagents_marl_plugin.adapter.off_policy_trainer import OffPolicyMarlTrainer
from tests.contract.scenes import DuelOptions, DuelScene
from tests.unit.demo_records import record
from tests.unit.simulated_host import Run, SceneManager, options
from tests.unit.trainer_runs import ROLLOUTS, SMALL, build, manager

pytestmark = pytest.mark.usefixtures("host_state")


def test_a_reset_of_the_scene_while_a_last_trajectory_is_taken_in(tmp_path, monkeypatch):
    """The return is that of the whole episode, and agents that the reset has cut short leave nothing."""
    scene, rewards, told = manager(min_length=8, max_length=8), defaultdict(list), []
    monkeypatch.setattr(Reporter, "agent_ended", lambda self, own, group: told.append(own))
    run = Run(tmp_path, options("Counter", "maddpg", SMALL, {"max_steps": 10**6, "time_horizon": 3}), scene)

    def watch() -> None:
        if scene.steps != 2:
            return
        trainer, deliver = run.trainer, run.trainer.assembler.deliver

        def deliver_while_resetting(trajectory, role):
            rewards[trajectory.agent_id] += [step.reward for step in trajectory.steps]
            if trajectory.done_reached and scene.stop_after is None:
                rewards["first"] = rewards[trajectory.agent_id]
                scene.stop_after = scene.steps
                trainer.end_episode()
            return deliver(trajectory, role)

        trainer.assembler.deliver = deliver_while_resetting

    scene.on_step = watch
    run.start()
    assert np.count_nonzero(rewards["first"]) == 8
    assert told[0] == pytest.approx(sum(rewards["first"]))
    run.trainer.advance()
    assert not run.trainer._reward_sums


def test_self_play_loses_no_end_that_comes_while_trajectories_are_handed_on(tmp_path, monkeypatch):
    """The host's self-play has moved the queues when agents end, and only then its inner trainer asks who has left."""
    scene = SceneManager(lambda process: DuelScene(process, DuelOptions(areas=3)), num_workers=2)
    self_play = {"save_steps": 100, "team_change": 10_000, "swap_steps": 50, "window": 2}
    settings = {"self_play": self_play, "max_steps": 10**6, "time_horizon": 4}
    fields = ROLLOUTS | {"group_size": None, "buffer_size": 10**6}
    run = Run(tmp_path, options("Duel", "mappo", fields, settings), scene)

    def watch() -> None:
        if scene.steps != 2:
            return
        inner, advance = run.trainer.trainer, run.trainer.trainer.advance
        monkeypatch.setattr(type(inner), "threaded", True)

        def advance_after_more_steps() -> None:
            scene.process_steps(scene.get_steps())
            advance()

        inner.advance = advance_after_more_steps

    scene.on_step, scene.stop_after = watch, 100
    run.start()
    inner = run.trainer.trainer
    assert inner.board.episodes > 15
    # Before the first step of the first process is over, it is not known who plays with whom.
    assert (inner.assembler.rejected, inner.assembler.dropped) == (6, 0)


def test_nothing_is_learnt_or_told_until_the_hosts_thread_has_built_everything(tmp_path, monkeypatch):
    """Demonstrations are there before the weights of a resumed run are."""
    record(tmp_path / "shown")
    show = OffPolicyMarlTrainer._show

    def show_and_advance(self, *arguments):
        show(self, *arguments)
        self.advance()
        self._write_summary(100)
        assert self.updates == 0

    monkeypatch.setattr(OffPolicyMarlTrainer, "_show", show_and_advance)
    trainer = build(tmp_path, hyper={"demonstrations": str(tmp_path / "shown"), "demonstration_updates": 3})
    trainer.advance()
    assert trainer.updates == 3


def test_the_mean_return_of_a_checkpoint_while_an_update_begins(tmp_path):
    class ClearedMeanwhile(list):
        def __len__(self) -> int:
            length = super().__len__()
            self.clear()
            return length

    trainer = build(tmp_path)
    trainer.cumulative_returns_since_policy_update = ClearedMeanwhile([1.0, 2.0])
    trainer._policy_mean_reward()
    trainer.cumulative_returns_since_policy_update = [1.0, 2.0]
    assert trainer._policy_mean_reward() == 1.5
