"""Whatever a 0.4 build reports: each agent's rows make whole episodes with the right rewards."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlagents_marl_plugin.player.agent_ids import AgentIds
from mlagents_marl_plugin.player.legacy.brains import Brain, Reading
from mlagents_marl_plugin.player.legacy.episodes import MAX_AGENTS, Episodes
from mlagents_marl_plugin.player.scene import ActionSpec, Behavior, SceneError, SensorSpec

NAMES = ("A", "B")
BRAINS = [Brain(Behavior(name, (SensorSpec("v", (1,)),), ActionSpec(1)), 1, 0, ()) for name in NAMES]

agents = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(1, 8), st.booleans(), st.booleans()),
    unique_by=lambda info: info[0],
    max_size=4,
)
tick = st.tuples(st.fixed_dictionaries(dict.fromkeys(NAMES, agents)), st.sampled_from(["step"] * 5 + ["end"]))


class Told:
    """Numbers the observations, and remembers what the build said of each agent's episodes, in 0.4's way."""

    def __init__(self):
        self.count = 0
        self.under_way = {}
        self.finished = defaultdict(list)

    def reading(self, infos):
        obs = []
        for _ in infos:
            self.count += 1
            obs.append((np.array([self.count], np.float32),))
        return Reading(
            [agent for agent, *_ in infos],
            obs,
            [float(reward) for _, reward, _, _ in infos],
            [done for *_, done, _ in infos],
            [limit for *_, limit in infos],
        )

    def hear(self, name, reading, cut=False):
        for agent, obs, reward, done, limit in zip(*reading, strict=True):
            key = name, agent
            if key in self.under_way:
                self.under_way[key]["reward"] += reward
                if done or cut:
                    self.finish(key, limit or not done)
            if not cut:
                self.begin(key, obs)

    def begin(self, key, obs):
        episode = self.under_way.setdefault(key, {"reward": 0.0, "obs": []})
        episode["obs"].append(float(obs[0]))

    def finish(self, key, interrupted):
        episode = self.under_way.pop(key)
        self.finished[key].append((episode["obs"], episode["reward"], interrupted))


class Heard:
    """Puts the rows of today together again, by the ids that a session gives them."""

    def __init__(self):
        self.ids = AgentIds(MAX_AGENTS)
        self.under_way = {}
        self.finished = []

    def hear(self, frame):
        for behavior, ids in self.ids.assign(frame).items():
            rows = frame[behavior]
            order = np.flatnonzero(rows.done).tolist()
            assert order == list(range(len(order))), "ended rows come first"
            for row, agent in enumerate(ids.tolist()):
                obs, reward = float(rows.observations[0][row, 0]), float(rows.reward[row])
                if agent not in self.under_way:
                    assert not rows.done[row], "an end without a beginning"
                    assert reward == 0, "a reward before the first action"
                    self.under_way[agent] = {"behavior": behavior, "reward": 0.0, "obs": []}
                episode = self.under_way[agent]
                episode["reward"] += reward
                if rows.done[row]:
                    assert obs == episode["obs"][-1], "the last row shows what was seen last"
                    self.finished.append(
                        (behavior, episode["obs"], episode["reward"], bool(rows.interrupted[row]))
                    )
                    del self.under_way[agent]
                else:
                    assert not rows.interrupted[row]
                    episode["obs"].append(obs)


@settings(max_examples=60)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, agents)), st.lists(tick, max_size=8))
def test_episodes_come_through_whole(first, ticks):
    told, heard, episodes = Told(), Heard(), Episodes(BRAINS)

    def begin(infos):
        readings = {name: told.reading(infos[name]) for name in NAMES}
        for name, reading in readings.items():
            for agent, obs in zip(reading.agent, reading.obs, strict=True):
                told.begin((name, agent), obs)
        return readings

    heard.hear(episodes.begin(begin(first)))
    for infos, kind in ticks:
        readings = {name: told.reading(infos[name]) for name in NAMES}
        if kind == "step":
            for name, reading in readings.items():
                told.hear(name, reading)
            heard.hear(episodes.advance(readings))
            continue
        for name, reading in readings.items():
            told.hear(name, reading, cut=True)
        for key in list(told.under_way):
            told.finish(key, interrupted=True)
        ended = episodes.end(readings)
        heard.hear(episodes.begin_after(ended, begin(infos)))

    expected = sorted(
        (f"{name}?team=0", *episode) for (name, _), all_ in told.finished.items() for episode in all_
    )
    assert sorted(heard.finished) == expected
    assert len(heard.under_way) == len(told.under_way)


def test_more_agents_than_seats_are_refused():
    episodes = Episodes(BRAINS)
    many = [(agent, 1, False, False) for agent in range(MAX_AGENTS + 1)]
    with pytest.raises(
        SceneError, match="brain A: expected at most 1024 agents in a build between two resets"
    ):
        episodes.begin({"A": Told().reading(many)})


def test_seats_are_free_again_when_the_academy_was_done():
    episodes, told = Episodes(BRAINS), Told()
    for first in range(0, 3 * MAX_AGENTS, MAX_AGENTS):
        begun = {"A": told.reading([(first + agent, 1, False, False) for agent in range(MAX_AGENTS)])}
        frame = episodes.begin_after(episodes.end({}), begun)
        assert frame["A?team=0"].seat[-MAX_AGENTS:].tolist() == list(range(MAX_AGENTS))
