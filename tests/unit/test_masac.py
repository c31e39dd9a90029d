"""The MASAC family: its update against plain torch, who learns from what, and that nothing is lost in a checkpoint."""

import io
import math
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.masac import (
    ActorLoss,
    IsacConfig,
    IsacSharedConfig,
    MasacConfig,
    MasacLearner,
    MasacSharedConfig,
)
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.squashed import SquashedDistribution
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec
from tests.unit.field_changes import REPLAYS, REWARDS, check_change, check_none_is_forgotten
from tests.unit.groups import (
    CONTINUOUS,
    CPU,
    DISCRETE,
    HYBRID,
    masked_batch,
    one_role,
    random_batch,
    two_roles,
)
from tests.unit.learner_states import changed_parts, same_state, weights
from tests.unit.plain_networks import mlp

PRESETS: dict[str, type[MasacConfig]] = {
    "masac": MasacConfig,
    "masac_shared": MasacSharedConfig,
    "isac": IsacConfig,
    "isac_shared": IsacSharedConfig,
}
LAYOUTS = {"values": CONTINUOUS, "choices": DISCRETE, "both": HYBRID}
EVERY_PRESET = pytest.mark.parametrize("name", PRESETS)
EVERY_SHARING = pytest.mark.parametrize("sharing", list(Sharing))
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
PARTS = ("actor", "critic", "target_critic", "temperatures")


def make(
    spec: GroupSpec, config: MasacConfig | None = None, seed: int = 0, normalize: bool = False
) -> MasacLearner:
    return MasacLearner(
        spec,
        MasacConfig() if config is None else config,
        hidden_units=16,
        num_layers=2,
        normalize=normalize,
        discount=0.9,
        device=CPU,
        seed=seed,
    )


def trained(name: str, spec: GroupSpec, num_updates: int = 3, **config: Any) -> MasacLearner:
    learner = make(spec, PRESETS[name](**config), normalize=True)
    for seed in range(num_updates):
        batch = masked_batch(spec, seed=seed)
        learner.observe(batch.obs, batch.agent_mask)
        learner.update(batch)
    return learner


# --- the update against plain torch ------------------------------------------------------------------------


class Plain:
    """The losses of Haarnoja et al. 2018 for a group of one role, in plain torch with autograd."""

    def __init__(self, learner: MasacLearner) -> None:
        self.learner = learner
        self.spec, self.config = learner.spec, learner.config
        self.random = torch.Generator()
        self.random.set_state(learner._state.generator.get_state())
        self.num_slots = self.spec.num_slots

    def distribution(self, parameters: Tensor, obs: Tensor, allowed: Tensor) -> SquashedDistribution:
        sharing, raw = self.config.share_actor, []
        for slot in range(self.num_slots):
            seen = self.spec.role_obs(obs, 0)[:, slot]
            if sharing is Sharing.SHARED_WITH_ID:
                seen = torch.cat([seen, torch.eye(self.num_slots)[slot].expand(len(seen), -1)], 1)
            k = slot if sharing is Sharing.SEPARATE else 0
            raw.append(mlp(self.learner.actor.nets[0], parameters, k, seen))
        layout, head = self.spec.roles[0].action, self.config.head
        # In memory as the learner has it, which is the order that noise is drawn in.
        separate = sharing is Sharing.SEPARATE
        stacked = torch.stack(raw, 0).transpose(0, 1) if separate else torch.stack(raw, 1)
        return SquashedDistribution(layout, head, stacked, None, self.spec.role_allowed(allowed, 0))

    def q(self, parameters: Tensor, obs: Tensor, action: Tensor, slot: int) -> Tensor:
        """Both twins' values [2, B] of a slot; ``action`` is [B, N, A]."""
        sharing, seen = self.config.share_critic, self.spec.role_obs(obs, 0)
        if not self.config.centralised_critic:
            joint = torch.cat([seen[:, slot], action[:, slot]], 1)
        elif sharing is Sharing.SEPARATE:
            joint = torch.cat([obs, action.flatten(1)], 1)
        else:
            turned = [t.roll(-slot, 1).flatten(1) for t in (seen, action)]
            joint = torch.cat(turned, 1)
        if sharing is Sharing.SHARED_WITH_ID:
            joint = torch.cat([joint, torch.eye(self.num_slots)[slot].expand(len(joint), -1)], 1)
        net = self.learner.critic.nets[0]
        per_twin = net.num_networks // 2
        k = slot if sharing is Sharing.SEPARATE else 0
        twins = [mlp(net, parameters, twin * per_twin + k, joint).squeeze(1) for twin in range(2)]
        return torch.stack(twins)

    def mean(self, loss: Tensor, mask: Tensor, sharing: Sharing) -> Tensor:
        if sharing is Sharing.SEPARATE:
            return ((loss * mask).sum(-2) / mask.sum(0)).sum()
        return (loss * mask).sum() / mask.sum()

    def critic_loss(self, batch: Batch, actor: Tensor, critic: Tensor, target: Tensor) -> Tensor:
        distribution = self.distribution(actor, batch.next_obs, batch.next_allowed)
        draw = distribution.draw(self.random)
        here = batch.next_agent_mask.unsqueeze(-1)
        next_q = [self.q(target, batch.next_obs, draw.action * here, n) for n in range(self.num_slots)]
        temperatures = self.learner.temperatures.parameters.exp()
        worth = -temperatures[0] * draw.log_prob + temperatures[1] * distribution.entropy()
        value = torch.stack(next_q, -1).amin(0) + worth * batch.next_agent_mask
        y = (batch.reward + batch.bootstrap * value).detach()
        action = batch.action.unflatten(1, (self.num_slots, -1))
        q = torch.stack([self.q(critic, batch.obs, action, n) for n in range(self.num_slots)], -1)
        error = (q - y).square().sum(0)
        return self.mean(error, batch.value_mask, self.config.share_critic)

    def actor_loss(self, batch: Batch, actor: Tensor, critic: Tensor) -> Tensor:
        layout = self.spec.roles[0].action
        distribution = self.distribution(actor, batch.obs, batch.allowed)
        draw = distribution.draw(self.random)
        done = batch.action.unflatten(1, (self.num_slots, -1))
        temperatures, losses = self.learner.temperatures.parameters.exp(), []
        for n in range(self.num_slots):

            def value(own: Tensor, n: int = n) -> Tensor:
                return self.q(critic, batch.obs, torch.cat([done[:, :n], own, done[:, n + 1 :]], 1), n).amin(
                    0
                )

            own = draw.action[:, n : n + 1]
            loss = temperatures[0, n] * draw.log_prob[:, n]
            if layout.continuous:
                loss = loss - value(own)
            start = layout.continuous
            for branch, log_choice in zip(layout.branches, distribution.log_choice, strict=True):
                chance = log_choice[:, n].exp()
                for choice in range(branch):
                    varied = own.detach().clone()
                    varied[..., start : start + branch] = torch.eye(branch)[choice]
                    loss = loss - chance[:, choice] * value(varied)
                loss = loss + temperatures[1, n] * (chance * log_choice[:, n]).sum(-1)
                start += branch
            losses.append(loss)
        return self.mean(torch.stack(losses, -1), batch.agent_mask, self.config.share_actor)


@EVERY_LAYOUT
@EVERY_SHARING
@pytest.mark.parametrize("name", ["masac", "isac"])
def test_an_update_is_that_of_plain_torch(name: str, sharing: Sharing, layout: ActionLayout) -> None:
    """Gradients of every network, with masks, absences, ends and targets that differ."""
    spec = one_role(2, layout)
    config = PRESETS[name](share_actor=sharing, share_critic=sharing, max_gradient_norm=0.0)
    config.critic_learning_rate = 1e-12  # so that the actors see the critic that stands here
    learner = make(spec, config)
    for net in [*learner.actor.nets, *learner.critic.nets]:
        net.part("2.weight").mul_(100.0)  # so that policies and values differ
    for net in learner.target_critic.nets:
        net.parameters.mul_(1.1)
    learner.temperatures.parameters.copy_(torch.tensor([[-1.0, -2.0], [-0.5, -1.5]]))
    batch, plain = masked_batch(spec), Plain(learner)
    actor, critic = (
        net.parameters.clone().requires_grad_() for net in (learner.actor.nets[0], learner.critic.nets[0])
    )
    critic_loss = plain.critic_loss(
        batch, actor.detach(), critic, learner.target_critic.nets[0].parameters.clone()
    )
    (of_critic,) = torch.autograd.grad(critic_loss, critic)
    (of_actor,) = torch.autograd.grad(plain.actor_loss(batch, actor, critic.detach()), actor)
    learner.update(batch)
    for net, expected in ((learner.critic.nets[0], of_critic), (learner.actor.nets[0], of_actor)):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(net.gradient, expected, rtol=1e-3, atol=2e-5)


def constant_values(learner: MasacLearner, twins: tuple[float, float]) -> None:
    """Let the target critics say the same of everything, whatever they see."""
    for net in learner.target_critic.nets:
        net.part("2.weight").zero_()
        net.part("2.bias").copy_(torch.tensor(twins).repeat_interleave(net.num_networks // 2).view(-1, 1))


@EVERY_PRESET
def test_a_limit_bootstraps_and_an_end_does_not(name: str) -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, PRESETS[name](initial_temperature=1e-4))
    constant_values(learner, (10.0, 10.0))
    batch = random_batch(spec)
    batch.reward.fill_(1.0)
    batch.bootstrap[:, 0], batch.bootstrap[:, 1] = 0.9, 0.0
    learner.update(batch)
    assert learner.metrics()["td_error"].tolist() == pytest.approx([10.0, 1.0], abs=0.05)


def test_the_smaller_twin_counts_and_entropy_is_paid_for() -> None:
    """Uniform choices among 3 and 2 are worth their entropy times the temperature."""
    spec = one_role(2, DISCRETE)
    learner = make(spec, MasacConfig(initial_temperature=0.5))
    constant_values(learner, (3.0, 2.0))
    for net in learner.actor.nets:
        net.parameters.zero_()
    batch = random_batch(spec)
    batch.reward.zero_()
    batch.bootstrap.fill_(1.0)
    batch.next_agent_mask[:, 1] = 0.0
    learner.update(batch)
    assert learner._last_critic is not None
    expected = [2.0 + 0.5 * (math.log(3) + math.log(2)), 2.0]
    torch.testing.assert_close(learner._last_critic.target, torch.tensor([expected] * 16))


@EVERY_PRESET
def test_a_forbidden_choice_is_never_assumed(name: str) -> None:
    """However good it looks, neither the target nor the actor changes with it."""
    spec = one_role(2, DISCRETE)
    batch = random_batch(spec)
    states = []
    for lure in (0.0, 1e4):
        learner = make(spec, PRESETS[name]())
        spec.role_allowed(batch.next_allowed, 0)[..., 1] = spec.role_allowed(batch.allowed, 0)[..., 1] = 0.0
        spec.role_action(batch.action, 0)[..., :3] = torch.tensor([1.0, 0.0, 0.0])
        learner.actor.nets[0].part("2.bias")[:, 1] = lure
        learner.update(batch)
        assert learner._last_critic is not None
        states.append((learner._last_critic.target, learner.actor.nets[0].gradient.clone()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_unlike_twins_are_both_asked_what_to_do() -> None:
    """Where the second twin is the smaller one, the actors follow it."""
    spec, gradients = one_role(2, CONTINUOUS), []
    for shift in (-50.0, 50.0):
        learner = make(spec, MasacConfig(critic_learning_rate=1e-12))
        critic = learner.critic.nets[0]
        critic.part("2.weight").mul_(100.0)
        critic.part("2.bias")[1] += shift
        learner.update(random_batch(spec))
        gradients.append(learner.actor.nets[0].gradient.clone())
    assert not torch.allclose(*gradients)


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
    check_absence(PRESETS[name](share_actor=sharing, share_critic=sharing), HYBRID)


@pytest.mark.parametrize("sharing", [Sharing.SHARED, Sharing.SEPARATE])
def test_nor_does_it_with_munchausens_bonus_or_weighted_advantages(sharing: Sharing) -> None:
    check_absence(MasacConfig(share_actor=sharing, munchausen=0.9), DISCRETE)
    check_absence(MasacConfig(share_actor=sharing, actor_loss=ActorLoss.ADVANTAGE_WEIGHTED), HYBRID)


def check_absence(config: MasacConfig, layout: ActionLayout) -> None:
    kinds = RoleSpec("a", 2, ((5,),), layout), RoleSpec("b", 1, ((2,),), DISCRETE)
    spec, states = GroupSpec(kinds), []
    for padding in (0.0, 1e6, math.nan):
        learner = make(spec, config, normalize=True)
        for seed in range(3):
            batch = absent(random_batch(spec, seed=seed), 1, spec, padding)
            learner.observe(batch.obs, batch.agent_mask)
            learner.update(batch)
        states.append(learner.state_dict())
        assert all(torch.isfinite(figure).all() for figure in learner.metrics().values())
    assert same_state(states[0], states[1])
    assert same_state(states[0], states[2])


def test_agents_that_share_nothing_do_not_learn_from_each_others_rewards() -> None:
    spec, states = one_role(2, CONTINUOUS), []
    for reward in (0.0, 5.0):
        config = IsacConfig(share_actor=Sharing.SEPARATE, share_critic=Sharing.SEPARATE)
        learner = make(spec, config)
        for seed in range(2):
            batch = random_batch(spec, seed=seed)
            batch.reward[:, 1] += reward
            learner.update(batch)
        states.append(learner.actor.nets[0].parameters.clone())
    assert torch.equal(states[0][0], states[1][0])
    assert not torch.equal(states[0][1], states[1][1])


@pytest.mark.parametrize("centralised", [True, False])
def test_only_centralised_critics_see_the_others(centralised: bool) -> None:
    spec, states = one_role(2, CONTINUOUS), []
    for seed in (0, 1):
        config = MasacConfig(
            share_actor=Sharing.SEPARATE, share_critic=Sharing.SEPARATE, centralised_critic=centralised
        )
        learner, batch = make(spec, config), random_batch(spec)
        spec.role_obs(batch.obs, 0)[:, 1] = torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))
        learner.update(batch)
        states.append(learner.critic.nets[0].gradient[0].clone())
    assert torch.equal(*states) is not centralised


def test_who_died_for_its_group_still_learns_its_value() -> None:
    spec, states = one_role(2, CONTINUOUS), []
    for reward in (0.0, 5.0):
        learner = make(spec, MasacConfig(share_critic=Sharing.SEPARATE))
        batch = random_batch(spec)
        batch.agent_mask[:, 1] = 0.0
        batch.reward[:, 1] += reward
        learner.update(batch)
        states.append(learner.critic.nets[0].gradient.clone())
    assert not torch.equal(states[0][1], states[1][1])


def test_each_slot_has_a_temperature_that_keeps_its_entropy() -> None:
    """Slot 0 never varies, slot 1 always does: what entropy is worth rises for one and falls for the other."""
    spec = one_role(2, CONTINUOUS)
    learner = make(spec, MasacConfig(share_actor=Sharing.SEPARATE))
    learner.actor.nets[0].part("2.bias")[0, 2:] = -4.0
    for seed in range(3):
        learner.update(random_batch(spec, seed=seed))
    rising, falling = learner.metrics()["temperature"].tolist()
    assert rising > 0.2 > falling


def test_temperatures_can_be_kept() -> None:
    learner = trained("masac", one_role(2, HYBRID), temperature_learning_rate=0.0)
    assert learner.metrics()["temperature"].tolist() == pytest.approx([0.2, 0.2])
    assert learner.metrics()["choice_temperature"].tolist() == pytest.approx([0.2, 0.2])


# --- settings -----------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "learning_rate": 1e-2,
    "critic_learning_rate": 1e-2,
    "temperature_learning_rate": 1e-2,
    "initial_temperature": 1.0,
    "target_value_entropy": 0.5,
    "target_choice_entropy": 0.999,
    "tau": 0.5,
    "share_actor": Sharing.SEPARATE,
    "share_critic": Sharing.SEPARATE,
    "centralised_critic": False,
    "layer_normalisation": LayerNormalisation.LAYER,
    "observation_clip": 0.1,
    "critic_loss": ValueLoss.HUBER,
    "max_gradient_norm": 1e-3,
    "actor_loss": ActorLoss.ADVANTAGE_WEIGHTED,
    "initial_std": 0.3,
    "min_std": 1.0,
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_learner_changes_something(field: str) -> None:
    def learnt(config: MasacConfig) -> dict[str, Tensor]:
        return weights(trained("masac", one_role(2, HYBRID), **attrs.asdict(config, recurse=False)))

    check_change(learnt, MasacConfig(), **{field: CHANGES[field]})


def test_no_field_is_forgotten() -> None:
    of_some = {"advantage_temperature", "munchausen", "munchausen_floor"}  # see below
    check_none_is_forgotten(MasacConfig, CHANGES, REWARDS | REPLAYS | of_some)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("buffer_size", 10),
        ("buffer_init_steps", -1),
        ("steps_per_update", 0.0),
        ("learning_rate", 0.0),
        ("critic_learning_rate", math.nan),
        ("temperature_learning_rate", -1.0),
        ("initial_temperature", 0.0),
        ("target_value_entropy", 0.7),
        ("target_choice_entropy", 1.0),
        ("tau", 0.0),
        ("n_step", 0),
        ("layer_normalisation", LayerNormalisation.BATCH),
        ("observation_clip", 0.0),
        ("max_gradient_norm", -1.0),
        ("advantage_temperature", 0.0),
        ("munchausen", 1.0),
        ("munchausen", -0.1),
        ("munchausen_floor", 0.1),
        ("initial_std", 0.0),
        ("initial_std", 20.0),
        ("min_std", 2.0),
        ("non_positive_share", 0.0),
        ("non_positive_steps", -1),
        ("reward_mix", 1.5),
        ("positive_reward_scale", 0.0),
    ],
)
@EVERY_PRESET
def test_a_value_out_of_range_is_refused_with_what_to_do(name: str, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: expected .+, got .+; .+"):
        PRESETS[name](**{field: value})


def test_munchausen_is_refused_where_no_entropy_is_paid_and_with_continuous_actions() -> None:
    with pytest.raises(ValueError, match=r"^munchausen: expected .+ 0 unless actor_loss is soft, got 0\.9; "):
        MasacConfig(munchausen=0.9, actor_loss=ActorLoss.ADVANTAGE_WEIGHTED)
    for layout in (CONTINUOUS, HYBRID):
        with pytest.raises(ValueError, match=r"^munchausen: expected 0 with continuous actions, got 0\.9; "):
            make(one_role(2, layout), MasacConfig(munchausen=0.9))


def test_the_bonus_is_cut_off_at_its_floor() -> None:
    """The target of a row is its reward, and what was so unlikely that the floor counts."""
    spec = one_role(1, DISCRETE)
    learner = make(spec, MasacConfig(munchausen=0.5, munchausen_floor=-0.01))
    batch = random_batch(spec)
    batch.bootstrap.zero_()
    learner.update(batch)
    assert learner._last_critic is not None
    torch.testing.assert_close(learner._last_critic.target, batch.reward - 0.005)


@pytest.mark.parametrize("temperature", [0.2, 5.0])
def test_the_temperature_of_advantages_says_how_much_the_better_ones_count(temperature: float) -> None:
    one, other = (
        trained(
            "masac",
            one_role(2, HYBRID),
            actor_loss=ActorLoss.ADVANTAGE_WEIGHTED,
            advantage_temperature=value,
        )
        for value in (1.0, temperature)
    )
    assert "actor" in changed_parts(weights(one), weights(other))
    assert "temperature" not in one.metrics()
    assert same_state(
        one.state_dict()["temperatures"], make(one_role(2, HYBRID)).state_dict()["temperatures"]
    )


def test_a_learning_rate_fraction_stops_everything_at_zero() -> None:
    spec = one_role(2, HYBRID)
    learner = make(spec)
    learner.target_critic.nets[0].parameters.copy_(learner.critic.nets[0].parameters)
    before = weights(learner)
    learner.set_learning_rate_fraction(0.0)
    learner.update(random_batch(spec))
    assert changed_parts(before, weights(learner)) <= {"target_critic"}
    learner.set_learning_rate_fraction(0.5)
    rates = {"learning_rate": 1.5e-4, "critic_learning_rate": 5e-4, "temperature_learning_rate": 5e-4}
    assert learner.scheduled() == rates
    learner.update(random_batch(spec))
    assert changed_parts(before, weights(learner)) >= {"actor", "critic", "temperatures"}


# --- state --------------------------------------------------------------------------------------------------


@EVERY_PRESET
def test_a_checkpoint_goes_on_bit_for_bit(name: str) -> None:
    spec = two_roles()
    learner = trained(name, spec)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    again = make(spec, PRESETS[name](), seed=9, normalize=True)
    again.load_state_dict(torch.load(file, weights_only=True))
    for seed in (7, 8):
        for one in (learner, again):
            one.observe(random_batch(spec, seed=seed).obs, torch.ones(16, spec.num_slots))
            one.update(random_batch(spec, seed=seed))
    assert same_state(learner.state_dict(), again.state_dict())


@pytest.mark.parametrize("part", [*PARTS, "normaliser", "actor_optimiser", "updates", "random"])
def test_a_missing_part_is_named_and_nothing_is_loaded(part: str) -> None:
    spec = one_role(2, HYBRID)
    saved = trained("masac", spec).state_dict()
    del saved[part]
    learner = make(spec, normalize=True)
    before = learner.state_dict()
    with pytest.raises(ValueError, match=f"checkpoint entry {part}: expected it to be there"):
        learner.load_state_dict(saved)
    assert same_state(before, learner.state_dict())


def test_random_numbers_of_another_kind_of_device_begin_anew() -> None:
    spec = one_role(2, HYBRID)
    saved = trained("masac", spec).state_dict()
    saved["random"]["device"] = "elsewhere"
    learners = [make(spec, seed=seed, normalize=True) for seed in (1, 1, 2)]
    states = []
    for learner in learners:
        learner.load_state_dict(saved)
        states.append(learner._state.generator.get_state())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_new_run_can_start_from_the_weights_of_another() -> None:
    spec = one_role(2, HYBRID)
    saved = trained("masac", spec).state_dict()
    learner = make(spec, seed=3, normalize=True)
    own = weights(learner)
    learner.load_weights(saved, only_actor=True)
    assert changed_parts(own, weights(learner)) == {"actor"}
    assert same_state(learner.state_dict()["normaliser"], saved["normaliser"])
    learner.load_weights(saved)
    assert all(same_state(learner.state_dict()[part], saved[part]) for part in PARTS)


def test_a_weight_that_is_not_finite_is_noticed() -> None:
    learner = make(one_role(2, HYBRID))
    assert learner.is_finite()
    learner.actor.nets[0].parameters[0, 3] = math.nan
    assert not learner.is_finite()


# --- figures ------------------------------------------------------------------------------------------------


@EVERY_LAYOUT
def test_figures_are_per_slot_and_absent_before_the_first_update(layout: ActionLayout) -> None:
    spec = one_role(2, layout)
    assert make(spec).metrics() == {}
    figures = trained("masac", spec).metrics()
    assert figures.pop("action_diversity").shape == ()
    assert all(figure.shape == (2,) and torch.isfinite(figure).all() for figure in figures.values())
    values = {"entropy_continuous", "policy_std", "saturated_share", "temperature"}
    choices = {"choice_temperature", *(f"entropy_branch_{i}" for i in range(len(layout.branches)))}
    assert (values <= figures.keys()) is bool(layout.continuous)
    assert (choices <= figures.keys()) is bool(layout.branches)


def test_greedy_and_drawn_actions_keep_to_the_mask() -> None:
    spec = one_role(2, HYBRID)
    learner = trained("masac", spec)
    obs, slot = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), torch.arange(2).repeat(100)
    allowed = torch.ones(200, HYBRID.num_choices)
    allowed[:, 1] = 0.0
    drawn, log_prob = learner.actor.sample_rows(obs, allowed, slot, torch.Generator().manual_seed(1))
    for action in (drawn, learner.actor.mode_rows(obs, allowed, slot)):
        choices = actions.by_branch(HYBRID, action[:, HYBRID.continuous :])
        assert not bool(choices[0][:, 1].any())
        assert action[:, : HYBRID.continuous].abs().max() < 1
    assert torch.isfinite(log_prob).all()
