import numpy as np
import pytest

from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.scenes.counter import (
    CounterOptions,
    CounterScene,
    episode_ends,
    forbidden_choices,
    reward_of,
)

SEED = 3


def play(options, steps=60, areas=3):
    """All rows of some steps as dictionaries, in order of their tick."""
    scene = CounterScene(areas, SEED, options)
    frames = [scene.reset()] + [scene.step({}) for _ in range(steps)]
    rows = []
    for tick, frame in enumerate(frames):
        for behavior, part in frame.items():
            for i in range(len(part.seat)):
                area, agent, episode, step = part.observations[0][i, :4].astype(int)
                rows.append(
                    {
                        "tick": tick,
                        "behavior": behavior,
                        "seat": part.seat[i],
                        "area": area,
                        "agent": agent,
                        "episode": episode,
                        "step": step,
                        "reward": part.reward[i],
                        "done": part.done[i],
                        "interrupted": part.interrupted[i],
                        "group": 0 if part.group is None else part.group[i],
                    }
                )
    return rows


def test_every_row_says_where_it_comes_from():
    for row in play(CounterOptions(agents=3)):
        assert row["seat"] == row["area"] * 3 + row["agent"]
        assert row["reward"] == reward_of(np.array([row["area"], row["agent"], row["episode"], row["step"]]))


def test_episodes_end_when_the_known_function_says_so():
    options = CounterOptions(agents=3, deaths=True)
    ended = [row for row in play(options) if row["done"]]
    assert len(ended) > 20
    for row in ended:
        ends = episode_ends(SEED, row["area"], row["episode"], options)
        assert row["step"] == ends[row["agent"]]
        whole_area = row["step"] == ends.max()
        assert row["interrupted"] == (whole_area and (row["area"] + row["episode"]) % 2 == 1)
    assert any(row["interrupted"] for row in ended)
    assert any(row["step"] < episode_ends(SEED, row["area"], row["episode"], options).max() for row in ended)


def test_an_agent_that_died_is_silent_until_its_areas_next_episode():
    options = CounterOptions(agents=2, deaths=True)
    for row in play(options):
        assert row["step"] <= episode_ends(SEED, row["area"], row["episode"], options)[row["agent"]]


def test_episodes_follow_each_other_at_the_same_tick():
    rows = play(CounterOptions())
    last = {(r["area"], r["agent"], r["episode"]): r["tick"] for r in rows if r["done"]}
    first = {(r["area"], r["agent"], r["episode"]): r["tick"] for r in rows if r["step"] == 0}
    for (area, agent, episode), tick in last.items():
        assert first[area, agent, episode + 1] == tick


def test_agents_ask_by_their_period_and_end_at_any_step():
    rows = play(CounterOptions(agents=3, periods=(1, 2, 3)))
    asking = [row for row in rows if not row["done"]]
    assert {row["step"] % (row["agent"] + 1) for row in asking} == {0}
    assert any(row["step"] % 3 for row in rows if row["done"] and row["agent"] == 2)


def test_groups_are_areas():
    assert all(row["group"] == row["area"] + 1 for row in play(CounterOptions(group_ids=True)))
    assert all(row["group"] == 0 for row in play(CounterOptions()))


def test_roles_and_teams_name_the_behaviours():
    scene = CounterScene(1, SEED, CounterOptions(agents=3, roles=True, teams=True))
    assert [behavior.id for behavior in scene.behaviors] == [
        "Counter?team=0",
        "Counter?team=2",
        "CounterB?team=1",
    ]
    by_name = {behavior.name: behavior for behavior in scene.behaviors}
    assert by_name["CounterB"].sensors[0].shape == (6,)
    assert by_name["CounterB"].actions.continuous == 1 + by_name["Counter"].actions.continuous


def test_the_last_action_is_echoed():
    scene = CounterScene(1, SEED, CounterOptions(echo=True, branches=(4,), min_length=5))
    seat = np.arange(2)
    (first,) = scene.reset().values()
    np.testing.assert_array_equal(first.observations[0][:, 4:], np.zeros((2, 3)))
    action = Actions(seat, np.array([[0.5, -1], [2, 3]], np.float32), np.array([[3], [1]]))
    (rows,) = scene.step({"Counter?team=0": action}).values()
    np.testing.assert_array_equal(rows.observations[0][:, 4:], [[0.5, -1, 3], [2, 3, 1]])


def test_masks_forbid_one_choice_of_each_branch_but_never_the_only_one():
    mask = forbidden_choices(np.array([0, 1, 2]), np.array([0, 0, 1]), (3, 1, 2))
    assert mask.astype(int).tolist() == [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1]]
    scene = CounterScene(1, SEED, CounterOptions(branches=(3,), masks=True))
    (rows,) = scene.reset().values()
    assert rows.forbidden.astype(int).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_reset_begins_a_new_episode_everywhere():
    scene = CounterScene(2, SEED, CounterOptions())
    scene.reset()
    scene.step({})
    (rows,) = scene.reset().values()
    np.testing.assert_array_equal(rows.observations[0][:, 2:4], [[1, 0]] * 4)
    assert not rows.done.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": 0}, "Counter.agents: expected a whole number >= 1, got 0"),
        ({"min_length": 0}, "Counter.min_length: expected a whole number >= 1, got 0"),
        ({"min_length": 9, "max_length": 8}, "Counter.max_length: expected a whole number >= 9, got 8"),
        ({"continuous": 0}, "expected continuous or discrete actions, got none"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CounterOptions(**options)
