"""The QMIX family: its update against plain torch, who learns from what, and that nothing is lost in a checkpoint."""

import io
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.algorithms.qmix import (
    IqlConfig,
    IqlSharedConfig,
    QmixConfig,
    QmixLearner,
    VdnConfig,
)
from mlagents_marl_plugin.algorithms.qmix_config import Mixing
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec
from tests.unit.bad_values import check_nan_refused, check_refused
from tests.unit.field_changes import REPLAYS, REWARDS, check_change, check_none_is_forgotten
from tests.unit.groups import CPU, DISCRETE, HYBRID, masked_batch, one_role, random_batch
from tests.unit.learner_states import changed, same_state, weights
from tests.unit.plain_networks import mlp

PRESETS: dict[str, type[QmixConfig]] = {
    "qmix": QmixConfig,
    "vdn": VdnConfig,
    "iql": IqlConfig,
    "iql_shared": IqlSharedConfig,
}
EVERY_PRESET = pytest.mark.parametrize("name", PRESETS)
EVERY_SHARING = pytest.mark.parametrize("sharing", list(Sharing))
NETWORKS = ("actor", "target_actor", "mixer", "target_mixer")


def two_kinds() -> GroupSpec:
    """Two agents of two branches and one of another kind."""
    one_branch = RoleSpec("b", 1, ((2,), (1,)), ActionLayout(0, (4,)))
    return GroupSpec((RoleSpec("a", 2, ((5,),), DISCRETE), one_branch))


def make(spec: GroupSpec, config: QmixConfig, seed: int = 0, normalize: bool = False) -> QmixLearner:
    return QmixLearner(
        spec,
        config,
        hidden_units=16,
        num_layers=2,
        normalize=normalize,
        discount=0.9,
        device=CPU,
        seed=seed,
    )


# --- the update against plain torch ------------------------------------------------------------------------


def agents_values(learner: QmixLearner, parameters: list[Tensor], joint: Tensor) -> list[Tensor]:
    """Per slot [B, choices], one slot after another."""
    spec, sharing, values = learner.spec, learner.config.share_actor, []
    for i, role in enumerate(spec.roles):
        for slot in range(role.num_slots):
            seen = spec.role_obs(joint, i)[:, slot]
            if sharing is Sharing.SHARED_WITH_ID:
                seen = torch.cat([seen, torch.eye(role.num_slots)[slot].expand(len(seen), -1)], 1)
            k = slot if sharing is Sharing.SEPARATE else 0
            values.append(mlp(learner.actor.nets[i], parameters[i], k, seen))
    return values


def per_branch(spec: GroupSpec, per_slot: list[Tensor]) -> list[Tensor]:
    """[B, choices] of every branch of every slot."""
    layouts = [role.action for role in spec.roles for _ in range(role.num_slots)]
    return [
        b for layout, part in zip(layouts, per_slot, strict=True) for b in part.split(layout.branches, -1)
    ]


def slots_of_branches(spec: GroupSpec) -> list[int]:
    layouts = [role.action for role in spec.roles for _ in range(role.num_slots)]
    return [slot for slot, layout in enumerate(layouts) for _ in layout.branches]


def mixed(learner: QmixLearner, parameters: list[Tensor], q: Tensor, mask: Tensor, joint: Tensor) -> Tensor:
    """[B, 1] of the group, or [B, N] of every slot."""
    config, slots = learner.config, torch.tensor(slots_of_branches(learner.spec))
    q = q * mask[:, slots]
    if config.mixing is Mixing.SUM:
        return q.sum(1, keepdim=True)
    if config.mixing is Mixing.NONE:
        return torch.stack([q[:, slots == n].mean(1) for n in range(learner.spec.num_slots)], 1)
    out = mlp(learner.mixer.nets[0], parameters[0], 0, torch.cat([joint, mask], 1))
    m, w = q.shape[1], config.mixing_width
    first = out[:, : m * w].abs().view(-1, m, w)
    second, bias, value = out[:, m * w : m * w + w].abs(), out[:, m * w + w : -1], out[:, -1:]
    return (F.elu(torch.einsum("bm,bmw->bw", q, first) + bias) * second).sum(1, keepdim=True) + value


def loss_written_out(
    learner: QmixLearner, batch: Batch, networks: list[Tensor], mixing: list[Tensor]
) -> Tensor:
    """The loss of Rashid et al. 2018, eq. 6, or of each agent's own return, in plain torch; joint inputs are clean."""
    spec, config = learner.spec, learner.config
    target_networks = [net.parameters for net in learner._target_networks.nets]
    target_mixing = [net.parameters for net in learner._target_mixer.nets]
    split = [role.action.num_choices for role in spec.roles for _ in range(role.num_slots)]
    done = per_branch(spec, list(batch.action.split(split, 1)))
    permitted = per_branch(spec, list(batch.allowed.split(split, 1)))
    next_permitted = per_branch(spec, list(batch.next_allowed.split(split, 1)))

    def branches(parameters: list[Tensor], joint: Tensor) -> list[Tensor]:
        return per_branch(spec, agents_values(learner, parameters, joint))

    next_mask = batch.next_agent_mask * (batch.bootstrap > 0)
    slots = torch.tensor([s for s, r in enumerate(_roles(spec)) for _ in range(r.obs_size)])
    next_joint = batch.next_obs * next_mask[:, slots]
    target, chooser = branches(target_networks, next_joint), branches(networks, next_joint)
    alpha, t = config.munchausen, config.munchausen_temperature
    next_q, bonus = [], []
    for b, value in enumerate(target):
        allowed_value = value.masked_fill(next_permitted[b] == 0, -math.inf)
        if alpha:
            next_q.append(t * (allowed_value / t).logsumexp(-1))
            continue
        choice = (chooser if config.double_q else target)[b].masked_fill(next_permitted[b] == 0, -math.inf)
        next_q.append(value.gather(1, choice.argmax(-1, keepdim=True)).squeeze(1))
    next_value = mixed(learner, target_mixing, torch.stack(next_q, 1), next_mask, next_joint)
    if alpha:
        for b, value in enumerate(branches(target_networks, batch.obs)):
            log_prob = (value.masked_fill(permitted[b] == 0, -math.inf) / t).log_softmax(-1)
            taken = (log_prob.nan_to_num(neginf=0.0) * done[b]).sum(1)
            bonus.append(alpha * (t * taken).clamp_min(config.munchausen_floor))
    chosen = [(v * d).sum(1) for v, d in zip(branches(networks, batch.obs), done, strict=True)]
    prediction = mixed(learner, mixing, torch.stack(chosen, 1), batch.agent_mask, batch.obs)

    valued, of_branch = batch.value_mask, slots_of_branches(spec)
    own_bonus = torch.zeros_like(batch.reward)
    for n in range(spec.num_slots if alpha else 0):
        own = [bonus[b] for b in range(len(bonus)) if of_branch[b] == n]
        own_bonus[:, n] = sum(own) / len(own)
    if config.mixing is Mixing.NONE:
        y = batch.reward + own_bonus + batch.bootstrap * next_value
        valid = batch.value_mask * batch.agent_mask
        error = (prediction - y.detach()).square() * valid
        if config.share_actor is Sharing.SEPARATE:
            return (error.sum(0) / valid.sum(0)).sum()
        parts = [spec.slots(i) for i in range(len(spec.roles))]
        return sum((error[:, s].sum() / valid[:, s].sum() for s in parts), torch.zeros(()))
    reward = (batch.reward * valued).sum(1) / valued.sum(1)
    going = (batch.bootstrap * valued).amax(1)
    present = batch.agent_mask
    y = reward + (own_bonus * present).sum(1) / present.sum(1) + going * next_value.squeeze(1)
    return (prediction.squeeze(1) - y.detach()).square().mean()


def _roles(spec: GroupSpec) -> list[RoleSpec]:
    return [role for role in spec.roles for _ in range(role.num_slots)]


VARIANTS: dict[str, dict[str, Any]] = {
    "as_published": {"double_q": False},
    "double": {},
    "munchausen": {"munchausen": 0.9, "munchausen_temperature": 0.2},
}


@EVERY_PRESET
@EVERY_SHARING
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_update_is_that_of_plain_torch(name: str, sharing: Sharing, variant: str) -> None:
    """Loss and gradients of every network, with masks, absences, ends and targets that differ."""
    spec = two_kinds()
    config = PRESETS[name](
        share_actor=sharing,
        reward_sharing=RewardSharing.INDIVIDUAL,
        max_gradient_norm=0.0,
        mixing_width=4,
        **VARIANTS[variant],
    )
    learner, other = make(spec, config), make(spec, config, seed=1)
    for mine, its in (
        (learner._networks, other._networks),
        (learner._target_networks, other._target_networks),
    ):
        for net, fresh in zip(mine.nets, its.nets, strict=True):
            net.part("2.weight").mul_(100.0)  # so that values differ between choices
            net.parameters.add_(fresh.parameters, alpha=0.1 if mine is learner._networks else 0.3)
    for net in learner._target_mixer.nets:
        net.parameters.mul_(0.9)
    batch = masked_batch(spec)
    networks = [net.parameters.clone().requires_grad_() for net in learner.actor.nets]
    mixing = [net.parameters.clone().requires_grad_() for net in learner.mixer.nets]
    loss = loss_written_out(learner, batch, networks, mixing)
    expected = torch.autograd.grad(loss, [*networks, *mixing])
    learner.update(batch)
    nets = [*learner.actor.nets, *learner.mixer.nets]
    for net, gradient in zip(nets, expected, strict=True):
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(net.gradient, gradient, rtol=1e-3, atol=1e-5)
    if config.mixing is not Mixing.NONE:
        torch.testing.assert_close(learner.metrics()["critic_loss"], loss.detach(), rtol=1e-4, atol=1e-5)


def constant_values(learner: QmixLearner, online: float, target: float) -> None:
    """Let every network say the same of every choice, whatever it sees."""
    for nets, value in ((learner._networks.nets, online), (learner._target_networks.nets, target)):
        for net in nets:
            net.part("2.weight").zero_()
            net.part("2.bias").fill_(value)


def test_a_limit_bootstraps_and_an_end_does_not() -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, IqlConfig())
    constant_values(learner, 0.0, 10.0)
    batch = random_batch(spec)
    batch.reward.fill_(1.0)
    batch.bootstrap[:, 0], batch.bootstrap[:, 1] = 0.9, 0.0
    learner.update(batch)
    assert learner.metrics()["td_error"].tolist() == pytest.approx([10.0, 1.0])


def test_a_group_goes_on_while_one_of_its_agents_does() -> None:
    """Of two agents with two branches of value 10 each, both, one or none go on."""
    spec = one_role(2, DISCRETE)
    for going, expected in (([1, 1], 37.0), ([1, 0], 19.0), ([0, 0], 1.0)):
        learner = make(spec, VdnConfig())
        constant_values(learner, 0.0, 10.0)
        batch = random_batch(spec)
        batch.reward.fill_(1.0)
        batch.bootstrap.copy_(0.9 * torch.tensor(going))
        learner.update(batch)
        assert float(learner.metrics()["td_error"]) == pytest.approx(expected)


def test_who_ended_is_not_valued_where_it_is_seen_for_the_last_time() -> None:
    spec = one_role(2, DISCRETE)
    states = []
    for noise in (0.0, 7.0):
        learner = make(spec, QmixConfig())
        batch = random_batch(spec)
        batch.bootstrap[:, 0], batch.bootstrap[:, 1] = 0.9, 0.0
        spec.role_obs(batch.next_obs, 0)[:, 1] += noise
        learner.update(batch)
        states.append(learner.state_dict())
    assert same_state(*states)


def test_a_groups_reward_is_the_mean_over_its_agents() -> None:
    spec = one_role(3, DISCRETE)
    learner = make(spec, VdnConfig(reward_sharing=RewardSharing.INDIVIDUAL))
    constant_values(learner, 0.0, 0.0)
    batch = random_batch(spec)
    batch.reward.copy_(torch.tensor([3.0, 6.0, math.nan]))
    batch.value_mask[:, 2] = batch.agent_mask[:, 2] = 0.0
    learner.update(batch)
    assert float(learner.metrics()["td_error"]) == pytest.approx(4.5)


def test_a_common_reward_is_summed_up_while_somebody_lasts() -> None:
    """Over several steps, who ended early has not seen all of it."""
    spec = one_role(2, DISCRETE)
    batch = random_batch(spec)
    batch.reward.copy_(torch.tensor([3.0, 1.0]))
    batch.bootstrap.copy_(torch.tensor([0.5, 0.0]))
    for sharing, expected in ((RewardSharing.GROUP_MEAN, 3.0), (RewardSharing.INDIVIDUAL, 2.0)):
        learner = make(spec, VdnConfig(reward_sharing=sharing))
        constant_values(learner, 0.0, 0.0)
        learner.update(batch)
        assert float(learner.metrics()["td_error"]) == pytest.approx(expected)


@EVERY_PRESET
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_forbidden_choice_is_never_assumed(name: str, variant: str) -> None:
    """However good it looks, the target does not change with it."""
    spec = one_role(2, DISCRETE)
    batch = random_batch(spec)
    spec.role_allowed(batch.next_allowed, 0)[..., 1] = 0.0
    targets = []
    for lure in (0.0, 1e6):
        learner = make(spec, PRESETS[name](**VARIANTS[variant]))
        for nets in (learner._networks.nets, learner._target_networks.nets):
            nets[0].part("2.bias")[:, 1] = lure
        allowed = spec.role_allowed(batch.allowed, 0)
        allowed[..., 1] = 0.0
        spec.role_action(batch.action, 0)[..., :3] = torch.tensor([1.0, 0.0, 0.0])
        learner.update(batch)
        assert learner._last is not None
        targets.append(learner._last.target)
    assert torch.equal(*targets)


# --- who learns from what ----------------------------------------------------------------------------------


def absent(batch: Batch, slot: int, spec: GroupSpec, padding: float) -> Batch:
    """Slot ``slot`` of role 0 was never there; ``padding`` stands wherever it would be."""
    batch = Batch(*(tensor.clone() for tensor in batch))
    for obs in (batch.obs, batch.next_obs):
        spec.role_obs(obs, 0)[:, slot] = padding
    spec.role_action(batch.action, 0)[:, slot] = padding
    batch.reward[:, slot] = padding
    for mask in (batch.agent_mask, batch.next_agent_mask, batch.value_mask):
        mask[:, slot] = 0.0
    return batch


@EVERY_PRESET
@EVERY_SHARING
def test_an_absent_agent_changes_nothing_not_even_as_nan(name: str, sharing: Sharing) -> None:
    spec, states = two_kinds(), []
    for padding in (0.0, 1e6, math.nan):
        learner = make(spec, PRESETS[name](share_actor=sharing, munchausen=0.5), normalize=True)
        for seed in range(3):
            batch = absent(random_batch(spec, seed=seed), 1, spec, padding)
            learner.observe(batch.obs, batch.agent_mask)
            learner.update(batch)
        states.append(learner.state_dict())
        assert all(torch.isfinite(figure).all() for figure in learner.metrics().values())
    assert same_state(states[0], states[1])
    assert same_state(states[0], states[2])


@pytest.mark.parametrize("name", ["qmix", "vdn"])
def test_a_group_of_many_slots_learns_for_the_few_that_are_there_what_a_small_group_does(name: str) -> None:
    """VDN exactly; QMIX only for its agents' inputs, since its state is wider."""
    small, large = one_role(2, DISCRETE), one_role(4, DISCRETE)
    batch, wide = random_batch(small), random_batch(large)
    for field, value in zip(Batch._fields, batch, strict=True):
        part = getattr(wide, field)
        part[:, value.shape[1] :] = 0.0
        part[:, : value.shape[1]] = value
    learners = [make(small, PRESETS[name]()), make(large, PRESETS[name]())]
    for learner, its in zip(learners, (batch, wide), strict=True):
        learner.update(its)
    figures = [learner.metrics() for learner in learners]
    assert figures[1]["chosen_q"][2:].tolist() == [0.0, 0.0]
    torch.testing.assert_close(figures[0]["chosen_q"], figures[1]["chosen_q"][:2])
    if name == "vdn":
        torch.testing.assert_close(figures[0]["critic_loss"], figures[1]["critic_loss"])
        assert same_state(*(learner.state_dict()["actor"] for learner in learners)) or torch.allclose(
            *(learner.actor.nets[0].parameters for learner in learners), atol=1e-6
        )


def test_independent_agents_do_not_learn_from_each_others_rewards() -> None:
    spec, states = one_role(2, DISCRETE), []
    for reward in (0.0, 5.0):
        learner = make(spec, IqlConfig(share_actor=Sharing.SEPARATE))
        batch = random_batch(spec)
        batch.reward[:, 1] += reward
        learner.update(batch)
        states.append(learner.actor.nets[0].parameters.clone())
    assert torch.equal(states[0][0], states[1][0])
    assert not torch.equal(states[0][1], states[1][1])


@pytest.mark.parametrize("name", ["qmix", "vdn"])
def test_mixed_agents_learn_from_what_their_mates_did(name: str) -> None:
    spec, states = one_role(2, DISCRETE), []
    for seed in (0, 1):
        learner = make(spec, PRESETS[name](share_actor=Sharing.SEPARATE))
        batch = random_batch(spec)
        spec.role_obs(batch.obs, 0)[:, 1] = torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))
        learner.update(batch)
        states.append(learner.actor.nets[0].gradient[0].clone())
    assert not torch.equal(*states)


@EVERY_PRESET
def test_an_agent_acts_on_what_it_sees_alone(name: str) -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, PRESETS[name](share_actor=Sharing.SEPARATE))
    obs, slot = torch.randn(4, 5), torch.tensor([0, 1, 0, 1])
    before = learner.actor.forward_rows(obs, slot)
    after = learner.actor.forward_rows(torch.cat([obs[:1], torch.randn(3, 5)]), slot)
    assert torch.equal(before[0], after[0])


@EVERY_PRESET
@EVERY_SHARING
def test_an_update_moves_every_network_and_its_target_a_little(name: str, sharing: Sharing) -> None:
    spec = two_kinds()
    learner = make(spec, PRESETS[name](share_actor=sharing))
    before = weights(learner)
    for seed in range(3):
        learner.update(random_batch(spec, seed=seed))
    after = weights(learner)
    assert changed(before, after) == set(before)
    for part in [name for name in before if name.startswith("target_")]:
        online = part.removeprefix("target_")
        assert (after[part] - before[part]).abs().sum() < 0.1 * (after[online] - before[online]).abs().sum()


def test_hard_targets_wait_and_then_take_everything() -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, QmixConfig(tau=1.0, target_update_interval=3))
    names = ("target_actor", "target_mixer")
    for update in range(1, 7):
        before = weights(learner, *names)
        learner.update(random_batch(spec, seed=update))
        assert bool(changed(before, weights(learner, *names))) is (update % 3 == 0)
    state = learner.state_dict()
    assert same_state(state["target_actor"], state["actor"])
    assert same_state(state["target_mixer"], state["mixer"])


def test_batch_norm_draws_targets_along_and_keeps_absent_rows_out() -> None:
    spec = one_role(2, DISCRETE)
    config = QmixConfig(layer_normalisation=LayerNormalisation.BATCH, share_actor=Sharing.SEPARATE, tau=0.5)
    learner = make(spec, config)
    before = weights(learner)
    learner.update(absent(random_batch(spec), 1, spec, 0.0))
    after, name = weights(learner), "actor.0.0.mean"
    assert not torch.equal(after[name][0], before[name][0])
    assert torch.equal(after[name][1], before[name][1])
    torch.testing.assert_close(after[f"target_{name}"], (before[f"target_{name}"] + after[name]) / 2)


# --- settings ----------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "learning_rate": 1e-2,
    "tau": 0.5,
    "target_update_interval": 2,
    "double_q": False,
    "mixing": Mixing.SUM,
    "mixing_width": 8,
    "mixing_hidden_units": 16,
    "share_actor": Sharing.SHARED_WITH_ID,
    "layer_normalisation": LayerNormalisation.LAYER,
    "observation_clip": 0.5,
    "critic_loss": ValueLoss.HUBER,
    "max_gradient_norm": 1e-4,
    "munchausen": 0.9,
    "reward_sharing": RewardSharing.INDIVIDUAL,
}


def after_updates(config: QmixConfig, num_updates: int = 4) -> dict[str, Any]:
    spec = one_role(2, DISCRETE)
    learner = make(spec, config, normalize=True)
    for seed in range(num_updates):
        batch = random_batch(spec, seed=seed)
        batch.reward.mul_(5.0)
        learner.observe(batch.obs, batch.agent_mask)
        learner.update(batch)
    return weights(learner)


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_learner_changes_something(field: str) -> None:
    check_change(after_updates, QmixConfig(), **{field: CHANGES[field]})


def test_no_field_is_forgotten() -> None:
    """Sequences have tests of their own (test_recurrent_qmix.py), values cut into choices and the bonus see below."""
    of_sequences = {"lambd", "trace_length", "burn_in", "initial_memory"}
    of_players = {"epsilon", "epsilon_floor", "epsilon_decay", "epsilon_anneal_steps", "random_steps"}
    below = {"munchausen_temperature", "munchausen_floor", "discretise"}
    elsewhere = (REWARDS - {"reward_sharing"}) | REPLAYS | of_sequences | of_players | below
    check_none_is_forgotten(QmixConfig, CHANGES, elsewhere)


@pytest.mark.parametrize(("field", "value"), [("munchausen_temperature", 1.0), ("munchausen_floor", -0.001)])
def test_the_fields_of_the_munchausen_bonus_change_it(field: str, value: float) -> None:
    check_change(after_updates, QmixConfig(munchausen=0.9), **{field: value})


def test_a_learning_rate_fraction_scales_the_step() -> None:
    spec, steps = one_role(2, DISCRETE), []
    for fraction in (1.0, 0.5, 0.0):
        learner = make(spec, QmixConfig())
        learner.set_learning_rate_fraction(fraction)
        assert learner.scheduled() == {"learning_rate": pytest.approx(5e-4 * fraction)}
        before = weights(learner, "actor", "mixer")
        learner.update(random_batch(spec))
        after = weights(learner, "actor", "mixer")
        steps.append(torch.cat([(after[name] - before[name]).flatten() for name in before]))
    torch.testing.assert_close(steps[1], steps[0] / 2, rtol=1e-2, atol=1e-6)
    assert steps[0].abs().max() > 1e-4
    assert not steps[2].any()


BAD_VALUES = {
    "batch_size": 0,
    "buffer_size": 100,
    "buffer_init_steps": -1,
    "steps_per_update": 0.0,
    "learning_rate": 0.0,
    "tau": 5.0,
    "target_update_interval": 0,
    "n_step": 0,
    "mixing_width": 0,
    "mixing_hidden_units": 0,
    "observation_clip": 0.0,
    "max_gradient_norm": -1.0,
    "munchausen": 1.5,
    "munchausen_temperature": 0.0,
    "munchausen_floor": 0.5,
    "epsilon": 2.0,
    "epsilon_floor": 1.1,
    "epsilon_decay": 0.0,
    "epsilon_anneal_steps": -1,
    "random_steps": -1,
    "discretise": 1,
    "non_positive_share": 0.0,
    "non_positive_steps": -1,
    "reward_mix": 1.5,
    "positive_reward_scale": -1.0,
}


@EVERY_PRESET
@pytest.mark.parametrize("field", BAD_VALUES)
def test_a_value_out_of_range_is_refused_with_what_to_do(name: str, field: str) -> None:
    check_refused(PRESETS[name], field, BAD_VALUES[field])


def test_nan_is_out_of_every_range() -> None:
    check_nan_refused(QmixConfig, BAD_VALUES)


@EVERY_PRESET
def test_presets_change_defaults_and_add_nothing(name: str) -> None:
    config = PRESETS[name]()
    assert vars(config).keys() == vars(QmixConfig()).keys()
    mixing = {"qmix": Mixing.MONOTONIC, "vdn": Mixing.SUM}.get(name, Mixing.NONE)
    assert config.mixing is mixing
    assert config.reward_sharing.value == ("individual" if name == "iql" else "group_mean")


def test_exploration_is_what_the_settings_say() -> None:
    config = QmixConfig(epsilon=0.8, epsilon_floor=0.1, epsilon_decay=0.5, random_steps=7)
    schedule = config.make_explorer(DISCRETE, torch.Generator()).schedule
    assert [schedule.scale_at(step) for step in (0, 1, 9)] == [0.8, 0.4, 0.1]
    assert schedule.is_random(6)
    assert not schedule.is_random(7)


def test_epsilon_falls_by_a_factor_or_on_a_line_and_not_by_both() -> None:
    explorer = QmixConfig(epsilon_anneal_steps=1_000).make_explorer(DISCRETE, torch.Generator())
    shown = [explorer.figures(step)["epsilon"] for step in (0, 250, 999, 1_000, 50_000)]
    assert shown == pytest.approx([1.0, 0.7625, 0.05095, 0.05, 0.05])
    both = r"^epsilon_decay: expected no value with epsilon_anneal_steps: 1000, got 0.999; .+, leave one out$"
    with pytest.raises(ValueError, match=both):
        QmixConfig(epsilon_anneal_steps=1_000, epsilon_decay=0.999)


# --- continuous actions ------------------------------------------------------------------------------------


def test_continuous_actions_are_refused_unless_they_are_cut() -> None:
    with pytest.raises(
        ValueError, match=r"^discretise: expected at least 2 for agents with continuous .+ got 0"
    ):
        make(one_role(2, HYBRID), QmixConfig())


@EVERY_PRESET
def test_values_cut_into_choices_learn_what_choices_do(name: str) -> None:
    """The same experience, once with a value of three and once with a branch of three."""
    cut, choices = one_role(2, ActionLayout(1, (2,))), one_role(2, DISCRETE)
    one, other = make(cut, PRESETS[name](discretise=3)), make(choices, PRESETS[name]())
    for seed in range(3):
        batch = random_batch(choices, seed=seed)
        action = choices.role_action(batch.action, 0)
        value = action[..., :3] @ torch.tensor([[-1.0], [0.0], [1.0]])
        allowed = torch.ones(16, 4)
        as_values = torch.cat([value, action[..., 3:]], -1).flatten(1)
        one.update(batch._replace(action=as_values, allowed=allowed, next_allowed=allowed))
        other.update(batch)
    learnt, as_choices = one.state_dict(), other.state_dict()
    assert (learnt.pop("value_kind"), as_choices.pop("value_kind")) == ("grid", "none")
    assert same_state(learnt, as_choices)
    obs, slot = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2
    greedy = actions.mode(cut.roles[0].action, one.actor.forward_rows(obs, slot), torch.ones(50, 2))
    best = other.actor.forward_rows(obs, slot)[:, :3].argmax(1)
    torch.testing.assert_close(greedy[:, 0], best.float() - 1.0, rtol=0.0, atol=1e-6)


# --- reproduction and checkpoints ----------------------------------------------------------------------------


@EVERY_PRESET
def test_a_seed_repeats_every_bit(name: str) -> None:
    spec, states = two_kinds(), []
    for seed in (3, 3, 4):
        learner = make(spec, PRESETS[name](), seed=seed, normalize=True)
        for k in range(5):
            learner.update(random_batch(spec, seed=k))
        states.append(learner.state_dict())
    assert same_state(states[0], states[1])
    assert not same_state(states[0], states[2])


@EVERY_PRESET
@pytest.mark.parametrize("norm", list(LayerNormalisation))
def test_a_checkpoint_goes_on_bit_for_bit(name: str, norm: LayerNormalisation) -> None:
    spec = two_kinds()
    config = PRESETS[name](
        layer_normalisation=norm, share_actor=Sharing.SEPARATE, tau=0.7, target_update_interval=2
    )
    learner = make(spec, config, normalize=True)
    for seed in range(3):
        batch = random_batch(spec, seed=seed)
        learner.observe(batch.obs, batch.agent_mask)
        learner.update(batch)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    resumed = make(spec, config, seed=99, normalize=True)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert same_state(learner.state_dict(), resumed.state_dict())
    for going_on in (learner, resumed):
        for seed in range(3, 6):
            batch = random_batch(spec, seed=seed)
            going_on.observe(batch.obs, batch.agent_mask)
            going_on.update(batch)
    assert same_state(learner.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("part", [*NETWORKS, "normaliser", "optimiser", "updates"])
def test_a_missing_part_is_named_and_nothing_is_loaded(part: str) -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, QmixConfig(), normalize=True)
    saved = make(spec, QmixConfig(), seed=1, normalize=True).state_dict()
    del saved[part]
    before = learner.state_dict()
    with pytest.raises(ValueError, match=rf"checkpoint entry {part}: expected it to be there, got none; "):
        learner.load_state_dict(saved)
    assert same_state(before, learner.state_dict())


def test_a_mixing_network_of_another_width_is_refused() -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, QmixConfig())
    before = learner.state_dict()
    with pytest.raises(ValueError, match=r"checkpoint entry mixer\.0\.1\.weight: expected shape"):
        learner.load_state_dict(make(spec, QmixConfig(mixing_width=8)).state_dict())
    assert same_state(before, learner.state_dict())


@pytest.mark.parametrize("only_actor", [False, True])
def test_a_new_run_can_start_from_the_weights_of_another(only_actor: bool) -> None:
    spec = one_role(2, DISCRETE)
    old, new = make(spec, QmixConfig(), normalize=True), make(spec, QmixConfig(), seed=5, normalize=True)
    for seed in range(3):
        old.observe(random_batch(spec, seed=seed).obs, torch.ones(16, 2))
        old.update(random_batch(spec, seed=seed))
    before = new.state_dict()
    new.load_weights(old.state_dict(), only_actor)
    state, expected = new.state_dict(), old.state_dict()
    assert all(same_state(state[part], expected[part]) for part in ("actor", "normaliser"))
    assert same_state(state["target_actor"], expected["actor" if only_actor else "target_actor"])
    kept = before if only_actor else expected
    assert all(same_state(state[part], kept[part]) for part in ("mixer", "target_mixer"))
    assert same_state(state["optimiser"], before["optimiser"])
    assert state["updates"] == 0


def test_weights_that_are_not_finite_are_noticed() -> None:
    for part in ("_networks", "mixer"):
        learner = make(one_role(2, DISCRETE), QmixConfig())
        assert learner.is_finite()
        getattr(learner, part).nets[0].parameters[0, 3] = math.nan
        assert not learner.is_finite()


# --- figures -----------------------------------------------------------------------------------------------


@EVERY_PRESET
def test_figures_of_an_update(name: str) -> None:
    spec = two_kinds()
    learner = make(spec, PRESETS[name]())
    assert learner.metrics() == {}
    learner.update(random_batch(spec))
    of_values = {"critic_loss", "td_error", "q_mean", "q_max"}
    per_slot = {"chosen_q", "mixing_weight", "q_gradient_norm"}
    single = {"action_diversity"} | ({"mixer_gradient_norm"} if name == "qmix" else set())
    figures = learner.metrics()
    assert figures.keys() == of_values | per_slot | single
    for figure, value in figures.items():
        one_each = figure in per_slot or (figure in of_values and name.startswith("iql"))
        assert value.shape == ((3,) if one_each else ()), figure
        assert torch.isfinite(value).all(), figure


def test_figures_by_hand() -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, VdnConfig(share_actor=Sharing.SEPARATE))
    constant_values(learner, 0.0, 0.0)
    for slot, value in enumerate((1.0, 3.0)):
        learner.actor.nets[0].part("2.bias")[slot] = value
    batch = random_batch(spec)
    batch.reward.fill_(2.0)
    batch.bootstrap.zero_()
    learner.update(batch)
    figures = {name: figure.tolist() for name, figure in learner.metrics().items()}
    assert figures["chosen_q"] == [1.0, 3.0]
    assert (figures["q_mean"], figures["q_max"]) == (8.0, 8.0)  # two branches each
    assert (figures["td_error"], figures["critic_loss"]) == (6.0, 36.0)
    assert figures["mixing_weight"] == [1.0, 1.0]


def test_diversity_tells_agents_that_differ_from_those_that_do_not() -> None:
    spec = one_role(2, DISCRETE)
    for sharing in Sharing:
        learner = make(spec, QmixConfig(share_actor=sharing))
        learner.update(random_batch(spec))
        alike = float(learner.metrics()["action_diversity"])
        assert (alike == 0.0) is (sharing is Sharing.SHARED)
        if sharing is Sharing.SEPARATE:
            learner.actor.nets[0].part("2.weight").zero_()
            learner.actor.nets[0].part("2.bias").copy_(torch.tensor([[9.0, 0, 0, 0, 9], [0, 9, 0, 0, 9]]))
            assert float(learner.metrics()["action_diversity"]) == pytest.approx(0.5)
