"""Generalised advantages: by hand, and against a loop that walks every chain."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mlagents_marl_plugin.core.gae import gae

DISCOUNT, DECAY = 0.5, 0.5


def test_a_lane_with_a_truncation_in_the_middle_by_hand() -> None:
    """Rows 0, 1 | cut | 2, 3: row 1 bootstraps from the observation at the limit (number 4), row 3 from number 5."""
    reward, value = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    next_value = torch.tensor([[20.0], [8.0], [40.0], [16.0]])
    advantage = gae(
        reward,
        value,
        next_value,
        torch.zeros(4, 1),
        torch.tensor([0.0, 1.0, 0.0, 1.0]),
        torch.tensor([1, 4, 3, 5]),
        DISCOUNT,
        DECAY,
    )
    last = 4 + 0.5 * 16 - 40
    before_limit = 2 + 0.5 * 8 - 20
    expected = [1 + 0.5 * 20 - 10 + 0.25 * before_limit, before_limit, 3 + 0.5 * 40 - 30 + 0.25 * last, last]
    assert advantage.squeeze(1).tolist() == pytest.approx(expected)


def test_an_end_takes_no_bootstrap_and_a_limit_does() -> None:
    reward, value, next_value = (
        torch.tensor([[1.0, 1.0]]),
        torch.tensor([[3.0, 3.0]]),
        torch.full((1, 2), 10.0),
    )
    terminated = torch.tensor([[1.0, 0.0]])
    advantage = gae(reward, value, next_value, terminated, torch.ones(1), torch.tensor([1]), DISCOUNT, DECAY)
    assert advantage.tolist() == [[1 - 3, 1 + 0.5 * 10 - 3]]


def test_a_slot_that_ends_leaves_the_others_going_on() -> None:
    reward, zero = torch.tensor([[0.0, 0.0], [8.0, 8.0]]), torch.zeros(2, 2)
    terminated = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    advantage = gae(reward, zero, zero, terminated, torch.zeros(2), torch.tensor([1, 2]), DISCOUNT, DECAY)
    assert advantage.tolist() == [[0.0, 0.25 * 8], [8.0, 8.0]]


def naive(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    cut: Tensor,
    successor: Tensor,
) -> Tensor:
    advantage = torch.zeros_like(reward)
    for first in range(len(reward)):
        for slot in range(reward.shape[1]):
            row, weight = first, 1.0
            while True:
                alive = 1.0 - float(terminated[row, slot])
                delta = reward[row, slot] + 0.9 * alive * next_value[row, slot] - value[row, slot]
                advantage[first, slot] += weight * delta
                weight *= 0.9 * 0.95 * alive
                following = int(successor[row])
                if cut[row] or following >= len(reward):
                    break
                row = following
    return advantage


@settings(max_examples=40)
@given(num_rows=st.integers(1, 70), seed=st.integers(0, 2**20), num_lanes=st.integers(1, 4))
def test_random_chains_agree_with_a_loop_over_each(num_rows: int, seed: int, num_lanes: int) -> None:
    random = torch.Generator().manual_seed(seed)
    shape = (num_rows, 2)
    reward, value, next_value = torch.randn(3, *shape, generator=random)
    terminated = (torch.rand(shape, generator=random) < 0.1).float()
    cut = (torch.rand(num_rows, generator=random) < 0.1).float()
    lane = torch.randint(0, num_lanes, (num_rows,), generator=random)
    successor = torch.full((num_rows,), num_rows)
    for row in range(num_rows):
        later = [i for i in range(row + 1, num_rows) if lane[i] == lane[row]]
        successor[row] = later[0] if later else num_rows
    chains = (reward, value, next_value, terminated, cut, successor)
    assert torch.allclose(gae(*chains, 0.9, 0.95), naive(*chains), atol=1e-4)
