"""The staging table: tickets, the ring, and what is carried from row to row."""

import numpy as np
import pytest

from mlagents_marl_plugin.adapter.staging import (
    StagingTable,
    decode_tickets,
    encode_tickets,
    no_tickets,
)
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

SPEC = GroupSpec((RoleSpec("A", 2, ((3,),), ActionLayout(1, (2,))),))


def begin(
    table: StagingTable, previous: list[int], present: list[list[bool]], lanes: list[int] | None = None
):
    there = np.array(present)
    return table.begin(np.array(lanes or range(len(previous))), np.array(previous), there, there.copy(), 0)


def decide(table: StagingTable, rows: list[int], slots: list[int], value: float) -> None:
    count = len(rows)
    at = np.array(rows), np.array(slots)
    table.write_decisions(0, *at, np.full((count, 3), value, np.float32), np.ones((count, 2), np.float32))
    table.write_actions(0, *at, np.full((count, 3), value / 10, np.float32))


@pytest.mark.parametrize("row", [0, 1, (1 << 22) - 1, 1 << 22, (1 << 22) + 1, 10**12, (1 << 45) + 12345])
def test_a_ticket_survives_the_hosts_float32(row):
    rows, slots = np.array([row, row + 1]), np.array([0, 123])
    tickets = encode_tickets(rows, slots)
    assert tickets.dtype == np.float32
    got_rows, got_slots = decode_tickets(np.stack(list(tickets)))
    assert got_rows.tolist() == rows.tolist()
    assert got_slots.tolist() == slots.tolist()


def test_the_ticket_of_nothing_names_no_row():
    rows, _ = decode_tickets(no_tickets(3))
    assert rows.tolist() == [-1, -1, -1]
    assert not StagingTable(SPEC, 4).alive(rows).any()


def test_a_row_lives_until_the_ring_comes_round():
    table = StagingTable(SPEC, capacity=4)
    first = begin(table, [-1], [[True, True]])
    assert table.alive(first).all()
    for _ in range(3):
        begin(table, [-1], [[True, True]])
    assert table.alive(first).all()
    begin(table, [-1], [[True, True]])
    assert not table.alive(first).any()
    assert table.alive(np.array([1, 4, 5])).tolist() == [True, True, False]


def test_a_new_row_forgets_the_one_whose_place_it_takes():
    table = StagingTable(SPEC, capacity=2)
    row = int(begin(table, [-1], [[True, True]])[0])
    decide(table, [row, row], [0, 1], 5.0)
    table.delivered[0], table.reward[0], table.end[0] = True, 1.0, 1
    table.broken[0] = table.closed[0] = True
    begin(table, [-1], [[True, True]])
    again = int(begin(table, [-1], [[True, False]])[0])
    assert again % 2 == 0
    assert not table.obs[0][0].any()
    assert not table.action[0][0].any()
    for column in (table.decided, table.delivered, table.reward, table.group_reward, table.end):
        assert not column[0].any()
    assert not table.broken[0]
    assert not table.closed[0]
    assert table.successor[0] == -1
    assert table.present[0].tolist() == [True, False]


def test_a_member_that_does_not_decide_keeps_its_observation_and_action():
    table = StagingTable(SPEC, capacity=8)
    first = begin(table, [-1, -1], [[True, True], [True, True]])
    decide(table, [*first, *first], [0, 0, 1, 1], 5.0)
    decide(table, [int(first[1])], [1], 7.0)
    second = begin(table, first.tolist(), [[True, True], [True, False]])
    decide(table, [int(second[0])], [0], 6.0)
    assert table.obs[0][second, :, 0].tolist() == [[6.0, 5.0], [5.0, 0.0]]
    assert table.action[0][second[0], 1].tolist() == [0.5] * 3
    assert table.decided[second].tolist() == [[True, False], [False, False]]
    assert table.successor[first].tolist() == second.tolist()


def test_nothing_is_carried_from_a_row_that_was_overwritten():
    table = StagingTable(SPEC, capacity=2)
    first = begin(table, [-1], [[True, True]])
    decide(table, [0, 0], [0, 1], 5.0)
    begin(table, [-1], [[True, True]])
    begin(table, [-1], [[True, True]])
    later = begin(table, first.tolist(), [[True, True]])
    assert not table.obs[0][int(later[0]) % 2].any()


def test_one_who_joins_starts_with_nothing():
    table = StagingTable(SPEC, capacity=8)
    first = begin(table, [-1], [[True, False]])
    decide(table, [0], [0], 5.0)
    second = begin(table, first.tolist(), [[True, True]])
    assert table.obs[0][int(second[0]), 1].tolist() == [0.0] * 3


def test_a_joint_row_is_laid_out_role_by_role():
    spec = GroupSpec((RoleSpec("A", 2, ((2,),), ActionLayout(1)), RoleSpec("B", 1, ((3,),), ActionLayout(2))))
    table = StagingTable(spec, capacity=4)
    begin(table, [-1], [[True, True, True]])
    table.write_decisions(
        0,
        np.array([0, 0]),
        np.array([0, 1]),
        np.array([[1, 2], [3, 4]], np.float32),
        np.zeros((2, 0), np.float32),
    )
    table.write_decisions(
        1, np.array([0]), np.array([2]), np.array([[5, 6, 7]], np.float32), np.zeros((1, 0), np.float32)
    )
    assert table.joint(table.obs, np.array([0])).tolist() == [[1, 2, 3, 4, 5, 6, 7]]


def test_closed_rows_drop_their_last_observations():
    table = StagingTable(SPEC, capacity=2)
    begin(table, [-1], [[True, True]])
    table.final_obs[0] = {0: np.zeros(3)}
    begin(table, [-1], [[True, True]])
    begin(table, [-1], [[True, True]])
    table.final_obs[2] = {1: np.zeros(3)}
    table.close([0, 2])  # 0 is overwritten by 2
    assert not table.final_obs
    assert table.closed.tolist() == [True, False]


def test_the_ring_is_bounded_in_bytes():
    wide = GroupSpec((RoleSpec("A", 8, ((100_000,),), ActionLayout(1)),))
    table = StagingTable(wide)
    assert table.capacity * 8 * 100_000 * 4 < 2 << 32
    assert StagingTable(SPEC).capacity == 1 << 17
