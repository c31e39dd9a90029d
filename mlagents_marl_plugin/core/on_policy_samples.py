"""What an on-policy update learns from, packed so that a mini-batch is one gather."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.losses import masked_mean
from mlagents_marl_plugin.core.types import GroupSpec


class AdvantageNormalisation(Enum):
    """Over which samples advantages get mean 0 and deviation 1; the values are what users write in YAML."""

    BATCH = "batch"
    AGENT = "agent"
    NONE = "none"


class SampleColumns(NamedTuple):
    """Where each part of a sample stands in a row [columns]."""

    joint: slice  # observation, normalised
    allowed: slice
    action: slice
    actor_mask: slice  # [N] each from here on
    value_mask: slice
    log_prob: slice
    advantage: slice
    target: slice
    old_value: slice

    @classmethod
    def of(cls, spec: GroupSpec) -> "SampleColumns":
        """The layout of a group's samples."""
        widths = (spec.obs_size, spec.allowed_size, spec.action_size, *[spec.num_slots] * 6)
        stops = [sum(widths[: i + 1]) for i in range(len(widths))]
        return cls(*(slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True)))

    def pack(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Samples [R, columns] of their parts by name."""
        return torch.cat([parts[name] for name in self._fields], 1)


def normalised_advantage(advantage: Tensor, mask: Tensor, kind: AdvantageNormalisation) -> Tensor:
    """Advantages [R, N] with mean 0 and deviation 1 where ``mask`` is 1, 0 elsewhere."""
    advantage = advantage.masked_fill(mask == 0, 0.0)
    if kind is AdvantageNormalisation.NONE:
        return advantage
    over = 0 if kind is AdvantageNormalisation.AGENT else (0, 1)
    centred = advantage - masked_mean(advantage, mask, over)
    std = masked_mean(centred.square(), mask, over).sqrt()
    return centred.div_(std + 1e-8).mul_(mask)


def split_size(batch_size: int, buffer_size: int) -> int:
    """Agent steps per mini-batch; 0, no split, if ``batch_size`` takes all of ``buffer_size``.

    Trajectories arrive together, so that a rollout may be half as large again as it was to be.
    """
    return batch_size if batch_size < buffer_size else 0


def mini_batch_stops(num_parts: int, num_agent_steps: int, split_size: int) -> list[int]:
    """Where mini-batches of rows, or of sequences, end: as many as ``split_size`` agent steps ask for, with equally
    many parts but for one; one if it is 0.
    """
    number = min(num_parts, max(1, round(num_agent_steps / split_size))) if split_size else 1
    return [num_parts * (i + 1) // number for i in range(number)]


def micro_batches(rows: Tensor, num_slots: int, size: int) -> Sequence[Tensor]:
    """Rows [B, ..] in pieces of ``size`` agent steps that are computed at once; 0 = all."""
    return rows.split(max(1, size // num_slots)) if size else (rows,)


class GradientSum:
    """The gradient of a mini-batch that is computed in several pieces."""

    def __init__(self, nets: Sequence[Network], num_pieces: int) -> None:
        self._nets = nets
        self._missing = num_pieces
        self._totals: list[Tensor] = []

    def add(self) -> None:
        """Take the stacks' gradients of a piece; after the last piece they have the sums."""
        self._missing -= 1
        if not self._totals:
            if self._missing:  # one piece alone is its own sum
                self._totals = [net.gradient.clone() for net in self._nets]
            return
        for total, net in zip(self._totals, self._nets, strict=True):
            total.add_(net.gradient)
            if not self._missing:
                net.gradient.copy_(total)
