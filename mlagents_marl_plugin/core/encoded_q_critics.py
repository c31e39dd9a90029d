"""Critics of joint actions whose observations pass encoders first, see `core.encoded_critics`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core.critics import CentralisedCritic, Critic, FeatureQCritic, IndependentCritic
from mlagents_marl_plugin.core.group_encoder import GroupEncoder
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.types import GroupSpec


class EncodedCritic:
    """A `Critic` of features and actions; its encoders learn with it, one for all twins."""

    def __init__(self, spec: GroupSpec, encoder: GroupEncoder, inner: FeatureQCritic) -> None:
        """
        Args:
            inner: of a group as ``encoder.features`` lays it out.
        """
        self.spec = spec
        self.encoder = encoder
        self.inner = inner
        self.nets = inner.nets
        self.learnt: Sequence[Network] = [*inner.learnt, *encoder.stacks]

    def target_copy(self) -> "EncodedCritic":
        inner: FeatureQCritic = self.inner.target_copy()  # type: ignore[assignment]  # of the same kind
        return EncodedCritic(self.spec, self.encoder.target_copy(), inner)

    def __call__(self, joint: Tensor, row_weight: Tensor | None = None) -> Tensor:
        return self.inner(self._encoded(joint), row_weight)

    def backward(self, gradient: Tensor) -> None:
        self.encoder.backward(self.inner.joint_gradient(gradient))

    def with_own_action(self, joint: Tensor, own: Sequence[Tensor], repeats: int = 1) -> Tensor:
        return self.inner.with_own_action(self._encoded(joint), own, repeats)

    def own_action_gradient(self, gradient: Tensor) -> list[Tensor]:
        return self.inner.own_action_gradient(gradient)

    def _encoded(self, joint: Tensor) -> Tensor:
        """The joint input with features in the place of observations."""
        return torch.cat([self.encoder(joint), joint[:, self.spec.obs_size :]], 1)


def create_critic(
    spec: GroupSpec,
    centralised: bool,
    sharing: Sharing,
    num_twins: int,
    hidden: tuple[int, ...],
    normalisation: LayerNormalisation,
    device: torch.device,
    generator: torch.Generator,
    num_asked: int = 1,
) -> Critic:
    """A new critic, behind encoders of its own where observations need them; a centralised one has one per role."""
    of_encoder = Sharing.SHARED if centralised else sharing
    encoder = GroupEncoder.create(spec, of_encoder, device, generator)
    kind = CentralisedCritic if centralised else IndependentCritic
    read = spec if encoder is None else encoder.features
    inner = kind.create(read, sharing, num_twins, hidden, normalisation, device, generator, num_asked)
    return inner if encoder is None else EncodedCritic(spec, encoder, inner)
