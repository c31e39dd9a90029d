"""The host makes CUDA torch's default device wherever it sees one, also for a learner that is to live elsewhere.

Here the default device is ``meta``, where tensors have no values, and nothing may be computed there.
"""

from typing import Any

import pytest
import torch

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.qmix import QmixConfig, QmixLearner
from mlagents_marl_plugin.algorithms.qmix_config import InitialMemory
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.exploration import ExplorationSchedule, Explorer, NoiseType
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.rewards import RewardShaping, RewardSharing, RewardStep, share_rewards
from mlagents_marl_plugin.core.sequence_replay import SequenceReplay
from mlagents_marl_plugin.core.sequences import Memory
from tests.gpu.course import NUM_STEPS, OnlyOn, act, batch_of, learner_of, played, tensors
from tests.unit.groups import CPU, DISCRETE, HYBRID, one_role, two_roles
from tests.unit.remembering import Lanes

EVERY_ALGORITHM = pytest.mark.parametrize("name", ALGORITHMS)


@EVERY_ALGORITHM
@pytest.mark.parametrize("sharing", [Sharing.SHARED, Sharing.SEPARATE])
def test_from_steps_to_an_action_nothing_is_made_on_the_default_device(name: str, sharing: Sharing) -> None:
    spec = two_roles()
    steps = played(spec)
    obs, allowed = steps.obs[:, :5], torch.ones(NUM_STEPS + 1, 0)
    config: dict[str, Any] = {"share_actor": sharing, "layer_normalisation": LayerNormalisation.LAYER}
    if hasattr(ALGORITHMS[name].config(), "num_epoch"):
        config["num_epoch"] = 2  # the second does all that any other does
    with torch.device("meta"), OnlyOn(CPU):
        learner = learner_of(name, spec, CPU, **config)
        learner.observe(steps.obs, steps.agent_mask)
        for _ in range(2):
            batch = batch_of(name, spec, CPU, steps)
            assert {part.device for part in batch} == {CPU}
            learner.update(batch)
        figures = learner.metrics()
        assert learner.is_finite()
        saved = learner.state_dict()
        learner.load_state_dict(saved)
        learner.load_weights(saved)
        chosen = act(learner, obs, allowed, CPU)
        exported = learner.actor.slot_module(0)(obs)
    assert {tensor.device for tensor in tensors(saved).values()} == {CPU}
    assert {figure.device for figure in figures.values()} == {CPU}
    assert all(bool(torch.isfinite(figure).all()) for figure in figures.values())
    assert bool(torch.isfinite(chosen).all())
    assert exported.device == CPU


@pytest.mark.parametrize("noise_type", list(NoiseType))
def test_exploration(noise_type: NoiseType) -> None:
    allowed, member = torch.ones(4, HYBRID.num_choices), torch.arange(4)
    chosen = actions.mode(HYBRID, torch.randn(4, HYBRID.size), allowed)
    with torch.device("meta"), OnlyOn(CPU):
        schedule = ExplorationSchedule(random_steps=1)
        curious = Explorer(HYBRID, noise_type, schedule, torch.Generator("cpu"), epsilon=0.5)
        for step in (0, 1):
            assert curious.explore(chosen, allowed, member, step).device == CPU
        curious.reset(member)
        curious.load_state_dict(curious.state_dict())


def test_sampling() -> None:
    spec = one_role(2, HYBRID)
    steps = played(spec)
    with torch.device("meta"), OnlyOn(CPU):
        replay = Replay(spec, 2 * NUM_STEPS, CPU)
        first = replay.append(steps.obs, steps.agent_mask, steps.allowed)
        rows = torch.arange(first, first + NUM_STEPS, device=CPU)
        here = steps.agent_mask[:NUM_STEPS]
        replay.complete(rows, steps.action, steps.reward, here, steps.terminated, rows + 1, steps.cut)
        replay.load_state_dict(replay.state_dict())
        for n_step, share in ((1, 1.0), (3, 1.0), (1, 0.5)):
            assert {part.device for part in replay.sample(4, n_step, 0.9, share)} == {CPU}
        assert replay.metrics()["size"] == NUM_STEPS


@pytest.mark.parametrize("initial_memory", list(InitialMemory))
def test_sequences_and_memories(initial_memory: InitialMemory) -> None:
    spec = one_role(2, DISCRETE)
    steps = played(spec)
    config = QmixConfig(burn_in=1, lambd=0.5, initial_memory=initial_memory)
    with torch.device("meta"), OnlyOn(CPU):
        sizes = {"hidden_units": 8, "num_layers": 1, "normalize": True, "discount": 0.9}
        learner = QmixLearner(spec, config, **sizes, device=CPU, seed=0, memory=Memory(4, 3))
        assert learner.sequences is not None
        size = learner.sequences.memory_size
        replay = SequenceReplay(spec, 2 * NUM_STEPS, CPU, memory_size=size)
        remembered = torch.zeros(NUM_STEPS + 1, 2 * size, device=CPU)
        first = replay.append(steps.obs, steps.agent_mask, steps.allowed, remembered)
        rows = torch.arange(first, first + NUM_STEPS, device=CPU)
        here = steps.agent_mask[:NUM_STEPS]
        outcome = (steps.action, steps.reward, here, steps.terminated, rows + 1, steps.cut)
        replay.complete(rows, *outcome, here)
        replay.load_state_dict(replay.state_dict())
        for _ in range(2):
            learner.update(replay.sample_sequences(4, learner.sequences, 0.9))
        raw, memory = learner.actor.remembering_rows(
            steps.obs[:, :5],
            torch.zeros(NUM_STEPS + 1, dtype=torch.int64, device=CPU),
            torch.zeros(NUM_STEPS + 1, 4, device=CPU),
        )
        figures = learner.metrics()
    assert {part.device for part in (raw, memory, *figures.values())} == {CPU}
    assert all(bool(torch.isfinite(figure).all()) for figure in figures.values())


@pytest.mark.parametrize("name", ["mappo", "coma"])
def test_rollouts_of_agents_that_remember(name: str) -> None:
    algorithm, sizes = ALGORITHMS[name], {"hidden_units": 8, "num_layers": 1, "normalize": True}
    where = {"discount": 0.9, "device": CPU, "seed": 0, "memory": Memory(4, 3)}

    def made() -> Any:
        config = algorithm.config(batch_size=16, num_epoch=2, burn_in=1)
        return algorithm.learner(one_role(2, DISCRETE), config, **sizes, **where)

    batch = Lanes(made()).play(6)
    with torch.device("meta"), OnlyOn(CPU):
        learner = made()
        for _ in range(2):
            learner.update(batch)
        figures = learner.metrics()
        saved = learner.state_dict()
        learner.load_state_dict(saved)
    assert {part.device for part in (*tensors(saved).values(), *figures.values())} == {CPU}
    assert all(bool(torch.isfinite(figure).all()) for figure in figures.values())


def test_shaping_and_sharing_of_rewards() -> None:
    here = torch.ones(3, 2)
    given = RewardStep(
        obs=torch.randn(3, 2, 5),
        action=torch.zeros(3, 2, 2),
        reward=torch.randn(3, 2),
        group_reward=torch.randn(3),
        next_obs=torch.randn(3, 2, 5),
        terminated=torch.zeros(3, 2),
        present=here,
    )
    with torch.device("meta"), OnlyOn(CPU):
        individual, group = RewardShaping(2.0, 0.1)(given)
        for sharing in RewardSharing:
            assert share_rewards(individual, group, here, sharing).device == CPU


def test_drawing_and_encoding_of_actions() -> None:
    raw, allowed = torch.randn(4, HYBRID.size), torch.ones(4, HYBRID.num_choices)
    with torch.device("meta"), OnlyOn(CPU):
        draw = torch.Generator("cpu")
        for encoded in (
            actions.mode(HYBRID, raw, allowed),
            actions.sample(HYBRID, raw, allowed, draw),
            actions.uniform(HYBRID, allowed, (4,), draw, CPU),
            actions.relaxed_with_pullback(HYBRID, raw, allowed, 1.0, draw)[0],
        ):
            assert encoded.device == CPU
            continuous, discrete = actions.to_host(HYBRID, encoded)
            assert actions.encode(HYBRID, continuous, discrete).device == CPU
