"""How agents of several behaviour names form groups."""

import numpy as np
import pytest
from mlagents.trainers.exception import UnityTrainerException

from mlagents_marl_plugin.adapter.grouping import FirstAgents, Grouping
from mlagents_marl_plugin.adapter.joint_layout import decide_joint_layout


def agents(behavior_id: str, *groups: int) -> FirstAgents:
    return FirstAgents(behavior_id, np.arange(len(groups)), np.array(groups))


def layout(seen, grouping=Grouping.AUTO, sizes=None, most=8):
    sizes = dict.fromkeys(seen) | (sizes or {})
    return decide_joint_layout("hunt", seen, grouping, sizes, most)


def test_slots_are_the_most_that_a_group_has_of_each_member():
    seen = {"Fox": [agents("Fox?team=0", 1, 1, 2)], "Hare": [agents("Hare?team=0", 1, 2, 2, 2)]}
    assert layout(seen)[:2] == (Grouping.GROUP_ID, (2, 3))
    assert layout(seen, sizes={"Fox": 4})[:2] == (Grouping.GROUP_ID, (4, 3))


def test_teams_of_a_member_are_side_by_side():
    seen = {
        "Fox": [agents("Fox?team=0", 1), agents("Fox?team=1", 1)],
        "Hare": [agents("Hare?team=0", 1, 1)],
    }
    assert layout(seen).members == (1, 1, 2)
    assert layout(seen, sizes={"Fox": 4}).members == (2, 2, 2)
    with pytest.raises(
        UnityTrainerException, match=r"Fox.hyperparameters.group_size: expected at least the 2 agents"
    ):
        layout(seen, sizes={"Fox": 3})


def test_without_group_ids_a_process_is_a_group_if_it_is_small_or_its_size_was_said():
    seen = {"Fox": [agents("Fox?team=0", 0, 0)], "Hare": [agents("Hare?team=0", 0)]}
    assert layout(seen)[:2] == (Grouping.WORKER, (2, 1))
    assert layout(seen, sizes={"Fox": 2, "Hare": 1}, most=1)[:2] == (Grouping.WORKER, (2, 1))
    assert layout(seen, Grouping.WORKER, most=1)[:2] == (Grouping.WORKER, (2, 1))
    with pytest.raises(
        UnityTrainerException,
        match=r"Fox.hyperparameters.joint: expected agents in groups, got 3 agents of Fox, Hare",
    ):
        layout(seen, most=2)
    with pytest.raises(
        UnityTrainerException, match=r"Fox.hyperparameters.group_size: expected the 2 agents of Fox"
    ):
        layout(seen, sizes={"Fox": 3})


def test_each_kind_in_groups_of_its_own_is_refused():
    seen = {"Fox": [agents("Fox?team=0", 1)], "Hare": [agents("Hare?team=0", 2)]}
    with pytest.raises(
        UnityTrainerException, match=r"Fox.hyperparameters.joint: expected groups with agents of Fox and Hare"
    ):
        layout(seen)
    nobody = {"Fox": [agents("Fox?team=0", 0)], "Hare": [agents("Hare?team=0", 0)]}
    with pytest.raises(UnityTrainerException, match="got each behavior in groups of its own"):
        layout(nobody, Grouping.GROUP_ID)
