"""Critics whose observations pass encoders first: each agent's once, however many slots are valued by it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core.group_encoder import GroupEncoder
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.types import GroupSpec
from mlagents_marl_plugin.core.value_critics import (
    FeatureCritic,
    IndependentValueCritic,
    JointCritic,
    OwnViewCritic,
    ValueCritic,
    ValueOutput,
)


class EncodedValueCritic:
    """A `ValueCritic` of features; its encoders learn with it."""

    def __init__(self, encoder: GroupEncoder, inner: FeatureCritic) -> None:
        """
        Args:
            inner: of a group as ``encoder.features`` lays it out.
        """
        self.encoder = encoder
        self.inner = inner
        self.nets = inner.nets
        self.learnt: Sequence[Network] = [*inner.learnt, *encoder.stacks]
        self.slots_of_outputs = inner.slots_of_outputs
        self.pool = inner.pool
        self.memory_shape = inner.memory_shape

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        return self.inner(self.encoder(joint), recurrence)

    def memories(self) -> Tensor:
        return self.inner.memories()

    def backward(self, gradient: Tensor) -> None:
        self.encoder.backward(self.inner.joint_gradient(gradient))


def create_value_critic(
    spec: GroupSpec,
    output: ValueOutput | None,
    sharing: Sharing,
    hidden: tuple[int, ...],
    normalisation: LayerNormalisation,
    initialisation: Initialisation,
    device: torch.device,
    generator: torch.Generator,
    memory_size: int = 0,
    cell: Cell = Cell.GRU,
) -> ValueCritic:
    """A new critic, behind encoders of its own where observations need them.

    Args:
        output: what a centralised critic reads and says; None: every slot's critic sees its own observation only.
        sharing: of critics; centralised ones share an encoder per role in any case.
    """
    of_encoder = sharing if output is None else Sharing.SHARED
    encoder = GroupEncoder.create(spec, of_encoder, device, generator)
    read = spec if encoder is None else encoder.features
    rest = (hidden, normalisation, initialisation, device, generator, memory_size, cell)
    inner: FeatureCritic
    if output is None:
        inner = IndependentValueCritic.create(read, sharing, *rest)
    elif output is ValueOutput.OWN_VIEW:
        inner = OwnViewCritic.create(read, sharing, *rest)
    else:
        inner = JointCritic.create(read, output is ValueOutput.PER_AGENT, *rest)
    return inner if encoder is None else EncodedValueCritic(encoder, inner)
