"""A mixer whose state is what its own encoders make of what is seen, see `core.encoded_critics`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core.group_encoder import GroupEncoder
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mixers import MonotonicMixer
from mlagents_marl_plugin.core.types import GroupSpec


class EncodedMixer:
    """A `Mixer` whose state is the joint observation [B, joint], or the group's state, with more behind it."""

    def __init__(self, spec: GroupSpec, encoder: GroupEncoder, inner: MonotonicMixer) -> None:
        """
        Args:
            spec: how what is seen is laid out, see `group_state.state_spec`.
            inner: reads features as ``encoder.features`` lays them out, and what is behind the observations.
        """
        self.spec = spec
        self.encoder = encoder
        self.inner = inner
        self.nets = inner.nets
        self.learnt: Sequence[Network] = [*inner.learnt, *encoder.stacks]

    def target_copy(self) -> "EncodedMixer":
        return EncodedMixer(self.spec, self.encoder.target_copy(), self.inner.target_copy())

    def __call__(self, chosen_q: Tensor, present: Tensor, state: Tensor) -> Tensor:
        features = self.encoder(state)
        return self.inner(chosen_q, present, torch.cat([features, state[:, self.spec.obs_size :]], 1))

    def backward(self, gradient: Tensor) -> Tensor:
        of_chosen = self.inner.backward(gradient)
        self.encoder.backward(self.inner.state_gradient(self.encoder.features.obs_size))
        return of_chosen

    def sensitivity(self) -> Tensor:
        return self.inner.sensitivity()
