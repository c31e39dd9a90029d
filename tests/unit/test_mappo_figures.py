"""What MAPPO says of its last update, against numbers by hand."""

import math

import pytest
import torch

from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.on_policy_samples import AdvantageNormalisation
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec, RolloutBatch
from mlagents_marl_plugin.core.value_normalisation import ValueNormalisation
from tests.unit.groups import DISCRETE, one_role, random_rollout
from tests.unit.mappo_learners import make

# Two agents with a branch of two choices and one of four, and one agent with but the first.
CHANCES = [[[0.75, 0.25], [0.25, 0.25, 0.25, 0.25]], [[0.5, 0.5], [0.5, 0.5, 0.0, 0.0]], [[0.9, 0.1]]]
VALUE = 0.5  # of every state, for every agent
RATIOS = [[1.0, 1.5, 0.5, 1.1], [1.18, 0.81, 1.0, 1.0], [0.6, 1.3, 1.15, 1.0]]  # per slot
REWARDS = [[1.5, 2.5, -0.5, 0.5], [0.5, 1.5, 2.5, 3.5], [-1.5, 0.5, 4.0, 9.0]]
PLAIN = MappoConfig(
    share_actor=Sharing.SEPARATE,
    share_critic=Sharing.SEPARATE,
    value_normalisation=ValueNormalisation.NONE,
    advantage_normalisation=AdvantageNormalisation.NONE,
    critic_loss=ValueLoss.MSE,
    value_clip=0.0,
    num_epoch=1,
    epsilon=0.2,
    beta=0.0,
    max_gradient_norm=1e-3,  # far below what is told, which is before clipping
)
NUM_ROWS = [4, 4, 3]  # the last slot was not there in the last row


def game() -> GroupSpec:
    two_branches = RoleSpec("a", 2, ((3,),), ActionLayout(0, (2, 4)))
    return GroupSpec((two_branches, RoleSpec("b", 1, ((2,),), ActionLayout(0, (2,)))))


def updated() -> MappoLearner:
    """After an update on four games of one step in which everybody made the first choices, by policies and values that
    are the same wherever one is.
    """
    spec = game()
    learner = make(spec, PLAIN)
    for net in (*learner.actor.nets, *learner.critic.nets):
        net.parameters.zero_()
    for role, net in enumerate(learner.actor.nets):
        logits = [[math.log(max(p, 1e-9)) for branch in slot for p in branch] for slot in CHANCES]
        net.part("2.bias").copy_(torch.tensor(logits[spec.slots(role)]))
    for net in learner.critic.nets:
        net.part("2.bias").fill_(VALUE)
    batch = random_rollout(spec, 4)
    batch.action.zero_()
    for role in range(2):
        first = [0, 2] if role == 0 else [0]
        spec.role_action(batch.action, role)[..., first] = 1.0
    sure = torch.tensor([sum(math.log(branch[0]) for branch in slot) for slot in CHANCES])
    batch = batch._replace(
        log_prob=sure - torch.tensor(RATIOS).T.log(),
        reward=torch.tensor(REWARDS).T.contiguous(),
        terminated=torch.ones(4, 3),
        cut=torch.ones(4),
    )
    for mask in (batch.agent_mask, batch.acted, batch.value_mask):
        mask[3, 2] = 0.0
    learner.update(batch)
    return learner


def means(numbers: list[list[float]]) -> list[float]:
    """Per slot, over the rows in which it was there."""
    return [sum(row[:count]) / count for row, count in zip(numbers, NUM_ROWS, strict=True)]


def test_how_far_policies_have_moved() -> None:
    figures = updated().metrics()
    assert figures["clip_fraction"].tolist() == pytest.approx([0.5, 0.0, 2 / 3])
    assert figures["ratio_mean"].tolist() == pytest.approx([4.1 / 4, 3.99 / 4, 3.05 / 3])
    kl = means([[ratio - 1.0 - math.log(ratio) for ratio in slot] for slot in RATIOS])
    assert figures["approx_kl"].tolist() == pytest.approx(kl, rel=1e-4)
    assert kl[0] > 0.05


def test_losses_and_returns() -> None:
    figures = updated().metrics()
    advantage = [[reward - VALUE for reward in slot] for slot in REWARDS]  # a game of one step
    loss = [
        [-min(r * a, min(max(r, 0.8), 1.2) * a) for r, a in zip(*slot, strict=True)]
        for slot in zip(RATIOS, advantage, strict=True)
    ]
    assert figures["policy_loss"].tolist() == pytest.approx(means(loss), abs=1e-5)
    assert figures["value_loss"].tolist() == pytest.approx(
        means([[a * a for a in slot] for slot in advantage]), abs=1e-4
    )
    assert figures["return_mean"].tolist() == pytest.approx([1.0, 2.0, 1.0])
    assert figures["value_mean"].tolist() == pytest.approx([VALUE] * 3)
    spread = [math.sqrt(1.25), math.sqrt(1.25), math.sqrt(15.5 / 3.0)]
    assert figures["advantage_std"].tolist() == pytest.approx(spread)


def test_entropies_are_told_branch_by_branch() -> None:
    figures = updated().metrics()
    first = [-sum(p * math.log(p) for p in slot[0]) for slot in CHANCES]
    second = [math.log(4.0), math.log(2.0), 0.0]  # the last agent has none
    assert figures["entropy_branch_0"].tolist() == pytest.approx(first, abs=1e-5)
    assert figures["entropy_branch_1"].tolist() == pytest.approx(second, abs=1e-5)
    assert figures["entropy"].tolist() == pytest.approx(
        [a + b for a, b in zip(first, second, strict=True)], abs=1e-5
    )


def test_gradient_norms_are_those_before_clipping() -> None:
    """Where all weights are 0 only the last biases have a gradient.

    By the value it is twice the mean error. By logit j it is ``-mean(ratio * advantage) * ([j = 0] - chance_j)``, where
    rows whose ratio is out of range already count as 0.
    """
    figures = updated().metrics()
    error = [2.0 * abs(VALUE - mean) for mean in (1.0, 2.0, 1.0)]
    assert figures["critic_gradient_norm"].tolist() == pytest.approx(error, abs=1e-5)
    expected = []
    for ratios, rewards, chances, count in zip(RATIOS, REWARDS, CHANCES, NUM_ROWS, strict=True):
        pulled = 0.0
        for ratio, reward in list(zip(ratios, rewards, strict=True))[:count]:
            advantage = reward - VALUE
            if not (ratio > 1.2 if advantage > 0 else ratio < 0.8):
                pulled += ratio * advantage / count
        squares = ((j == 0) - chance for branch in chances for j, chance in enumerate(branch))
        expected.append(abs(pulled) * math.sqrt(sum(square**2 for square in squares)))
    assert figures["actor_gradient_norm"].tolist() == pytest.approx(expected, abs=1e-5)
    assert min(expected) > 0.1


def test_explained_variance_is_told_slot_by_slot() -> None:
    """Returns ``c * value`` leave ``(c - 1) * value`` unexplained: ``1 - ((c - 1) / c)^2``, whatever the values."""
    spec = one_role(3, DISCRETE)
    learner = make(spec, PLAIN)
    batch: RolloutBatch = random_rollout(spec, 50)
    value = learner.critic(batch.obs)[: len(batch.action)]
    batch = batch._replace(
        reward=value * torch.tensor([2.0, -1.0, 4.0]) + 7.0, terminated=torch.ones(50, 3), cut=torch.ones(50)
    )
    batch.value_mask[:10] = 0.0
    batch.reward[:10] = 100.0
    learner.update(batch)
    assert learner.metrics()["explained_variance"].tolist() == pytest.approx([0.75, -3.0, 0.4375], abs=1e-4)
