"""MAPPO with a memory: what was played is found again, pieces teach what the whole does, lanes go on."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.sequences import Memory
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch
from mlagents_marl_plugin.core.value_critics import ValueOutput
from tests.unit.groups import CPU, HYBRID, one_role
from tests.unit.remembering import Lanes, with_large_weights

SIZE = 6
CRITICS: list[dict[str, Any]] = [
    {"share_critic": sharing, "centralised_critic": centralised}
    for sharing in Sharing
    for centralised in (True, False)
]
CRITICS.append({"share_critic": Sharing.SHARED, "share_actor": Sharing.SEPARATE, "memory_cell": Cell.LSTM})
CRITICS += [{"value_output": output} for output in (ValueOutput.PER_AGENT, ValueOutput.GROUP)]


def make(
    spec: GroupSpec, length: int = 4, seed: int = 0, normalize: bool = False, **fields: Any
) -> MappoLearner:
    learner = MappoLearner(
        spec,
        MappoConfig(**fields),
        hidden_units=8,
        num_layers=1,
        normalize=normalize,
        discount=0.9,
        device=CPU,
        seed=seed,
        memory=Memory(SIZE, length),
    )
    with_large_weights((*learner.actor.nets, *learner.critic.nets), seed + 5)
    learner.actor.bound_std()
    return learner


def gradients(learner: MappoLearner) -> list[Tensor]:
    return [net.gradient.clone() for net in (*learner.actor.nets, *learner.critic.nets)]


def updated(batch: RolloutBatch, spec: GroupSpec, **fields: Any) -> list[Tensor]:
    """The gradients of one epoch."""
    learner = make(spec, num_epoch=1, max_gradient_norm=0.0, **fields)
    learner.update(batch)
    return gradients(learner)


@pytest.mark.parametrize("cell", list(Cell))
@pytest.mark.parametrize("sharing", list(Sharing))
def test_the_first_epoch_finds_the_policy_that_acted(sharing: Sharing, cell: Cell) -> None:
    """In every piece of every lane, in rollouts that begin in the middle of episodes, with agents that sit out."""
    fields = {"num_epoch": 1, "share_actor": sharing, "memory_cell": cell}
    learner = make(one_role(2, HYBRID), length=3, normalize=True, **fields)
    lanes = Lanes(learner)
    for _ in range(3):
        batch = lanes.play(10)
        assert 0 < batch.acted.mean() < 1
        learner.update(batch)
        steps = learner._policy_steps
        off = torch.cat([(step.log_ratio * step.mask).abs().flatten() for step in steps])
        assert off.max() < 1e-5


def test_without_what_was_remembered_another_policy_is_found() -> None:
    """So the test above can fail."""
    learner = make(one_role(2, HYBRID), length=3, num_epoch=1)
    batch = Lanes(learner).play(10)
    assert batch.memory is not None
    learner.update(batch._replace(memory=torch.zeros_like(batch.memory)))
    step = learner._policy_steps[-1]
    assert (step.log_ratio * step.mask).abs().max() > 1e-2


@pytest.mark.parametrize("critic", CRITICS, ids=str)
def test_pieces_teach_what_the_whole_teaches_where_burn_in_covers_it(critic: dict[str, Any]) -> None:
    spec = one_role(2, HYBRID)
    batch = Lanes(make(spec, **critic)).play(20)
    whole = updated(batch, spec, length=100, **critic)
    covered = updated(batch, spec, length=3, burn_in=100, **critic)
    torch.testing.assert_close(covered, whole, atol=1e-5, rtol=1e-4)
    cut_off = updated(batch, spec, length=3, **critic)
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(cut_off, whole, strict=True))


@pytest.mark.parametrize("critic", CRITICS, ids=str)
def test_micro_batches_change_no_gradient(critic: dict[str, Any]) -> None:
    spec = one_role(2, HYBRID)
    batch = Lanes(make(spec, **critic)).play(20)
    at_once, in_parts = (updated(batch, spec, micro_batch_size=size, burn_in=2, **critic) for size in (0, 30))
    torch.testing.assert_close(in_parts, at_once, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("critic", CRITICS, ids=str)
def test_critics_remember_a_lane_from_rollout_to_rollout(critic: dict[str, Any]) -> None:
    spec = one_role(2, HYBRID)
    one, other = make(spec, **critic), make(spec, **critic)
    whole = Lanes(one).play(16)
    lanes, said = Lanes(other), list[Tensor]()
    for _ in range(2):
        part = lanes.play(8)
        said.append(other._rollout_values(part, part.obs)[0][: len(part.action)])
    expected = one._rollout_values(whole, whole.obs)[0][: len(whole.action)]
    torch.testing.assert_close(torch.cat(said), expected)
    fresh = make(spec, **critic)._rollout_values(part, part.obs)[0][: len(part.action)]
    assert (fresh - said[1]).abs().max() > 1e-3


def test_a_critic_without_a_memory_sees_one_step_at_a_time() -> None:
    spec = one_role(2, HYBRID)
    learner = make(spec, recurrent_critic=False)
    batch = Lanes(learner).play(8)
    said, memory = learner._rollout_values(batch, batch.obs)
    assert memory is None and torch.equal(said, learner.critic(batch.obs))
    learner.update(batch)
    assert learner.is_finite()


def test_mini_batches_learn_from_every_row_once_per_epoch() -> None:
    spec = one_role(2, HYBRID)
    learner = make(spec, num_epoch=2, batch_size=20, burn_in=2)
    batch = Lanes(learner).play(20)
    learnt: list[list[float]] = []
    step, columns = learner._step, learner._columns

    def watched(part: Any) -> None:
        mask = part.samples[:, columns.value_mask][:, 0] > 0
        learnt.append(part.samples[mask, 0].tolist())
        step(part)

    learner._step = watched  # type: ignore[method-assign]
    learner.update(batch)
    assert int(batch.acted.sum()) == 132 < batch.reward.numel()  # some keep up their last action
    assert len(learnt) == 14 and max(map(len, learnt)) <= 20
    for epoch in (learnt[:7], learnt[7:]):
        assert sorted(x for rows in epoch for x in rows) == sorted(batch.obs[: len(batch.action), 0].tolist())
    assert learnt[0] != learnt[7]


def test_a_checkpoint_goes_on_bit_for_bit() -> None:
    spec = one_role(2, HYBRID)
    one, other = (make(spec, seed=seed, normalize=True, batch_size=30) for seed in (0, 1))
    one.update(Lanes(one).play(12))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    batch = Lanes(make(spec), seed=9).play(6)
    for learner in (one, other):
        learner.update(batch)
    mine, its = one.state_dict(), other.state_dict()
    for part in ("actor", "critic", "actor_optimiser", "critic_optimiser", "critic_normaliser", "normaliser"):
        assert mine[part] and all(torch.equal(mine[part][name], its[part][name]) for name in mine[part])


def test_the_figures_of_an_update_are_finite() -> None:
    learner = make(one_role(3, HYBRID), share_actor=Sharing.SEPARATE)
    learner.update(Lanes(learner).play(10))
    figures = learner.metrics()
    assert all(bool(torch.isfinite(figure).all()) for figure in figures.values())
    assert figures["action_diversity"] > 0.01
