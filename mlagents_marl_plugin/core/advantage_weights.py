"""How much each recorded action is to be learnt from: the better it was than what the policy does, the more."""

import torch
from torch import Tensor


def advantage_weights(advantage: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """``exp(A / temperature)``, for every slot divided by its mean over the batch; 0 where ``mask`` is 0.

    The mean stands for the unknown constant that makes the weighted data a distribution; with it no weight overflows.

    Args:
        advantage: [B, N].
        mask: [B, N] 0/1, 1 = counts.
        temperature: > 0, in units of the advantage.

    Returns:
        [B, N], >= 0; the mean over the rows that count is 1, if there are any.

    Source: Nair et al. 2020, eq. 13, https://arxiv.org/abs/2006.09359
    """
    absent = mask == 0
    share = (advantage / temperature).masked_fill(absent, -torch.inf).softmax(0)  # NaN where nobody counts
    return share.masked_fill(absent, 0.0) * mask.sum(0)
