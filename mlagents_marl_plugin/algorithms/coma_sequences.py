"""What COMA learns from: rows in any order, or where agents remember, the sequences that they were played in."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.mini_batches import (
    Remembered,
    SequenceBatches,
    played_sequences,
    remembered,
)
from mlagents_marl_plugin.core.on_policy_samples import mini_batch_stops
from mlagents_marl_plugin.core.sequences import Memory, Packed, Pieces, Recurrence
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch


class Lived(NamedTuple):
    """A rollout as agents with a memory lived it."""

    remembered: Remembered
    pieces: Pieces

    @classmethod
    def of(cls, batch: RolloutBatch, memory: Memory, burn_in: int, of_critic: Tensor | None) -> "Lived":
        """
        Args:
            of_critic: [R or more, U, M], what the critic remembered before each row; None: nothing.
        """
        pieces = played_sequences(batch, memory.sequence_length, burn_in)
        return cls(remembered(batch, of_critic), pieces)

    def at_once(self) -> tuple[Packed, Recurrence]:
        """All sequences, and how actors go through them."""
        packed = self.pieces.packed().to(self.remembered.of_actor.device)
        return packed, self.remembered.actors(packed)


class CriticBatch(NamedTuple):
    """What a gradient step of the critics learns from."""

    joint: Tensor  # [B, I]
    target: Tensor  # [B, N]
    mask: Tensor  # [B, N] 0/1
    recurrence: Recurrence | None = None


class _Columns(NamedTuple):
    """Where each part of a `CriticBatch` stands in a sample."""

    joint: slice
    target: slice
    value_mask: slice

    @property
    def actor_mask(self) -> slice:
        """Nobody acts by these samples; see `MaskColumns`."""
        return self.value_mask


class CriticBatches:
    """Mini-batches of a rollout's rows; of sequences, where critics remember."""

    def __init__(
        self,
        played: CriticBatch,
        lived: Lived | None,
        num_agent_steps: int,
        split_size: int,
        generator: torch.Generator,
    ) -> None:
        """
        Args:
            played: everything.
            lived: the sequences for critics that remember; None: they do not.
            num_agent_steps, split_size: see `RowBatches`.
            generator: on the samples' device, for the order.
        """
        num_rows, num_slots = played.target.shape
        self._played = played
        self._number = len(mini_batch_stops(num_rows, num_agent_steps, split_size))
        self._generator = generator
        self._sequences: SequenceBatches | None = None
        if lived is not None:
            width = played.joint.shape[1]
            stops = (width, width + num_slots, width + 2 * num_slots)
            self._columns = _Columns(slice(width), slice(*stops[:2]), slice(*stops[1:]))
            samples = torch.cat(played[:3], 1)
            self._sequences = SequenceBatches(
                samples, self._columns, *lived, num_agent_steps, split_size, 0, generator
            )

    def epoch(self) -> Iterator[CriticBatch]:
        """Every row once."""
        if self._sequences is None:
            joint, target, mask, _ = self._played
            order = torch.randperm(len(joint), generator=self._generator, device=joint.device)
            for rows in order.tensor_split(self._number):  # of equal size but for one row
                yield CriticBatch(joint[rows], target[rows], mask[rows])
            return
        for mini_batch in self._sequences.epoch():
            joint, target, mask = (mini_batch.samples[:, columns] for columns in self._columns)
            yield CriticBatch(joint, target, mask, mini_batch.of_critic[0])


def draw_behind_(
    policy: StochasticActor,
    choices: GroupSpec,
    batch: RolloutBatch,
    joint: Tensor,
    allowed: Tensor,
    generator: torch.Generator,
) -> None:
    """Fill in what the present policies would do where nothing was done yet.

    Args:
        joint: [R + E, I], the joint input; the actions of its last E rows are filled in.
        allowed: [E, joint choices] 0/1, what is permitted there.
    """
    num_rows = len(batch.action)
    behind, here = joint[num_rows:], batch.agent_mask[num_rows:]
    seen, recurrence = behind, None
    if policy.memory_size:  # what is remembered there follows from the rows before
        rows, recurrence = before_the_last(batch)
        seen = joint.index_select(0, rows)
        # Only the last are drawn from: what was permitted before them makes no difference.
        allowed = allowed.repeat(2, 1)
    for i in range(len(choices.roles)):
        distribution = policy.distribution(seen, choices, allowed, i, recurrence)
        drawn = distribution.sample(generator)[-len(behind) :]
        absent = (here[:, choices.slots(i)] == 0).unsqueeze(-1)  # [E, n, 1]
        place = choices.role_action(behind[:, choices.obs_size :], i)
        place.copy_(drawn.masked_fill_(absent, 0.0))


def before_the_last(batch: RolloutBatch) -> tuple[Tensor, Recurrence]:
    """The E rows that lead to the observations behind the last ones, these, and how agents went from one to the other.

    Returns:
        [2 E] numbers of rows, the second half R to R + E - 1, and what follows what in them.
    """
    assert batch.memory is not None
    num_rows = len(batch.action)
    leads = torch.argsort(batch.successor)[
        num_rows - (len(batch.obs) - num_rows) :
    ]  # [E], each has one of its own
    held = torch.cat([batch.acted[leads] == 0, torch.zeros_like(batch.acted[leads], dtype=torch.bool)])
    rows = torch.cat([leads, batch.successor[leads]])
    counts = (len(leads), len(leads))
    return rows, Recurrence(counts, batch.memory[leads], held.to(batch.reward.dtype))
