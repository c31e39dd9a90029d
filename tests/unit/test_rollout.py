"""Rollouts: what is taken against a naive list, what stays, and what is refused."""

import random

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core import memory
from mlagents_marl_plugin.core.rollout import Rollout
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

CPU = torch.device("cpu")
SPEC = GroupSpec((RoleSpec("runner", 2, ((3,),), ActionLayout(1, (2,))),))


def numbered_obs(first: int, count: int) -> Tensor:
    """Observations whose first number says which row they are."""
    obs = torch.rand(count, SPEC.obs_size)
    obs[:, 0] = torch.arange(first, first + count)
    return obs


def append(rollout: Rollout, count: int = 1) -> int:
    obs = numbered_obs(rollout.next_id, count)
    return rollout.append(obs, torch.ones(count, 2), torch.ones(count, SPEC.allowed_size))


def complete(rollout: Rollout, rows: list[int], next_rows: list[int], cut: list[bool] | None = None) -> None:
    """Rewards and log-probabilities name the row, too."""
    count, number = len(rows), torch.tensor(rows, dtype=torch.float32).unsqueeze(1)
    rollout.complete(
        torch.tensor(rows),
        torch.ones(count, SPEC.action_size),
        number.expand(-1, 2),
        torch.ones(count, 2),
        torch.zeros(count, 2),
        torch.tensor(next_rows),
        torch.tensor([False] * count if cut is None else cut),
        -number.expand(-1, 2),
        torch.ones(count, 2),
    )


def test_everything_complete_is_taken_once_with_what_came_after() -> None:
    random.seed(0)
    rollout, lanes = Rollout(SPEC, 4, CPU), [None] * 3
    follows: dict[int, tuple[int, bool]] = {}  # row -> successor, cut
    given, taken = set[int](), set[int]()
    waiting: list[int] = []
    for _ in range(60):
        for lane in random.sample(range(3), random.randint(1, 3)):
            row, before = append(rollout), lanes[lane]
            lanes[lane] = row
            if before is not None:
                ends = random.random() < 0.3
                follows[before] = (row, ends)
                waiting.append(before)
                lanes[lane] = None if ends else row
        if random.random() < 0.5 and waiting:
            complete(
                rollout, waiting, [follows[row][0] for row in waiting], [follows[row][1] for row in waiting]
            )
            given.update(waiting)
            waiting = []
        assert rollout.num_complete == len(given - taken)
        if random.random() < 0.2 and given - taken:
            batch = rollout.take()
            rows = [int(number) for number in batch.reward[:, 0]]
            assert rows == sorted(given - taken)
            seen = [int(number) for number in batch.obs[:, 0]]
            assert seen[: len(rows)] == rows
            assert len(set(seen)) == len(seen)
            assert [seen[i] for i in batch.successor] == [follows[row][0] for row in rows]
            assert [bool(cut) for cut in batch.cut] == [follows[row][1] for row in rows]
            assert torch.equal(batch.log_prob, -batch.reward)
            taken |= set(rows)
    assert len(taken) > 60
    assert rollout.metrics()["dropped"] == 0
    complete(rollout, waiting, [follows[row][0] for row in waiting], [follows[row][1] for row in waiting])
    rollout.take()
    assert rollout.metrics()["open"] == sum(row is not None for row in lanes)  # nothing piles up


def test_what_is_permitted_is_told_of_rows_and_of_what_follows_them() -> None:
    rollout = Rollout(SPEC, 4, CPU)
    masks = (torch.rand(5, SPEC.allowed_size, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    rollout.append(numbered_obs(0, 5), torch.ones(5, 2), masks)
    complete(rollout, [0, 1, 3], [1, 2, 4])
    batch = rollout.take()
    assert batch.obs[:, 0].tolist() == [0, 1, 3, 2, 4]
    assert torch.equal(batch.allowed, masks[[0, 1, 3]])
    assert batch.allowed_behind is not None
    assert torch.equal(batch.allowed_behind, masks[[2, 4]])


def test_absent_slots_leave_nothing_behind() -> None:
    rollout, nan = Rollout(SPEC, 4, CPU), float("nan")
    here = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    obs = torch.ones(2, SPEC.obs_size)
    obs[0, 3:] = nan
    rollout.append(obs, here, torch.ones(2, 4))
    action = torch.ones(1, SPEC.action_size)
    action[0, 3:] = nan
    second_is_nan = torch.tensor([[1.0, nan]])
    rollout.complete(
        torch.tensor([0]),
        action,
        second_is_nan,
        here[:1],
        torch.zeros(1, 2),
        torch.tensor([1]),
        torch.zeros(1),
        second_is_nan,
        torch.ones(1, 2),
    )
    batch = rollout.take()
    assert batch.acted.tolist() == [[1.0, 0.0]]
    for tensor in batch:
        assert bool(torch.isfinite(tensor).all())
    for tensor in (batch.reward, batch.log_prob):
        assert tensor.tolist() == [[1.0, 0.0]]


def test_a_row_decided_before_an_update_keeps_its_own_log_probability() -> None:
    rollout = Rollout(SPEC, 4, CPU)
    append(rollout, 3)
    complete(rollout, [0], [1])
    rollout.take()
    complete(rollout, [1], [2])
    assert rollout.take().log_prob.tolist() == [[-1.0, -1.0]]


def test_rows_that_nobody_completes_are_given_up() -> None:
    rollout = Rollout(SPEC, 2, CPU)
    lost = append(rollout)
    for _ in range(20):
        row = append(rollout, 2)
        complete(rollout, [row], [row + 1], [True])
        rollout.take()
    assert rollout.metrics() == {"size": 0.0, "open": 0.0, "dropped": 0.0}
    complete(rollout, [lost], [append(rollout)])
    assert rollout.num_complete == 0
    assert rollout.metrics()["dropped"] == 1.0


def test_room_is_made_for_whatever_comes_at_once() -> None:
    rollout = Rollout(SPEC, 2, CPU)
    append(rollout, 100)
    complete(rollout, list(range(99)), list(range(1, 100)))
    assert rollout.take().reward[:, 0].tolist() == list(range(99))


def test_what_makes_no_sense_is_refused() -> None:
    rollout = Rollout(SPEC, 4, CPU)
    with pytest.raises(ValueError, match=r"^Rollout: expected a capacity of at least 2 steps, got 1; raise"):
        Rollout(SPEC, 1, CPU)
    with pytest.raises(ValueError, match=r"^Rollout.take: expected at least one complete row, got none; "):
        rollout.take()
    with pytest.raises(
        ValueError, match=r"^Rollout.append: expected agent_mask of shape \(1, 2\), got \(1, 3\)"
    ):
        rollout.append(torch.ones(1, SPEC.obs_size), torch.ones(1, 3), torch.ones(1, 4))
    append(rollout, 3)
    with pytest.raises(
        ValueError, match=r"^Rollout.complete: expected 0 <= row < next_row < 3, got rows \[1\]"
    ):
        complete(rollout, [1], [1])
    complete(rollout, [0], [1])
    with pytest.raises(ValueError, match=r"^Rollout.complete: expected rows that are still open, each once"):
        complete(rollout, [0], [1])
    with pytest.raises(ValueError, match=r"^Rollout.complete: expected rows that are still open, each once"):
        complete(rollout, [1, 1], [2, 2])
    assert rollout.num_complete == 1


def test_more_than_the_machine_has_is_refused_with_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda device: 100_000)
    with pytest.raises(
        MemoryError, match=r"^Rollout: expected a buffer_size that fits on cpu, got 9999 steps"
    ):
        Rollout(SPEC, 9999, CPU)
