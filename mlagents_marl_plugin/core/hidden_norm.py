"""LayerNorm and BatchNorm of stacked networks, forwards and backwards."""

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-5
_BATCH_NORM_MOMENTUM = 0.1


class Normalised(NamedTuple):
    """Hidden values with mean 0 and deviation 1, and what their gradient needs."""

    value: Tensor  # [K, R, H]
    inverse_std: Tensor  # [K, R, 1] over features, or [K, 1, H] over rows
    weight: Tensor | None  # what each value counts in its own mean; None: not at all, the mean was remembered

    def of(self, rows: slice) -> "Normalised":
        """That of some of the rows, where rows have nothing to do with each other."""
        if self.inverse_std.shape[-1] > 1:
            return self._replace(value=self.value[:, rows])
        return self._replace(value=self.value[:, rows], inverse_std=self.inverse_std[:, rows])


def normalise_features(hidden: Tensor) -> Normalised:
    """LayerNorm without its scale: every row [H] by its own mean and deviation.

    Source: Ba et al. 2016, eq. 3, https://arxiv.org/abs/1607.06450
    """
    variance, mean = torch.var_mean(hidden, -1, correction=0, keepdim=True)
    inverse_std = torch.rsqrt(variance + EPSILON)
    weight = torch.full((), 1.0 / hidden.shape[-1], device=hidden.device)
    return Normalised((hidden - mean) * inverse_std, inverse_std, weight)


def normalise_rows(hidden: Tensor, mean: Tensor, variance: Tensor, row_weight: Tensor | None) -> Normalised:
    """BatchNorm without its scale: every feature over the rows, by their statistics or by remembered ones.

    Args:
        hidden: [K, R, H].
        mean, variance: [K, H] remembered; drawn towards those of the rows if these are used.
        row_weight: [K, R] 0/1, which rows make the statistics; None uses the remembered ones.

    Source: Ioffe & Szegedy 2015, Algorithm 1, https://arxiv.org/abs/1502.03167
    """
    if row_weight is None:
        inverse_std = torch.rsqrt(variance + EPSILON).unsqueeze(1)
        return Normalised((hidden - mean.unsqueeze(1)) * inverse_std, inverse_std, None)
    num_rows = row_weight.sum(1).view(-1, 1, 1)
    weight = row_weight.unsqueeze(-1) / num_rows.clamp_min(1.0)  # [K, R, 1]
    row_mean = (hidden * weight).sum(1, keepdim=True)
    centred = hidden - row_mean
    row_variance = (centred.square() * weight).sum(1, keepdim=True)
    share = _BATCH_NORM_MOMENTUM * (num_rows > 0).squeeze(1)  # [K, 1]; without a row nothing is learnt
    mean.lerp_(row_mean.squeeze(1), share)
    variance.lerp_(row_variance.squeeze(1), share)
    inverse_std = torch.rsqrt(row_variance + EPSILON)
    return Normalised(centred * inverse_std, inverse_std, weight)


def input_gradient(gradient: Tensor, normalised: Normalised) -> Tensor:
    """Gradient of what was normalised [K, R, H], given that of the normalised values."""
    value, inverse_std, weight = normalised
    if weight is None:
        return gradient * inverse_std
    dim = -1 if inverse_std.shape[-1] == 1 else 1
    # The mean, then the deviation, move with every value that counts in them.
    through_mean = gradient.sum(dim, keepdim=True)
    through_deviation = value * (gradient * value).sum(dim, keepdim=True)
    return (gradient - weight * (through_mean + through_deviation)) * inverse_std
