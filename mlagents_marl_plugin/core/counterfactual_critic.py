"""The critic of what a group does and of what each agent might do instead, of the moment or of all that was seen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core.counterfactual import choice_values
from mlagents_marl_plugin.core.critics import CentralisedCritic, Critic, FeatureQCritic
from mlagents_marl_plugin.core.encoded_q_critics import create_critic
from mlagents_marl_plugin.core.group_memory import GroupMemory
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.types import GroupSpec


class CounterfactualCritic:
    """Q of every slot, ``Q_i(s, u_1 .. u_N)``, of the joint input that `core.critics` describes.

    With a memory ``s`` is what everybody has seen so far. What was done is read behind it, by the feed-forward part
    alone, so that a step's other choices are asked about without going through its past again.

    Attributes:
        nets, learnt: see `core.learnt`.
        memory: what stands in front; None: nothing.
        memory_shape: see `chain_values.Reader`.
    """

    def __init__(
        self, spec: GroupSpec, inner: Critic, remembering: tuple[GroupMemory, FeatureQCritic] | None = None
    ) -> None:
        """
        Args:
            inner: with one twin.
            remembering: the memory in front of it, and ``inner`` again, as what may stand behind one.
        """
        self.spec = spec
        self._inner = inner
        self._remembering = remembering
        self.memory = None if remembering is None else remembering[0]
        self.nets: Sequence[Network] = inner.nets
        self.learnt: Sequence[Network] = [
            *inner.learnt,
            *([] if self.memory is None else self.memory.learnt),
        ]
        self.memory_shape = (spec.num_slots, 0) if self.memory is None else self.memory.memory_shape

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        sharing: Sharing,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        device: torch.device,
        generator: torch.Generator,
        memory_size: int = 0,
        cell: Cell = Cell.GRU,
    ) -> "CounterfactualCritic":
        """A new critic; ``memory_size`` 0 = without a memory."""
        if not memory_size:
            inner = create_critic(spec, True, sharing, 1, hidden, normalisation, device, generator)
            return cls(spec, inner)
        memory = GroupMemory.create(spec, hidden[0], normalisation, memory_size, cell, device, generator)
        rest = (sharing, 1, hidden, normalisation, device, generator)
        behind = CentralisedCritic.create(memory.features, *rest)
        return cls(spec, behind, (memory, behind))

    def target_copy(self) -> "CounterfactualCritic":
        """A copy that does not learn."""
        if self._remembering is None:
            return CounterfactualCritic(self.spec, self._inner.target_copy())
        memory, behind = self._remembering
        copy: FeatureQCritic = behind.target_copy()  # type: ignore[assignment]  # of the same kind
        return CounterfactualCritic(self.spec, copy, (memory.target_copy(), copy))

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        """Q of what everybody did [B, N], given the joint input [B, I] and how its rows follow each other."""
        if self.memory is not None:
            joint = self.read(joint, self.memory(joint, recurrence))
        return self.values(joint)

    def read(self, joint: Tensor, features: Tensor | None) -> Tensor:
        """The joint input with the memory's features [B, joint features] in the place of observations."""
        return joint if features is None else torch.cat([features, joint[:, self.spec.obs_size :]], 1)

    def values(self, read: Tensor) -> Tensor:
        """Q of what everybody did [B, N], given what `read` says."""
        return self._inner(read).squeeze(0)

    def choice_values(self, read: Tensor, own: Sequence[Tensor]) -> list[Tensor]:
        """Q of every slot for each of its choices, per role [B, N_role, choices], see `counterfactual.choice_values`.

        Args:
            read: see `read`.
            own: per role [B, N_role, A_role], each slot's own action.
        """
        return [value.squeeze(0) for value in choice_values(self._inner, self.spec, read, own)]

    def memories(self) -> Tensor:
        """See `chain_values.Reader`."""
        assert self.memory is not None
        return self.memory.memories()

    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call, given the loss's gradient by its result [B, N]."""
        if self._remembering is None:
            self._inner.backward(gradient.unsqueeze(0))
        else:
            memory, behind = self._remembering
            memory.backward(behind.joint_gradient(gradient.unsqueeze(0)))
