"""Action values with a memory, and returns over sequences: the update against plain torch, step by step."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.algorithms.qmix import IqlConfig, QmixConfig, QmixLearner, VdnConfig
from mlagents_marl_plugin.algorithms.qmix_config import InitialMemory, Mixing
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, Part
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import RecurrentShape
from mlagents_marl_plugin.core.sequence_replay import SequenceBatch
from mlagents_marl_plugin.core.sequences import Memory
from mlagents_marl_plugin.core.types import ActionLayout, Batch
from tests.unit.groups import CPU, one_role

N, CHOICES, M, S, T = 2, 3, 4, 5, 4
SPEC = one_role(N, ActionLayout(0, (CHOICES,)))


def make(config: QmixConfig, memory: bool = True) -> QmixLearner:
    learner = QmixLearner(
        SPEC,
        config,
        hidden_units=8,
        num_layers=1,
        normalize=False,
        discount=0.9,
        device=CPU,
        seed=0,
        memory=Memory(M, T) if memory else None,
    )
    for nets, scale in ((learner._networks.nets, 30.0), (learner._target_networks.nets, 20.0)):
        name = "head.weight" if memory else "1.weight"
        nets[0].part(name).mul_(scale)  # so that values differ between choices
    return learner


def played(seed: int = 0) -> SequenceBatch:
    """One step of warm-up; some agents keep up an action; some sequences end early, by an end or by a limit."""
    generator = torch.Generator().manual_seed(seed)

    def chance(probability: float, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=generator) < probability).float()

    obs = torch.randn((T + 1) * S, SPEC.obs_size, generator=generator)
    choices = torch.randint(CHOICES, (T * S, N), generator=generator)
    action = F.one_hot(choices, CHOICES).float().flatten(1)
    allowed = torch.maximum(chance(0.7, T * S, SPEC.allowed_size), action)
    next_allowed = torch.ones(T * S, SPEC.allowed_size)
    next_allowed[:, 0] = chance(0.5, T * S)
    ends, is_limit = chance(0.25, T, S), chance(0.5, T, S)
    going = torch.cat([torch.ones(1, S), (1 - ends).cumprod(0)])  # [T + 1, S]
    learnt = going[:T].clone()
    learnt[0] = 0.0
    follows = going[1:].clone()
    follows[-1] = 0.0
    bootstrap = 0.9 * (1 - ends * (1 - is_limit)).flatten().unsqueeze(1).expand(-1, N)
    here = torch.ones(T * S, N)
    steps = Batch(
        obs[:-S],
        action,
        allowed,
        here,
        here * learnt.flatten().unsqueeze(1),
        torch.randn(T * S, N, generator=generator),
        bootstrap,
        obs[S:],
        next_allowed,
        here,
    )
    memory = torch.randn(S, N, M, generator=generator)
    return SequenceBatch(steps, S, learnt.flatten(), follows.flatten(), memory, chance(0.3, (T + 1) * S, N))


def part(parts: dict[str, Part], name: str, row: Tensor) -> Tensor:
    return row[parts[name].place].unflatten(0, parts[name].shape)


def unrolled(shape: RecurrentShape, row: Tensor, rows: Tensor, memory: Tensor, held: Tensor) -> Tensor:
    """One network on rows [T + 1, S, in] from memories [S, M], with torch's own functions; values [T + 1, S, C]."""
    weight = {name: part(shape.parts, name, row) for name in shape.parts}
    values = []
    for seen, keeps in zip(rows, held, strict=True):
        hidden = torch.relu(F.linear(seen, weight["0.weight"], weight["0.bias"]))
        of_input = F.linear(hidden, weight["1.weight"], weight["1.bias"]).split(M, -1)
        of_memory = F.linear(memory, weight["memory.weight"]).split(M, -1)
        reset, update = (torch.sigmoid(a + b) for a, b in zip(of_input[:2], of_memory[:2], strict=True))
        candidate = torch.tanh(of_input[2] + reset * (of_memory[2] + weight["memory.bias"]))
        after = (1 - update) * candidate + update * memory
        memory = torch.where(keeps.unsqueeze(1) > 0, memory, after)
        values.append(F.linear(memory, weight["head.weight"], weight["head.bias"]))
    return torch.stack(values)


def all_values(learner: QmixLearner, parameters: Tensor, batch: SequenceBatch) -> Tensor:
    """[T + 1, S, N, choices], one agent after the other."""
    obs = torch.cat([batch.steps.obs, batch.steps.next_obs[-S:]]).view(T + 1, S, N, -1)
    held, shape, values = batch.held.view(T + 1, S, N), learner.actor.nets[0].shape, []
    assert isinstance(shape, RecurrentShape)
    for slot in range(N):
        memory = batch.memory[:, slot] if batch.memory.shape[2] else torch.zeros(S, M)
        row = parameters[slot if learner.config.share_actor is Sharing.SEPARATE else 0]
        values.append(unrolled(shape, row, obs[:, :, slot], memory, held[:, :, slot]))
    return torch.stack(values, 2)


def returns(learner: QmixLearner, reward: Tensor, value: Tensor, batch: SequenceBatch) -> Tensor:
    """[T, S, E], backwards by the recursion of the lambda return."""
    config = learner.config
    bootstrap, follows = batch.steps.bootstrap.view(T, S, N), batch.follows.view(T, S, 1)
    if config.mixing is not Mixing.NONE:
        bootstrap = bootstrap.amax(2, keepdim=True)
    target = reward + bootstrap * value
    for t in reversed(range(T - 1)):
        later = (1 - config.lambd) * value[t] + config.lambd * target[t + 1]
        target[t] = reward[t] + bootstrap[t] * torch.where(follows[t] > 0, later, value[t])
    return target


def loss_written_out(learner: QmixLearner, batch: SequenceBatch, parameters: Tensor) -> Tensor:
    config, steps = learner.config, batch.steps
    online = all_values(learner, parameters, batch)
    target = all_values(learner, learner._target_networks.nets[0].parameters, batch)
    forbidden = steps.next_allowed.view(T, S, N, CHOICES) == 0
    chooser = online[1:] if config.double_q else target[1:]
    choice = chooser.masked_fill(forbidden, -torch.inf).argmax(-1, keepdim=True)
    value = target[1:].gather(-1, choice).squeeze(-1)
    chosen = (online[:-1] * steps.action.view(T, S, N, CHOICES)).sum(-1)
    reward, valid = steps.reward.view(T, S, N), batch.learnt.view(T, S, 1)
    if config.mixing is Mixing.SUM:
        chosen, value = chosen.sum(-1, keepdim=True), value.sum(-1, keepdim=True)
        # Nobody is left behind an end, and both are behind a limit.
        reward = reward.mean(-1, keepdim=True)
    y = returns(learner, reward, value, batch).detach()
    error = (chosen - y).square() * valid
    if config.mixing is Mixing.NONE and config.share_actor is Sharing.SEPARATE:
        return error.sum() / valid.sum()
    return error.sum() / valid.expand_as(error).sum()


CASES: dict[str, tuple[type[QmixConfig], dict[str, Any]]] = {
    "sum": (VdnConfig, {}),
    "sum_zero_single": (VdnConfig, {"initial_memory": InitialMemory.ZERO, "double_q": False}),
    "sum_lambda_separate": (VdnConfig, {"lambd": 0.7, "share_actor": Sharing.SEPARATE}),
    "none": (IqlConfig, {}),
    "none_lambda_separate": (IqlConfig, {"lambd": 0.7, "share_actor": Sharing.SEPARATE}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_update_is_that_of_plain_torch(case: str) -> None:
    preset, changes = CASES[case]
    learner, batch = make(preset(max_gradient_norm=0.0, **changes)), played()
    if learner.config.initial_memory is InitialMemory.ZERO:
        batch = batch._replace(memory=torch.zeros(S, N, 0))
    parameters = learner.actor.nets[0].parameters.clone().requires_grad_()
    loss = loss_written_out(learner, batch, parameters)
    (expected,) = torch.autograd.grad(loss, parameters)
    learner.update(batch)
    net = learner.actor.nets[0]
    assert float(expected.abs().max()) > 1e-2
    torch.testing.assert_close(net.gradient, expected, rtol=1e-3, atol=1e-5)
    for figure in learner.metrics().values():
        assert bool(torch.isfinite(figure).all())


@pytest.mark.parametrize("munchausen", [0.0, 0.5])
def test_what_is_behind_the_end_and_before_the_beginning_teaches_nothing(munchausen: float) -> None:
    """Rewards and actions of warm-up and padding may be anything."""
    gradients = []
    for noise in (0.0, 50.0):
        learner, batch = make(QmixConfig(lambd=0.5, munchausen=munchausen)), played()
        batch.steps.reward[batch.learnt == 0] += noise
        batch.steps.action[batch.learnt == 0] = batch.steps.action[batch.learnt == 0].roll(
            int(noise) // 50, 1
        )
        learner.update(batch)
        gradients.append(
            torch.cat([net.gradient.flatten() for net in (learner.actor.nets[0], *learner.mixer.nets)])
        )
    assert float(gradients[0].abs().max()) > 1e-3
    assert torch.equal(*gradients)


def test_lambda_returns_need_no_memory() -> None:
    """One step long they are those of single transitions; longer ones see further."""
    sequences, single, long = (
        played(),
        make(VdnConfig(), memory=False),
        make(VdnConfig(lambd=0.8), memory=False),
    )
    assert make(VdnConfig(), memory=False).sequences is None
    assert long.sequences is not None and long.sequences.length == VdnConfig().trace_length
    single.update(sequences.steps)
    short = make(VdnConfig(lambd=0.8), memory=False)
    short.update(sequences._replace(follows=torch.zeros_like(sequences.follows)))
    long.update(sequences)
    torch.testing.assert_close(single.actor.nets[0].gradient, short.actor.nets[0].gradient)
    assert float((single.actor.nets[0].gradient - long.actor.nets[0].gradient).abs().max()) > 1e-3


def test_returns_over_several_steps_end_with_the_sequence() -> None:
    """``n_step`` beside a memory."""
    learners = [make(VdnConfig(n_step=n_step)) for n_step in (1, 2)]
    for learner in learners:
        learner.update(played())
    assert not torch.equal(*(learner.actor.nets[0].gradient for learner in learners))


def test_batch_norm_is_refused_with_a_memory() -> None:
    with pytest.raises(
        ValueError, match=r"^layer_normalisation: expected none or layer with network_settings"
    ):
        make(QmixConfig(layer_normalisation=LayerNormalisation.BATCH))


def test_lambda_and_n_step_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"^lambd: expected 0 with n_step: 3, got 0.5; .*n_step: 1"):
        QmixConfig(lambd=0.5, n_step=3)
