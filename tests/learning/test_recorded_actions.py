"""Learning from a fixed record, in which most actions never occur: a bandit whose answers are on paper.

Weighted by their advantage, recorded actions have to come out as ``how often each was recorded, times
exp(Q / temperature)``, and what was never done must not become likely, whatever critics say of it.

Source: Nair et al. 2020, eq. 9, https://arxiv.org/abs/2006.09359
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.algorithms.masac import ActorLoss, MasacConfig, MasacLearner
from mlagents_marl_plugin.core.distributions import ActionDistribution
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec

CPU = torch.device("cpu")
TEMPERATURE = 0.5


def record(action: Tensor, reward: Tensor, num_choices: int) -> Batch:
    """Episodes of one step, in which one agent sees nothing but a 1."""
    here = torch.ones(len(action), 1)
    permitted = torch.ones(len(action), num_choices)
    return Batch(here, action, permitted, here, here, reward, here * 0.0, here, permitted, here)


def learnt(layout: ActionLayout, batch: Batch, actor_loss: ActorLoss, num_updates: int) -> MasacLearner:
    spec = GroupSpec((RoleSpec("a", 1, ((1,),), layout),))
    config = MasacConfig(
        actor_loss=actor_loss,
        advantage_temperature=TEMPERATURE,
        learning_rate=1e-2,
        critic_learning_rate=1e-2,
        initial_temperature=0.01,
        temperature_learning_rate=0.0,
    )
    sizes = {"hidden_units": 32, "num_layers": 1, "normalize": False}
    learner = MasacLearner(spec, config, **sizes, discount=0.9, device=CPU, seed=0)
    for update in range(num_updates):
        learner.set_learning_rate_fraction(1.0 - update / num_updates)
        learner.update(batch)
    return learner


def policy(learner: MasacLearner, num_choices: int) -> ActionDistribution:
    return learner.actor.distribution(torch.ones(1, 1), learner.spec, torch.ones(1, num_choices), 0)


def test_the_best_recorded_choice_is_found_and_no_other_trusted() -> None:
    """Of four choices the last was never taken. Critics that have only seen bad rewards think best of it."""
    worth, times = torch.tensor([-6.0, -5.0, -5.5]), torch.tensor([32, 16, 48])
    taken = torch.arange(3).repeat_interleave(times)
    batch = record(F.one_hot(taken, 4).float(), worth[taken].unsqueeze(1), 4)

    soft = learnt(ActionLayout(0, (4,)), batch, ActorLoss.SOFT, 300)
    assert float(policy(soft, 4).log_choice[0][0, 0, 3].exp()) > 0.9  # the trap is there

    learner = learnt(ActionLayout(0, (4,)), batch, ActorLoss.ADVANTAGE_WEIGHTED, 600)
    chance = policy(learner, 4).log_choice[0][0, 0].exp()
    expected = (times.log() + worth / TEMPERATURE).softmax(0)
    torch.testing.assert_close(chance[:3], expected, rtol=0.0, atol=0.05)
    assert float(chance[3]) < 0.02


def test_values_stay_within_what_was_recorded() -> None:
    """Reward rises all the way; recorded are values up to 0.2 only."""
    action = torch.linspace(-0.6, 0.2, 128).view(-1, 1)
    batch = record(action, 2.0 * action, 0)
    soft = learnt(ActionLayout(1), batch, ActorLoss.SOFT, 300)
    assert float(policy(soft, 0).centre()) > 0.5  # out there nobody knows

    learner = learnt(ActionLayout(1), batch, ActorLoss.ADVANTAGE_WEIGHTED, 600)
    weight = (2.0 * action / TEMPERATURE).softmax(0)
    expected = torch.tanh((weight * torch.atanh(action)).sum())
    assert float(policy(learner, 0).centre()) == pytest.approx(float(expected), abs=0.05)
