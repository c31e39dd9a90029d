"""Learners from a replay on a game whose answer only a picture tells, with ML-Agents' own encoder.

Each of two agents sees a picture of noise, which is brighter on its left or on its right side, and earns what it does
in the one or the other direction. Who does not look is right in half of all games.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mlagents.trainers.settings import EncoderType, NetworkSettings
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)
from torch import Tensor

from mlagents_marl_plugin.adapter.specs import role_from_behavior
from mlagents_marl_plugin.adapter.state_sensor import with_state
from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import Batch, GroupSpec

CPU = torch.device("cpu")
ROWS, SHAPE = 64, (1, 20, 20)
MOVES = DimensionProperty.TRANSLATIONAL_EQUIVARIANCE
PICTURE = ObservationSpec(
    SHAPE, (DimensionProperty.NONE, MOVES, MOVES), ObservationType.DEFAULT, "CameraSensor"
)
NOISE = ObservationSpec((4,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "VectorSensor")
VALUES, CHOICES = ActionSpec.create_continuous(1), ActionSpec.create_discrete((2,))


def learner_of(name: str, action: ActionSpec, picture_is_state: bool = False) -> Any:
    algorithm = ALGORITHMS[name]
    network = NetworkSettings(hidden_units=16, num_layers=1, vis_encode_type=EncoderType.SIMPLE)
    behavior = BehaviorSpec([PICTURE, NOISE], action)
    role = role_from_behavior("Camera", behavior, 2, network)
    role = with_state(role, behavior, "CameraSensor" if picture_is_state else "")
    rates = {"learning_rate": 0.003, "critic_learning_rate": 0.003, "tau": 0.1}
    known = {field: value for field, value in rates.items() if hasattr(algorithm.config(), field)}
    sizes = {"hidden_units": 16, "num_layers": 1, "normalize": True, "discount": 0.99}
    return algorithm.learner(GroupSpec((role,)), algorithm.config(**known), **sizes, device=CPU, seed=0)


def shown(side: Tensor, generator: torch.Generator) -> Tensor:
    """Observations [ROWS, 2, O] for sides [ROWS, 2], -1 or 1."""
    picture = torch.rand(*side.shape, *SHAPE, generator=generator) * 0.5
    half = SHAPE[2] // 2
    picture[..., :half] += 0.5 * (side < 0).float()[..., None, None, None]
    picture[..., half:] += 0.5 * (side > 0).float()[..., None, None, None]
    noise = torch.randn(*side.shape, 4, generator=generator)
    return torch.cat([picture.flatten(2), noise], -1)


def sides(generator: torch.Generator) -> Tensor:
    return (torch.rand(ROWS, 2, generator=generator) < 0.5).float() * 2 - 1


def games(obs: Tensor, action: Tensor, reward: Tensor) -> Batch:
    """One step each."""
    here, joint = torch.ones(ROWS, 2), obs.flatten(1)
    allowed = torch.ones(ROWS, 2 * action.shape[-1] if action.shape[-1] > 1 else 0)
    nothing = torch.zeros_like(joint)
    return Batch(joint, action.flatten(1), allowed, here, here, reward, here * 0, nothing, allowed, here)


def at_random(action: ActionSpec, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Encoded actions [ROWS, 2, A], and how far each goes to the right [ROWS, 2]."""
    if action.is_continuous():
        value = torch.rand(ROWS, 2, 1, generator=generator) * 2 - 1
        return value, value.squeeze(-1)
    choice = torch.randint(0, 2, (ROWS, 2), generator=generator)
    return F.one_hot(choice, 2).float(), choice * 2.0 - 1.0


def right_share(learner: Any, generator: torch.Generator) -> float:
    """Of greedy actions, those that go where the picture says."""
    side, layout = sides(generator), learner.spec.roles[0].action
    obs, slot = shown(side, generator).flatten(0, 1), torch.arange(2).repeat(ROWS)
    allowed = torch.ones(2 * ROWS, layout.num_choices)
    if isinstance(learner.actor, StochasticActor):
        done = learner.actor.mode_rows(obs, allowed, slot)
    else:
        done = actions.mode(layout, learner.actor.forward_rows(obs, slot), allowed)
    direction = done[:, 0] if layout.continuous else done[:, 1] - done[:, 0]
    return float((direction * side.flatten() > 0).float().mean())


@pytest.mark.parametrize(
    ("name", "action"),
    [("maddpg", VALUES), ("masac", VALUES), ("qmix", CHOICES)],
    ids=["maddpg", "masac", "qmix"],
)
def test_what_only_a_picture_tells_is_learnt(name: str, action: ActionSpec) -> None:
    learner, generator = learner_of(name, action), torch.Generator().manual_seed(1)
    assert right_share(learner, generator) < 0.7
    for update in range(300):
        side = sides(generator)
        obs, (done, direction) = shown(side, generator), at_random(action, generator)
        learner.observe(obs.flatten(1), torch.ones(ROWS, 2))
        learner.update(games(obs, done, direction * side))
        if update % 25 == 24 and right_share(learner, generator) > 0.95:
            return
    raise AssertionError(f"{name}: {right_share(learner, generator)} right after 300 updates")


def test_a_state_that_is_a_picture_is_read_by_the_mixer() -> None:
    """All earn what the picture says, whatever they do: without it the mean error of values would stay at 1."""
    learner, generator = learner_of("qmix", CHOICES, picture_is_state=True), torch.Generator().manual_seed(1)
    error, num_updates = 1.0, 0
    while error > 0.3 and num_updates < 200:
        side = sides(generator)[:, :1].expand(-1, 2)
        learner.update(games(shown(side, generator), at_random(CHOICES, generator)[0], side))
        num_updates += 1
        error = float(learner.metrics()["td_error"].mean())
    assert error <= 0.3
    assert len(learner.mixer.learnt) == 2, "the network that mixes, and the picture's encoder"
    assert learner.mixer.inner.nets[0].shape.num_inputs == 16 + 2, "features, and who is there"
