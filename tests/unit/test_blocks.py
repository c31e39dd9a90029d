"""What a group earned at a step, when its members are told at different times, and what follows an end."""

from types import SimpleNamespace

import numpy as np

from mlagents_marl_plugin.adapter.blocks import Block, Chunk
from mlagents_marl_plugin.adapter.staging import NOT_ENDED, TERMINATED, TRUNCATED, StagingTable
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

SPEC = GroupSpec((RoleSpec("A", 3, ((1,),), ActionLayout(1)),))


def group_reward(told: list[dict[int, float]], ended: tuple[tuple[int, int], ...] = ()) -> list[float]:
    """The group's reward of every row but the last.

    Args:
        told: per row of one group of three, who decides in it and what group reward came of that decision.
        ended: (row, slot) where a member ended.
    """
    table, rows = StagingTable(SPEC, 16), [-1]
    for deciding in told:
        all_there = np.ones((1, 3), bool)
        rows.append(int(table.begin(np.array([0]), np.array([rows[-1]]), all_there, all_there.copy(), 0)[0]))
        for slot, reward in deciding.items():
            at = np.array([rows[-1]]), np.array([slot])
            table.write_decisions(0, *at, np.zeros((1, 1), np.float32), np.ones((1, 0), np.float32))
            table.group_reward[rows[-1], slot] = reward
    for row, slot in ended:
        table.end[row, slot] = TERMINATED
    roster = SimpleNamespace(staging=table, lanes=None, posthumous=False)
    block = Block(roster, 0)  # type: ignore[arg-type]
    block.completed += rows[1:-1]
    block.sources += rows[1:]
    return block.steps().group_reward.tolist()


def test_a_member_that_is_asked_at_every_step_knows_best() -> None:
    assert group_reward([{0: 1.0, 1: 6.0}, {0: 2.0}, {0: 3.0}, {0: 0.0, 1: 0.0}]) == [1.0, 2.0, 3.0]


def test_who_is_asked_again_knows_better_than_who_ended() -> None:
    """The group may have earned more after the end of one member and before its next step."""
    assert group_reward([{0: 5.0, 1: 7.0}, {1: 0.0}], ended=((0, 0),)) == [7.0]


def test_who_ended_knows_better_than_a_sum_over_several_steps() -> None:
    assert group_reward([{0: 5.0, 1: 9.0}, {0: 0.0}, {1: 0.0}], ended=((0, 0),))[0] == 5.0


def test_where_nobody_is_told_singly_the_shortest_sum_is_spread_evenly() -> None:
    """Decision periods of two and three ticks, at which the group earns 1, 2, 4 and 8."""
    told = [{0: 1.0, 1: 1.0 + 2.0}, {0: 2.0 + 4.0}, {1: 4.0 + 8.0}, {0: 8.0}, {0: 0.0, 1: 0.0}]
    assert group_reward(told) == [1.0, 3.0, 6.0, 8.0]


def test_the_shorter_of_two_sums_counts() -> None:
    told = [{0: 12.0, 1: 6.0}, {2: 0.0}, {1: 0.0}, {0: 0.0}]
    assert group_reward(told)[0] == 3.0


def test_what_follows_an_end_permits_the_others_what_they_may_and_one_who_was_cut_off_everything() -> None:
    """Who ends is told no mask, whoever has its place in the next step."""
    spec = GroupSpec((RoleSpec("A", 4, ((1,),), ActionLayout(0, (3,))),))
    table, there = StagingTable(spec, 16), np.ones((1, 4), bool)
    rows, slots, lane = [-1], np.arange(4), np.array([0])
    masks = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]], np.float32)
    for step, present in enumerate((there, np.array([[True, False, False, True]]))):
        rows.append(int(table.begin(lane, np.array([rows[-1]]), present, present.copy(), step)[0]))
        deciding = slots[present[0]]
        at, obs = np.full(len(deciding), rows[-1]), np.full((len(deciding), 1), float(step), np.float32)
        table.write_decisions(0, at, deciding, obs, masks[deciding])
    before, after = rows[1:]
    ends = [NOT_ENDED, TRUNCATED, TERMINATED, TRUNCATED]  # the place of the last is taken at once
    table.end[before] = ends
    table.final_obs[before] = {1: np.array([7.0]), 3: np.array([9.0])}
    lanes = SimpleNamespace(tail=np.array([-1]))
    block = Block(SimpleNamespace(staging=table, lanes=lanes, posthumous=False), 0)  # type: ignore[arg-type]
    one = np.ones(1, bool)
    block.complete(Chunk(0, [before], np.array([before]), ~one, one, ~one, np.array([after])))
    steps = block.steps()
    (following,), (onward,) = steps.next_rows, steps.resumed
    assert steps.cut.tolist() == [True]
    assert steps.agent_mask[following].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert steps.obs[following].tolist() == [1.0, 7.0, 0.0, 9.0]
    permitted = steps.allowed[following].reshape(4, 3)
    assert permitted[0].tolist() == [1.0, 0.0, 0.0]
    assert permitted[[1, 3]].all()
    assert table.allowed[0][after, 3].tolist() == [0.0, 1.0, 1.0]  # the newcomer's own stays
    assert lanes.tail.tolist() == [onward]
    assert steps.obs[onward].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert steps.agent_mask[onward].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert steps.anew.tolist() == [[False, False, False, True]]
