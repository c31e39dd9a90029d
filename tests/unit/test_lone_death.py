"""One who dies while its group plays on: what of it the learner, the survival bonus and a reward function see."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from torch import Tensor

from mlagents_marl_plugin.adapter.blocks import Block, Chunk, Steps
from mlagents_marl_plugin.adapter.lanes import Lanes
from mlagents_marl_plugin.adapter.staging import TERMINATED, TRUNCATED, StagingTable
from mlagents_marl_plugin.adapter.store import Rewards
from mlagents_marl_plugin.core.rewards import RewardShaping, RewardSharing, RewardStep
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

SPEC = GroupSpec((RoleSpec("A", 2, ((1,),), ActionLayout(1)),))


def penalty(step: RewardStep) -> Tensor:
    """What a user may write."""
    return step.reward - 3.0 * step.terminated


def steps_of_a_death(posthumous: bool, taken: Sequence[bool] = (False,), end: int = TERMINATED) -> Steps:
    """The first of two agents ends in the first row, the second plays on.

    Args:
        taken: per row from the second on, whether somebody has the first one's place.
    """
    table, lanes, rows = StagingTable(SPEC, 16), Lanes(2), [np.array([-1])]
    lane = lanes.new(0, 0)
    for step, first in enumerate((True, *taken)):
        there = np.array([[first, True]])
        rows.append(table.begin(np.array([lane]), rows[-1], there, there | posthumous, step))
        for slot in np.flatnonzero(there[0]):
            decided = np.array([slot]), np.zeros((1, 1), np.float32), np.ones((1, 0), np.float32)
            table.write_decisions(0, rows[-1], *decided)
    at = np.concatenate(rows[1:])
    table.end[at[0], 0] = end
    table.final_obs[int(at[0])] = {0: np.zeros(1, np.float32)}
    block = Block(SimpleNamespace(staging=table, lanes=lanes, posthumous=posthumous), 0)  # type: ignore[arg-type]
    no = np.zeros(len(at) - 1, bool)
    ended = np.arange(len(no)) == 0
    block.complete(Chunk(lane, at[:-1].tolist(), at[:-1], no, ended, no, at[1:]))
    return block.steps()


@pytest.mark.parametrize("posthumous", [False, True])
def test_a_lone_death_is_seen_by_what_shapes_rewards_though_the_group_earns_on(posthumous: bool) -> None:
    """With ``posthumous`` (groups by id) the dead earn their group's reward until it ends."""
    steps = steps_of_a_death(posthumous)
    assert steps.terminated.tolist() == [[not posthumous, False]]
    following = steps.obs[steps.next_rows]
    for shaping, expected in (
        (RewardShaping(survival_bonus=0.5), [0.0, 0.5]),
        (RewardShaping(function=f"{__name__}:penalty"), [-3.0, 0.0]),
    ):
        rewards = Rewards(SPEC, RewardSharing.INDIVIDUAL, 0.5, 1.0, shaping)
        assert rewards(steps, following).tolist() == [expected]


@pytest.mark.parametrize("posthumous", [False, True])
def test_the_dead_earn_nothing_more_once_their_place_is_taken(posthumous: bool) -> None:
    """What follows there is the newcomer's; else a death would cost nothing where agents come back at once."""
    assert steps_of_a_death(posthumous, [True, True]).terminated.tolist() == [[True, False], [False, False]]


def test_what_the_dead_earn_of_their_group_ends_with_the_newcomer() -> None:
    steps = steps_of_a_death(True, [False, True, True])
    assert steps.value_mask.all()
    assert steps.terminated.tolist() == [[False, False], [True, False], [False, False]]


def test_who_was_cut_off_is_judged_by_what_it_saw_last_though_its_place_is_taken() -> None:
    steps = steps_of_a_death(True, [True], TRUNCATED)
    assert steps.terminated.tolist() == [[False, False]]
    assert steps.agent_mask[steps.next_rows].tolist() == [[1.0, 1.0]]
