"""COMA with a memory: what was played is found again, pieces teach what the whole does, critics know the past."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.coma import ComaConfig, ComaLearner
from mlagents_marl_plugin.algorithms.coma_sequences import Lived, before_the_last
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.sequences import Memory, Recurrence
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch
from tests.unit.groups import CPU, DISCRETE, HYBRID, one_role
from tests.unit.remembering import Lanes, with_large_weights
from tests.unit.seeing import seeing_and_blind

SIZE = 6
KINDS: list[dict[str, Any]] = [
    {"share_critic": Sharing.SHARED},
    {"share_critic": Sharing.SEPARATE, "share_actor": Sharing.SEPARATE},
    {"share_critic": Sharing.SHARED_WITH_ID, "memory_cell": Cell.LSTM},
    {"recurrent_critic": False},
]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=str)


def make(
    spec: GroupSpec, length: int = 4, seed: int = 0, normalize: bool = False, **fields: Any
) -> ComaLearner:
    learner = ComaLearner(
        spec,
        ComaConfig(**{"batch_size": 10_000, "discretise": 3, "num_epoch": 1, **fields}),
        hidden_units=8,
        num_layers=1,
        normalize=normalize,
        discount=0.9,
        device=CPU,
        seed=seed,
        memory=Memory(SIZE, length),
    )
    with_large_weights((*learner._policy.nets, *learner.critic.learnt), seed + 5)
    for mine, its in zip(learner.target_critic.learnt, learner.critic.learnt, strict=True):
        mine.parameters.copy_(its.parameters)
    return learner


def updated(batch: RolloutBatch, spec: GroupSpec, **fields: Any) -> list[Tensor]:
    """The gradients of an update: one pass of the critics, whose weights stay, and the actors' step."""
    learner = make(spec, max_gradient_norm=0.0, critic_learning_rate=1e-12, **fields)
    learner.update(batch)
    return [net.gradient.clone() for net in (*learner._policy.nets, *learner.critic.learnt)]


@EVERY_KIND
def test_an_update_finds_the_policy_that_acted(kind: dict[str, Any]) -> None:
    """In every piece of every lane, in rollouts that begin in the middle of episodes, with agents that sit out."""
    learner = make(one_role(2, HYBRID), length=3, normalize=True, burn_in=2, **kind)
    lanes = Lanes(learner)
    for _ in range(3):
        batch = lanes.play(10)
        assert 0 < batch.acted.mean() < 1 and batch.memory is not None
        packed, _ = Lived.of(batch, Memory(SIZE, 3), 2, None).at_once()
        joint, _ = learner._joint_input(batch)
        learner.update(batch)
        assert learner._policy_step is not None
        chosen = joint[packed.rows, learner.spec.obs_size :].view(-1, 2, 6)
        found = learner._distributions[0].log_prob(chosen)
        learnt = learner._policy_step.mask > 0
        assert ((found - batch.log_prob[packed.rows])[learnt]).abs().max() < 1e-5
        assert int(learnt.sum()) == int(batch.acted.sum())


@EVERY_KIND
def test_pieces_teach_what_the_whole_teaches_where_burn_in_covers_it(kind: dict[str, Any]) -> None:
    spec = one_role(2, HYBRID)
    batch = Lanes(make(spec, **kind)).play(20)
    whole = updated(batch, spec, length=100, **kind)
    covered = updated(batch, spec, length=3, burn_in=100, **kind)
    torch.testing.assert_close(covered, whole, atol=1e-5, rtol=1e-4)
    cut_off = updated(batch, spec, length=3, **kind)
    differing = [(a - b).abs().max() > 1e-5 for a, b in zip(cut_off, whole, strict=True)]
    remembers = [True, "recurrent_critic" not in kind]  # actors and critics
    assert [differing[0], differing[-1]] == remembers


@EVERY_KIND
def test_critics_remember_a_lane_from_rollout_to_rollout(kind: dict[str, Any]) -> None:
    spec = one_role(2, DISCRETE)
    one, other = make(spec, **kind), make(spec, **kind)
    whole = Lanes(one).play(16)
    lanes, said = Lanes(other), list[Tensor]()
    for _ in range(2):
        part = lanes.play(8)
        joint = torch.cat([part.obs, torch.zeros(len(part.obs), spec.action_size)], 1)
        joint[: len(part.action), spec.obs_size :] = part.action
        said.append(other._target_values(part, joint)[0][: len(part.action)])
    all_rows = torch.cat([whole.obs[: len(whole.action)], whole.action], 1)
    behind = whole.obs[len(whole.action) :]
    every = torch.cat([all_rows, torch.cat([behind, torch.zeros(len(behind), spec.action_size)], 1)])
    expected = one._target_values(whole, every)[0][: len(whole.action)]
    torch.testing.assert_close(torch.cat(said), expected)
    fresh = make(spec, **kind)._target_values(part, joint)[0][: len(part.action)]
    assert bool((fresh - said[1]).abs().max() > 1e-3) is ("recurrent_critic" not in kind)


@pytest.mark.parametrize("cell", list(Cell))
def test_the_critic_and_all_in_front_of_it_follow_their_gradient(cell: Cell) -> None:
    """Two roles, one behind an encoder: the gradient along a random direction against the difference of the loss."""
    spec, random = seeing_and_blind(), torch.Generator().manual_seed(3)
    learner = make(spec, memory_cell=cell)
    critic, choices = learner.critic, learner._choices
    joint = torch.randn(7, choices.obs_size + choices.action_size, generator=random)
    memory = torch.randn(4, 3, SIZE, generator=random)
    recurrence, weight = Recurrence((4, 2, 1), memory, None), torch.randn(7, 3, generator=random)
    critic(joint, recurrence)
    critic.backward(weight)
    assert len(critic.learnt) == 4  # what values, two memories, and an encoder
    for net in critic.learnt:
        start, slopes = net.parameters.clone(), list[float]()
        for _ in range(4):
            direction = torch.randn(net.parameters.shape, generator=random).double()
            found = []
            for step in (3e-4, -3e-4):
                net.parameters.copy_(start + step * direction)
                found.append((critic(joint, recurrence).double() * weight).sum())
            net.parameters.copy_(start)
            slopes.append(float((net.gradient.double() * direction).sum()))
            assert slopes[-1] == pytest.approx(float(found[0] - found[1]) / 6e-4, rel=0.08, abs=0.05)
        assert max(map(abs, slopes)) > 0.3


def test_behind_the_last_rows_agents_remember_what_they_made_of_them() -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec)
    batch = Lanes(learner).play(6)
    num_rows = len(batch.action)
    assert batch.memory is not None
    # In the other order, so that it matters which observation follows on which row.
    turned = torch.cat([torch.arange(num_rows), torch.arange(num_rows, len(batch.obs)).flip(0)])
    batch = batch._replace(obs=batch.obs[turned], successor=turned[batch.successor])
    rows, recurrence = before_the_last(batch)
    num_last = len(rows) // 2
    assert rows[num_last:].tolist() == list(range(num_rows, len(batch.obs)))
    assert torch.equal(batch.successor[rows[:num_last]], rows[num_last:])
    allowed = torch.ones(len(rows), spec.allowed_size)
    said = learner._policy.distribution(batch.obs[rows], spec, allowed, 0, recurrence).log_choice[0]
    slot, permitted = torch.arange(2).repeat(num_last), torch.ones(2 * num_last, DISCRETE.num_choices)
    before = batch.memory[rows[:num_last]]
    _, after = learner.actor.policy_rows(
        batch.obs[rows[:num_last]].view(-1, 5), permitted, slot, before.flatten(0, 1)
    )
    after = torch.where(batch.acted[rows[:num_last]].flatten().unsqueeze(1) > 0, after, before.flatten(0, 1))
    expected, _ = learner.actor.policy_rows(batch.obs[rows[num_last:]].view(-1, 5), permitted, slot, after)
    torch.testing.assert_close(said[num_last:].flatten(0, 1), expected.log_choice[0])


def test_what_agents_would_do_behind_the_last_rows_is_permitted_there() -> None:
    """Also with a memory, for which the rows before are gone through again."""
    spec = one_role(2, DISCRETE)
    learner, chosen = make(spec), torch.zeros(2, 3)
    batch = Lanes(learner).play(6)
    behind = torch.ones(len(batch.obs) - len(batch.action), spec.allowed_size)
    permitted = spec.role_allowed(behind, 0)
    permitted[:, 0, 1:3] = permitted[:, 1, 0] = 0.0
    for _ in range(20):
        joint, _ = learner._joint_input(batch._replace(allowed_behind=behind))
        drawn = spec.role_action(joint[len(batch.action) :, spec.obs_size :], 0)
        chosen += drawn[..., :3].sum(0)
    assert (chosen > 0).tolist() == [[True, False, False], [False, True, True]]


def test_a_checkpoint_goes_on_bit_for_bit() -> None:
    spec = one_role(2, HYBRID)
    one, other = (make(spec, seed=seed, normalize=True, batch_size=30, tau=0.5) for seed in (0, 1))
    one.update(Lanes(one).play(12))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    batch = Lanes(make(spec), seed=9).play(6)
    for learner in (one, other):
        learner.update(batch)
    mine, its = one.state_dict(), other.state_dict()
    for part in ("actor", "critic", "target_critic", "actor_optimiser", "critic_optimiser", "normaliser"):
        assert mine[part] and all(torch.equal(mine[part][name], its[part][name]) for name in mine[part])
    assert sum("memory.weight" in name for name in mine["critic"]) == 1


def test_critics_learn_from_every_row_once_per_pass_in_sequences() -> None:
    learner = make(one_role(2, DISCRETE), num_epoch=2, batch_size=20, burn_in=2)
    batch = Lanes(learner).play(20)
    learnt: list[list[float]] = []
    step = learner._critic_step

    def watched(part: Any) -> None:
        assert part.recurrence is not None
        learnt.append(part.joint[part.mask[:, 0] > 0, 0].tolist())
        step(part)

    learner._critic_step = watched  # type: ignore[method-assign]
    learner.update(batch)
    assert int(batch.acted.sum()) == 130 < batch.reward.numel()  # some keep up their last action
    assert len(learnt) == 12
    for epoch in (learnt[:6], learnt[6:]):
        assert sorted(x for rows in epoch for x in rows) == sorted(batch.obs[: len(batch.action), 0].tolist())
    assert learnt[0] != learnt[6]


def test_the_figures_of_an_update_are_finite_and_by_row() -> None:
    learner = make(one_role(3, HYBRID), share_actor=Sharing.SEPARATE, burn_in=3)
    batch = Lanes(learner).play(10)
    learner.update(batch)
    figures = learner.metrics()
    assert all(bool(torch.isfinite(figure).all()) for figure in figures.values())
    assert figures["action_diversity"] > 0.01
    assert learner._played is not None and learner._played.advantage.shape == batch.reward.shape
