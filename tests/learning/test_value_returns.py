"""Action values where the answer is on paper: Munchausen's bonus, and what lambda returns see of the end of a chain."""

import pytest
import torch

from mlagents_marl_plugin.algorithms.qmix import IqlConfig, QmixLearner, VdnConfig
from mlagents_marl_plugin.core.sequence_replay import SequenceReplay
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from tests.learning.test_soft_values import DISCOUNT, TEMPERATURE, soft_value_iteration, transitions

CPU = torch.device("cpu")
STEPS, GAMMA = 8, 0.9


def make(config: IqlConfig | VdnConfig, num_states: int, discount: float) -> QmixLearner:
    spec = GroupSpec((RoleSpec("a", 1, ((num_states,),), ActionLayout(0, (2,))),))
    sizes = {"hidden_units": 32, "num_layers": 1, "normalize": False}
    return QmixLearner(spec, config, **sizes, discount=discount, device=CPU, seed=0)


def test_munchausens_values_are_those_of_a_lower_temperature() -> None:
    """With a bonus of ``m t log pi`` values become ``Q + m t log pi``, where Q and pi are those of temperature
    ``(1 - m) t`` (Vieillard et al. 2020, theorem 1).
    """
    bonus = 0.5
    temperature = (1.0 - bonus) * TEMPERATURE
    config = IqlConfig(
        learning_rate=3e-3,
        tau=0.05,
        munchausen=bonus,
        munchausen_temperature=TEMPERATURE,
        munchausen_floor=-100.0,
    )
    learner, batch = make(config, 3, DISCOUNT), transitions()
    for update in range(500):
        learner.set_learning_rate_fraction(1.0 - update / 500)
        learner.update(batch)
    q = soft_value_iteration(temperature)
    log_policy = (q / temperature).log_softmax(1)
    found = learner.actor.forward_rows(torch.eye(3), torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, q + bonus * TEMPERATURE * log_policy, rtol=0.0, atol=0.1)
    torch.testing.assert_close((found / TEMPERATURE).log_softmax(1), log_policy, rtol=0.0, atol=0.1)


def chain() -> SequenceReplay:
    """Episodes of eight states in a row, whatever is chosen; 1 is earned at the end of the last."""
    spec = make(VdnConfig(), STEPS, GAMMA).spec
    replay, generator = SequenceReplay(spec, 1000, CPU), torch.Generator().manual_seed(0)
    for _ in range(20):
        state = torch.cat([torch.eye(STEPS), torch.zeros(1, STEPS)])
        here = torch.ones(STEPS + 1, 1)
        first = replay.append(state, here, torch.ones(STEPS + 1, 2))
        rows, last = torch.arange(first, first + STEPS), torch.zeros(STEPS)
        last[-1] = 1.0
        action = torch.eye(2)[torch.randint(2, (STEPS,), generator=generator)]
        end = last.unsqueeze(1)
        replay.complete(rows, action, end, here[:STEPS], end, rows + 1, last, here[:STEPS])
    return replay


@pytest.mark.parametrize("lambd", [0.0, 1.0])
def test_the_end_of_a_chain_is_known_at_its_beginning_the_sooner_the_larger_lambda(lambd: float) -> None:
    """Hard targets: each takes news one step back without lambda, and over the whole sequence with it."""
    learner = make(VdnConfig(lambd=lambd, tau=1.0, target_update_interval=40, trace_length=8), STEPS, GAMMA)
    replay, first = chain(), torch.eye(STEPS)[:1]
    learner.set_learning_rate_fraction(10.0)

    def value_after(num_updates: int) -> float:
        for _ in range(num_updates):
            if learner.sequences is None:
                learner.update(replay.sample(64, 1, GAMMA))
            else:
                learner.update(replay.sample_sequences(8, learner.sequences, GAMMA))
        return float(learner.actor.forward_rows(first, torch.zeros(1, dtype=torch.int64)).mean())

    early, expected = value_after(120), GAMMA ** (STEPS - 1)
    if lambd == 0.0:
        assert early < 0.2 * expected
    else:
        assert early == pytest.approx(expected, abs=0.1)
    assert value_after(360) == pytest.approx(expected, abs=0.05)
