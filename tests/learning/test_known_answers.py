"""Learners on a task whose answer is known: random transitions whose reward depends on the own action only.

Every algorithm of the registry has to find the answer within 1,000 updates; the same learners must not find it with as
many when the rewards are shuffled, or the test would prove nothing.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

CPU = torch.device("cpu")
CAPACITY = 20_000
NUM_UPDATES = 1_000
GOAL = 0.9
LEARNERS = [name for name, algorithm in ALGORITHMS.items() if algorithm.data_regime == "off_policy"]


def group(layout: ActionLayout) -> GroupSpec:
    return GroupSpec((RoleSpec("a", 2, ((4,),), layout),))


def filled_replay(spec: GroupSpec, action: Tensor, reward: Tensor) -> Replay:
    """Random observations, one step per episode."""
    num_slots, generator = spec.num_slots, torch.Generator().manual_seed(1)
    replay = Replay(spec, CAPACITY, CPU, torch.Generator().manual_seed(2))
    rows = len(action)
    here = torch.ones(rows + 1, num_slots)
    obs = torch.randn(rows + 1, spec.obs_size, generator=generator)
    first = replay.append(obs, here, torch.ones(rows + 1, spec.allowed_size))
    number = torch.arange(first, first + rows)
    everywhere = torch.ones(rows, num_slots)
    replay.complete(number, action, reward, everywhere, everywhere, number + 1, torch.ones(rows))
    return replay


def experience(layout: ActionLayout, shuffled: bool) -> tuple[GroupSpec, Replay]:
    """Replay in which an agent earns its first continuous value, or 1 for choice 1 of its first branch."""
    spec, generator = group(layout), torch.Generator().manual_seed(0)
    shape = (CAPACITY - 1, spec.num_slots)
    parts = [torch.rand(*shape, layout.continuous, generator=generator) * 2 - 1]
    for num_choices in layout.branches:
        parts.append(
            F.one_hot(torch.randint(0, num_choices, shape, generator=generator), num_choices).float()
        )
    action = torch.cat(parts, -1)
    reward = action[..., 0] if layout.continuous else action[..., 1]
    if shuffled:
        reward = reward[torch.randperm(len(reward), generator=generator)]
    return spec, filled_replay(spec, action.flatten(1), reward)


def learnt(name: str, layout: ActionLayout, num_updates: int, shuffled: bool = False) -> tuple[float, int]:
    """How far the slot that is furthest off got, and the number of updates: until it was there, or all.

    That is its mean first action, or how often it takes choice 1.
    """
    spec, replay = experience(layout, shuffled)
    algorithm = ALGORITHMS[name]
    # As many values as there are choices below.
    cut = {"discretise": 10} if layout.continuous and not algorithm.supports_continuous else {}
    learner = algorithm.learner(
        spec,
        algorithm.config(batch_size=64, **cut),
        hidden_units=32,
        num_layers=2,
        normalize=False,
        discount=0.99,
        device=CPU,
        seed=0,
    )
    obs = torch.randn(100, 4, generator=torch.Generator().manual_seed(3))
    reached, update = -1.0, 0
    for update in range(1, num_updates + 1):
        learner.update(replay.sample(64, 1, learner.discount))
        if update % 100 == 0:
            reached = min(score(layout, greedy(learner.actor, layout, obs, slot)) for slot in range(2))
            if reached > GOAL:
                break
    return reached, update


def greedy(actor: Any, layout: ActionLayout, obs: Tensor, slot: int) -> Tensor:
    """What a slot does [R, A]."""
    slots, allowed = torch.full((len(obs),), slot), torch.ones(len(obs), layout.num_choices)
    if isinstance(actor, StochasticActor):
        return actor.mode_rows(obs, allowed, slots)
    return actions.mode(layout, actor.forward_rows(obs, slots), allowed)


def score(layout: ActionLayout, action: Tensor) -> float:
    return float((action[:, 0] if layout.continuous else action[:, 1]).mean())


# Of 10 choices one is right, so that a learner of noise hardly ever comes to it.
LAYOUTS = pytest.mark.parametrize(
    "layout", [ActionLayout(2), ActionLayout(0, (10, 2))], ids=["values", "choices"]
)


@LAYOUTS
@pytest.mark.parametrize("name", LEARNERS)
def test_the_rewarded_action_is_found_and_nothing_in_shuffled_rewards(
    name: str, layout: ActionLayout
) -> None:
    reached, num_updates = learnt(name, layout, NUM_UPDATES)
    assert reached > GOAL
    reached, _ = learnt(name, layout, num_updates, shuffled=True)
    assert reached < GOAL
