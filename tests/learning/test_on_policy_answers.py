"""On-policy learners on one-step games whose answers are known.

Every preset has to find the rewarded action, and must not find it in rewards drawn at random. A game has to be solved
in which one's best choice depends on what the mate has come to do, and one in which two agents who see the same must
choose differently: by actors that can differ, while a shared one stays at what it can reach, one half.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec, RolloutBatch

CPU = torch.device("cpu")
ROWS = 128
LEARNERS = [name for name, algorithm in ALGORITHMS.items() if algorithm.data_regime == "on_policy"]
VALUES, CHOICES = ActionLayout(2), ActionLayout(0, (10, 2))
LAYOUTS = pytest.mark.parametrize("layout", [VALUES, CHOICES], ids=["values", "choices"])
Reward = Callable[[Tensor], Tensor]  # encoded actions [R, 2, A] -> [R, 2]


def group(layout: ActionLayout) -> GroupSpec:
    return GroupSpec((RoleSpec("a", 2, ((4,),), layout),))


def learner_of(name: str, layout: ActionLayout, seed: int = 0, **settings: object) -> MappoLearner:
    algorithm = ALGORITHMS[name]
    rates = {"learning_rate": 0.01, "critic_learning_rate": 0.01}
    cut = {"discretise": 10} if layout.continuous and not algorithm.supports_continuous else {}
    config = algorithm.config(batch_size=2 * ROWS, buffer_size=2 * ROWS, **rates, **cut, **settings)
    made: MappoLearner = algorithm.learner(
        group(layout),
        config,
        hidden_units=32,
        num_layers=2,
        normalize=False,
        discount=0.99,
        device=CPU,
        seed=seed,
    )
    return made


def play(learner: MappoLearner, obs: Tensor, generator: torch.Generator, greedy: bool = False) -> Tensor:
    """What both agents do, [R, 2, A]; the last columns are the log-probabilities."""
    allowed = torch.ones(2 * len(obs), learner.spec.roles[0].action.num_choices)
    slot, rows = torch.arange(2).repeat(len(obs)), obs.view(-1, 4)
    if greedy:
        return learner.actor.mode_rows(rows, allowed, slot).view(len(obs), 2, -1)
    action, log_prob = learner.actor.sample_rows(rows, allowed, slot, generator)
    return torch.cat([action, log_prob.unsqueeze(1)], 1).view(len(obs), 2, -1)


def train(learner: MappoLearner, num_updates: int, reward: Reward, same_obs: bool = False) -> None:
    """Games of one step, rewards as ``reward`` gives them."""
    generator = torch.Generator().manual_seed(1)
    here = torch.ones(2 * ROWS, 2)
    for _ in range(num_updates):
        obs = torch.randn(ROWS, 8, generator=generator)
        if same_obs:
            obs[:, 4:] = obs[:, :4]
        played = play(learner, obs, generator)
        learner.update(
            RolloutBatch(
                obs=torch.cat([obs, torch.zeros(ROWS, 8)]),
                agent_mask=here,
                action=played[..., :-1].flatten(1),
                allowed=torch.ones(ROWS, learner.spec.allowed_size),
                log_prob=played[..., -1],
                acted=here[:ROWS],
                value_mask=here[:ROWS],
                reward=reward(played[..., :-1]),
                terminated=here[:ROWS],
                cut=torch.ones(ROWS),
                successor=torch.arange(ROWS, 2 * ROWS),
            )
        )


def first_action(layout: ActionLayout, action: Tensor) -> Tensor:
    """The first value, within its range; or whether choice 1 of the first branch was taken."""
    return action[..., 0].clamp(-1.0, 1.0) if layout.continuous else action[..., 1]


def learnt(name: str, layout: ActionLayout, num_updates: int, at_random: bool = False) -> float:
    """How far the slot that is furthest off got."""
    generator = torch.Generator().manual_seed(2)

    def reward(action: Tensor) -> Tensor:
        earned = first_action(layout, action)
        # Not these rewards in another order: a batch's mean would still tell how it was played.
        return torch.rand(earned.shape, generator=generator) if at_random else earned

    learner = learner_of(name, layout)
    train(learner, num_updates, reward)
    greedy = play(learner, torch.randn(100, 8, generator=generator), generator, greedy=True)
    return float(first_action(layout, greedy).mean(0).min())


def updates_of(name: str) -> int:
    """More for those whose actors make one step per update."""
    return 120 if "a2c" in name or name == "coma" else 25


@LAYOUTS
@pytest.mark.parametrize("name", LEARNERS)
def test_the_rewarded_action_is_found(name: str, layout: ActionLayout) -> None:
    assert learnt(name, layout, updates_of(name)) > 0.9


@LAYOUTS
@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_found_in_rewards_at_random(name: str, layout: ActionLayout) -> None:
    assert learnt(name, layout, updates_of(name), at_random=True) < 0.9


# The group's reward; the first agent chooses the row. Against a mate that chooses at random its first choice earns
# -1 and its second 0.5. The second agent is better off with its first choice whatever the other does; then so is the
# first.
MISLEADING = torch.tensor([[1.0, -3.0], [0.6, 0.4]])


@pytest.mark.parametrize("seed", range(3))
def test_a_game_whose_best_choice_depends_on_the_mate_is_solved(seed: int) -> None:
    """The first agent begins by leaving the choice that it comes back to, once its mate has made up its mind."""

    def reward(action: Tensor) -> Tensor:
        earned = torch.einsum("ri,ij,rj->r", action[:, 0], MISLEADING, action[:, 1])
        return earned.unsqueeze(1).expand(-1, 2)

    def chances() -> list[float]:
        """Of the first choice, by agent."""
        obs = torch.randn(400, 8, generator=torch.Generator().manual_seed(3))
        return play(learner, obs, torch.Generator().manual_seed(4))[..., 0].mean(0).tolist()

    learner = learner_of("mappo", ActionLayout(0, (2,)), seed, share_actor=Sharing.SEPARATE, num_epoch=4)
    train(learner, 2, reward)
    early = chances()
    train(learner, 20, reward)
    assert early[0] < 0.4
    assert min(chances()) > 0.95


def apart(sharing: Sharing) -> tuple[float, float]:
    """Mean reward of two agents that see the same and must choose differently, and how differently they act."""
    layout = ActionLayout(0, (2,))

    def reward(action: Tensor) -> Tensor:
        return (action[:, 0, :1] != action[:, 1, :1]).float().expand(-1, 2)

    learner = learner_of("mappo", layout, share_actor=sharing, beta=0.001)
    train(learner, 80, reward, same_obs=True)
    obs = torch.randn(4000, 4, generator=torch.Generator().manual_seed(3)).repeat(1, 2)
    played = play(learner, obs, torch.Generator().manual_seed(4))[..., :-1]
    return float(reward(played).mean()), float(learner.metrics()["action_diversity"])


def test_agents_that_look_alike_can_become_different() -> None:
    for sharing in (Sharing.SHARED_WITH_ID, Sharing.SEPARATE):
        earned, diversity = apart(sharing)
        assert earned > 0.95
        assert diversity > 0.9


def test_one_policy_for_both_stays_at_one_half() -> None:
    earned, diversity = apart(Sharing.SHARED)
    assert earned < 0.55
    assert diversity == 0.0


def test_memory_that_is_short_changes_no_answer() -> None:
    """The same batch in pieces of 16 agent steps: the same game is solved."""
    learner = learner_of("mappo", CHOICES, micro_batch_size=16, num_epoch=5)
    assert isinstance(learner.config, MappoConfig)
    train(learner, 30, lambda action: first_action(CHOICES, action))
    greedy = play(learner, torch.randn(100, 8), torch.Generator(), greedy=True)
    assert float(greedy[..., 1].mean()) > 0.9
