"""Cooperative games on paper, whose answers tell the mixers apart.

Every joint action is equally often in every batch, as if agents played at random for ever. What is found then is a
matter of what a mixer can represent, not of exploration.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.algorithms.qmix import IqlSharedConfig, QmixConfig, QmixLearner, VdnConfig
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec

CPU = torch.device("cpu")
DISCOUNT = 0.99
NUM_UPDATES = 600
CONFIGS = {"qmix": QmixConfig, "vdn": VdnConfig, "iql": IqlSharedConfig}


def game(num_states: int, num_choices: int) -> GroupSpec:
    """Two agents who see which state it is."""
    return GroupSpec((RoleSpec("a", 2, ((num_states,),), ActionLayout(0, (num_choices,))),))


def learnt(spec: GroupSpec, name: str, batch: Batch, num_updates: int = NUM_UPDATES) -> QmixLearner:
    config = CONFIGS[name](learning_rate=5e-3, tau=0.1, share_actor=Sharing.SEPARATE)
    sizes = {"hidden_units": 16, "num_layers": 1, "normalize": False}
    learner = QmixLearner(spec, config, **sizes, discount=DISCOUNT, device=CPU, seed=0)
    for _ in range(num_updates):
        learner.update(batch)
    return learner


def transitions(
    spec: GroupSpec, steps: list[tuple[int, tuple[int, ...], float, int | None]], num_states: int
) -> Batch:
    """A batch of (state, choices, reward of both, next state or None at the end)."""
    num_choices, rows = spec.roles[0].action.branches[0], len(steps)
    state = torch.tensor([step[0] for step in steps])
    choice = torch.tensor([step[1] for step in steps])
    following = torch.tensor([0 if step[3] is None else step[3] for step in steps])
    going = torch.tensor([float(step[3] is not None) for step in steps]).unsqueeze(1)
    here, allowed = torch.ones(rows, 2), torch.ones(rows, spec.allowed_size)
    return Batch(
        obs=F.one_hot(state, num_states).float().repeat(1, 2),
        action=F.one_hot(choice, num_choices).float().flatten(1),
        allowed=allowed,
        agent_mask=here,
        value_mask=here,
        reward=torch.tensor([step[2] for step in steps]).unsqueeze(1).expand(-1, 2),
        bootstrap=DISCOUNT * going.expand(-1, 2),
        next_obs=F.one_hot(following, num_states).float().repeat(1, 2),
        next_allowed=allowed,
        next_agent_mask=here,
    )


def greedy(learner: QmixLearner, state: int, num_states: int) -> list[int]:
    """What the two agents choose."""
    obs = F.one_hot(torch.tensor([state, state]), num_states).float()
    choices: list[int] = learner.actor.forward_rows(obs, torch.arange(2)).argmax(1).tolist()
    return choices


def group_values(learner: QmixLearner, batch: Batch) -> Tensor:
    """The learner's value of every row of the batch, which is the one that it was trained with."""
    learner.set_learning_rate_fraction(0.0)
    learner.update(batch)
    assert learner._last is not None
    return learner._last.prediction


# --- the two-step game ---------------------------------------------------------------------------------------

# Rashid et al. 2018, section 5: the first agent's first choice leads to game 2A (always 7) or 2B.
PAYOFF_2B = [[0.0, 1.0], [1.0, 8.0]]
STATES = 3
PAIRS = list(itertools.product(range(2), repeat=2))
TWO_STEP = [
    *((0, (i, j), 0.0, 1 + i) for i, j in PAIRS),
    *((1, pair, 7.0, None) for pair in PAIRS),
    *((2, (i, j), PAYOFF_2B[i][j], None) for i, j in PAIRS),
]


def played(learner: QmixLearner) -> float:
    """The group's reward of an episode."""
    state = 1 + greedy(learner, 0, STATES)[0]
    i, j = greedy(learner, state, STATES)
    return 7.0 if state == 1 else PAYOFF_2B[i][j]


@pytest.fixture(scope="module", params=CONFIGS)
def two_step(request: pytest.FixtureRequest) -> tuple[str, QmixLearner, Batch]:
    spec = game(STATES, 2)
    batch = transitions(spec, TWO_STEP, STATES)
    return request.param, learnt(spec, request.param, batch), batch


def test_qmix_alone_finds_the_optimum_of_the_two_step_game(
    two_step: tuple[str, QmixLearner, Batch],
) -> None:
    """A sum cannot tell that both must choose the second in 2B, and so prefers the sure 7 (Rashid et al., table 2)."""
    name, learner, _ = two_step
    assert played(learner) == (8.0 if name == "qmix" else 7.0)


def test_values_of_the_two_step_game_are_those_of_the_paper(
    two_step: tuple[str, QmixLearner, Batch],
) -> None:
    """QMIX represents the game exactly; VDN's values are the best sum, by least squares; an independent agent's, the
    first one's here, are means over what its mate does."""
    name, learner, batch = two_step
    values = group_values(learner, batch)[:, 0]
    expected = {
        "qmix": [6.93, 6.93, 7.92, 7.92, 7.0, 7.0, 7.0, 7.0, 0.0, 1.0, 1.0, 8.0],
        "vdn": [6.93, 6.93, 6.44, 6.44, 7.0, 7.0, 7.0, 7.0, -1.5, 2.5, 2.5, 6.5],
        "iql": [6.93, 6.93, 4.46, 4.46, 7.0, 7.0, 7.0, 7.0, 0.5, 0.5, 4.5, 4.5],
    }
    torch.testing.assert_close(values, torch.tensor(expected[name]), rtol=0.0, atol=0.25)


# --- the climbing game ----------------------------------------------------------------------------------------

# Claus & Boutilier 1998: whoever climbs to the 11 alone is punished with -30.
CLIMBING = [[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_climbing_game_is_beyond_monotonic_mixing(name: str) -> None:
    """Whether an agent's first choice is good depends on its mate's, which no monotonic mixer can say."""
    spec = game(1, 3)
    pairs = list(itertools.product(range(3), repeat=2))
    batch = transitions(spec, [(0, (i, j), CLIMBING[i][j], None) for i, j in pairs], 1)
    learner = learnt(spec, name, batch)
    i, j = greedy(learner, 0, 1)
    assert CLIMBING[i][j] < 11.0
    if name != "qmix":
        # The best sum by least squares has its maximum where the means over the mate's choices have theirs.
        assert (i, j) == (2, 2)
        assert CLIMBING[i][j] == 5.0
    else:
        assert float(group_values(learner, batch)[0]) < 5.0
