"""How the samples of an on-policy update fall into mini-batches: any rows, or sequences of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core.on_policy_samples import micro_batches, mini_batch_stops
from mlagents_marl_plugin.core.sequences import Chains, Packed, Pieces, Recurrence
from mlagents_marl_plugin.core.types import RolloutBatch


class MiniBatch(NamedTuple):
    """What one gradient step learns from. Its rows are computed at once, or piece by piece."""

    samples: Tensor  # [B, columns]
    sizes: list[int]  # rows of each piece
    of_actor: Sequence[Recurrence | None]  # per piece, how its rows follow each other; None without a memory
    of_critic: Sequence[Recurrence | None]


class RowBatches:
    """Mini-batches of rows in any order."""

    def __init__(
        self,
        samples: Tensor,
        num_slots: int,
        num_agent_steps: int,
        split_size: int,
        micro_batch_size: int,
        generator: torch.Generator,
    ) -> None:
        """
        Args:
            samples: [R, columns].
            num_agent_steps: decisions in these rows; fewer than R N where agents are absent or keep up an action.
            split_size: agent steps per mini-batch, 0 = all.
            micro_batch_size: places computed at once, absent agents' too, 0 = all.
            generator: on the samples' device, for the order.
        """
        self._samples = samples
        self._stops = mini_batch_stops(len(samples), num_agent_steps, split_size)
        self._num_slots = num_slots
        self._micro_batch_size = micro_batch_size
        self._generator = generator

    def epoch(self) -> Iterator[MiniBatch]:
        """Every row once."""
        samples = self._samples
        if len(self._stops) > 1:
            order = torch.randperm(len(samples), generator=self._generator, device=samples.device)
            samples = samples.index_select(0, order)
        for start, stop in zip([0, *self._stops], self._stops, strict=False):
            rows = samples[start:stop]
            sizes = [len(piece) for piece in micro_batches(rows, self._num_slots, self._micro_batch_size)]
            nothing = [None] * len(sizes)
            yield MiniBatch(rows, sizes, nothing, nothing)


class Remembered(NamedTuple):
    """What networks with a memory need of the rows that were played."""

    of_actor: Tensor  # [R, N, M], before each row, as it was played
    held: Tensor | None  # [R, N] 0/1, 1 = the agent did not decide in this row; None: all did in all
    of_critic: Tensor | None  # [R or more, U, M], before each row; None: the critic has no memory

    def actors(self, packed: Packed) -> Recurrence:
        """How the rows of some sequences follow each other, for actors."""
        first = packed.rows[: packed.counts[0]]
        held = None if self.held is None else self.held.index_select(0, packed.rows)
        return Recurrence(packed.counts, self.of_actor.index_select(0, first), held)

    def critics(self, packed: Packed) -> Recurrence | None:
        """The same for critics; None without a memory."""
        if self.of_critic is None:
            return None
        first = packed.rows[: packed.counts[0]]
        return Recurrence(packed.counts, self.of_critic.index_select(0, first), None)


def remembered(batch: RolloutBatch, of_critic: Tensor | None) -> Remembered:
    """What was remembered in play; ``of_critic`` as in `Remembered`."""
    assert batch.memory is not None
    held = (batch.acted == 0).to(batch.reward.dtype)
    return Remembered(batch.memory, held if bool(held.any()) else None, of_critic)


def played_sequences(batch: RolloutBatch, length: int, burn_in: int) -> Pieces:
    """The rows of a rollout in sequences of ``length`` steps at most, through which no cut goes and nobody comes."""
    num_rows, parted = len(batch.reward), batch.cut
    if batch.anew is not None:
        parted = parted + batch.anew.sum(1)
    going_on = batch.successor.cpu().masked_fill(parted.cpu() > 0, num_rows)
    return Chains(going_on, num_rows).pieces(length, burn_in)


class MaskColumns(Protocol):
    """Where samples say who learns from them."""

    @property
    def actor_mask(self) -> slice:
        """[N] 0/1."""

    @property
    def value_mask(self) -> slice:
        """[N] 0/1."""


class SequenceBatches:
    """Mini-batches of sequences of rows."""

    def __init__(
        self,
        samples: Tensor,
        columns: MaskColumns,
        remembered: Remembered,
        pieces: Pieces,
        num_agent_steps: int,
        split_size: int,
        micro_batch_size: int,
        generator: torch.Generator,
    ) -> None:
        """
        Args:
            samples: [R, columns].
            pieces: the sequences.
            num_agent_steps, split_size, micro_batch_size, generator: see `RowBatches`.
        """
        self._samples = samples
        self._columns = columns
        self._remembered = remembered
        self._pieces = pieces
        self._generator = generator
        self._stops = mini_batch_stops(len(pieces), num_agent_steps, split_size)
        self._at_once = len(pieces)
        if micro_batch_size:
            num_places = len(samples) * remembered.of_actor.shape[1]
            self._at_once = max(1, micro_batch_size * len(pieces) // num_places)
        self._whole: MiniBatch | None = None

    def epoch(self) -> Iterator[MiniBatch]:
        """Every sequence once. Waits for the device where there are several mini-batches."""
        if len(self._stops) == 1:
            if self._whole is None:
                self._whole = self._batch(torch.arange(len(self._pieces), device="cpu"))
            yield self._whole
            return
        drawn = torch.randperm(len(self._pieces), generator=self._generator, device=self._samples.device)
        order = drawn.cpu()
        for start, stop in zip([0, *self._stops], self._stops, strict=False):
            yield self._batch(order[start:stop])

    def _batch(self, chosen: Tensor) -> MiniBatch:
        """The sequences of these numbers."""
        columns, remembered, device = self._columns, self._remembered, self._samples.device
        parts, of_actor, of_critic = list[Tensor](), list[Recurrence | None](), list[Recurrence | None]()
        for numbers in chosen.split(self._at_once):
            packed = self._pieces.packed(numbers).to(device)
            samples = self._samples.index_select(0, packed.rows)
            learnt = 1.0 - packed.warm_up.unsqueeze(-1)
            samples[:, columns.actor_mask].mul_(learnt)
            samples[:, columns.value_mask].mul_(learnt)
            parts.append(samples)
            of_actor.append(remembered.actors(packed))
            of_critic.append(remembered.critics(packed))
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return MiniBatch(whole, [len(part) for part in parts], of_actor, of_critic)
