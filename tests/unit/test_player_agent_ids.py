import numpy as np

from mlagents_marl_plugin.player.agent_ids import AgentIds
from mlagents_marl_plugin.player.scene import Rows


def rows(*seats, done=()):
    """Rows of the seats in ``done``, which end, and of ``seats``, which ask for a decision."""
    seat = np.array([*done, *seats], dtype=int)
    return Rows(seat, (), done=np.arange(len(seat)) < len(done))


def test_ids_count_up_from_zero_and_stay_through_an_episode():
    ids = AgentIds(4)
    assert ids.assign({"A": rows(0, 1, 2, 3)})["A"].tolist() == [0, 1, 2, 3]
    assert ids.assign({"A": rows(3, 1)})["A"].tolist() == [3, 1]


def test_an_episode_that_ends_keeps_its_id_and_the_next_one_gets_a_new_one():
    ids = AgentIds(4)
    ids.assign({"A": rows(0, 1, 2, 3)})
    assert ids.assign({"A": rows(0, 1, 2, 3, done=(2, 3))})["A"].tolist() == [2, 3, 0, 1, 4, 5]
    assert ids.assign({"A": rows(0, 1, 2, 3)})["A"].tolist() == [0, 1, 4, 5]


def test_an_agent_that_comes_back_later_gets_its_id_then():
    ids = AgentIds(2)
    ids.assign({"A": rows(0, 1)})
    assert ids.assign({"A": rows(0, done=(1,))})["A"].tolist() == [1, 0]
    assert ids.assign({"A": rows(0, 1, done=(0,))})["A"].tolist() == [0, 2, 3]


def test_the_seats_of_an_area_get_consecutive_ids_across_behaviours():
    ids = AgentIds(4)
    first = ids.assign({"B": rows(1, 3), "A": rows(0, 2)})
    assert (first["A"].tolist(), first["B"].tolist()) == ([0, 2], [1, 3])
    second = ids.assign({"B": rows(1, 3, done=(1, 3)), "A": rows(0, 2, done=(0, 2))})
    assert (second["A"].tolist(), second["B"].tolist()) == ([0, 2, 4, 6], [1, 3, 5, 7])
