"""Generalised advantage estimation over chains of rows in any order."""

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    cut: Tensor,
    successor: Tensor,
    discount: float,
    trace_decay: float,
) -> Tensor:
    """Generalised advantage estimate, ``A_i = delta_i + discount * trace_decay * A_successor(i)``.

    Two flags, two jobs: ``terminated`` removes the bootstrap, and with it all that follows; ``cut`` keeps the
    bootstrap from the successor's value but ends the trace there. The trace also ends where the successor is not one
    of these rows.

    Chains of length T are followed in ``log2(T)`` rounds over all rows at once (pointer jumping: after round k a row
    knows the sum over ``2^k`` steps, and who comes after them), so nothing loops over steps and nothing waits.

    Args:
        reward, value, next_value: [R, N] float. ``next_value`` is V of the *true* successor.
        terminated: [R, N] 0/1.
        cut: [R] 0/1.
        successor: [R] int64; numbers from R on are outside.
        discount, trace_decay: gamma and lambda, each in [0, 1].

    Returns:
        [R, N] advantages, not normalised.

    Source: Schulman et al. 2016, eq. 16, https://arxiv.org/abs/1506.02438
    """
    num_rows = len(reward)
    going_on = 1.0 - terminated
    total = torch.addcmul(reward, going_on, next_value, value=discount) - value  # delta
    goes_on = ((cut == 0) & (successor < num_rows)).unsqueeze(-1)
    factor = going_on * goes_on * (discount * trace_decay)
    jump = torch.where(goes_on.squeeze(-1), successor, 0)  # where nothing goes on the factor is 0
    span = 1
    while span < num_rows:
        total = torch.addcmul(total, factor, total.index_select(0, jump))
        factor = factor * factor.index_select(0, jump)
        jump = jump.index_select(0, jump)
        span *= 2
    return total
