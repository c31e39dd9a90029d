"""Weights of recorded actions: their mean is 1, better ones count more by the temperature, absent ones nothing."""

import math

import torch

from mlagents_marl_plugin.core.advantage_weights import advantage_weights


def test_weights_are_exponentials_over_their_mean() -> None:
    advantage = torch.tensor([[0.0, 1000.0], [1.0, 1001.0], [math.nan, 998.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    found = advantage_weights(advantage, mask, 0.5)
    better = math.exp(2.0)
    torch.testing.assert_close(found[:2, 0], torch.tensor([1.0, better]) * 2 / (1 + better))
    assert found[2, 0] == 0
    torch.testing.assert_close(found.sum(0), mask.sum(0))
    torch.testing.assert_close(found[1, 1] / found[0, 1], torch.tensor(better))


def test_where_nobody_counts_all_weights_are_0() -> None:
    found = advantage_weights(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]]), 1.0)
    assert found.tolist() == [[0.0, 1.0]]
