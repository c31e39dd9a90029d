"""Returns over consecutive steps against sums written out."""

import math

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core.losses import td_target
from mlagents_marl_plugin.core.value_targets import lambda_target, n_step_target

S, T, E = 5, 6, 2


def played() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rewards, values of successors, bootstrap factors with ends of one of two or both, and who follows whom."""
    generator = torch.Generator().manual_seed(0)
    reward, value = torch.randn(2, T * S, E, generator=generator)
    bootstrap = 0.9 * (torch.rand(T * S, E, generator=generator) > 0.15).float()
    follows = (torch.rand(T * S, 1, generator=generator) > 0.2).float()
    follows[-S:] = 0.0
    value = value.masked_fill(bootstrap == 0, math.nan)  # whatever is said behind an end has no say
    return reward, value, bootstrap, follows


def from_here(t: int, s: int, e: int, parts: tuple[Tensor, ...], lambd: float, most: int) -> float:
    """The return of one row, by recursion; over at most ``most`` rows."""
    reward, value, bootstrap, follows = (part.unflatten(0, (T, S))[t, s].expand(E)[e] for part in parts)
    if bootstrap == 0:
        return float(reward)
    later = float(value)
    if follows and most > 1:
        later = (1 - lambd) * later + lambd * from_here(t + 1, s, e, parts, lambd, most - 1)
    return float(reward + bootstrap * later)


def written_out(lambd: float, most: int) -> Tensor:
    parts = played()
    return torch.tensor(
        [[from_here(t, s, e, parts, lambd, most) for e in range(E)] for t in range(T) for s in range(S)]
    )


@pytest.mark.parametrize("lambd", [0.0, 0.6, 1.0])
def test_lambda_returns_are_those_of_the_recursion(lambd: float) -> None:
    reward, value, bootstrap, follows = played()
    target = lambda_target(reward, value, bootstrap, follows, S, lambd)
    torch.testing.assert_close(target, written_out(lambd, T))
    if lambd == 0.0:
        assert torch.equal(target, td_target(reward, value, bootstrap))


@pytest.mark.parametrize("n_step", [1, 2, 4, 20])
def test_n_step_returns_end_where_sequences_do(n_step: int) -> None:
    reward, value, bootstrap, follows = played()
    target = n_step_target(reward, value, bootstrap, follows, S, n_step)
    torch.testing.assert_close(target, written_out(1.0, n_step))
