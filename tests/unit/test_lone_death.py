"""One who dies while its group plays on: what of it the learner, the survival bonus and a reward function see."""

from types import SimpleNamespace

import numpy as np
import pytest
from torch import Tensor

from mlagents_marl_plugin.adapter.blocks import Block, Chunk, Steps
from mlagents_marl_plugin.adapter.lanes import Lanes
from mlagents_marl_plugin.adapter.staging import TERMINATED, StagingTable
from mlagents_marl_plugin.adapter.store import Rewards
from mlagents_marl_plugin.core.rewards import RewardShaping, RewardSharing, RewardStep
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

SPEC = GroupSpec((RoleSpec("A", 2, ((1,),), ActionLayout(1)),))


def penalty(step: RewardStep) -> Tensor:
    """What a user may write."""
    return step.reward - 3.0 * step.terminated


def step_of_a_death(posthumous: bool) -> Steps:
    """The first of two agents dies, the second plays on."""
    table, lanes, both = StagingTable(SPEC, 16), Lanes(2), np.ones((1, 2), bool)
    lane, survivor = lanes.new(0, 0), np.array([[False, True]])
    row = table.begin(np.array([lane]), np.array([-1]), both, both, 0)
    onward = table.begin(np.array([lane]), row, survivor, np.array([[posthumous, True]]), 1)
    for at, slot in ((row, 0), (row, 1), (onward, 1)):
        table.write_decisions(
            0, at, np.array([slot]), np.zeros((1, 1), np.float32), np.ones((1, 0), np.float32)
        )
    table.end[row, 0] = TERMINATED
    table.final_obs[int(row[0])] = {0: np.zeros(1, np.float32)}
    block = Block(SimpleNamespace(staging=table, lanes=lanes, posthumous=posthumous), 0)  # type: ignore[arg-type]
    yes, no = np.array([True]), np.array([False])
    block.complete(Chunk(lane, [int(row[0])], row, no, yes, no, onward))
    return block.steps()


@pytest.mark.parametrize("posthumous", [False, True])
def test_a_lone_death_is_seen_by_what_shapes_rewards_though_the_group_earns_on(posthumous: bool) -> None:
    """With ``posthumous`` (groups by id) the dead earn their group's reward until it ends."""
    steps = step_of_a_death(posthumous)
    assert steps.terminated.tolist() == [[not posthumous, False]]
    following = steps.obs[steps.next_rows]
    for shaping, expected in (
        (RewardShaping(survival_bonus=0.5), [0.0, 0.5]),
        (RewardShaping(function=f"{__name__}:penalty"), [-3.0, 0.0]),
    ):
        rewards = Rewards(SPEC, RewardSharing.INDIVIDUAL, 0.5, 1.0, shaping)
        assert rewards(steps, following).tolist() == [expected]
