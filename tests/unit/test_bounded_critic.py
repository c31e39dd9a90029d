"""Values that tanh keeps within a bound."""

import pytest
import torch

from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.value_normalisation import ValueNormalisation
from tests.unit.groups import CPU, one_role, random_rollout

BOUND = 0.7
SPEC = one_role()


def make(**fields: object) -> MappoLearner:
    config = MappoConfig(share_critic=Sharing.SEPARATE, **fields)
    sizes = {"hidden_units": 16, "num_layers": 2, "normalize": False}
    return MappoLearner(SPEC, config, **sizes, discount=0.9, device=CPU, seed=0)


def test_values_are_those_of_tanh_and_so_are_their_gradients() -> None:
    learner, joint = make(value_bound=BOUND), random_rollout(SPEC).obs
    free = make()  # the same weights, without the bound
    (net,), (of_free,) = learner.critic.nets, free.critic.nets
    for critic in (net, of_free):
        critic.part("2.bias").fill_(2.0)  # far from 0, where the bound is felt
    raw = free.critic(joint)
    value = learner.critic(joint)
    torch.testing.assert_close(value, BOUND * torch.tanh(raw / BOUND))
    gradient = torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    learner.critic.backward(gradient)
    raw = raw.clone().requires_grad_()
    (BOUND * torch.tanh(raw / BOUND) * gradient).sum().backward()
    free.critic.backward(raw.grad)
    torch.testing.assert_close(net.gradient, of_free.gradient)


def test_what_is_learnt_from_stays_within_the_bound() -> None:
    learner = make(
        value_bound=BOUND,
        value_normalisation=ValueNormalisation.NONE,
        value_clip=0.0,
        critic_learning_rate=0.01,
    )
    batch = random_rollout(SPEC)._replace(reward=torch.full_like(random_rollout(SPEC).reward, 5.0))
    for _ in range(3):
        learner.update(batch)
    value = learner.critic(batch.obs)
    assert 0.9 * BOUND < float(value.mean()) <= BOUND


def test_popart_cannot_look_through_tanh() -> None:
    with pytest.raises(
        ValueError, match="^value_bound: expected a number >= 0, and value_normalisation valuenorm"
    ):
        MappoConfig(value_bound=1.0, value_normalisation=ValueNormalisation.POPART)
