"""COMA in a game of four steps: a cue is shown in the first, and asked for in the last.

Agents without a memory cannot answer, whatever is tried. With one they learn to, if their critic knows the cue: since
it remembers what was seen, or since the state shows it, as in the paper, where the critic is feed-forward.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.algorithms.coma import ComaConfig, ComaLearner
from mlagents_marl_plugin.core.sequences import Memory
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec, RolloutBatch

CPU = torch.device("cpu")
GAMES, LENGTH, SIZE = 64, 4, 16
ROWS = LENGTH * GAMES


def learner_of(memory: bool, recurrent_critic: bool, state: bool) -> ComaLearner:
    """For two agents that see two flags for the cue and one for the question."""
    shapes = ((2,), (3,)) if state else ((3,),)
    spec = GroupSpec((RoleSpec("a", 2, shapes, ActionLayout(0, (2,)), 0 if state else None),))
    rates = {"learning_rate": 0.01, "critic_learning_rate": 0.01}
    config = ComaConfig(batch_size=ROWS, recurrent_critic=recurrent_critic, **rates)
    sizes = {"hidden_units": 16, "num_layers": 1, "normalize": False, "discount": 0.99}
    of_agents = Memory(SIZE, LENGTH) if memory else None
    return ComaLearner(spec, config, **sizes, device=CPU, seed=0, memory=of_agents)


def seen(learner: ComaLearner, step: int, cue: Tensor) -> Tensor:
    """[GAMES, 2, O]; ``cue`` [GAMES, 2]."""
    flags = F.one_hot(cue, 2).float()
    asked = torch.full((GAMES, 2, 1), float(step == LENGTH - 1))
    obs = torch.cat([flags * float(step == 0), asked], -1)
    return torch.cat([flags, obs], -1) if learner.spec.roles[0].state_size else obs


def play_and_learn(learner: ComaLearner, generator: torch.Generator) -> float:
    """All games once; the mean of what is earned, 1 or -1 for each agent's answer, which both share."""
    cue = torch.randint(0, 2, (GAMES, 2), generator=generator)
    memory = torch.zeros(GAMES, 2, learner.actor.memory_size)
    allowed, slot = torch.ones(2 * GAMES, 2), torch.arange(2).repeat(GAMES)
    obs, action, log_prob, memories = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
    for step in range(LENGTH):
        obs.append(seen(learner, step, cue))
        memories.append(memory)
        policy, after = learner.actor.policy_rows(obs[-1].flatten(0, 1), allowed, slot, memory.flatten(0, 1))
        drawn = policy.sample(generator)
        action.append(drawn.view(GAMES, 4))
        log_prob.append(policy.log_prob(drawn).view(GAMES, 2))
        memory = after.view_as(memory)
    right = 2.0 * (action[-1].view(GAMES, 2, 2).argmax(-1) == cue).float() - 1.0
    reward, last, everywhere = torch.zeros(ROWS, 2), torch.zeros(ROWS), torch.ones(ROWS + GAMES, 2)
    reward[-GAMES:], last[-GAMES:] = right.mean(1, keepdim=True), 1.0
    first = learner._state.updates * (ROWS + GAMES)
    learner.update(
        RolloutBatch(
            obs=torch.cat([*obs, torch.zeros_like(obs[0])]).flatten(1),
            agent_mask=everywhere,
            action=torch.cat(action),
            allowed=torch.ones(ROWS, 4),
            log_prob=torch.cat(log_prob),
            acted=everywhere[:ROWS],
            value_mask=everywhere[:ROWS],
            reward=reward,
            terminated=last.unsqueeze(1).expand(-1, 2),
            cut=last,
            successor=torch.arange(GAMES, ROWS + GAMES),
            memory=torch.cat(memories),
            number=torch.arange(first, first + ROWS + GAMES),
            waiting=torch.arange(0),
        )
    )
    return float(right.mean())


def learnt(num_updates: int, memory: bool, recurrent_critic: bool, state: bool) -> float:
    """The mean of five updates, as soon as it is above 0.9, or of the last ones."""
    learner, generator = learner_of(memory, recurrent_critic, state), torch.Generator().manual_seed(1)
    scores = list[float]()
    while len(scores) < num_updates and sum(scores[-5:]) < 4.5:
        scores.append(play_and_learn(learner, generator))
    return sum(scores[-5:]) / 5


@pytest.mark.parametrize(("recurrent_critic", "state"), [(True, False), (False, True)])
def test_what_was_shown_is_remembered(recurrent_critic: bool, state: bool) -> None:
    assert learnt(100, True, recurrent_critic, state) > 0.9


def test_without_a_memory_it_is_not() -> None:
    """Not even by a critic that knows the answer."""
    assert abs(learnt(40, False, True, True)) < 0.2


def test_a_critic_that_knows_no_cue_teaches_no_memory() -> None:
    assert abs(learnt(40, True, False, False)) < 0.2
