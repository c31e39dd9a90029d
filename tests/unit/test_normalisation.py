"""The running normaliser against the mean and deviation of everything at once."""

import math

import pytest
import torch
from torch import nn

from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from tests.unit.groups import CPU


def seen(values: torch.Tensor, clip: float = 5.0) -> RunningNormaliser:
    normaliser = RunningNormaliser(values.shape[-1], clip, CPU)
    for chunk in values.split([1, 7, 2, len(values) - 10]):
        normaliser.observe(chunk, torch.ones(chunk.shape[:-1]))
    return normaliser


def test_chunks_of_any_size_add_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, 2, 3, generator=generator) * torch.tensor([0.1, 1.0, 30.0]) + 7.0
    normaliser = seen(values)
    assert int(normaliser.count) == 1000
    rows = values.flatten(0, 1)
    torch.testing.assert_close(normaliser.mean, rows.mean(0))
    torch.testing.assert_close(normaliser.variance, rows.var(0, correction=0), rtol=1e-4, atol=1e-5)
    normalised = normaliser.normalise_(rows.clone())
    torch.testing.assert_close(normalised.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalised.std(0), torch.ones(3), atol=2e-3, rtol=0)


def test_absent_rows_change_nothing_not_even_nan() -> None:
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    padded = torch.cat([values, torch.full((5, 3), math.nan)])
    mask = torch.cat([torch.ones(40), torch.zeros(5)])
    with_padding, without = RunningNormaliser(3, 5.0, CPU), RunningNormaliser(3, 5.0, CPU)
    with_padding.observe(padded, mask)
    with_padding.observe(padded[40:], mask[40:])
    without.observe(values, torch.ones(40))
    for name, tensor in without.tensors().items():
        assert torch.equal(with_padding.tensors()[name], tensor), name


def test_outliers_are_clipped() -> None:
    normaliser = seen(torch.randn(100, 2, generator=torch.Generator().manual_seed(2)), clip=2.5)
    assert normaliser.normalise_(torch.tensor([[1e6, -1e6]])).tolist() == [[2.5, -2.5]]


def test_before_anything_was_seen_it_only_clips() -> None:
    normalised = RunningNormaliser(3, 5.0, CPU).normalise_(torch.tensor([0.5, -4.0, 9.0]))
    assert normalised.tolist() == pytest.approx([0.5, -4.0, 5.0], abs=1e-4)


def test_an_input_that_never_moved_stays_finite_and_moderate() -> None:
    normaliser = seen(torch.full((50, 1), 3.0))
    assert normaliser.normalise_(torch.tensor([3.0])).item() == pytest.approx(0.0, abs=1e-3)
    assert abs(normaliser.normalise_(torch.tensor([3.001])).item()) < 1.5


def test_it_still_learns_after_more_rows_than_a_float_can_count() -> None:
    normaliser = RunningNormaliser(1, 5.0, CPU)
    normaliser.count.fill_(2**24)
    normaliser.observe(torch.ones(1, 1), torch.ones(1))
    assert int(normaliser.count) == 2**24 + 1


def test_the_exported_module_and_the_copy_do_the_same() -> None:
    normaliser = seen(torch.randn(100, 4, generator=torch.Generator().manual_seed(3)) * 10)
    obs = torch.randn(6, 4, generator=torch.Generator().manual_seed(4)) * 40
    expected = normaliser.normalise_(obs.clone())
    module = normaliser.module()
    assert isinstance(module, nn.Module)
    torch.testing.assert_close(module(obs), expected)
    torch.testing.assert_close(normaliser.copy(CPU).normalise_(obs.clone()), expected)
    normaliser.observe(torch.full((500, 4), 99.0), torch.ones(500))
    torch.testing.assert_close(module(obs), expected)
