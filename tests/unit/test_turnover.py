"""Groups that never end: members die one by one, and others take their places at once."""

import numpy as np
import pytest

from mlagents_marl_plugin.player.scenes.counter import CounterOptions, CounterScene, _joined
from tests.unit.simulated_host import SceneManager
from tests.unit.trainer_runs import start

pytestmark = pytest.mark.usefixtures("host_state")
ENDLESS = 10**6
LIFE = 6  # steps of an agent


class Turnover(CounterScene):
    """The first of two agents dies at steps 6, 12, 18 .., the second at 3, 9, 15 .."""

    def step(self, actions):
        for answers in actions.values():
            self._remember(answers)
        self._step += 1
        dies = self._step[self._area] % LIFE == self._agent * LIFE // 2
        nobody, (behavior,) = np.zeros_like(dies), self.behaviors
        last = self._rows(behavior, dies, nobody)
        last = last._replace(interrupted=np.zeros(len(last.seat), bool))
        return {behavior.id: _joined(last, self._rows(behavior, nobody, ~nobody))}


@pytest.mark.parametrize("grouping", ["group_id", "worker"])
def test_a_run_without_an_episode_of_a_group_says_what_does_not_come(tmp_path, caplog, grouping):
    options = CounterOptions(group_ids=grouping == "group_id", min_length=ENDLESS, max_length=ENDLESS)
    scene = SceneManager(lambda worker: Turnover(1, worker, options))
    behavior = {"max_steps": 800, "summary_freq": 50}
    run = start(tmp_path, trainer_type="mappo", scene=scene, hyper={"grouping": grouping}, behavior=behavior)
    assert run.trainer.board.episodes == 0
    (told,) = [text for text in caplog.messages if "no group as a whole" in text]
    assert "group_size: 1" in told
