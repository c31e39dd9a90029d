"""What marl-watch tells of a scene that consists of a few rows: of whom, and whose scores."""

from itertools import islice

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple, DecisionSteps, TerminalSteps

from mlagents_marl_plugin.tools.episodes import GroupingError
from mlagents_marl_plugin.tools.performance import PictureChannel, perform

NAME = "Soldier?team=0"


def steps(agents, ended=(), group=lambda agent: 0, shape=(3,)):
    """One state: each agent that decides has earned 1 since its last decision, each that ended 2."""

    def columns(ids, reward):
        return {
            "obs": [np.full((len(ids), *shape), 0.12345, np.float32)],
            "reward": np.full(len(ids), reward, np.float32),
            "agent_id": np.array(ids, np.int32),
            "group_id": [group(agent) for agent in ids],
            "group_reward": np.zeros(len(ids), np.float32),
        }

    return (
        DecisionSteps(action_mask=None, **columns(agents, 1.0)),
        TerminalSteps(interrupted=np.zeros(len(ended), bool), **columns(ended, 2.0)),
    )


class Scene:
    """Plays back states, as far as a client sees."""

    def __init__(self, *states):
        self.behavior_specs = {NAME: None}
        self._states = list(states)

    def get_steps(self, name):
        return self._states[0]

    def set_actions(self, name, action):
        assert len(action.continuous) == len(self._states[0][0])

    def step(self):
        self._states.pop(0)


class Idle:
    """A cast that does nothing."""

    def __init__(self, slots=False):
        self._slots = slots

    def has_slots(self, name):
        return self._slots

    def forget(self, agents):
        pass

    def act(self, name, spec, decisions, slots):
        return ActionTuple(np.zeros((len(decisions), 2), np.float32), np.zeros((len(decisions), 0), np.int32))


def shown(*states, cast=None, group_size=None, num_areas=1, area=0, agents=8):
    """A moment per state."""
    show = perform(Scene(*states), cast or Idle(), PictureChannel(area), group_size, num_areas, agents)
    return islice(show, len(states))


def test_many_agents_without_group_ids_play_each_for_itself():
    first, second = shown(steps(range(9)), steps(range(1, 9), ended=[0]))
    assert first.note == (
        "who plays together is not known, so from decision 1 on each agent is scored by itself; "
        "--group-size K says how many play together"
    )
    assert (first.num_agents, len(first.agents)) == (9, 8)
    assert (second.scores, second.episodes, second.note) == ([2.0], 1, first.note)


def test_an_agent_born_in_mid_episode_does_not_end_the_show():
    moments = list(
        shown(
            steps([0, 1]),
            steps([2, 3], ended=[0, 1]),
            steps([2, 3, 4]),
            steps([3, 4], ended=[2]),
        )
    )
    assert [moment.note[:30] for moment in moments] == ["", ""] + 2 * ["who plays together is not know"]
    assert "from decision 3 on" in moments[2].note
    assert [(moment.scores, moment.episodes) for moment in moments] == [
        ([], 0),
        ([2.0], 1),
        ([], 0),
        ([2.0], 1),
    ]
    assert [agent.score for agent in moments[2].agents] == [2.0, 2.0, 1.0], "an agent's own goes on"


@pytest.mark.parametrize(
    ("cast", "group_size"), [(Idle(slots=True), None), (Idle(), 2)], ids=["models of slots", "a wrong size"]
)
def test_groups_that_somebody_relies_on_are_not_given_up(cast, group_size):
    with pytest.raises(GroupingError, match="--group-size: expected"):
        list(shown(steps(range(9)), cast=cast, group_size=group_size))


@pytest.mark.parametrize("group", [lambda agent: 0, lambda agent: 1 + agent // 2], ids=["by order", "by ids"])
def test_the_agents_listed_are_those_of_the_area_shown(group):
    first, second = steps(range(6), group=group), steps([0, 1, 6, 7, 4, 5], ended=[2, 3], group=group)
    moments = list(shown(first, second, num_areas=3, area=1))
    assert [[agent.id for agent in moment.agents] for moment in moments] == [[2, 3], [6, 7]]
    assert [moment.num_agents for moment in moments] == [2, 2]
    assert {moment.note for moment in moments} == {""}
    (last,) = shown(first, num_areas=3, area=2, agents=1)
    assert ([agent.id for agent in last.agents], last.num_agents) == ([4], 2)


def test_agents_of_all_areas_are_listed_where_areas_are_not_known():
    (moment,) = shown(steps(range(6)), num_areas=2, area=1, group_size=1)
    assert [agent.id for agent in moment.agents] == list(range(6))
    assert moment.note == "which agents are in the area shown is not known, so those of all areas are listed"
    (moment,) = shown(steps(range(9)), num_areas=2, area=1)
    assert "each agent is scored by itself" in moment.note and "all areas are listed" in moment.note
    (moment,) = shown(steps(range(6)), group_size=1)
    assert moment.note == "", "there is one area only"


def test_an_agent_outside_of_groups_is_listed_in_every_area():
    group = {0: 5, 1: 5, 2: 0, 3: 7}.get
    for area, ids in ((0, [0, 1, 2]), (1, [2, 3])):
        (moment,) = shown(steps(range(4), group=group), num_areas=2, area=area)
        assert [agent.id for agent in moment.agents] == ids


def test_of_a_picture_the_first_numbers_are_told_and_how_many_there_are():
    (moment,) = shown(steps([0], shape=(3, 84, 84)))
    (agent,) = moment.agents
    assert (agent.sizes, len(agent.observations[0])) == ([21168], 2048)
    assert set(agent.observations[0]) == {0.123}
    (moment,) = shown(steps([0]))
    assert (moment.agents[0].sizes, moment.agents[0].observations) == ([3], [[0.123] * 3])
