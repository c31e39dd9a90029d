"""PPO's losses with their derivatives written out. Pure functions, element-wise over any shape."""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.losses import ValueLoss, value_loss, value_loss_gradient

# exp(20) is finite, and a ratio like that is far beyond any clipping.
_MAX_LOG_RATIO = 20.0


def log_ratio(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """``log(pi_new(a) / pi_old(a))``, bounded so that the ratio stays finite."""
    return (log_prob - old_log_prob).clamp_(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)


def surrogate_loss(log_ratio: Tensor, advantage: Tensor, epsilon: float) -> Tensor:
    """``-min(ratio * A, clip(ratio, 1 - epsilon, 1 + epsilon) * A)``; with epsilon 0 ``-ratio * A``.

    Source: Schulman et al. 2017, eq. 7, https://arxiv.org/abs/1707.06347
    """
    ratio = log_ratio.exp()
    if epsilon == 0.0:
        return -ratio * advantage
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - epsilon, 1.0 + epsilon) * advantage)


def surrogate_gradient(
    log_ratio: Tensor, advantage: Tensor, epsilon: float, kl_weight: Tensor | None = None
) -> Tensor:
    """Derivative of `surrogate_loss` plus ``kl_weight * divergence`` by the new policy's log-probability.

    Args:
        kl_weight: 0-d, or None for no penalty. The divergence's estimate is `divergence`.
    """
    ratio = log_ratio.exp()
    gradient = ratio * -advantage
    if epsilon > 0.0:
        # Where the advantage has drawn the ratio out of its range already, nothing draws any further.
        outside = torch.where(advantage > 0, ratio > 1.0 + epsilon, ratio < 1.0 - epsilon)
        gradient.masked_fill_(outside, 0.0)
    if kl_weight is not None:
        gradient.addcmul_(kl_weight, ratio - 1.0)
    return gradient


def divergence(log_ratio: Tensor) -> Tensor:
    """Estimate per sample of KL(old || new), ``ratio - 1 - log(ratio)``: never negative, right on average.

    Source: Schulman 2020, http://joschu.net/blog/kl-approx.html
    """
    return torch.expm1(log_ratio) - log_ratio


def clipped_value_gradient(
    value: Tensor, old_value: Tensor, target: Tensor, kind: ValueLoss, clip: float, threshold: float
) -> Tensor:
    """Derivative by ``value`` of ``max(loss(value), loss(old_value + clip(value - old_value, +-clip)))``.

    With ``clip`` 0 it is that of the plain loss.

    Source: Yu et al. 2022, appendix A, https://arxiv.org/abs/2103.01955
    """
    gradient = value_loss_gradient(value, target, kind, threshold)
    if clip > 0.0:
        near = old_value + (value - old_value).clamp_(-clip, clip)
        better = value_loss(value, target, kind, threshold) < value_loss(near, target, kind, threshold)
        gradient.masked_fill_(better, 0.0)
    return gradient
