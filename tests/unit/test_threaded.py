"""``threaded: true``: what the host's main thread does at the worst moment of the trainer's own thread.

Nothing here is left to chance: one thread plays both, in the order in which they can meet.
"""

from collections import defaultdict

import numpy as np
import pytest
from mlagents_marl_plugin.adapter.metrics import Reporter
from tests.unit.simulated_host import Run, options
from tests.unit.trainer_runs import SMALL, manager

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
