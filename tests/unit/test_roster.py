"""How groups are found, and who sits where."""

import logging

import numpy as np
import pytest
from mlagents.trainers.exception import UnityTrainerException

from mlagents_marl_plugin.adapter import assembler
from mlagents_marl_plugin.adapter import roster as roster_module
from mlagents_marl_plugin.adapter.grouping import FirstAgents, Grouping, Layout, decide_layout
from mlagents_marl_plugin.adapter.roster import Roster
from mlagents_marl_plugin.adapter.staging import StagingTable
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

SOLO, GROUPED = Grouping.CONSECUTIVE, Grouping.GROUP_ID


def first(*teams: list[int]) -> list[FirstAgents]:
    """Teams of agents, each given by its group id."""
    seen, agent = [], 0
    for team, groups in enumerate(teams):
        ids = np.arange(agent, agent + len(groups))
        agent += len(groups)
        seen.append(FirstAgents(f"Ball?team={team}", ids, np.array(groups, int)))
    return seen


def layout(*teams: list[int], grouping=Grouping.AUTO, group_size=None, max_group_size=8) -> Layout:
    return decide_layout("Ball", first(*teams), grouping, group_size, max_group_size)


@pytest.mark.parametrize(
    ("teams", "settings", "expected"),
    [
        ([[0, 0]], {}, Layout(Grouping.WORKER, (2,))),
        ([[0, 0], [0, 0, 0]], {}, Layout(Grouping.WORKER, (2, 3))),
        ([[0] * 8], {}, Layout(Grouping.WORKER, (8,))),
        ([[0] * 6], {"group_size": 2}, Layout(SOLO, (2,))),
        ([[0] * 6], {"group_size": 6}, Layout(Grouping.WORKER, (6,))),
        ([[0] * 3, [0] * 3], {"group_size": 2}, Layout(SOLO, (1, 1))),
        ([[1, 1, 2, 2, 2]], {}, Layout(GROUPED, (3,))),
        ([[1, 1, 0]], {}, Layout(GROUPED, (2,))),
        ([[1, 1], [1, 2, 2]], {}, Layout(GROUPED, (2, 2))),
        ([[1, 1], [0]], {}, Layout(GROUPED, (2, 1))),
        ([[1, 1, 2]], {"group_size": 4}, Layout(GROUPED, (4,))),
        ([[1], [1]], {"group_size": 4}, Layout(GROUPED, (2, 2))),
        ([[1, 1, 2, 2]], {"grouping": Grouping.WORKER}, Layout(Grouping.WORKER, (4,))),
        ([[0] * 6], {"grouping": SOLO, "group_size": 3}, Layout(SOLO, (3,))),
        ([[0] * 20], {"grouping": Grouping.WORKER}, Layout(Grouping.WORKER, (20,))),
    ],
)
def test_groups_are_found(teams, settings, expected):
    assert layout(*teams, **settings) == expected


def test_the_choice_is_told_in_one_line(caplog, monkeypatch):
    from mlagents_marl_plugin.adapter import grouping

    monkeypatch.setattr(grouping, "logger", logging.getLogger("test"))
    with caplog.at_level(logging.INFO):
        layout([0] * 3, [0] * 3, group_size=2)
    assert caplog.messages == ["Ball: grouping 'consecutive', 2 agents in a group (1 + 1 of 2 teams)."]


@pytest.mark.parametrize(
    ("teams", "settings", "field", "parts"),
    [
        (
            [[0] * 9],
            {},
            "group_size",
            ["expected a number, got nothing", "scene's 9 agents", "group_size: 2 for Tennis"],
        ),
        ([[0] * 4], {"max_group_size": 3}, "group_size", ["scene's 4 agents carry no group ids"]),
        ([[0] * 5], {"group_size": 2}, "group_size", ["expected a divisor of the 5 agents", "got 2"]),
        (
            [[0] * 4],
            {"grouping": SOLO},
            "group_size",
            ["expected a number for grouping 'consecutive', got nothing"],
        ),
        (
            [[0] * 3, [0] * 3],
            {"group_size": 3},
            "group_size",
            ["expected a multiple of the 2 teams", "got 3"],
        ),
        ([[1, 1, 1]], {"group_size": 2}, "group_size", ["expected at least the 3 agents", "got 2", "set 3"]),
        (
            [[0] * 3],
            {"grouping": Grouping.WORKER, "group_size": 2},
            "group_size",
            ["expected the 3 agents", "got 2"],
        ),
        (
            [[0] * 3],
            {"grouping": GROUPED},
            "grouping",
            ["got agents without a group", "SimpleMultiAgentGroup"],
        ),
    ],
)
def test_a_scene_that_contradicts_the_settings(teams, settings, field, parts):
    with pytest.raises(UnityTrainerException) as caught:
        layout(*teams, **settings)
    message = str(caught.value)
    assert message.startswith(f"behaviors.Ball.hyperparameters.{field}: expected ")
    for part in parts:
        assert part in message


def make(grouping: Grouping, *members: int, posthumous: bool = False, sides: bool = False) -> Roster:
    found = Layout(grouping, members, sides)
    spec = GroupSpec((RoleSpec("Ball", found.group_size, ((1,),), ActionLayout(1)),))
    return Roster("Ball", found, StagingTable(spec, 512), posthumous)


def place(roster: Roster, ids: list[int], groups: list[int] | None = None, worker: int = 0, team: int = 0):
    """Lanes and slots of agents that ask."""
    rows, slots = roster.place(worker, team, np.array(ids, int), np.array(groups or [0] * len(ids), int))
    for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
        if row >= 0:
            one = np.zeros((1, 1), np.float32)
            roster.staging.write_decisions(
                0, np.array([row]), np.array([slot]), one, np.zeros((1, 0), np.float32)
            )
    return [roster.staging.lane[row % 512] if row >= 0 else -1 for row in rows], slots.tolist()


def test_one_row_per_group_and_step_and_slots_in_order_of_ids():
    roster = make(GROUPED, 2)
    lanes, slots = place(roster, [7, 3, 5, 4], [1, 1, 2, 2])
    assert lanes[0] == lanes[1] != lanes[2] == lanes[3]
    assert slots == [1, 0, 1, 0]
    assert roster.staging.head == 2
    again, same = place(roster, [3, 4, 5, 7], [1, 2, 2, 1])
    assert same == [0, 0, 1, 1]
    assert roster.staging.head == 4
    assert again == [lanes[1], lanes[3], lanes[2], lanes[0]]
    assert roster.staging.successor[:2].tolist() == [2, 3]


def test_processes_do_not_share_groups():
    roster = make(GROUPED, 2)
    a, _ = place(roster, [0, 1], [1, 1], worker=0)
    b, _ = place(roster, [0, 1], [1, 1], worker=1)
    assert a[0] != b[0]


def test_an_agent_in_no_group_is_a_group_of_its_own():
    roster = make(GROUPED, 2)
    lanes, _ = place(roster, [0, 1, 2, 3], [1, 1, 0, 0])
    assert len(set(lanes)) == 3


def test_who_leaves_frees_a_slot_and_a_group_ends_with_its_last_member():
    roster = make(GROUPED, 2)
    lanes, _ = place(roster, [0, 1], [5, 5])
    roster.leave(0, 0)
    again, slots = place(roster, [1, 2], [5, 5])
    assert again == lanes
    assert slots == [1, 0]
    roster.leave(0, 1)
    roster.leave(0, 2)
    roster.leave(0, 2)
    assert [gone.agent for gone in roster.departed] == [0, 1, 2]
    new, _ = place(roster, [3, 4], [5, 5])
    assert new[0] != lanes[0]


def test_the_dead_are_valued_only_where_a_group_plays_on_for_them():
    for posthumous in (False, True):
        roster = make(GROUPED, 2, posthumous=posthumous)
        place(roster, [0, 1], [5, 5])
        roster.leave(0, 0)
        place(roster, [1], [5])
        assert roster.staging.valued[1].tolist() == [posthumous, True]
        assert roster.staging.present[1].tolist() == [False, True]


def test_more_agents_than_slots():
    roster = make(GROUPED, 2)
    with pytest.raises(
        UnityTrainerException,
        match=r"group_size: expected groups of at most 2 agents, got one more \(agent 2\)",
    ):
        place(roster, [0, 1, 2], [5, 5, 5])


def test_more_agents_than_a_process_began_with_need_groups_by_id():
    """A larger group_size alone would be refused at the next start: 'worker' takes what begins together."""
    roster = make(Grouping.WORKER, 2)
    place(roster, [0, 1])
    with pytest.raises(
        UnityTrainerException,
        match="at most 2 agents, got one more .* in a SimpleMultiAgentGroup .grouping: group_id., and set",
    ):
        place(roster, [0, 1, 2])
    assert layout([1, 1], group_size=3) == Layout(GROUPED, (3,))


def test_teams_have_slots_of_their_own_and_share_a_row():
    roster = make(Grouping.WORKER, 1, 2)
    a, slots_a = place(roster, [0], team=0)
    b, slots_b = place(roster, [1, 2], team=1)
    assert a[0] == b[0] == b[1]
    assert (slots_a, slots_b) == ([0], [1, 2])
    assert roster.staging.head == 1
    place(roster, [0], team=0)
    assert roster.staging.head == 2


def test_the_clock_goes_on_without_agents():
    roster = make(Grouping.WORKER, 1, 1)
    place(roster, [0], team=0)
    place(roster, [], team=1)
    assert roster.workers[0].complete == 0
    place(roster, [], team=0)
    assert (roster.workers[0].clock, roster.workers[0].complete) == (1, 0)
    place(roster, [1], team=1)
    assert roster.workers[0].complete == 1
    assert roster.staging.step[:2].tolist() == [0, 1]


def test_a_step_is_complete_when_the_next_begins_even_if_a_team_is_missing():
    roster = make(Grouping.WORKER, 1, 1)
    for step in range(3):
        place(roster, [0], team=0)
        assert roster.workers[0].complete == step - 1


def test_consecutive_ids_share_a_court():
    roster = make(SOLO, 2)
    lanes, slots = place(roster, [0, 1, 2, 3])
    assert lanes[0] == lanes[1] != lanes[2] == lanes[3]
    assert slots == [0, 1, 0, 1]
    for agent in (2, 3):
        roster.leave(0, agent)
    later, _ = place(roster, [0, 1, 5, 4])
    assert later[:2] == lanes[:2]
    assert later[2] == later[3] not in lanes[:2]


def test_consecutive_ids_of_two_teams():
    roster = make(SOLO, 1, 1)
    a, slots_a = place(roster, [0, 2], team=0)
    b, slots_b = place(roster, [1, 3], team=1)
    assert a == b
    assert a[0] != a[1]
    assert (slots_a, slots_b) == ([0, 0], [1, 1])


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(roster_module, "logger", logging.getLogger("test"))
    return caplog


def test_gaps_in_the_first_ids_are_waited_out_and_later_ones_stop_the_run(warnings):
    roster = make(SOLO, 2)
    place(roster, [0, 2])
    assert "agents [0, 2] have no consecutive ids" in warnings.text
    assert "grouped anew when they begin their next episode" in warnings.text
    roster.leave(0, 0)
    roster.leave(0, 2)
    with pytest.raises(UnityTrainerException) as caught:
        place(roster, [3, 5])
    message = str(caught.value)
    assert message.startswith(
        "behaviors.Ball.hyperparameters.grouping: expected groups of 2 agents with consecutive ids"
    )
    assert "but agents [3, 5] have no consecutive ids; register the agents of a court" in message


def test_a_cohort_of_an_odd_number(warnings):
    roster = make(SOLO, 2)
    lanes, _ = place(roster, [0, 1, 2])
    assert lanes == [-1, -1, -1]
    assert "3 agents began together, which is no multiple of 2" in warnings.text
    for agent in (0, 1, 2):
        roster.leave(0, agent)
    assert [gone.lane for gone in roster.departed] == [-1, -1, -1]
    place(roster, [3, 4])
    with pytest.raises(UnityTrainerException, match="1 agents began together"):
        place(roster, [3, 4, 5])


def test_a_reset_lets_everybody_go():
    roster = make(GROUPED, 2)
    place(roster, [0, 1], [1, 1], worker=0)
    place(roster, [4, 5], [1, 1], worker=1)
    roster.reset()
    assert {(gone.worker, gone.agent) for gone in roster.departed} == {(0, 0), (0, 1), (1, 4), (1, 5)}
    assert not any(worker.members or worker.lanes for worker in roster.workers.values())


def test_lanes_are_used_again():
    roster = make(GROUPED, 1)
    for life in range(1000):
        place(roster, [life], [life + 1])
        roster.leave(0, life)
        lane = roster.departed.pop().lane
        roster.lanes.settled[lane] += 1
        assert roster.lanes.gone(lane)
        roster.lanes.release(lane)
    assert len(roster.lanes.row) == 64


def test_lanes_grow_and_keep_what_they_hold():
    roster = make(GROUPED, 1)
    lanes, _ = place(roster, list(range(300)), list(range(1, 301)))
    assert len(set(lanes)) == 300
    assert roster.lanes.present[lanes].all()
    assert (roster.lanes.seated[lanes] == 1).all()
    assert [roster.lanes.pending[lane] for lane in lanes] == [[row] for row in roster.lanes.row[lanes]]


def test_ids_outlive_a_reset_of_the_scene():
    roster = make(Grouping.WORKER, 1, 1)
    place(roster, [0], team=0)
    place(roster, [1], team=1)
    roster.reset()
    roster.departed.clear()
    lanes, _ = place(roster, [0], team=0)
    others, _ = place(roster, [1], team=1)
    assert lanes == others
    assert not roster.departed


def test_who_ends_in_the_first_step_after_a_reset_is_let_go():
    roster = make(GROUPED, 2)
    place(roster, [0, 1], [1, 1])
    roster.reset()
    place(roster, [0, 1], [1, 1])
    roster.departed.clear()
    place(roster, [0, 2], [1, 1])
    assert [gone.agent for gone in roster.departed] == [1]
    newest = int(roster.lanes.row[roster.workers[0].members[0].lane])
    assert roster.staging.broken[newest], "it may only have been silent, so it is not sure who was there"
    for _ in range(roster_module.LONGEST_DECISION_PERIOD):
        place(roster, [0, 2], [1, 1])
    newest = int(roster.lanes.row[roster.workers[0].members[0].lane])
    assert not roster.staging.broken[newest]


def test_a_mate_with_a_longer_decision_period_keeps_its_seat_after_a_reset():
    roster = make(SOLO, 2)
    place(roster, [0, 1, 2, 3])
    roster.reset()
    lanes, _ = place(roster, [0, 1, 2, 3])
    roster.departed.clear()
    place(roster, [0, 4, 5])  # 1 decides every other step, and the court of 2 and 3 was over at once
    again, slots = place(roster, [0, 1, 4, 5])
    assert again[:2] == lanes[:2] and slots == [0, 1, 0, 1]
    assert again[2] == again[3] not in lanes
    assert not roster.departed
    roster.reset()
    assert {gone.agent for gone in roster.departed} == set(range(6))


def test_a_court_may_be_silent_for_a_while_after_a_reset():
    roster = make(SOLO, 2)
    place(roster, [0, 1])
    roster.reset()
    lanes, _ = place(roster, [0, 1])
    place(roster, [])
    assert [place(roster, [agent])[0] for agent in (0, 1)] == [lanes[:1], lanes[1:]]


@pytest.mark.parametrize("sides", [False, True])
def test_steps_of_opponents_that_overrun_the_ring_are_not_missed(sides, caplog, monkeypatch):
    """In self-play the host tells nothing of them, however short time_horizon is."""
    monkeypatch.setattr(assembler, "logger", logging.getLogger("test"))
    roster = make(GROUPED, 1, 1, sides=sides)
    collected = assembler.Assembler(roster, None, 0.99)
    for _ in range(600):
        place(roster, [0], [1], team=0)
        place(roster, [1], [2], team=1)
    roster.leave(0, 1)
    collected.give_up(roster.departed)
    collected.flush()
    assert (collected.dropped > 0) is (not sides)
    assert ("experience is left out" in caplog.text) is (not sides)
