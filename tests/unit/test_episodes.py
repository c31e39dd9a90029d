"""Groups, quotas and scores of an evaluation, on scenes made up of a few rows."""

from collections.abc import Sequence

import numpy as np
import pytest
from mlagents_envs.base_env import DecisionSteps, TerminalSteps

from mlagents_marl_plugin.tools.episodes import Episode, Episodes, GroupingError, State

Row = tuple[int, float]  # agent id, reward
TENNIS = "Tennis?team=0"


def state(
    decisions: Sequence[Row] = (),
    ends: Sequence[Row] = (),
    behavior: str = TENNIS,
    group: Sequence[int] | None = None,
    group_reward: float = 0.0,
) -> dict[str, tuple[DecisionSteps, TerminalSteps]]:
    def columns(rows: Sequence[Row]) -> dict[str, object]:
        groups = [0] * len(rows) if group is None else list(group)[: len(rows)]
        return {
            "obs": [],
            "reward": np.array([reward for _, reward in rows], np.float32),
            "agent_id": np.array([agent for agent, _ in rows], np.int32),
            "group_id": groups,
            "group_reward": np.full(len(rows), group_reward, np.float32),
        }

    return {
        behavior: (
            DecisionSteps(action_mask=None, **columns(decisions)),
            TerminalSteps(interrupted=np.zeros(len(ends), bool), **columns(ends)),
        )
    }


def feed(episodes: Episodes, *states: State) -> list[Episode]:
    return [episode for one in states for episode in episodes.observe(one)]


def test_the_score_is_over_agents_of_summed_rewards_and_length_counts_decisions() -> None:
    for kind, expected in (("max", 0.5), ("sum", 0.7), ("mean", 0.35)):
        episodes = Episodes(1, kind)
        got = feed(
            episodes,
            state([(0, 9.0), (1, 9.0)]),  # rewards before the first decision belong to nobody's episode
            state([(0, 0.25), (1, 0.0)]),
            state(ends=[(0, 0.25), (1, 0.2)], decisions=[(2, 0.0), (3, 0.0)]),
        )
        assert [(e.score, e.length, e.area) for e in got] == [(pytest.approx(expected), 2, 0)]
        assert episodes.done


def test_group_reward_counts_once_and_until_the_last_member_ends() -> None:
    for kind, expected in (("max", 4.0), ("sum", 4.0), ("mean", 3.5)):
        episodes = Episodes(1, kind)
        got = feed(
            episodes,
            state([(0, 0), (1, 0)], group=[5, 5]),
            state([(1, 0)], ends=[(0, 1.0)], group=[5], group_reward=1.0),
            state([(1, 0)], group=[5], group_reward=1.0),
            state(ends=[(1, 0)], group=[5], group_reward=1.0),
        )
        assert [(e.score, e.length) for e in got] == [(expected, 3)]
        assert episodes.grouping == "by the scene's group ids"


@pytest.mark.parametrize("quick_area", [0, 1])
def test_each_area_contributes_its_quota_however_short_its_episodes_are(quick_area: int) -> None:
    """One area ends at every step, the other at every fourth: the first 5 endings would hold 4 short ones."""
    episodes = Episodes(5, "max", num_areas=2)
    playing, next_id = [0, 1], 2
    episodes.observe(state([(0, 0), (1, 0)]))
    for step in range(1, 20):
        ends, acts = [], []
        for area in (0, 1):
            if area == quick_area or step % 4 == 0:
                ends.append((playing[area], 1.0))
                playing[area], next_id = next_id, next_id + 1
            acts.append((playing[area], 0.0))
        episodes.observe(state(acts, ends))
        if episodes.done:
            break
    assert [e.area for e in episodes.episodes] == ([0, 0, 0, 1, 1] if quick_area == 0 else [1, 1, 0, 0, 0])
    assert step == (8 if quick_area == 0 else 12)


def test_fewer_episodes_than_areas_come_from_different_areas() -> None:
    episodes = Episodes(2, "max", num_areas=3)
    got = feed(
        episodes,
        state([(0, 0), (1, 0), (2, 0)]),
        state([(1, 0), (2, 0), (3, 0)], ends=[(0, 0)]),
        state([(1, 0), (2, 0), (4, 0)], ends=[(3, 0)]),
        state([(4, 0)], ends=[(1, 0), (2, 0)]),
    )
    assert [e.area for e in got] == [0, 1]


def test_pairs_are_consecutive_ids_across_behaviours_and_slots_follow_team_and_id() -> None:
    episodes = Episodes(4, "max", group_size=2)
    teams = state([(0, 0), (2, 0)]) | state([(1, 0), (3, 0)], behavior="Tennis?team=1")
    episodes.observe(teams)
    assert episodes.num_areas == 2
    assert episodes.slots(TENNIS, teams[TENNIS][0]) == [0, 0]
    assert episodes.slots("Tennis?team=1", teams["Tennis?team=1"][0]) == [1, 1]

    one_name = Episodes(4, "max", group_size=2)
    rows = state([(3, 0), (0, 0), (2, 0), (1, 0)])
    one_name.observe(rows)
    assert one_name.slots(TENNIS, rows[TENNIS][0]) == [1, 0, 0, 1]

    names = Episodes(4, "max", group_size=2)
    attack = state([(0, 0)], behavior="Attack?team=0") | state([(1, 0)], behavior="Defend?team=0")
    names.observe(attack)
    assert names.slots("Defend?team=0", attack["Defend?team=0"][0]) == [0]


def test_a_member_that_comes_back_takes_the_free_slot_and_prolongs_the_episode() -> None:
    episodes = Episodes(1, "sum")
    feed(episodes, state([(0, 0), (1, 0)], group=[7, 7]))
    back = state([(1, 0), (2, 0)], ends=[(0, 1.0)], group=[7, 7])
    assert feed(episodes, back) == []
    assert episodes.slots(TENNIS, back[TENNIS][0]) == [1, 0]
    got = feed(episodes, state(ends=[(1, 0.5), (2, 0.25)], group=[7, 7]))
    assert [e.score for e in got] == [1.75]


def test_a_large_scene_without_group_ids_needs_a_group_size() -> None:
    many = [(agent, 0.0) for agent in range(12)]
    with pytest.raises(GroupingError, match="--group-size: expected a number, .* the scene's 12 agents"):
        Episodes(1, "max").observe(state(many))
    by_areas = Episodes(1, "max", num_areas=4)
    by_areas.observe(state(many))
    assert by_areas.num_areas == 4
    small = Episodes(1, "max")
    small.observe(state(many[:8]))
    assert small.num_areas == 1


def test_agents_that_end_apart_contradict_a_group_size() -> None:
    with pytest.raises(GroupingError, match=r"groups of 2, got 3 that began \(ids 0, 1, 2\)"):
        Episodes(1, "max", group_size=2).observe(state([(0, 0), (1, 0), (2, 0)]))
    # One agent of each of two pairs starts anew: a pair by number, but not a pair that ended together.
    with pytest.raises(
        GroupingError, match=r"got 2 that began \(ids 4, 5\) while 2 groups play on; .*--group-size 1"
    ):
        feed(
            Episodes(4, "max", group_size=2),
            state([(0, 0), (1, 0), (2, 0), (3, 0)]),
            state([(1, 0), (2, 0), (4, 0), (5, 0)], ends=[(0, 0), (3, 0)]),
        )


def test_agents_that_play_for_themselves_may_appear_at_any_time() -> None:
    episodes = Episodes(2, "max", group_size=1)
    got = feed(
        episodes,
        state([(0, 0), (1, 0)]),
        state([(0, 0), (1, 0), (2, 0)]),
        state([(0, 0), (1, 0)], ends=[(2, 5.0)]),  # came later: its area has no quota
        state([(3, 0)], ends=[(0, 1.0), (1, 2.0)]),
    )
    assert [e.score for e in got] == [1.0, 2.0]
