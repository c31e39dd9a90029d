"""A game of one step whose outcome only the state shows: what critics know with it, and without.

Two agents see noise and do what they like; both earn 1 or -1, as a coin has decided that only the state shows. A
critic that reads it explains all of the return's variance, one that does not explains nothing. Actors never learn it.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec, RolloutBatch

CPU = torch.device("cpu")
ROWS = 128
CHOICES = ActionLayout(0, (3,))
LEARNS_FROM_ROLLOUTS = {entry.learner for entry in ALGORITHMS.values() if entry.data_regime == "on_policy"}


def learner_of(name: str, with_state: bool) -> Any:
    """Observations are 4 numbers of noise, and the state if it is sent."""
    shapes: tuple[tuple[int, ...], ...] = ((2,), (4,)) if with_state else ((4,),)
    spec = GroupSpec((RoleSpec("a", 2, shapes, CHOICES, 0 if with_state else None),))
    algorithm = ALGORITHMS[name]
    fields = {"learning_rate": 0.01, "critic_learning_rate": 0.01, "tau": 0.5}
    known = {field: value for field, value in fields.items() if hasattr(algorithm.config(), field)}
    config = algorithm.config(batch_size=2 * ROWS, **known)
    sizes = {"hidden_units": 32, "num_layers": 1, "normalize": False, "discount": 0.99}
    return algorithm.learner(spec, config, **sizes, device=CPU, seed=0)


def play(learner: Any, generator: torch.Generator) -> Any:
    """Games as the learner's kind reads them; everybody chooses at random."""
    spec = learner.spec
    coin = (torch.rand(ROWS, 1, generator=generator) < 0.5).float() * 2 - 1
    obs = torch.randn(ROWS, spec.obs_size, generator=generator)
    if spec.roles[0].state_size:
        obs = torch.randn(ROWS, 2, spec.roles[0].obs_size, generator=generator)
        spec.roles[0].state(obs)[..., 0] = coin
        obs = obs.flatten(1)
    chosen = torch.randint(0, 3, (ROWS, 2), generator=generator)
    action, here = torch.nn.functional.one_hot(chosen, 3).float().flatten(1), torch.ones(ROWS, 2)
    reward, allowed, behind = coin.expand(-1, 2).contiguous(), torch.ones(ROWS, 6), torch.zeros_like(obs)
    if type(learner) in LEARNS_FROM_ROLLOUTS:
        log_prob = torch.full((ROWS, 2), 1 / 3).log()
        both, successor = torch.cat([obs, behind]), torch.arange(ROWS, 2 * ROWS)
        masks = (here, here, reward, here, here[:, 0], successor)
        return RolloutBatch(both, torch.cat([here, here]), action, allowed, log_prob, *masks)
    return Batch(obs, action, allowed, here, here, reward, here * 0, behind, allowed, here)


def unexplained(name: str, with_state: bool, num_updates: int) -> float:
    """Share of the outcome's variance that critics did not know in the last of some updates."""
    learner, generator = learner_of(name, with_state), torch.Generator().manual_seed(1)
    for _ in range(num_updates):
        learner.update(play(learner, generator))
    figures = learner.metrics()
    if "explained_variance" in figures:
        return 1.0 - float(figures["explained_variance"].mean())
    error: Tensor = figures["td_error"]  # the mean of its absolute value, where the outcome's is 1
    return float(error.mean())


@pytest.mark.parametrize("name", ["mappo", "ippo", "coma", "maddpg", "masac", "qmix"])
def test_a_critic_knows_what_only_the_state_shows(name: str) -> None:
    num_updates = 25 if name in ("mappo", "ippo", "coma") else 100
    assert unexplained(name, True, num_updates) < 0.15
    assert unexplained(name, False, num_updates) > 0.85


def test_the_answer_is_kept_from_the_actors() -> None:
    learner, generator = learner_of("mappo", True), torch.Generator().manual_seed(1)
    for _ in range(5):
        learner.update(play(learner, generator))
    obs, role, allowed = torch.randn(50, 6, generator=generator), learner.spec.roles[0], torch.ones(50, 3)
    other, slot = obs.clone(), torch.arange(50) % 2
    role.state(other).mul_(-100.0)
    one, two = (
        learner.actor.policy_rows(seen, allowed, slot, torch.zeros(50, 0))[0] for seen in (obs, other)
    )
    assert torch.equal(one.log_choice[0], two.log_choice[0])
