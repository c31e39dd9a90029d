"""COMA in a game where climbing alone is punished.

Learning from what they play, not from all joint actions alike, agents first meet where nothing can go wrong (5) and
then climb, one after the other, to the 7 that values learnt from random play cannot find (`test_matrix_games`). The 11
would need both to dare at once.
"""

import torch

from mlagents_marl_plugin.algorithms.coma import ComaConfig, ComaLearner
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.schedules import Schedule
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec, RolloutBatch

CPU = torch.device("cpu")
GAMES = 64
# Claus & Boutilier 1998.
CLIMBING = torch.tensor([[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]])


def test_agents_climb_by_themselves() -> None:
    spec = GroupSpec((RoleSpec("a", 2, ((1,),), ActionLayout(0, (3,))),))
    config = ComaConfig(
        batch_size=2 * GAMES,
        share_actor=Sharing.SEPARATE,
        learning_rate=0.01,
        critic_learning_rate=0.01,
        beta=2.0,
        beta_schedule=Schedule.LINEAR,
    )
    sizes = {"hidden_units": 32, "num_layers": 1, "normalize": False, "discount": 0.99}
    learner = ComaLearner(spec, config, **sizes, device=CPU, seed=0)
    generator, here = torch.Generator().manual_seed(1), torch.ones(2 * GAMES, 2)
    obs, allowed, slot = torch.ones(2 * GAMES, 1), torch.ones(2 * GAMES, 3), torch.arange(2).repeat(GAMES)
    earned = []
    for update in range(200):
        learner.set_progress(update / 200, 0)
        action, log_prob = learner.actor.sample_rows(obs, allowed, slot, generator)
        first, second = action.view(GAMES, 2, 3).argmax(-1).unbind(1)
        reward = CLIMBING[first, second]
        earned.append(float(reward.mean()))
        learner.update(
            RolloutBatch(
                obs=torch.ones(2 * GAMES, 2),
                agent_mask=here,
                action=action.view(GAMES, 6),
                allowed=torch.ones(GAMES, 6),
                log_prob=log_prob.view(GAMES, 2),
                acted=here[:GAMES],
                value_mask=here[:GAMES],
                reward=reward.unsqueeze(1).expand(-1, 2),
                terminated=here[:GAMES],
                cut=torch.ones(GAMES),
                successor=torch.arange(GAMES, 2 * GAMES),
            )
        )
    chosen = learner.actor.mode_rows(obs[:2], allowed[:2], slot[:2]).argmax(-1)
    assert chosen.tolist() == [1, 1]
    assert earned[0] < -2 < 6.5 < earned[-1]
