"""What a critic of joint actions reads where it is to know what everybody has seen until now, and not only what is."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core.group_encoder import GroupEncoder, features_role
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape
from mlagents_marl_plugin.core.networks import Sharing, unrolled
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stacked_recurrent import StackedRecurrent, input_gradient
from mlagents_marl_plugin.core.stacks import create_stack
from mlagents_marl_plugin.core.types import GroupSpec

_SHARING = Sharing.SHARED  # what an agent saw is remembered alike, whoever's value it is read for
# The small last layer that networks begin with by default would hide what is remembered from the layers behind.
_INITIALISATION = Initialisation(orthogonal=True)


class GroupMemory:
    """Features of what each agent has seen so far, [B, joint] -> [B, joint features], by a network with a memory per
    role, which all slots of the role share.

    Attributes:
        features: the group as it is laid out behind the networks.
        nets: a stack per role.
        learnt: these and the encoders in front of them, see `core.learnt`.
        memory_shape: (N, M), see `chain_values.Reader`.
    """

    def __init__(
        self, spec: GroupSpec, encoder: GroupEncoder | None, nets: Sequence[StackedRecurrent]
    ) -> None:
        """
        Args:
            encoder: of observations that networks cannot read as they are.
            nets: of the group as the encoder lays it out.
        """
        self._spec = spec
        self._encoder = encoder
        self._seen = spec if encoder is None else encoder.features
        self.nets = list(nets)
        self.learnt: Sequence[Network] = [*nets, *([] if encoder is None else encoder.stacks)]
        self.memory_shape = (spec.num_slots, nets[0].shape.memory_size)
        roles = zip(spec.roles, nets, strict=True)
        self.features = GroupSpec(tuple(features_role(role, net.shape.num_outputs) for role, net in roles))

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        hidden_units: int,
        normalisation: LayerNormalisation,
        memory_size: int,
        cell: Cell,
        device: torch.device,
        generator: torch.Generator,
    ) -> "GroupMemory":
        """New networks: a hidden layer, the memory, and ``hidden_units`` features of each agent."""
        encoder = GroupEncoder.create(spec, _SHARING, device, generator)
        nets = []
        for role in (spec if encoder is None else encoder.features).roles:
            shape = MlpShape(role.obs_size, (hidden_units,), hidden_units, normalisation)
            net = create_stack(shape, memory_size, 1, device, generator, _INITIALISATION, cell)
            assert isinstance(net, StackedRecurrent)
            nets.append(net)
        return cls(spec, encoder, nets)

    def target_copy(self) -> "GroupMemory":
        """A copy that does not learn."""
        encoder = None if self._encoder is None else self._encoder.target_copy()
        return GroupMemory(self._spec, encoder, [net.target_copy() for net in self.nets])

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        """Joint features [B, joint features] of joint observations [B, joint, or more behind it].

        Args:
            recurrence: how the rows follow each other; all slots are its units.
        """
        assert recurrence is not None
        seen = joint if self._encoder is None else self._encoder(joint)
        parts = []
        for i, (net, role) in enumerate(zip(self.nets, self._seen.roles, strict=True)):
            rows = _SHARING.network_rows(self._seen.role_obs(seen, i))
            said = unrolled(net, _SHARING, rows, recurrence.of(self._spec.slots(i)))
            parts.append(_SHARING.slot_rows(said, role.num_slots).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def memories(self) -> Tensor:
        """See `chain_values.Reader`."""
        roles = zip(self.nets, self._spec.roles, strict=True)
        return torch.cat([_SHARING.slot_rows(net.memories, role.num_slots) for net, role in roles], 1)

    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call, given a loss's gradient [B, joint features] by its result."""
        of_seen = []
        for i, (net, role) in enumerate(zip(self.nets, self._seen.roles, strict=True)):
            of_first = net.backward(_SHARING.network_rows(self.features.role_obs(gradient, i)))
            if self._encoder is not None:
                of_rows = input_gradient(net, of_first, role.obs_size)
                of_seen.append(_SHARING.slot_rows(of_rows, role.num_slots).flatten(1))
        if self._encoder is not None:
            self._encoder.backward(of_seen[0] if len(of_seen) == 1 else torch.cat(of_seen, 1))
