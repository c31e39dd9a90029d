"""What values of consecutive steps are to become: returns over several of them, as they were played.

Rows lie step by step: ``S`` sequences, first their first rows, then their second ones, and so on; [R, E] each, with E
values per row. A row's successor in its sequence, if it is learnt from as well, stands S rows behind it.
"""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.losses import td_target


def lambda_target(
    reward: Tensor, next_value: Tensor, bootstrap: Tensor, follows: Tensor, num_sequences: int, lambd: float
) -> Tensor:
    """``y_t = r_t + bootstrap_t * ((1 - lambd) * next_value_t + lambd * y_t+1)``, backwards from each sequence's end.

    With the values of greedy successors this is Peng's Q(lambda), in which exploring steps count like others.

    Args:
        reward, next_value, bootstrap: [R, E], of one step each; see `td_target`.
        follows: [R, 1] or [R, E] 0/1, whether the row S further on is this one's successor. Elsewhere only
            ``next_value`` tells what is to come.
        num_sequences: S.
        lambd: lambda in [0, 1]; 0 is `td_target`.

    Returns:
        [R, E].

    Source: Peng & Williams 1996, eq. 13, https://doi.org/10.1007/BF00114731
    """
    target = td_target(reward, next_value, bootstrap)
    goes_on = (bootstrap > 0) & (follows > 0)
    for start in range(len(target) - 2 * num_sequences, -1, -num_sequences):
        stop = start + num_sequences
        now, then = slice(start, stop), slice(stop, stop + num_sequences)
        news = (target[then] - next_value[now]).masked_fill_(~goes_on[now], 0.0)
        target[now].addcmul_(bootstrap[now], news, value=lambd)
    return target


def n_step_target(
    reward: Tensor, next_value: Tensor, bootstrap: Tensor, follows: Tensor, num_sequences: int, n_step: int
) -> Tensor:
    """Rewards of up to ``n_step`` rows, then the value behind them; fewer where a sequence ends.

    Args:
        reward, next_value, bootstrap, follows, num_sequences: see `lambda_target`.
        n_step: at least 1.

    Returns:
        [R, E].

    Source: Sutton & Barto 2018, eq. 7.1
    """
    target = td_target(reward, next_value, bootstrap)
    for _ in range(n_step - 1):
        following = torch.cat([target[num_sequences:], next_value[-num_sequences:]])
        target = td_target(reward, torch.where(follows > 0, following, next_value), bootstrap)
    return target
