"""COMA: its advantage and its update by other means, who learns from what, and that nothing is lost in a checkpoint."""

import io
import math
from itertools import product
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.coma import ComaConfig, ComaLearner
from mlagents_marl_plugin.core.counterfactual import counterfactual_advantage
from mlagents_marl_plugin.core.distributions import ActionDistribution, GaussianHead
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.schedules import Schedule
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec, RolloutBatch
from tests.unit.field_changes import MEMORIES, REWARDS, ROLLOUTS, check_change, check_none_is_forgotten
from tests.unit.groups import CONTINUOUS, CPU, DISCRETE, HYBRID, one_role, random_rollout
from tests.unit.learner_states import same_state, weights

EVERY_SHARING = pytest.mark.parametrize("sharing", list(Sharing))
PARTS = ("actor", "critic", "target_critic")


def two_kinds() -> GroupSpec:
    one_branch = RoleSpec("b", 1, ((2,),), ActionLayout(0, (4,)))
    return GroupSpec((RoleSpec("a", 2, ((5,),), DISCRETE), one_branch))


def make(
    spec: GroupSpec, config: ComaConfig | None = None, seed: int = 0, normalize: bool = False
) -> ComaLearner:
    return ComaLearner(
        spec,
        ComaConfig() if config is None else config,
        hidden_units=16,
        num_layers=2,
        normalize=normalize,
        discount=0.9,
        device=CPU,
        seed=seed,
    )


def trained(spec: GroupSpec, num_updates: int = 3, **config: Any) -> ComaLearner:
    learner = make(spec, ComaConfig(**{"batch_size": 16, "discretise": 3, **config}), normalize=True)
    for seed in range(num_updates):
        batch = random_rollout(spec, seed=seed)
        learner.observe(batch.obs, batch.agent_mask)
        learner.update(batch)
    return learner


# --- the advantage ------------------------------------------------------------------------------------------


def test_the_advantage_has_mean_zero_under_the_policy() -> None:
    """Exactly: over all choices of a branch, weighted by the policy's probabilities, for any values and masks."""
    random = torch.Generator().manual_seed(0)
    layout, rows = ActionLayout(0, (3, 4)), 50
    allowed = torch.rand(rows, 7, generator=random) < 0.6
    allowed[:, 0] = allowed[:, 3] = True
    raw = 3.0 * torch.randn(rows, 7, generator=random, dtype=torch.float64)
    policy = ActionDistribution(layout, GaussianHead(), raw, None, allowed)
    value = 10.0 * torch.randn(rows, 7, generator=random, dtype=torch.float64)
    mean = torch.zeros(rows, 2, dtype=torch.float64)
    for first, second in product(range(3), range(4)):
        action = torch.zeros(rows, 7, dtype=torch.float64)
        action[:, first] = action[:, 3 + second] = 1.0
        chance = policy.log_prob(action).exp()
        mean += chance.unsqueeze(1) * counterfactual_advantage(policy, action, value)
    assert mean.abs().max() < 1e-12
    assert value.abs().max() > 10


@EVERY_SHARING
def test_the_advantage_of_an_update_has_mean_zero_under_the_policy(sharing: Sharing) -> None:
    """With the critic that learns: what each choice is worth, others and other branches being as they were."""
    spec = two_kinds()
    learner = trained(spec, share_critic=sharing)
    batch = random_rollout(spec, seed=9)
    joint, allowed = learner._joint_input(batch)
    joint = joint[: len(batch.action)]
    own = [spec.role_action(batch.action, i) for i in range(2)]
    values = learner.critic.choice_values(joint, own)
    for i, role in enumerate(spec.roles):
        policy = learner._policy.distribution(joint, spec, allowed, i)
        start = 0
        for branch, size in enumerate(role.action.branches):
            mean = torch.zeros(len(joint), role.num_slots)
            for choice in range(size):
                action = own[i].clone()
                action[..., start : start + size] = torch.eye(size)[choice]
                advantage = counterfactual_advantage(policy, action, values[i])[..., branch]
                mean += policy.log_choice[branch][..., choice].exp() * advantage
                replaced = batch.action.clone()
                spec.role_action(replaced, i)[:, 0] = action[:, 0]
                q = learner.critic(torch.cat([joint[:, : spec.obs_size], replaced], 1))
                worth = values[i][:, 0, start + choice]
                torch.testing.assert_close(worth, q[:, spec.slots(i).start], rtol=1e-4, atol=1e-5)
            assert mean.abs().max() < 1e-5
            start += size


def test_actors_follow_the_advantage_of_each_branch() -> None:
    """The gradient against autograd's of ``-mean(A log pi) - beta H``, with A as it stands."""
    spec = one_role(2, DISCRETE)
    learner = trained(spec, beta=0.1, max_gradient_norm=0.0, share_actor=Sharing.SEPARATE)
    batch = random_rollout(spec, seed=9)
    joint, allowed = learner._joint_input(batch)
    joint = joint[: len(batch.action)]
    mask = batch.acted.clone()
    mask[::3, 1] = 0.0
    own, net = spec.role_action(batch.action, 0), learner._policy.nets[0]
    (values,) = learner.critic.choice_values(joint, [own])
    policy = learner._policy.distribution(joint, spec, allowed, 0)
    leaf = policy._raw.clone().requires_grad_()
    again = ActionDistribution(DISCRETE, GaussianHead(), leaf, None, spec.role_allowed(allowed, 0))
    loss = torch.zeros(())
    start = 0
    for branch, size in enumerate(DISCRETE.branches):
        part = slice(start, start + size)
        log_choice = again.log_choice[branch]
        chance = log_choice.exp().detach()
        worth = values[..., part]
        advantage = ((own[..., part] - chance) * worth).sum(-1)
        log_prob = (log_choice * own[..., part]).sum(-1)
        entropy = -(log_choice.exp() * log_choice).sum(-1)
        loss = loss - ((advantage * log_prob + 0.1 * entropy) * mask / mask.sum(0)).sum()
        start += size
    (of_raw,) = torch.autograd.grad(loss, leaf)
    learner._policy.distribution(joint, spec, allowed, 0)
    learner._policy.backward(0, of_raw, None)
    expected = net.gradient.clone()
    net.gradient.zero_()
    learner._update_actors(joint, allowed, [values], mask)
    torch.testing.assert_close(net.gradient, expected, rtol=1e-4, atol=1e-7)
    assert expected.abs().max() > 1e-4


# --- the critic ---------------------------------------------------------------------------------------------


def chain(spec: GroupSpec, rewards: list[float], terminated: bool) -> RolloutBatch:
    """One lane of steps that ends, or is cut."""
    rows = len(rewards)
    batch = random_rollout(spec, rows)
    end = torch.zeros(rows, spec.num_slots)
    end[-1] = float(terminated)
    return batch._replace(
        reward=torch.tensor(rewards).unsqueeze(1).expand(-1, spec.num_slots).clone(),
        terminated=end,
        cut=torch.tensor([0.0] * (rows - 1) + [1.0]),
        successor=torch.arange(1, rows + 1),
    )


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("lambd", [0.0, 0.6, 1.0])
def test_returns_are_those_of_td_lambda(terminated: bool, lambd: float) -> None:
    """Backwards: ``G = r + discount * ((1 - lambda) Q' + lambda G')``, and Q' alone behind the last step."""
    spec, rewards = one_role(2, DISCRETE), [1.0, -2.0, 0.5, 3.0]
    learner = make(spec, ComaConfig(lambd=lambd))
    batch = chain(spec, rewards, terminated)
    q = torch.randn(len(batch.obs), 2, generator=torch.Generator().manual_seed(0))
    beyond = q[4] * (0.0 if terminated else 1.0)
    expected = [rewards[-1] + 0.9 * beyond]
    for step in (2, 1, 0):
        expected.insert(0, rewards[step] + 0.9 * ((1 - lambd) * q[step + 1] + lambd * expected[0]))
    torch.testing.assert_close(learner._returns(batch, q), torch.stack(expected))


def test_behind_a_cut_the_policies_say_what_would_be_done() -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec)
    batch = chain(spec, [0.0] * 4, terminated=False)
    batch.agent_mask[4:, 1] = 0.0
    joint, _ = learner._joint_input(batch)
    drawn = spec.role_action(joint[4:, spec.obs_size :], 0)
    assert (drawn[:, 0].sum(-1) == len(DISCRETE.branches)).all()
    assert not bool(drawn[:, 1].any())


@pytest.mark.parametrize("layout", [DISCRETE, HYBRID], ids=["choices", "cut values"])
def test_what_would_be_done_behind_a_cut_is_permitted_there(layout: ActionLayout) -> None:
    spec = one_role(2, layout)
    learner = make(spec, ComaConfig(discretise=2))
    batch = behind_one_lane(spec, 200)
    joint, _ = learner._joint_input(batch)
    drawn = joint[-200:, spec.obs_size :].view(200, 2, -1)
    first = drawn.shape[-1] - layout.num_choices  # the cut values' choices stand before it
    assert drawn[:, 0, first].all()
    assert not drawn[:, 1, first].any()
    assert drawn[:, 1, first + 1].any()
    assert drawn[:, 1, first + 2].any()


def behind_one_lane(spec: GroupSpec, num_behind: int) -> RolloutBatch:
    """Rows that are each followed by an observation only; there the first slot may make but the first choice in its
    first branch, and the second slot any but that.
    """
    batch = random_rollout(spec, num_behind)
    behind = torch.ones(num_behind, spec.allowed_size)
    permitted = spec.role_allowed(behind, 0)
    permitted[:, 0, 1:3] = permitted[:, 1, 0] = 0.0
    return batch._replace(
        obs=batch.obs[:num_behind].repeat(2, 1),
        agent_mask=torch.ones(2 * num_behind, 2),
        successor=torch.arange(num_behind, 2 * num_behind),
        allowed_behind=behind,
    )


def test_targets_follow_at_the_end_of_an_update() -> None:
    spec = one_role(2, DISCRETE)
    for tau in (1.0, 0.25):
        learner = make(spec, ComaConfig(tau=tau))
        before = learner.target_critic.nets[0].parameters.clone()
        learner.update(random_rollout(spec))
        expected = before.lerp(learner.critic.nets[0].parameters, tau)
        torch.testing.assert_close(learner.target_critic.nets[0].parameters, expected)


# --- who learns from what -----------------------------------------------------------------------------------


@EVERY_SHARING
def test_an_absent_agent_changes_nothing_not_even_as_nan(sharing: Sharing) -> None:
    spec, states = two_kinds(), []
    for padding in (0.0, 1e6, math.nan):
        learner = make(spec, ComaConfig(share_actor=sharing, share_critic=sharing), normalize=True)
        for seed in range(3):
            batch = random_rollout(spec, seed=seed)
            spec.role_obs(batch.obs, 0)[:, 1] = padding
            spec.role_action(batch.action, 0)[:, 1] = padding
            for mask in (batch.agent_mask, batch.acted, batch.value_mask):
                mask[:, 1] = 0.0
            learner.observe(batch.obs, batch.agent_mask)
            learner.update(batch)
        states.append(learner.state_dict())
        assert all(torch.isfinite(figure).all() for figure in learner.metrics().values())
    assert same_state(states[0], states[1])
    assert same_state(states[0], states[2])


def test_who_keeps_up_an_action_does_not_learn_to_choose_it() -> None:
    spec, states = one_role(2, DISCRETE), []
    for scale in (1.0, 3.0):
        learner = make(spec, ComaConfig(share_actor=Sharing.SEPARATE, share_critic=Sharing.SEPARATE))
        batch = random_rollout(spec)
        batch.acted[:, 1] = 0.0
        batch.reward[:, 1] *= scale
        before = learner._policy.nets[0].parameters.clone()
        learner.update(batch)
        states.append(learner._policy.nets[0].parameters - before)
    assert bool(states[0][0].any())
    assert not bool(states[0][1].any())


def test_continuous_actions_stand_for_choices() -> None:
    """What is played lies on the grid, hybrid actions keep their branches, and the greedy model plays the mode."""
    spec = one_role(2, HYBRID)
    learner = trained(spec)
    obs, slot = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), torch.arange(2).repeat(100)
    allowed = torch.ones(200, HYBRID.num_choices)
    allowed[:, 1] = 0.0
    drawn, log_prob = learner.actor.sample_rows(obs, allowed, slot, torch.Generator().manual_seed(1))
    assert set(drawn[:, : HYBRID.continuous].flatten().tolist()) == {-1.0, 0.0, 1.0}
    assert not bool(drawn[:, HYBRID.continuous + 1].any())
    assert (log_prob < 0).all()
    greedy = learner.actor.mode_rows(obs, torch.ones_like(allowed), slot)
    raw = learner.actor.slot_module(0)(obs)
    torch.testing.assert_close(torch.tanh(raw[:, : HYBRID.continuous]), greedy[:, : HYBRID.continuous])


def test_continuous_actions_are_refused_without_a_number_of_choices() -> None:
    with pytest.raises(ValueError, match=r"^discretise: expected at least 2 .+, got 0 and 2 continuous"):
        make(one_role(2, CONTINUOUS))


# --- settings -----------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "batch_size": 24,
    "num_epoch": 2,
    "learning_rate": 1e-2,
    "critic_learning_rate": 1e-2,
    "beta": 0.3,
    "lambd": 0.1,
    "tau": 0.5,
    "share_actor": Sharing.SEPARATE,
    "share_critic": Sharing.SEPARATE,
    "layer_normalisation": LayerNormalisation.LAYER,
    "observation_clip": 0.1,
    "critic_loss": ValueLoss.HUBER,
    "max_gradient_norm": 1e-3,
    "discretise": 4,
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_learner_changes_something(field: str) -> None:
    def learnt(config: ComaConfig) -> dict[str, Tensor]:
        return weights(trained(one_role(2, HYBRID), **attrs.asdict(config, recurse=False)))

    check_change(learnt, ComaConfig(batch_size=16, discretise=3), **{field: CHANGES[field]})


def test_no_field_is_forgotten() -> None:
    schedules = {"learning_rate_schedule", "beta_schedule"}  # see below
    check_none_is_forgotten(ComaConfig, CHANGES, REWARDS | ROLLOUTS | MEMORIES | schedules)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("buffer_size", 1),
        ("update_every_episodes", -1),
        ("num_epoch", 0),
        ("learning_rate", 0.0),
        ("critic_learning_rate", math.nan),
        ("beta", -0.1),
        ("lambd", 1.5),
        ("tau", 0.0),
        ("layer_normalisation", LayerNormalisation.BATCH),
        ("observation_clip", 0.0),
        ("max_gradient_norm", -1.0),
        ("discretise", 1),
        ("reward_mix", 1.5),
        ("positive_reward_scale", 0.0),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_to_do(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: expected .+, got .+; .+"):
        ComaConfig(**{field: value})


def test_schedules_fall_to_zero() -> None:
    linear = {"learning_rate_schedule": Schedule.LINEAR, "beta_schedule": Schedule.LINEAR}
    learner = make(one_role(2, DISCRETE), ComaConfig(**linear))
    learner.set_progress(0.5, 10)
    assert learner.scheduled() == {"learning_rate": 5e-4, "critic_learning_rate": 5e-4, "beta": 0.005}
    learner.set_progress(1.0, 10)
    before = weights(learner, "actor", "critic")
    learner.update(random_rollout(one_role(2, DISCRETE)))
    assert same_state(before, weights(learner, "actor", "critic"))


# --- state and figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [DISCRETE, HYBRID], ids=["choices", "both"])
def test_a_checkpoint_goes_on_bit_for_bit(layout: ActionLayout) -> None:
    spec = one_role(2, layout)
    learner = trained(spec)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    again = make(spec, ComaConfig(batch_size=16, discretise=3), seed=9, normalize=True)
    again.load_state_dict(torch.load(file, weights_only=True))
    for seed in (7, 8):
        for one in (learner, again):
            batch = random_rollout(spec, seed=seed)
            one.observe(batch.obs, batch.agent_mask)
            one.update(batch)
    assert same_state(learner.state_dict(), again.state_dict())


def test_what_is_seen_counts_after_the_next_update() -> None:
    spec = one_role(2, DISCRETE)
    learner = make(spec, normalize=True)
    batch = random_rollout(spec)
    before = learner.state_dict()["normaliser"]
    learner.observe(batch.obs, batch.agent_mask)
    assert same_state(before, learner.state_dict()["normaliser"])
    learner.update(batch)
    assert not same_state(before, learner.state_dict()["normaliser"])


def test_a_new_run_can_start_from_the_actors_of_another() -> None:
    spec = one_role(2, DISCRETE)
    saved = trained(spec).state_dict()
    learner = make(spec, seed=3, normalize=True)
    own = weights(learner, "critic")
    learner.load_weights(saved, only_actor=True)
    assert same_state(learner.state_dict()["actor"], saved["actor"])
    assert same_state(own, weights(learner, "critic"))
    learner.load_weights(saved)
    assert all(same_state(learner.state_dict()[part], saved[part]) for part in PARTS)


def test_figures_are_per_slot_and_absent_before_the_first_update() -> None:
    spec = two_kinds()
    assert make(spec).metrics() == {}
    figures = trained(spec).metrics()
    assert figures.pop("action_diversity").shape == ()
    assert all(figure.shape == (3,) and torch.isfinite(figure).all() for figure in figures.values())
    assert {
        "entropy",
        "entropy_branch_1",
        "explained_variance",
        "value_loss",
        "return_mean",
    } <= figures.keys()
