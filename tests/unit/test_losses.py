"""Targets, masked means, soft updates and clipped gradients, by hand."""

import math

import pytest
import torch

from mlagents_marl_plugin.core.losses import (
    ValueLoss,
    clip_gradient_,
    masked_mean,
    soft_update_,
    td_target,
    value_loss,
    value_loss_gradient,
)


def test_a_target_bootstraps_behind_a_limit_and_not_behind_an_end() -> None:
    reward = torch.tensor([[1.0, 1.0, 1.0]])
    next_value = torch.tensor([[10.0, 10.0, math.nan]])
    bootstrap = torch.tensor([[0.9, 0.0, 0.0]])  # cut by a limit; ended; ended, and never seen again
    assert td_target(reward, next_value, bootstrap).tolist() == [[10.0, 1.0, 1.0]]


def test_losses_by_hand() -> None:
    prediction, target = torch.tensor([0.0, 0.5, 3.0]), torch.zeros(3)
    assert value_loss(prediction, target, ValueLoss.MSE).tolist() == [0.0, 0.25, 9.0]
    assert value_loss(prediction, target, ValueLoss.HUBER).tolist() == [0.0, 0.125, 2.5]


@pytest.mark.parametrize("kind", list(ValueLoss))
def test_the_gradient_of_a_loss_is_its_own(kind: ValueLoss) -> None:
    prediction = torch.tensor([-4.0, -0.3, 0.2, 1.7]).requires_grad_()
    target = torch.tensor([0.0, 0.1, 0.1, 0.0])
    value_loss(prediction, target, kind).sum().backward()
    assert prediction.grad is not None
    torch.testing.assert_close(value_loss_gradient(prediction.detach(), target, kind), prediction.grad)


def test_masked_entries_change_a_mean_by_nothing_not_even_nan() -> None:
    value = torch.tensor([[1.0, math.nan], [3.0, math.inf], [math.nan, 5.0]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert masked_mean(value, mask, 0).tolist() == [2.0, 5.0]
    assert masked_mean(value, mask, (0, 1)).item() == 3.0
    assert masked_mean(value, torch.zeros(3, 2), 0).tolist() == [0.0, 0.0]


def test_a_soft_update_goes_tau_of_the_way() -> None:
    target, online = [torch.zeros(2), torch.ones(1)], [torch.full((2,), 4.0), torch.zeros(1)]
    soft_update_(target, online, 0.25)
    assert target[0].tolist() == [1.0, 1.0]
    assert target[1].tolist() == [0.75]
    assert online[0].tolist() == [4.0, 4.0]


def test_every_network_is_clipped_by_its_own_norm() -> None:
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    norm = clip_gradient_(gradient, 1.0)
    assert norm.tolist() == pytest.approx([5.0, 0.5, 0.0])
    assert gradient.flatten().tolist() == pytest.approx([0.6, 0.8, 0.3, 0.4, 0.0, 0.0])


def test_a_maximum_of_0_never_clips() -> None:
    gradient = torch.tensor([[3.0, 4.0]])
    assert clip_gradient_(gradient, 0.0).tolist() == [5.0]
    assert gradient.tolist() == [[3.0, 4.0]]
