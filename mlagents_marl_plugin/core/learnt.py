"""What an actor, a critic or a mixer is to its learner: networks that are optimised, clipped, saved and followed."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from mlagents_marl_plugin.core.losses import clip_gradient_


class Network(Protocol):
    """K networks of one shape: a stack, or encoders in front of one."""

    parameters: Tensor  # [K, P]
    gradient: Tensor  # [K, P]
    statistics: Tensor  # [K, S], what is remembered of normalisation inside

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and statistics by name, as views [K, ...]."""


class Learning(Protocol):
    """Has networks that learn."""

    @property
    def nets(self) -> Sequence[Network]:
        """Its stacks, whose gradients' norms are shown."""

    @property
    def learnt(self) -> Sequence[Network]:
        """All that learns: its stacks, then their encoders, if there are any."""


def clip_gradients_(part: Learning, max_norm: float) -> list[Tensor]:
    """`clip_gradient_` for every network of ``part``; returns the norms [K] of its stacks."""
    return [clip_gradient_(net.gradient, max_norm) for net in part.learnt][: len(part.nets)]
