"""Soft actor-critic where the answer is on paper: a small decision process, and a density over one value.

Every transition is in every batch, and what entropy is worth, t, does not change. Then values and policies have to be
those of soft value iteration: ``Q(s, a) = r + discount * V(s')``, ``V(s) = t log(sum(exp(Q(s, a) / t)))`` and
``pi = softmax(Q / t)``.

Source: Haarnoja et al. 2017, theorem 1, https://arxiv.org/abs/1702.08165
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.algorithms.masac import MasacConfig, MasacLearner
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec

CPU = torch.device("cpu")
DISCOUNT, TEMPERATURE = 0.8, 0.5
# Three states, two choices: reward and where it leads to; state 2's second choice ends the episode.
REWARD = torch.tensor([[0.0, 0.5], [1.0, -1.0], [0.2, 1.5]])
NEXT = torch.tensor([[1, 2], [0, 1], [2, 0]])
GOES_ON = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])


def soft_value_iteration(temperature: float = TEMPERATURE) -> Tensor:
    """Q [3, 2]."""
    q = torch.zeros(3, 2)
    for _ in range(200):
        value = temperature * (q / temperature).logsumexp(1)
        q = REWARD + DISCOUNT * GOES_ON * value[NEXT]
    return q


def transitions() -> Batch:
    """All six, of one agent."""
    state, choice = torch.cartesian_prod(torch.arange(3), torch.arange(2)).unbind(1)
    here = torch.ones(6, 1)
    return Batch(
        obs=F.one_hot(state, 3).float(),
        action=F.one_hot(choice, 2).float(),
        allowed=torch.ones(6, 2),
        agent_mask=here,
        value_mask=here,
        reward=REWARD.view(-1, 1),
        bootstrap=DISCOUNT * GOES_ON.view(-1, 1),
        next_obs=F.one_hot(NEXT.flatten(), 3).float(),
        next_allowed=torch.ones(6, 2),
        next_agent_mask=here,
    )


def learnt(
    layout: ActionLayout, obs_size: int, batch: Batch, num_updates: int, **settings: Any
) -> MasacLearner:
    spec = GroupSpec((RoleSpec("a", 1, ((obs_size,),), layout),))
    config = MasacConfig(
        learning_rate=3e-3,
        critic_learning_rate=3e-3,
        temperature_learning_rate=0.0,
        initial_temperature=TEMPERATURE,
        tau=0.05,
        **settings,
    )
    sizes = {"hidden_units": 32, "num_layers": 1, "normalize": False}
    learner = MasacLearner(spec, config, **sizes, discount=DISCOUNT, device=CPU, seed=0)
    for update in range(num_updates):
        learner.set_learning_rate_fraction(1.0 - update / num_updates)
        learner.update(batch)
    return learner


def test_values_and_policy_are_those_of_soft_value_iteration() -> None:
    batch, q = transitions(), soft_value_iteration()
    learner = learnt(ActionLayout(0, (2,)), 3, batch, 800)
    found = learner.critic(torch.cat([batch.obs, batch.action], 1)).squeeze(-1)  # [2, 6]
    torch.testing.assert_close(found, q.flatten().expand(2, -1), rtol=0.0, atol=0.1)
    policy = learner.actor.distribution(torch.eye(3), learner.spec, torch.ones(3, 2), 0)
    chance = policy.log_choice[0].squeeze(1).exp()
    torch.testing.assert_close(chance, (q / TEMPERATURE).softmax(1), rtol=0.0, atol=0.03)
    assert float(chance[0, 1]) > 0.25  # which would be 0 if entropy were worth nothing


def test_munchausens_policy_is_that_of_a_lower_temperature() -> None:
    """With a bonus of ``m t log pi`` values become ``Q + m t log pi``, where Q and pi are those of temperature
    ``(1 - m) t`` (Vieillard et al. 2020, theorem 1): gaps between values become 1 / (1 - m) times as wide.
    """
    bonus = 0.5
    temperature = (1.0 - bonus) * TEMPERATURE
    batch, q = transitions(), soft_value_iteration(temperature)
    learner = learnt(ActionLayout(0, (2,)), 3, batch, 800, munchausen=bonus, munchausen_floor=-100.0)
    log_policy = (q / temperature).log_softmax(1)
    policy = learner.actor.distribution(torch.eye(3), learner.spec, torch.ones(3, 2), 0)
    chance = policy.log_choice[0].squeeze(1).exp()
    torch.testing.assert_close(chance, log_policy.exp(), rtol=0.0, atol=0.03)
    found = learner.critic(torch.cat([batch.obs, batch.action], 1)).squeeze(-1)  # [2, 6]
    expected = (q + bonus * TEMPERATURE * log_policy).flatten().expand(2, -1)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.15)


def test_a_value_is_drawn_with_the_density_that_its_worth_asks_for() -> None:
    """Reward ``-4 (a - 0.3)^2``: best is a Gaussian around 0.3 of variance t / 8, whatever tanh does to the draws."""
    action = torch.linspace(-0.999, 0.999, 256).view(-1, 1)
    here, zero = torch.ones(256, 1), torch.zeros(256, 1)
    batch = Batch(
        obs=torch.ones(256, 1),
        action=action,
        allowed=torch.ones(256, 0),
        agent_mask=here,
        value_mask=here,
        reward=-4.0 * (action - 0.3).square(),
        bootstrap=zero,
        next_obs=zero,
        next_allowed=torch.ones(256, 0),
        next_agent_mask=here,
    )
    learner = learnt(ActionLayout(1), 1, batch, 1200)
    rows = 20_000
    drawn, log_prob = learner.actor.sample_rows(
        torch.ones(rows, 1),
        torch.ones(rows, 0),
        torch.zeros(rows, dtype=torch.int64),
        torch.Generator().manual_seed(0),
    )
    std = math.sqrt(TEMPERATURE / 8.0)
    assert float(drawn.mean()) == pytest.approx(0.3, abs=0.12)
    assert float(drawn.std()) == pytest.approx(std, rel=0.2)
    assert float(-log_prob.mean()) == pytest.approx(math.log(std * math.sqrt(2 * math.pi * math.e)), abs=0.2)
