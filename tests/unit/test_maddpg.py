"""The MADDPG family: its numbers by hand, who learns from what, and that nothing is lost in a checkpoint."""

import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.maddpg import MaddpgConfig, MaddpgLearner, Matd3Config
from mlagents_marl_plugin.core.critics import Critic
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec
from tests.unit.bad_values import check_nan_refused, check_refused
from tests.unit.field_changes import REPLAYS, REWARDS, check_change, check_none_is_forgotten
from tests.unit.groups import CPU, DISCRETE, HYBRID, one_role, random_batch, two_roles
from tests.unit.learner_states import changed, same_state, weights

EVERY_ALGORITHM = pytest.mark.parametrize(
    "name", [name for name, algorithm in ALGORITHMS.items() if algorithm.learner is MaddpgLearner]
)
EVERY_SHARING = pytest.mark.parametrize("sharing", list(Sharing))
NETWORKS = ("actor", "critic", "target_actor", "target_critic")


def make(
    spec: GroupSpec,
    config: MaddpgConfig | None = None,
    seed: int = 0,
    hidden_units: int = 16,
    num_layers: int = 2,
    normalize: bool = False,
) -> MaddpgLearner:
    return MaddpgLearner(
        spec,
        MaddpgConfig() if config is None else config,
        hidden_units=hidden_units,
        num_layers=num_layers,
        normalize=normalize,
        discount=0.9,
        device=CPU,
        seed=seed,
    )


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


# --- numbers ----------------------------------------------------------------------------------------------


def test_one_update_by_hand() -> None:
    """Two agents, one step, one hidden unit each: every number of Lowe et al.'s Algorithm 1 on paper."""
    spec = one_role(2, ActionLayout(1), obs_size=1)
    config = MaddpgConfig(
        share_actor=Sharing.SEPARATE,
        share_critic=Sharing.SEPARATE,
        max_gradient_norm=0.0,
        logit_regularisation=0.0,
        critic_learning_rate=1e-12,  # so that the actors see the critic that stands here
    )
    learner = make(spec, config, hidden_units=1, num_layers=1)
    state = learner.state_dict()
    for name, target in (("actor", "target_actor"), ("critic", "target_critic")):
        hidden = [[[0.5]], [[2.0]]] if name == "actor" else [[[0.1, 0.2, 0.3, 0.4]], [[0.4, 0.3, 0.2, 0.1]]]
        for part, shift in ((name, 0.0), (target, 0.1)):
            state[part]["0.0.weight"] = torch.tensor(hidden) + shift
            state[part]["0.0.bias"] = torch.full((2, 1), 0.5)
            state[part]["0.1.weight"] = torch.tensor([[[1.0]], [[-1.0]]]) * 0.7
            state[part]["0.1.bias"] = torch.full((2, 1), 0.05)
    learner.load_state_dict(state)
    obs, action, reward, next_obs, bootstrap = [1.0, 2.0], [0.3, -0.6], [1.0, -2.0], [0.5, 1.5], [0.9, 0.0]
    here = torch.ones(1, 2)
    batch = Batch(
        obs=torch.tensor([obs]),
        action=torch.tensor([action]),
        allowed=torch.ones(1, 0),
        agent_mask=here,
        value_mask=here,
        reward=torch.tensor([reward]),
        bootstrap=torch.tensor([bootstrap]),
        next_obs=torch.tensor([next_obs]),
        next_allowed=torch.ones(1, 0),
        next_agent_mask=here,
    )
    learner.update(batch)

    out = [0.7, -0.7]
    actor_in, critic_in = [0.5, 2.0], [[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]

    def raw_action(i: int, seen: float, shift: float) -> float:
        return out[i] * max(0.0, (actor_in[i] + shift) * seen + 0.5) + 0.05

    def hidden_unit(i: int, joint: list[float], shift: float) -> float:
        return sum((w + shift) * x for w, x in zip(critic_in[i], joint, strict=True)) + 0.5

    next_joint = next_obs + [math.tanh(raw_action(i, next_obs[i], 0.1)) for i in range(2)]
    loss, policy_loss, critic_norm, actor_norm = [], [], [], []
    for i in range(2):
        next_q = out[i] * hidden_unit(i, next_joint, 0.1) + 0.05
        target = reward[i] + bootstrap[i] * next_q
        unit = hidden_unit(i, obs + action, 0.0)
        error = out[i] * unit + 0.05 - target
        loss.append(error**2)
        through = 2 * error * out[i]
        into_first = [through * x for x in (*obs, *action, 1.0)]
        critic_norm.append(math.sqrt(sum(g * g for g in (*into_first, 2 * error * unit, 2 * error))))
        raw = raw_action(i, obs[i], 0.0)
        own = list(action)
        own[i] = math.tanh(raw)
        policy_loss.append(-(out[i] * hidden_unit(i, obs + own, 0.0) + 0.05))
        into_raw = -out[i] * critic_in[i][2 + i] * (1 - math.tanh(raw) ** 2)
        actor_unit = actor_in[i] * obs[i] + 0.5
        through = into_raw * out[i]
        actor_norm.append(math.hypot(through * obs[i], through, into_raw * actor_unit, into_raw))
    metrics = learner.metrics()
    assert metrics["critic_loss"].tolist() == pytest.approx(loss, rel=1e-5)
    assert metrics["td_error"].tolist() == pytest.approx([math.sqrt(x) for x in loss], rel=1e-5)
    assert metrics["critic_gradient_norm"].tolist() == pytest.approx(critic_norm, rel=1e-5)
    assert metrics["policy_loss"].tolist() == pytest.approx(policy_loss, rel=1e-5)
    assert metrics["actor_gradient_norm"].tolist() == pytest.approx(actor_norm, rel=1e-5)


def constant_critics(learner: MaddpgLearner, online: float, target: list[float]) -> None:
    """Let every critic say ``online`` and every target critic (both twins) say ``target``, whatever it sees."""
    state = learner.state_dict()
    for part in ("critic", "target_critic"):
        for name, tensor in state[part].items():
            if name.endswith("2.weight"):
                tensor.zero_()
            if name.endswith("2.bias"):
                values = [online] if part == "critic" else target
                tensor.copy_(torch.tensor(values).repeat_interleave(len(tensor) // len(values)).unsqueeze(1))
    learner.load_state_dict(state)


@EVERY_ALGORITHM
def test_a_limit_bootstraps_and_an_end_does_not(name: str) -> None:
    spec = one_role()
    learner = make(spec, ALGORITHMS[name].config())
    constant_critics(learner, 0.0, [10.0])
    batch = random_batch(spec)
    batch.reward.fill_(1.0)
    batch.bootstrap[:, 0], batch.bootstrap[:, 1] = 0.9, 0.0
    learner.update(batch)
    assert learner.metrics()["td_error"].tolist() == pytest.approx([10.0, 1.0])


def test_the_smaller_twin_counts_in_the_target() -> None:
    spec = one_role()
    learner = make(spec, Matd3Config())
    constant_critics(learner, 0.0, [5.0, 3.0])
    batch = random_batch(spec)
    batch.reward.zero_()
    batch.bootstrap.fill_(1.0)
    learner.update(batch)
    assert learner.metrics()["td_error"].tolist() == pytest.approx([3.0, 3.0])


class Recorder:
    """A critic that remembers what it was asked."""

    def __init__(self, critic: Critic) -> None:
        self.critic = critic
        self.joint: list[Tensor] = []
        self.own: list[list[Tensor]] = []

    def __call__(self, joint: Tensor, row_weight: Tensor | None = None) -> Tensor:
        self.joint.append(joint.clone())
        return self.critic(joint, row_weight)

    def with_own_action(self, joint: Tensor, own: list[Tensor]) -> Tensor:
        self.own.append([action.detach().clone() for action in own])
        return self.critic.with_own_action(joint, own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.critic, name)


def recorded(learner: MaddpgLearner, batch: Batch) -> tuple[Recorder, Recorder]:
    """What the critics and their targets were asked in one update."""
    learner.critic, learner.target_critic = Recorder(learner.critic), Recorder(learner.target_critic)
    learner.update(batch)
    return learner.critic, learner.target_critic


def test_target_actions_are_smoothed_within_their_range() -> None:
    spec = one_role()

    def next_action(noise: float, clip: float) -> Tensor:
        learner = make(spec, Matd3Config(target_noise=noise, target_noise_clip=clip))
        asked = recorded(learner, random_batch(spec, 200))[1]
        return asked.joint[0][:, spec.obs_size :]

    exact, noisy = next_action(0.0, 0.5), next_action(0.3, 0.4)
    assert 0.2 < (noisy - exact).std() < 0.3
    assert (noisy - exact).abs().max() <= 0.4 + 1e-5
    assert next_action(9.0, 9.0).abs().max() == 1.0


@EVERY_ALGORITHM
def test_a_forbidden_choice_is_never_assumed(name: str) -> None:
    spec = one_role(2, DISCRETE)
    batch = random_batch(spec, 200)
    allowed = spec.role_allowed(batch.allowed, 0)
    allowed[..., 0], allowed[:100, :, 3] = 0.0, 0.0
    spec.role_allowed(batch.next_allowed, 0)[..., 1] = 0.0
    learner = make(spec, ALGORITHMS[name].config(policy_delay=1))
    critic, target_critic = recorded(learner, batch)
    own = critic.own[0][0]
    assert not own[..., 0].any()
    assert not own[:100, :, 3].any()
    assert own[100:, :, 3].any()
    next_action = spec.role_action(target_critic.joint[0][:, spec.obs_size :], 0)
    assert not next_action[..., 1].any()
    for action in (own, next_action):
        assert torch.equal(action[..., :3].sum(-1), torch.ones(200, 2))
        assert torch.equal(action[..., 3:].sum(-1), torch.ones(200, 2))


@EVERY_SHARING
@pytest.mark.parametrize("centralised", [True, False])
def test_losses_are_means_over_the_rows_that_count(sharing: Sharing, centralised: bool) -> None:
    """The same rows twice, and rows that do not count, change no gradient."""
    spec = one_role()
    batch = random_batch(spec, 8)
    gone = random_batch(spec, 8, seed=1)
    for mask in (gone.agent_mask, gone.value_mask):
        mask.zero_()
    config = MaddpgConfig(share_actor=sharing, share_critic=sharing, centralised_critic=centralised)
    figures = []
    for parts in ([batch], [batch, batch], [batch, gone]):
        learner = make(spec, config)
        learner.update(Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True))))
        figures.append(learner.metrics())
    for other in figures[1:]:
        for name in ("critic_gradient_norm", "actor_gradient_norm", "critic_loss", "policy_loss"):
            torch.testing.assert_close(other[name], figures[0][name], msg=name)


# --- who learns from what ---------------------------------------------------------------------------------


@EVERY_ALGORITHM
@EVERY_SHARING
def test_both_losses_reach_their_own_networks_only(name: str, sharing: Sharing) -> None:
    spec = two_roles()
    config = ALGORITHMS[name].config(share_actor=sharing, share_critic=sharing, policy_delay=2)
    learner = make(spec, config)
    before = weights(learner)
    learner.update(random_batch(spec))
    names = changed(before, weights(learner))
    assert names
    assert all(tensor.startswith("critic.") for tensor in names)

    learner.set_learning_rate_fraction(0.0)
    before = weights(learner)
    learner.update(random_batch(spec, seed=1))
    assert {tensor.split(".")[0] for tensor in changed(before, weights(learner))} <= {
        "target_critic",
        "target_actor",
    }

    frozen_critic = make(spec, ALGORITHMS[name].config(share_actor=sharing, critic_learning_rate=1e-30))
    before = weights(frozen_critic)
    for _ in range(config.policy_delay):
        frozen_critic.update(random_batch(spec))
    names = changed(before, weights(frozen_critic, *NETWORKS))
    assert any(tensor.startswith("actor.0") for tensor in names)
    assert any(tensor.startswith("actor.1") for tensor in names)
    assert not any(tensor.startswith("critic.") for tensor in names)


def test_actor_i_learns_from_its_own_loss_only() -> None:
    """Slot 1 has no loss of its own here, and slot 0's does not move it."""
    spec = one_role()
    learner = make(spec, MaddpgConfig(share_actor=Sharing.SEPARATE))
    batch = random_batch(spec)
    batch.agent_mask[:, 1] = 0.0
    before = weights(learner, "actor")
    learner.update(batch)
    for name, tensor in weights(learner, "actor").items():
        assert not torch.equal(tensor[0], before[name][0])
        assert torch.equal(tensor[1], before[name][1])


@EVERY_ALGORITHM
def test_an_absent_agent_changes_nothing_not_even_as_nan(name: str) -> None:
    check_absence(ALGORITHMS[name].config())


@pytest.mark.parametrize("sharing", [Sharing.SHARED_WITH_ID, Sharing.SEPARATE])
def test_nor_does_it_whosever_the_networks_are(sharing: Sharing) -> None:
    check_absence(MaddpgConfig(share_actor=sharing, share_critic=sharing))


def check_absence(config: MaddpgConfig) -> None:
    spec = two_roles()
    states = []
    for padding in (0.0, math.nan):
        learner = make(spec, config, normalize=True)
        for seed in range(4):
            batch = absent(random_batch(spec, seed=seed), 1, spec, padding)
            learner.observe(batch.obs, batch.agent_mask)
            learner.update(batch)
        states.append(learner.state_dict())
        assert all(torch.isfinite(figure).all() for figure in learner.metrics().values())
    assert same_state(*states)


def test_who_died_for_its_group_still_learns_its_value() -> None:
    """No actions any more, so nothing for the actor; but a return, so something for the critic."""
    spec = one_role()
    config = MaddpgConfig(share_actor=Sharing.SEPARATE, share_critic=Sharing.SEPARATE)
    learner = make(spec, config)
    batch = random_batch(spec)
    batch.agent_mask[:, 1] = 0.0
    before = weights(learner, "actor", "critic")
    learner.update(batch)
    after = weights(learner, "actor", "critic")
    assert torch.equal(after["actor.0.2.bias"][1], before["actor.0.2.bias"][1])
    assert not torch.equal(after["critic.0.2.bias"][1], before["critic.0.2.bias"][1])


@EVERY_ALGORITHM
def test_like_agents_that_share_everything_may_change_places(name: str) -> None:
    spec = one_role(2)
    config = ALGORITHMS[name].config(
        share_actor=Sharing.SHARED, share_critic=Sharing.SHARED, target_noise=0.0
    )
    batch = random_batch(spec)
    swapped = Batch(
        *(
            tensor if tensor.shape[1] == 0 else tensor.view(16, 2, -1).flip(1).reshape(tensor.shape)
            for tensor in batch
        )
    )
    one, other = make(spec, config), make(spec, config)
    for _ in range(2):
        one.update(batch)
        other.update(swapped)
    for mine, its in zip(weights(one).values(), weights(other).values(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)
    figures = zip(one.metrics().items(), other.metrics().values(), strict=True)
    for (figure, mine), its in figures:
        torch.testing.assert_close(mine.flip(0), its, rtol=1e-3, atol=1e-5, msg=figure)


def test_batch_norm_draws_targets_along_and_keeps_absent_rows_out() -> None:
    spec = one_role()
    config = MaddpgConfig(
        layer_normalisation=LayerNormalisation.BATCH,
        share_actor=Sharing.SEPARATE,
        share_critic=Sharing.SEPARATE,
        tau=0.5,
    )
    learner = make(spec, config)
    before = weights(learner)
    learner.update(absent(random_batch(spec), 1, spec, 0.0))
    after = weights(learner)
    for part in ("actor", "critic"):
        name = f"{part}.0.0.mean"
        assert not torch.equal(after[name][0], before[name][0])
        assert torch.equal(after[name][1], before[name][1])
        half_way = (before[f"target_{name}"] + after[name]) / 2
        torch.testing.assert_close(after[f"target_{name}"], half_way)


# --- settings ---------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "learning_rate": 1e-2,
    "critic_learning_rate": 1e-2,
    "tau": 0.5,
    "policy_delay": 3,
    "twin_critics": True,
    "target_noise": 0.3,
    "share_actor": Sharing.SHARED_WITH_ID,
    "share_critic": Sharing.SHARED_WITH_ID,
    "centralised_critic": False,
    "layer_normalisation": LayerNormalisation.LAYER,
    "observation_clip": 0.5,
    "logit_regularisation": 0.5,
    "gumbel_temperature": 5.0,
    "critic_loss": ValueLoss.HUBER,
    "max_gradient_norm": 1e-4,
}


def after_updates(config: MaddpgConfig, num_updates: int = 3) -> dict[str, Any]:
    spec = one_role(2, HYBRID)
    learner = make(spec, config, normalize=True)
    for seed in range(num_updates):
        batch = random_batch(spec, seed=seed)
        batch.reward.mul_(5.0)
        learner.observe(batch.obs, batch.agent_mask)
        learner.update(batch)
    return weights(learner)


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_learner_changes_something(field: str) -> None:
    check_change(after_updates, MaddpgConfig(), **{field: CHANGES[field]})


def test_no_field_is_forgotten() -> None:
    """Noise is the players', and its clip is changed below."""
    of_players = {"noise_type", "noise_scale", "noise_floor", "noise_decay", "noise_theta", "epsilon"}
    of_players |= {"noise_anneal_steps", "random_steps", "saturation_nudge"}
    check_none_is_forgotten(MaddpgConfig, CHANGES, REWARDS | REPLAYS | of_players | {"target_noise_clip"})


def test_noise_beyond_the_clip_is_cut() -> None:
    wide, narrow = (Matd3Config(target_noise_clip=clip) for clip in (9.0, 0.01))
    assert not same_state(after_updates(wide), after_updates(narrow))


def test_actors_and_targets_wait_for_the_critics() -> None:
    spec = one_role()
    learner = make(spec, Matd3Config(policy_delay=3))
    start = weights(learner, "actor", "target_actor", "target_critic")
    moved = []
    for seed in range(6):
        before = weights(learner, "actor", "target_actor", "target_critic")
        learner.update(random_batch(spec, seed=seed))
        moved.append(bool(changed(before, weights(learner, "actor", "target_actor", "target_critic"))))
    assert moved == [False, False, True, False, False, True]
    assert changed(start, weights(learner, "actor", "target_actor", "target_critic")) == set(start)


def test_a_learning_rate_fraction_scales_the_step() -> None:
    spec = one_role()
    steps = []
    for fraction in (1.0, 0.5, 0.0):
        learner = make(spec)
        learner.set_learning_rate_fraction(fraction)
        before = weights(learner, "critic")
        learner.update(random_batch(spec))
        after = weights(learner, "critic")
        steps.append(torch.cat([(after[name] - before[name]).flatten() for name in before]))
    torch.testing.assert_close(steps[1], steps[0] / 2, rtol=1e-2, atol=1e-6)
    assert steps[0].abs().max() > 1e-4
    assert not steps[2].any()


def test_the_actors_rate_follows_too() -> None:
    spec = one_role()
    learner = make(spec)
    learner.set_learning_rate_fraction(0.0)
    before = weights(learner, "actor")
    learner.update(random_batch(spec))
    assert not changed(before, weights(learner, "actor"))
    learner.set_learning_rate_fraction(1.0)
    learner.update(random_batch(spec))
    assert changed(before, weights(learner, "actor")) == set(before)


BAD_VALUES = {
    "batch_size": 0,
    "buffer_size": 100,
    "buffer_init_steps": -1,
    "steps_per_update": 0.0,
    "learning_rate": 0.0,
    "critic_learning_rate": -1e-3,
    "tau": 5.0,
    "n_step": 0,
    "policy_delay": 0,
    "target_noise": -0.1,
    "target_noise_clip": -0.1,
    "observation_clip": 0.0,
    "logit_regularisation": -1.0,
    "gumbel_temperature": 0.0,
    "max_gradient_norm": -1.0,
    "noise_scale": -0.1,
    "noise_floor": 0.9,
    "noise_decay": 1.1,
    "noise_anneal_steps": -1,
    "noise_theta": 0.0,
    "epsilon": 2.0,
    "random_steps": -1,
    "saturation_nudge": -0.1,
    "non_positive_share": 0.0,
    "non_positive_steps": -1,
    "reward_mix": 1.5,
    "positive_reward_scale": -1.0,
}


@EVERY_ALGORITHM
@pytest.mark.parametrize("field", BAD_VALUES)
def test_a_value_out_of_range_is_refused_with_what_to_do(name: str, field: str) -> None:
    check_refused(ALGORITHMS[name].config, field, BAD_VALUES[field])


def test_nan_is_out_of_every_range() -> None:
    check_nan_refused(MaddpgConfig, BAD_VALUES)


def test_noise_falls_by_a_factor_or_on_a_line_and_not_by_both() -> None:
    config = MaddpgConfig(noise_scale=0.5, noise_floor=0.1, noise_anneal_steps=1_000)
    explorer = config.make_explorer(HYBRID, torch.Generator())
    shown = [explorer.figures(step)["noise_scale"] for step in (0, 250, 1_000, 50_000)]
    assert shown == pytest.approx([0.5, 0.4, 0.1, 0.1])
    both = r"^noise_decay: expected 1 with noise_anneal_steps: 1000, got 0.999; .+, leave one out$"
    with pytest.raises(ValueError, match=both):
        MaddpgConfig(noise_anneal_steps=1_000, noise_decay=0.999)


@EVERY_ALGORITHM
def test_presets_change_defaults_and_add_nothing(name: str) -> None:
    config = ALGORITHMS[name].config()
    assert isinstance(config, MaddpgConfig)
    assert vars(config).keys() == vars(MaddpgConfig()).keys()
    assert config.reward_sharing.value == ("group_mean" if name.endswith("_shared") else "individual")
    assert config.twin_critics is name.startswith("matd3")
    assert config.centralised_critic is (name != "iddpg")


# --- reproduction and checkpoints ---------------------------------------------------------------------------


@EVERY_ALGORITHM
def test_a_seed_repeats_every_bit(name: str) -> None:
    spec = two_roles()
    states = []
    for seed in (3, 3, 4):
        learner = make(spec, ALGORITHMS[name].config(), seed=seed, normalize=True)
        for k in range(5):
            learner.update(random_batch(spec, seed=k))
        states.append(learner.state_dict())
    assert same_state(states[0], states[1])
    assert not same_state(states[0], states[2])


@EVERY_ALGORITHM
@pytest.mark.parametrize("norm", list(LayerNormalisation))
def test_a_checkpoint_goes_on_bit_for_bit(name: str, norm: LayerNormalisation) -> None:
    spec = two_roles()
    config = ALGORITHMS[name].config(layer_normalisation=norm, share_actor=Sharing.SEPARATE)
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
    obs, slot = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0])
    assert torch.equal(learner.actor.forward_rows(obs, slot), resumed.actor.forward_rows(obs, slot))


def test_a_state_is_a_copy() -> None:
    spec = one_role()
    learner = make(spec)
    state = learner.state_dict()
    before = {name: tensor.clone() for name, tensor in state["actor"].items()}
    learner.update(random_batch(spec))
    assert all(torch.equal(tensor, before[name]) for name, tensor in state["actor"].items())


@pytest.mark.parametrize(
    "part",
    [
        "actor",
        "critic",
        "target_actor",
        "target_critic",
        "normaliser",
        "actor_optimiser",
        "critic_optimiser",
        "counters",
        "updates",
        "random",
    ],
)
def test_a_missing_part_is_named_and_nothing_is_loaded(part: str) -> None:
    learner = make(one_role(), normalize=True)
    saved = make(one_role(), seed=1, normalize=True).state_dict()
    del saved[part]
    before = learner.state_dict()
    with pytest.raises(ValueError, match=rf"checkpoint entry {part}: expected it to be there, got none; "):
        learner.load_state_dict(saved)
    assert same_state(before, learner.state_dict())


@pytest.mark.parametrize(
    ("part", "entry"),
    [
        ("actor", "0.1.weight"),
        ("critic_optimiser", "0.second_moment"),
        ("normaliser", "0.mean"),
        ("counters", "updates_without_gradient"),
    ],
)
def test_a_wrong_entry_is_named_and_nothing_is_loaded(part: str, entry: str) -> None:
    learner = make(one_role(), normalize=True)
    before = learner.state_dict()
    for wrong, told in (
        (None, "expected it to be there, got none"),
        (torch.zeros(3, 3, 3), r"expected shape .+, got \(3, 3, 3\)"),
        ("text", "expected a tensor, got 'text'"),
    ):
        saved = make(one_role(), seed=1, normalize=True).state_dict()
        if wrong is None:
            del saved[part][entry]
        else:
            saved[part][entry] = wrong
        with pytest.raises(ValueError, match=rf"checkpoint entry {part}\.{entry}: {told}.*; "):
            learner.load_state_dict(saved)
        assert same_state(before, learner.state_dict())


def test_an_unknown_entry_is_refused() -> None:
    saved = make(one_role(), normalize=True).state_dict()
    with pytest.raises(ValueError, match=r"checkpoint entry normaliser\.0\.count: expected no such entry"):
        make(one_role()).load_state_dict(saved)


def test_a_new_run_can_start_from_the_weights_of_another() -> None:
    spec = one_role()
    old = make(spec, normalize=True)
    for seed in range(3):
        old.observe(random_batch(spec, seed=seed).obs, torch.ones(16, 2))
        old.update(random_batch(spec, seed=seed))
    new = make(spec, seed=5, normalize=True)
    optimiser = new.state_dict()["actor_optimiser"]
    new.load_weights(old.state_dict())
    state, expected = new.state_dict(), old.state_dict()
    assert all(same_state(state[part], expected[part]) for part in (*NETWORKS, "normaliser"))
    assert same_state(state["actor_optimiser"], optimiser)
    assert state["updates"] == 0


# --- figures ----------------------------------------------------------------------------------------------


@EVERY_ALGORITHM
def test_figures_are_per_slot_and_absent_before_their_update(name: str) -> None:
    spec = two_roles()
    learner = make(spec, ALGORITHMS[name].config(policy_delay=2))
    assert learner.metrics() == {}
    learner.update(random_batch(spec))
    of_critics = {"critic_loss", "q_mean", "q_max", "td_error", "critic_gradient_norm"}
    assert learner.metrics().keys() == of_critics
    learner.update(random_batch(spec))
    of_actors = {"policy_loss", "raw_magnitude", "saturated_share", "actor_gradient_norm"}
    figures = learner.metrics()
    assert figures.keys() == of_critics | of_actors | {"updates_without_gradient"}
    for figure, value in figures.items():
        assert value.shape == (3,), figure
        assert torch.isfinite(value).all(), figure


def test_saturated_actors_are_told_from_others_and_counted_as_stuck() -> None:
    spec = one_role()
    config = MaddpgConfig(share_actor=Sharing.SEPARATE, logit_regularisation=0.0)
    learner = make(spec, config)
    state = learner.state_dict()
    state["actor"]["0.2.bias"][0] = torch.tensor([30.0, -30.0])
    learner.load_state_dict(state)
    for _ in range(3):
        learner.update(random_batch(spec))
    figures = learner.metrics()
    assert figures["saturated_share"].tolist() == [1.0, 0.0]
    assert figures["raw_magnitude"][0] == pytest.approx(30.0, rel=1e-2)
    assert figures["raw_magnitude"][1] < 1.0
    assert figures["updates_without_gradient"].tolist() == [3, 0]
    state = learner.state_dict()
    state["actor"]["0.2.bias"][0] = 0.0
    learner.load_state_dict(state)
    learner.update(random_batch(spec))
    assert learner.metrics()["updates_without_gradient"].tolist() == [0, 0]


def test_the_largest_value_is_that_of_valid_rows() -> None:
    spec = one_role()
    learner = make(spec)
    batch = random_batch(spec)
    learner.update(batch)
    everywhere = learner.metrics()["q_max"]
    batch.value_mask[:, 1] = 0.0
    learner.update(batch)
    assert learner.metrics()["q_max"][1] == 0.0
    assert everywhere[1] != 0.0


def test_a_weight_that_is_not_finite_is_noticed() -> None:
    learner = make(one_role())
    assert learner.is_finite()
    for part in ("actor", "critic"):
        state = learner.state_dict()
        state[part]["0.1.weight"][0, 0, 0] = math.nan
        learner.load_state_dict(state)
        assert not learner.is_finite()
        state[part]["0.1.weight"][0, 0, 0] = 0.0
        learner.load_state_dict(state)


def test_a_group_of_unlike_roles_learns() -> None:
    """Roles that see and do other things: each learns the best action of its own."""
    spec = two_roles()
    learner = make(spec, MaddpgConfig(learning_rate=3e-3, critic_learning_rate=3e-3), hidden_units=32)
    for seed in range(300):
        batch = random_batch(spec, 64, seed=seed)
        first, second = spec.role_action(batch.action, 0), spec.role_action(batch.action, 1)
        reward = torch.cat([first[..., 0], second[..., 1] - second[..., 0]], -1)
        learner.update(batch._replace(reward=reward, bootstrap=torch.zeros_like(reward)))
    obs = random_batch(spec, 50, seed=999).obs
    a, b = learner.actor(obs, spec)
    assert torch.tanh(a[..., 0]).mean() > 0.9
    assert torch.tanh(b[..., 0]).mean() < -0.9
    assert (b[..., 1:].argmax(-1) == 0).float().mean() > 0.95
