"""The settings of the MAPPO family: each changes something, schedules are applied, what is out of range is refused."""

from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.distributions import StdType
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.on_policy_samples import AdvantageNormalisation
from mlagents_marl_plugin.core.schedules import Schedule
from mlagents_marl_plugin.core.types import RolloutBatch
from mlagents_marl_plugin.core.value_critics import ValueOutput
from mlagents_marl_plugin.core.value_normalisation import ValueNormalisation
from tests.unit.bad_values import check_nan_refused, check_refused
from tests.unit.field_changes import MEMORIES, REWARDS, ROLLOUTS, check_change, check_none_is_forgotten
from tests.unit.groups import HYBRID, one_role, random_rollout
from tests.unit.learner_states import same_state, weights
from tests.unit.mappo_learners import make, played_by

FAMILY = [name for name, algorithm in ALGORITHMS.items() if algorithm.learner is MappoLearner]
EVERY_ALGORITHM = pytest.mark.parametrize("name", FAMILY)
LINEAR = Schedule.LINEAR

# --- every field ------------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "batch_size": 24,
    "num_epoch": 3,
    "learning_rate": 1e-2,
    "critic_learning_rate": 1e-2,
    "learning_rate_schedule": LINEAR,
    "learning_rate_factor": 0.5,
    "learning_rate_floor": 4e-4,
    "epsilon": 0.05,
    "epsilon_schedule": LINEAR,
    "epsilon_factor": 0.5,
    "epsilon_floor": 0.15,
    "beta": 0.3,
    "beta_schedule": LINEAR,
    "beta_factor": 0.5,
    "beta_floor": 0.009,
    "target_kl": 1e-6,
    "kl_penalty": 1.0,
    "lambd": 0.1,
    "advantage_normalisation": AdvantageNormalisation.AGENT,
    "value_normalisation": ValueNormalisation.NONE,
    "value_norm_decay": 0.5,
    "value_clip": 0.001,
    "value_bound": 0.5,
    "critic_loss": ValueLoss.MSE,
    "huber_threshold": 0.1,
    "centralised_critic": False,
    "value_output": ValueOutput.GROUP,
    "share_actor": Sharing.SEPARATE,
    "share_critic": Sharing.SEPARATE,
    "layer_normalisation": LayerNormalisation.LAYER,
    "observation_clip": 0.1,
    "max_gradient_norm": 1e-3,
    "std_type": StdType.FIXED,
    "initial_std": 0.5,
    "final_std": 0.5,
    "min_std": 1.0,
    "tanh_mean": True,
    "orthogonal_initialisation": False,
    "policy_gain": 1.0,
    "reward_scaling": True,
}
# What a field needs to matter.
BESIDE: dict[str, dict[str, Any]] = {
    "learning_rate_floor": {"learning_rate_schedule": LINEAR},
    "epsilon_floor": {"epsilon_schedule": LINEAR},
    "beta_floor": {"beta_schedule": LINEAR},
    "kl_penalty": {"target_kl": 1e9},  # which ends no epoch
    "final_std": {"std_type": StdType.ANNEALED},
    "min_std": {"beta": 0.0, "share_actor": Sharing.SEPARATE},  # so that somebody's deviation falls
}


def lately_played_by(learner: MappoLearner, batch: RolloutBatch) -> RolloutBatch:
    """By policies not far from the learner's, so that it matters how far is too far."""
    batch = played_by(learner, batch)
    noise = 0.3 * torch.randn(batch.log_prob.shape, generator=torch.Generator().manual_seed(5))
    return batch._replace(log_prob=batch.log_prob + noise)


def learnt(config: MappoConfig) -> dict[str, Tensor]:
    """The networks after two updates in the middle of a run."""
    spec = one_role(2, HYBRID)
    learner = make(spec, config, normalize=True)
    for seed in range(2):
        batch = lately_played_by(learner, random_rollout(spec, seed=seed))
        learner.set_progress(0.5, 2 + seed)
        learner.observe(batch.obs, batch.agent_mask)
        learner.update(batch)
    return weights(learner, "actor", "critic")


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_learner_changes_something(field: str) -> None:
    check_change(learnt, MappoConfig(**{"num_epoch": 2, **BESIDE.get(field, {})}), **{field: CHANGES[field]})


def test_no_field_is_forgotten() -> None:
    """Micro-batches change nothing but how much is computed at once, see test_mappo.py."""
    check_none_is_forgotten(MappoConfig, CHANGES, REWARDS | ROLLOUTS | MEMORIES | {"micro_batch_size"})


# --- schedules ------------------------------------------------------------------------------------------------


def test_schedules_fall_to_their_floors() -> None:
    config = MappoConfig(
        learning_rate=1.0,
        critic_learning_rate=0.5,
        learning_rate_schedule=Schedule.LINEAR,
        learning_rate_floor=0.1,
        epsilon=0.15,
        epsilon_factor=0.999,
        epsilon_floor=0.05,
        beta=0.2,
        std_type=StdType.ANNEALED,
        initial_std=0.8,
        final_std=0.2,
    )
    learner = make(one_role(), config)
    learner.set_progress(0.5, 100)
    expected = {"learning_rate": 0.5, "critic_learning_rate": 0.25, "epsilon": 0.15 * 0.999**100}
    assert learner.scheduled() == pytest.approx({**expected, "beta": 0.2, "std": 0.5})
    learner.set_progress(1.0, 10_000)
    expected = {"learning_rate": 0.1, "critic_learning_rate": 0.1, "epsilon": 0.05}
    assert learner.scheduled() == pytest.approx({**expected, "beta": 0.2, "std": 0.2})
    learner.update(random_rollout(one_role()))
    obs, slot = torch.zeros(20_000, 5), torch.zeros(20_000, dtype=torch.int64)
    drawn = learner.actor.sample_rows(obs, torch.ones(20_000, 0), slot)[0]
    assert float(drawn.std()) == pytest.approx(0.2, rel=0.05)


# What stands at 0.4, 0.01 and so on at the start, halfway through the run and after two episodes: exactly an eighth of
# it, or the floor.
FALLEN: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "learning_rate": (
        {"learning_rate_schedule": LINEAR, "learning_rate_factor": 0.5},
        {"learning_rate": 0.01 / 8, "critic_learning_rate": 0.02 / 8},
    ),
    "learning_rate_floor": (
        {"learning_rate_schedule": LINEAR, "learning_rate_floor": 0.015},
        {"learning_rate": 0.01, "critic_learning_rate": 0.015},  # a floor above the start lifts nothing
    ),
    "epsilon": ({"epsilon_schedule": LINEAR, "epsilon_factor": 0.5}, {"epsilon": 0.4 / 8}),
    "epsilon_floor": ({"epsilon_factor": 0.5, "epsilon_floor": 0.3}, {"epsilon": 0.3}),
    "beta": ({"beta_schedule": LINEAR, "beta_factor": 0.5}, {"beta": 0.8 / 8}),
    "beta_floor": ({"beta_schedule": LINEAR, "beta_floor": 0.7}, {"beta": 0.7}),
}


@pytest.mark.parametrize("number", FALLEN)
def test_what_a_number_has_fallen_to_is_what_is_learnt_with(number: str) -> None:
    """To the last bit what a run learns that has had that number from the start."""
    schedule, fallen = FALLEN[number]
    start = MappoConfig(
        learning_rate=0.01, critic_learning_rate=0.02, epsilon=0.4, epsilon_floor=0.01, beta=0.8
    )
    spec, found = one_role(2, HYBRID), []
    for config in (attrs.evolve(start, **schedule), attrs.evolve(start, **fallen), start):
        learner = make(spec, config)
        learner.set_progress(0.5, 2)
        learner.update(lately_played_by(learner, random_rollout(spec)))
        found.append(learner.state_dict())
    assert same_state(found[0], found[1])
    assert not same_state(found[0], found[2])


def test_the_first_step_of_adam_is_as_long_as_the_learning_rate_of_now() -> None:
    """Whatever the gradient."""
    rates = {"learning_rate": 0.08, "critic_learning_rate": 0.4}
    config = MappoConfig(**rates, learning_rate_schedule=LINEAR, learning_rate_factor=0.5, num_epoch=1)
    spec = one_role(2, HYBRID)
    learner = make(spec, config)
    learner.set_progress(0.75, 3)
    before = weights(learner, "actor", "critic")
    learner.update(random_rollout(spec))
    after = weights(learner, "actor", "critic")
    for part, rate in (("actor", 0.08 / 32), ("critic", 0.4 / 32)):
        steps = [(after[name] - before[name]).abs().max() for name in before if name.startswith(part)]
        assert float(torch.stack(steps).max()) == pytest.approx(rate, rel=1e-3)


# --- ranges and presets ---------------------------------------------------------------------------------------

BAD_VALUES = {
    "value_bound": -1.0,
    "batch_size": -1,
    "buffer_size": 1,
    "update_every_episodes": -1,
    "micro_batch_size": -1,
    "num_epoch": 0,
    "learning_rate": 0.0,
    "critic_learning_rate": -1.0,
    "learning_rate_factor": 0.0,
    "learning_rate_floor": -1.0,
    "epsilon": -0.1,
    "epsilon_factor": 1.1,
    "epsilon_floor": -0.1,
    "beta": -1.0,
    "beta_factor": 0.0,
    "beta_floor": -1.0,
    "target_kl": -0.1,
    "kl_penalty": 1.0,
    "lambd": 1.1,
    "value_norm_decay": 1.0,
    "value_clip": -0.1,
    "huber_threshold": 0.0,
    "max_gradient_norm": -1.0,
    "initial_std": 0.0,
    "final_std": 20.0,
    "min_std": 2.0,
    "layer_normalisation": LayerNormalisation.BATCH,
    "policy_gain": 0.0,
    "observation_clip": 0.0,
    "reward_mix": 1.5,
    "positive_reward_scale": -1.0,
}


@EVERY_ALGORITHM
@pytest.mark.parametrize("field", BAD_VALUES)
def test_a_value_out_of_range_is_refused_with_what_to_do(name: str, field: str) -> None:
    check_refused(ALGORITHMS[name].config, field, BAD_VALUES[field])


def test_nan_is_out_of_every_range() -> None:
    check_nan_refused(MappoConfig, BAD_VALUES)


def test_a_network_for_all_is_not_one_for_each() -> None:
    refused = "^share_critic: expected shared, since value_output is group, got separate;"
    with pytest.raises(ValueError, match=refused):
        MappoConfig(value_output=ValueOutput.GROUP, share_critic=Sharing.SEPARATE)


# What would do nothing: a type, its settings, and what is refused of them.
IDLE: list[tuple[str, dict[str, Any], str]] = [
    ("maa2c", {"target_kl": 0.02}, "target_kl: expected 0 with num_epoch 1, got 0.02; try num_epoch 4"),
    (
        "mappo",
        {"target_kl": 0.02, "num_epoch": 1, "batch_size": 512},
        "target_kl: expected 0 with num_epoch 1,",
    ),
    (
        "ia2c",
        {"target_kl": 0.02, "kl_penalty": 1.0},
        "target_kl: expected 0 with num_epoch 1 and no mini-batches, got 0.02;",
    ),
    (
        "mappo",
        {"target_kl": 0.02, "kl_penalty": 1.0, "num_epoch": 1, "batch_size": 10_240},
        "target_kl: expected 0 with num_epoch 1 and no mini-batches,",
    ),
    (
        "ippo",
        {"value_output": ValueOutput.PER_AGENT},
        "value_output: expected own_view, since centralised_critic is false, got per_agent;",
    ),
    ("mappo", {"initial_std": 7.4}, r"initial_std: expected 0 < initial_std <= 7.389 \(e\^2\), got 7.4;"),
    (
        "maa2c",
        {"epsilon_schedule": LINEAR},
        "epsilon_schedule: expected constant, since epsilon is 0, got linear;",
    ),
    ("mappo", {"epsilon": 0.0, "epsilon_factor": 0.9}, "epsilon_factor: expected 1, since epsilon is 0, got"),
]


@pytest.mark.parametrize(
    ("name", "fields", "refused"), IDLE, ids=[f"{name}-{refused.split(':')[0]}" for name, _, refused in IDLE]
)
def test_what_would_do_nothing_is_refused(name: str, fields: dict[str, Any], refused: str) -> None:
    with pytest.raises(ValueError, match=f"^{refused}"):
        ALGORITHMS[name].config(**fields)


def test_what_a_second_gradient_step_needs_is_taken_with_it() -> None:
    for name, split in (("mappo", {"num_epoch": 1, "batch_size": 512}), ("ia2c", {"num_epoch": 2})):
        ALGORITHMS[name].config(target_kl=0.02, kl_penalty=1.0, **split)
    ALGORITHMS["maa2c"].config(target_kl=0.02, num_epoch=2)


@pytest.mark.parametrize("name", [name for name in FAMILY if "a2c" in name])
def test_a_plain_step_is_one_however_much_was_played(name: str) -> None:
    """Whatever buffer_size, and where the rollout is larger."""
    spec = one_role(2)
    config = ALGORITHMS[name].config(buffer_size=8192)
    assert config.batch_size == 8192  # the host refuses sequences longer than this
    for learner in (make(spec, config), make(spec, ALGORITHMS[name].config(buffer_size=16))):
        learner.update(random_rollout(spec, 5000))
        assert float(learner._actor_optimiser.tensors()["0.steps"]) == 1.0


@EVERY_ALGORITHM
def test_presets_change_defaults_and_add_nothing(name: str) -> None:
    config = ALGORITHMS[name].config()
    assert isinstance(config, MappoConfig)
    assert vars(config).keys() == vars(MappoConfig()).keys()
    assert config.reward_sharing.value == ("group_mean" if name.endswith("_shared") else "individual")
    assert config.centralised_critic is name.startswith("ma")
    assert (config.epsilon == 0.0 and config.num_epoch == 1) is ("a2c" in name)
