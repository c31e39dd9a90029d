"""What the QMIX family's settings say of sequences: which batches it learns from, with what memories, towards what."""

from torch import Tensor

from mlagents_marl_plugin.algorithms.qmix_config import InitialMemory, QmixConfig
from mlagents_marl_plugin.core.losses import td_target
from mlagents_marl_plugin.core.sequence_replay import SequenceBatch, SequenceSize
from mlagents_marl_plugin.core.sequences import Memory, Recurrence
from mlagents_marl_plugin.core.value_targets import lambda_target, n_step_target


def wanted_sequences(config: QmixConfig, memory: Memory | None) -> SequenceSize | None:
    """What batches are made of; None: of single transitions."""
    if memory is not None:
        kept = memory.size if config.initial_memory is InitialMemory.STORED else 0
        return SequenceSize(memory.sequence_length, config.burn_in, kept)
    return SequenceSize(config.trace_length) if config.lambd > 0.0 else None


def recurrence_of(batch: SequenceBatch, memory: Memory | None) -> Recurrence | None:
    """How the rows of all sequences follow each other, those behind their last steps included; without a memory None.

    Where the rows kept no memories, sequences begin with nothing.
    """
    if memory is None:
        return None
    num_sequences, remembered = batch.num_sequences, batch.memory
    if remembered.shape[2] == 0:
        remembered = remembered.new_zeros(*remembered.shape[:2], memory.size)
    return Recurrence((num_sequences,) * (len(batch.held) // num_sequences), remembered, batch.held)


def target_of(
    config: QmixConfig, reward: Tensor, next_value: Tensor, bootstrap: Tensor, batch: SequenceBatch | None
) -> Tensor:
    """What values [R, E] are to become, given what is earned and what successors are worth.

    Args:
        reward, next_value, bootstrap: [R, E], see `td_target`.
        batch: where the rows are from; None for single transitions.
    """
    if batch is None:
        return td_target(reward, next_value, bootstrap)
    rest = (batch.follows.unsqueeze(1), batch.num_sequences)
    if config.lambd > 0.0:
        return lambda_target(reward, next_value, bootstrap, *rest, config.lambd)
    return n_step_target(reward, next_value, bootstrap, *rest, config.n_step)
