"""What every value-based learner computes: targets, masked means, soft target copies and clipped gradients.

Pure functions: tensors in, tensors out (a trailing underscore marks the two that change their argument).
"""

from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor


class ValueLoss(Enum):
    """How a value's error becomes a loss."""

    MSE = "mse"
    HUBER = "huber"


def td_target(reward: Tensor, next_value: Tensor, bootstrap: Tensor) -> Tensor:
    """Temporal-difference target, ``y = reward + bootstrap * next_value``.

    Where ``bootstrap`` is 0 (a real end) the next value has no say, whatever it is; where a limit cut the
    episode ``bootstrap`` is positive and it has.

    Args:
        reward: [..., B, N] sum of discounted rewards over the m steps of the sample.
        next_value: [..., B, N] value of the successor.
        bootstrap: [..., B, N] ``discount^m``, 0 where the slot terminated.

    Returns:
        [..., B, N].

    Source: Lowe et al. 2017, eq. 6, https://arxiv.org/abs/1706.02275
    """
    return torch.addcmul(reward, bootstrap, next_value.masked_fill(bootstrap == 0, 0.0))


def value_loss(prediction: Tensor, target: Tensor, kind: ValueLoss, threshold: float = 1.0) -> Tensor:
    """Element-wise loss of any shape: ``(prediction - target)^2``, or Huber's, linear beyond ``threshold``."""
    error = prediction - target
    if kind is ValueLoss.MSE:
        return error.square()
    size = error.abs()
    return torch.where(size < threshold, 0.5 * error.square(), threshold * (size - 0.5 * threshold))


def value_loss_gradient(
    prediction: Tensor, target: Tensor, kind: ValueLoss, threshold: float = 1.0
) -> Tensor:
    """Derivative of `value_loss` by the prediction: ``2 (prediction - target)``, or for Huber the clipped error."""
    error = prediction - target
    return error.mul_(2.0) if kind is ValueLoss.MSE else error.clamp_(-threshold, threshold)


def masked_mean(value: Tensor, mask: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Mean of ``value`` over ``dim`` where ``mask`` is not 0; 0 where nothing is left.

    Masked entries are replaced, not multiplied by 0, so that NaN or infinity in them changes nothing.
    """
    mask = mask.expand_as(value)
    kept = value.masked_fill(mask == 0, 0.0)
    return kept.sum(dim) / mask.sum(dim).clamp_min(1.0)


def soft_update_(target: Sequence[Tensor], online: Sequence[Tensor], tau: float) -> None:
    """Move every target towards its online twin, ``target <- (1 - tau) * target + tau * online``.

    Source: Lillicrap et al. 2016, Algorithm 1, https://arxiv.org/abs/1509.02971
    """
    for its, theirs in zip(target, online, strict=True):
        its.lerp_(theirs, tau)


def clip_gradient_(gradient: Tensor, max_norm: float) -> Tensor:
    """Shorten each network's gradient to ``max_norm`` where it is longer; 0 leaves all as they are.

    Args:
        gradient: [K, P], a row per network; changed in place.
        max_norm: at least 0, Euclidean.

    Returns:
        [K] norms before clipping.
    """
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    if max_norm > 0.0:
        gradient.mul_((max_norm / norm.clamp_min(max_norm)).unsqueeze(1))
    return norm
