"""The MAPPO family: its gradient against autograd, who learns from what, and that nothing is lost in a checkpoint."""

import io
import math

import attrs
import pytest
import torch
from torch import Tensor, nn

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.distributions import StdType
from mlagents_marl_plugin.core.gae import gae
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.on_policy_samples import AdvantageNormalisation, normalised_advantage
from mlagents_marl_plugin.core.plain_network import plain_network
from mlagents_marl_plugin.core.value_critics import ValueOutput
from mlagents_marl_plugin.core.value_normalisation import ValueNormalisation
from tests.unit.groups import DISCRETE, HYBRID, one_role, random_rollout, two_roles
from tests.unit.learner_states import changed, same_state, weights
from tests.unit.mappo_learners import DISCOUNT, make, played_by

FAMILY = [name for name, algorithm in ALGORITHMS.items() if algorithm.learner is MappoLearner]
EVERY_ALGORITHM = pytest.mark.parametrize("name", FAMILY)
EVERY_SHARING = pytest.mark.parametrize("sharing", list(Sharing))


def gradients(learner: MappoLearner) -> list[Tensor]:
    return [net.gradient.clone() for net in (*learner.actor.nets, *learner.critic.nets)]


# --- the gradient, by autograd ------------------------------------------------------------------------------


def test_the_whole_update_is_that_of_autograd() -> None:
    """Two agents with networks of their own: every gradient of the clipped losses, written as in the papers."""
    spec = one_role(2, HYBRID)
    config = MappoConfig(
        share_actor=Sharing.SEPARATE,
        share_critic=Sharing.SEPARATE,
        value_normalisation=ValueNormalisation.NONE,
        critic_loss=ValueLoss.HUBER,
        huber_threshold=1.0,
        value_clip=0.05,
        max_gradient_norm=0.0,
        num_epoch=2,
        beta=0.3,
        learning_rate=0.05,
        critic_learning_rate=0.05,
    )
    learner = make(spec, config)
    batch = played_by(learner, random_rollout(spec))
    first = make(spec, attrs.evolve(config, num_epoch=1))
    first.load_state_dict(learner.state_dict())
    first.update(batch)  # the networks that the second epoch starts from
    learner.update(batch)

    obs, critic_in, rows = batch.obs.view(-1, 2, 5), batch.obs, len(batch.action)
    actors = [plain_network(first.actor.nets[0], k, 5) for k in range(2)]
    log_std = nn.Parameter(first.actor.nets[0].part("free").clone())
    critics = [plain_network(first.critic.nets[0], k, 10) for k in range(2)]
    old_critics = [plain_network(make(spec, config).critic.nets[0], k, 10) for k in range(2)]
    with torch.no_grad():
        value = torch.cat([net(critic_in) for net in old_critics], 1)
    advantage = gae(
        batch.reward,
        value[:rows],
        value[batch.successor],
        batch.terminated,
        batch.cut,
        batch.successor,
        DISCOUNT,
        0.95,
    )
    target = advantage + value[:rows]
    normalised = (advantage - advantage.mean()) / advantage.std(correction=0)
    loss = torch.zeros(())
    for k in range(2):
        raw, action = actors[k](obs[:rows, k]), spec.role_action(batch.action, 0)[:, k]
        normal = torch.distributions.Normal(raw[:, :1], log_std[k].exp())
        choice = torch.distributions.Categorical(logits=raw[:, 1:])
        log_prob = normal.log_prob(action[:, :1]).sum(-1) + choice.log_prob(action[:, 1:].argmax(-1))
        ratio = (log_prob - batch.log_prob[:, k]).exp()
        bounded = ratio.clamp(0.8, 1.2)
        assert bool((ratio != bounded).any())
        surrogate = torch.minimum(ratio * normalised[:, k], bounded * normalised[:, k])
        entropy = normal.entropy().sum(-1) + choice.entropy()
        loss = loss - surrogate.mean() - 0.3 * entropy.mean()
        now = critics[k](critic_in[:rows]).squeeze(1)
        near = value[:rows, k] + (now - value[:rows, k]).clamp(-0.05, 0.05)
        huber = nn.HuberLoss(reduction="none")
        loss = loss + torch.maximum(huber(now, target[:, k]), huber(near, target[:, k])).mean()
    loss.backward()
    for net, plain in ((learner.actor.nets[0], actors), (learner.critic.nets[0], critics)):
        for i, layer in enumerate((0, 2, 4)):
            for name in ("weight", "bias"):
                expected = torch.stack([getattr(network[layer], name).grad for network in plain])
                assert torch.allclose(net.part_gradient(f"{i}.{name}"), expected, atol=1e-5), f"{i}.{name}"
    assert log_std.grad is not None
    assert torch.allclose(learner.actor.nets[0].part_gradient("free"), log_std.grad, atol=1e-5)


@EVERY_ALGORITHM
@pytest.mark.parametrize("normalize", [False, True])
def test_the_first_epoch_finds_the_policy_that_acted(name: str, normalize: bool) -> None:
    spec = two_roles()
    learner = make(spec, ALGORITHMS[name].config(num_epoch=1), normalize=normalize)
    for seed in range(3):
        batch = played_by(learner, random_rollout(spec, seed=seed))
        learner.observe(batch.obs, batch.agent_mask)
        learner.update(batch)
        metrics = learner.metrics()
        assert metrics["ratio_mean"].tolist() == pytest.approx([1.0] * 3, abs=1e-5)
        assert metrics["approx_kl"].tolist() == pytest.approx([0.0] * 3, abs=1e-6)
        assert metrics["clip_fraction"].tolist() == [0.0] * 3


def test_values_bootstrap_at_limits_and_not_at_ends() -> None:
    spec = one_role()
    learner = make(spec, MappoConfig(lambd=0.0, value_normalisation=ValueNormalisation.NONE))
    last = learner.critic.nets[0].part("2.bias")
    learner.critic.nets[0].part("2.weight").zero_()
    last.fill_(10.0)
    batch = random_rollout(spec, 3)
    batch.reward.fill_(1.0)
    batch.terminated.copy_(torch.tensor([[1.0, 0.0]] * 3))
    learner.update(batch)
    assert learner.metrics()["return_mean"].tolist() == pytest.approx([1.0, 1.0 + DISCOUNT * 10.0])


# --- who learns from what -----------------------------------------------------------------------------------


@EVERY_ALGORITHM
@EVERY_SHARING
def test_whoever_is_absent_contributes_nothing(name: str, sharing: Sharing) -> None:
    """Whatever stands where a slot is absent, and whatever rewards it is said to get there."""
    check_absence(ALGORITHMS[name].config(share_actor=sharing, share_critic=sharing, num_epoch=2))


@pytest.mark.parametrize("value_output", [ValueOutput.PER_AGENT, ValueOutput.GROUP])
def test_nor_does_it_to_critics_that_read_everybody_once(value_output: ValueOutput) -> None:
    check_absence(MappoConfig(value_output=value_output, num_epoch=2))


def check_absence(config: MappoConfig) -> None:
    spec = one_role(3)
    found = []
    for padding in (0.0, 5.0):
        learner, batch = make(spec, config), random_rollout(spec)
        for tensor, role_part in ((batch.obs, spec.role_obs), (batch.action, spec.role_action)):
            role_part(tensor, 0)[:, 1] = padding
        for tensor in (batch.reward, batch.log_prob):
            tensor[:, 1] = padding
        for mask in (batch.agent_mask, batch.acted, batch.value_mask):
            mask[:, 1] = 0.0
        learner.update(batch)
        found.append(learner.state_dict())
    assert same_state(*found)


def test_one_who_died_still_teaches_the_critic_but_no_actor() -> None:
    spec = one_role(2)
    config = MappoConfig(share_actor=Sharing.SEPARATE, share_critic=Sharing.SEPARATE)
    learner, batch = make(spec, config), random_rollout(spec)
    batch.agent_mask[:, 1] = batch.acted[:, 1] = 0.0
    before = weights(learner, "actor", "critic")
    learner.update(batch)
    after = weights(learner, "actor", "critic")
    assert torch.equal(before["actor.0.0.weight"][1], after["actor.0.0.weight"][1])
    assert not torch.equal(before["actor.0.0.weight"][0], after["actor.0.0.weight"][0])
    assert not torch.equal(before["critic.0.0.weight"][1], after["critic.0.0.weight"][1])


def test_an_action_that_is_only_kept_up_is_not_learnt() -> None:
    spec = one_role(1)
    learner, batch = make(spec), random_rollout(spec)
    batch.acted.zero_()
    before = weights(learner, "actor")
    learner.update(batch)
    assert not changed(before, weights(learner, "actor"))


@EVERY_ALGORITHM
def test_actors_see_their_own_agent_and_critics_whom_they_should(name: str) -> None:
    spec, batch = one_role(2), random_rollout(one_role(2))
    learner = make(spec, ALGORITHMS[name].config())
    other = batch.obs.clone()
    spec.role_obs(other, 0)[:, 1] += 1.0
    own, same = (
        learner.actor.distribution(o, spec, torch.ones(27, 0), 0).mean[:, 0] for o in (batch.obs, other)
    )
    assert torch.equal(own, same)
    value, its_value = (learner.critic(o)[:, 0] for o in (batch.obs, other))
    assert torch.equal(value, its_value) is not ALGORITHMS[name].config().centralised_critic


def test_a_shared_critic_knows_whose_value_is_asked_for() -> None:
    """Turning the slots turns the values (ADR 0004)."""
    spec, obs = one_role(3), random_rollout(one_role(3)).obs
    learner = make(spec)
    turned = obs.view(-1, 3, 5).roll(1, 1).flatten(1)
    assert torch.allclose(learner.critic(turned), learner.critic(obs).roll(1, 1), atol=1e-5)


@pytest.mark.parametrize("output", list(ValueOutput))
def test_values_are_per_agent_or_one_for_all(output: ValueOutput) -> None:
    spec = two_roles()
    learner = make(spec, MappoConfig(value_output=output))
    batch = random_rollout(spec, 200)
    batch.reward.copy_(torch.tensor([1.0, 2.0, 3.0]).expand(200, 3))
    batch.terminated.fill_(1.0)
    for _ in range(30):
        learner.update(batch)
    value = learner.metrics()["value_mean"].tolist()
    expected = [2.0] * 3 if output is ValueOutput.GROUP else [1.0, 2.0, 3.0]
    if output is ValueOutput.OWN_VIEW:  # two like agents, told apart by what they see only
        expected = [1.5, 1.5, 3.0]
    assert value == pytest.approx(expected, abs=0.25)


@EVERY_SHARING
@pytest.mark.parametrize("centralised", [True, False])
def test_micro_batches_change_no_gradient(sharing: Sharing, centralised: bool) -> None:
    spec, found = two_roles(), []
    for micro in (0, 15, 3):
        config = MappoConfig(
            share_actor=sharing,
            share_critic=sharing,
            centralised_critic=centralised,
            micro_batch_size=micro,
            num_epoch=1,
            max_gradient_norm=0.0,
        )
        learner, batch = make(spec, config), random_rollout(spec)
        batch.agent_mask[:9, 1] = batch.acted[:9, 1] = batch.value_mask[:9, 1] = 0.0
        learner.update(batch)
        assert len(learner._policy_steps) == {0: 1, 15: 5, 3: 24}[micro]
        found.append(gradients(learner))
    for split in found[1:]:
        for whole, summed in zip(found[0], split, strict=True):
            assert torch.allclose(whole, summed, atol=1e-6)


def test_forbidden_choices_are_never_made_after_any_update() -> None:
    spec = one_role(2, DISCRETE)
    learner, batch = make(spec, MappoConfig(learning_rate=0.1)), random_rollout(spec, 200)
    allowed = spec.role_allowed(batch.allowed, 0)
    allowed[..., 0], allowed[:100, :, 3] = 0.0, 0.0
    for _ in range(3):
        batch = played_by(learner, batch)
        action = spec.role_action(batch.action, 0)
        assert not bool(action[allowed == 0].any())
        learner.update(batch)
        assert learner.is_finite()


# --- options ------------------------------------------------------------------------------------------------


def test_normalising_and_back_changes_no_value() -> None:
    learner = make(one_role())
    values = learner._values
    values.observe(100.0 + 7.0 * torch.randn(500, 2), torch.ones(500, 2))
    returns = 100.0 + 20.0 * torch.randn(50, 2)
    assert torch.allclose(values.denormalise(values.normalise(returns)), returns, rtol=1e-4)
    assert float(values.normalise(returns).abs().max()) < 12.0


def test_value_statistics_are_those_of_what_counts_and_fade() -> None:
    learner = make(one_role(), MappoConfig(share_critic=Sharing.SEPARATE, value_norm_decay=0.5))
    values, mask = learner._values, torch.ones(4, 2)
    mask[2:, 1] = 0.0
    first = torch.tensor([[1.0, 10.0], [3.0, 20.0], [5.0, float("nan")], [7.0, float("inf")]])
    values.observe(first, mask)
    assert values.mean.tolist() == pytest.approx([4.0, 15.0])
    assert values.variance.tolist() == pytest.approx([5.0, 25.0])
    values.observe(torch.full((4, 2), 10.0), torch.ones(4, 2))
    assert values.mean.tolist() == pytest.approx(
        [(4 * 0.25 + 10 * 0.5) / 0.75, (15 * 0.25 + 10 * 0.5) / 0.75]
    )


@EVERY_SHARING
@pytest.mark.parametrize("centralised", [True, False])
def test_popart_changes_the_units_and_no_value(sharing: Sharing, centralised: bool) -> None:
    spec = two_roles()
    config = MappoConfig(
        value_normalisation=ValueNormalisation.POPART, share_critic=sharing, centralised_critic=centralised
    )
    learner, obs = make(spec, config), random_rollout(spec).obs
    before = learner._values.denormalise(learner.critic(obs))
    learner._values.observe(50.0 + 9.0 * torch.randn(200, 3), torch.ones(200, 3))
    assert torch.allclose(learner._values.denormalise(learner.critic(obs)), before, atol=1e-4)


@pytest.mark.parametrize("normalisation", list(AdvantageNormalisation))
def test_advantages_are_normalised_over_whom_they_should(normalisation: AdvantageNormalisation) -> None:
    advantage, mask = torch.tensor([[1.0, 10.0], [3.0, 30.0], [99.0, 99.0]]), torch.ones(3, 2)
    mask[2] = 0.0
    found = normalised_advantage(advantage, mask, normalisation)
    expected = {
        AdvantageNormalisation.NONE: [[1.0, 10.0], [3.0, 30.0]],
        AdvantageNormalisation.AGENT: [[-1.0, -1.0], [1.0, 1.0]],
        AdvantageNormalisation.BATCH: ((advantage[:2] - 11) / math.sqrt(131.5)).tolist(),
    }
    assert torch.allclose(found[:2], torch.tensor(expected[normalisation]), atol=1e-4)
    assert not bool(found[2].any())


def test_epochs_end_once_the_policy_has_moved_far_enough() -> None:
    def epochs(target: float) -> float:
        learner = make(one_role(), MappoConfig(target_kl=target, learning_rate=0.02, num_epoch=10))
        learner.update(played_by(learner, random_rollout(one_role())))
        return float(learner.metrics()["epochs"])

    assert epochs(0.0) == 10
    assert epochs(1e9) == 10
    assert 2 <= epochs(0.01) < 10


def test_the_divergence_penalty_holds_the_policy_back_and_adapts() -> None:
    def moved(penalty: float) -> tuple[float, float]:
        config = MappoConfig(epsilon=0.0, kl_penalty=penalty, target_kl=0.01, learning_rate=0.01)
        learner = make(one_role(), config)
        learner.update(played_by(learner, random_rollout(one_role(), 100)))
        metrics = learner.metrics()
        return float(metrics["approx_kl"].mean()), float(metrics["kl_weight"])

    weak, strong = moved(1e-3), moved(1e3)
    assert strong[0] < 0.01 < weak[0]
    assert weak[1] == pytest.approx(2e-3)
    assert strong[1] == pytest.approx(500.0)


@pytest.mark.parametrize("std_type", list(StdType))
def test_only_a_learned_deviation_learns(std_type: StdType) -> None:
    spec = one_role()
    learner = make(spec, MappoConfig(std_type=std_type, initial_std=0.7, min_std=0.1, learning_rate=0.01))
    obs, slot = torch.randn(50, 5), torch.zeros(50, dtype=torch.int64)

    def std() -> Tensor:
        return learner.actor._distribution_of_rows(obs, torch.ones(50, 0), slot, 0).log_std.exp()

    assert std().flatten().tolist() == pytest.approx([0.7] * std().numel(), abs=0.05)
    before = std().mean()
    learner.update(played_by(learner, random_rollout(spec)))
    learns = std_type in (StdType.LEARNED, StdType.STATE_DEPENDENT)
    assert bool((std().mean() - before).abs() > 1e-4) is learns


def test_a_learned_deviation_keeps_above_its_floor() -> None:
    spec = one_role()
    config = MappoConfig(initial_std=0.2, min_std=0.19, learning_rate=0.1, beta=0.0)
    learner, batch = make(spec, config), random_rollout(spec)
    batch.reward.copy_(batch.log_prob)
    for _ in range(5):
        learner.update(batch)
    assert float(learner.actor.nets[0].part("free").exp().min()) >= 0.19 - 1e-6


def test_reward_scaling_makes_the_scale_of_rewards_irrelevant() -> None:
    batch, found = random_rollout(one_role()), []
    for factor in (1.0, 1000.0):
        learner = make(one_role(), MappoConfig(reward_scaling=True))
        found.append(learner._reward_scale(batch._replace(reward=batch.reward * factor)))
    assert torch.allclose(*found, rtol=1e-4)
    ratio = batch.reward / found[0]
    assert torch.allclose(ratio, ratio[0, 0])
    assert float(ratio[0, 0]) > float(batch.reward.std())  # returns vary more than rewards


@pytest.mark.parametrize("same", [-1.0, 0.1, 12_345.6, 0.0])
def test_rewards_are_scaled_once_returns_differ(same: float) -> None:
    """Until then nothing says how large they are."""
    spec, learner = one_role(), make(one_role(), MappoConfig(reward_scaling=True))
    batch = random_rollout(spec, 200)
    batch = batch._replace(terminated=torch.ones_like(batch.reward), cut=torch.ones(200))
    alike = batch._replace(reward=torch.full_like(batch.reward, same))
    for _ in range(5):
        assert torch.equal(learner._reward_scale(alike), alike.reward)
    spread = 1e-2 * max(abs(same), 1.0)
    scaled = learner._reward_scale(batch._replace(reward=alike.reward + spread * batch.reward))
    assert float(scaled.std()) > 1.0


def test_mini_batches_see_every_row_once_per_epoch() -> None:
    spec = one_role()
    learner = make(spec, MappoConfig(batch_size=10, num_epoch=3))
    seen: list[list[Tensor]] = []
    step = learner._step
    learner._step = lambda part: (seen.append(part.samples[:, 0].tolist()), step(part))[1]  # type: ignore
    batch = random_rollout(spec, 24)
    learner.update(batch)
    assert [len(rows) for rows in seen] == [4, 5, 5, 5, 5] * 3
    every = sorted(batch.obs[:24, 0].tolist())
    for epoch in range(3):
        assert sorted(x for rows in seen[5 * epoch : 5 * epoch + 5] for x in rows) == every
    assert seen[0] != seen[5]


def test_absent_agents_make_no_mini_batch_smaller() -> None:
    """Here one of two is there: 24 decisions in 24 rows, of which two mini-batches of 12 take 12 rows each."""
    spec = one_role(num_slots=2)
    batch = random_rollout(spec, 24)
    for mask in (batch.agent_mask, batch.acted, batch.value_mask):
        mask[:, 1] = 0.0
    learner = make(spec, MappoConfig(batch_size=12, num_epoch=1))
    sizes: list[int] = []
    step = learner._step
    learner._step = lambda part: (sizes.append(len(part.samples)), step(part))[1]  # type: ignore
    learner.update(batch._replace(num_decisions=torch.tensor(24)))
    assert sizes == [12, 12]


def test_a_rollout_that_is_longer_than_planned_is_not_split() -> None:
    spec = one_role()
    learner = make(spec, MappoConfig(batch_size=20, buffer_size=20, num_epoch=2))
    sizes: list[int] = []
    step = learner._step
    learner._step = lambda part: (sizes.append(len(part.samples)), step(part))[1]  # type: ignore
    learner.update(random_rollout(spec, 24))
    assert sizes == [24, 24]


def test_equal_observations_show_how_differently_agents_act() -> None:
    spec, batch = one_role(3, HYBRID), random_rollout(one_role(3, HYBRID))
    found = {}
    for sharing in Sharing:
        learner = make(spec, MappoConfig(share_actor=sharing, policy_gain=2.0))
        learner.update(batch)
        found[sharing] = float(learner.metrics()["action_diversity"])
    assert found[Sharing.SHARED] == 0.0
    assert 0.05 < found[Sharing.SHARED_WITH_ID] <= 1.0
    assert 0.05 < found[Sharing.SEPARATE] <= 1.0


# --- reproduction and checkpoints ---------------------------------------------------------------------------


@EVERY_ALGORITHM
def test_a_seed_repeats_every_bit(name: str) -> None:
    spec, states = two_roles(), []
    for seed in (3, 3, 4):
        learner = make(spec, ALGORITHMS[name].config(batch_size=20, num_epoch=2), seed=seed, normalize=True)
        for k in range(3):
            learner.update(random_rollout(spec, seed=k))
        states.append(learner.state_dict())
    assert same_state(states[0], states[1])
    assert not same_state(states[0], states[2])


@pytest.mark.parametrize("norm", [LayerNormalisation.NONE, LayerNormalisation.LAYER])
@EVERY_ALGORITHM
def test_a_checkpoint_goes_on_bit_for_bit(name: str, norm: LayerNormalisation) -> None:
    spec = two_roles()
    config = ALGORITHMS[name].config(
        layer_normalisation=norm,
        share_actor=Sharing.SEPARATE,
        batch_size=20,
        num_epoch=2,
        reward_scaling=True,
    )
    learner = make(spec, config, normalize=True)

    def go_on(learner: MappoLearner, seeds: range) -> None:
        for seed in seeds:
            batch = random_rollout(spec, seed=seed)
            learner.observe(batch.obs, batch.agent_mask)
            learner.update(batch)

    go_on(learner, range(3))
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    resumed = make(spec, config, seed=99, normalize=True)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert same_state(learner.state_dict(), resumed.state_dict())
    for going_on in (learner, resumed):
        go_on(going_on, range(3, 6))
    assert same_state(learner.state_dict(), resumed.state_dict())


def test_a_checkpoint_of_another_shape_is_refused_and_nothing_changed() -> None:
    learner, other = make(one_role()), make(one_role(), hidden_units=8)
    before = learner.state_dict()
    with pytest.raises(ValueError, match=r"^checkpoint entry actor.0.0.weight: expected shape"):
        learner.load_state_dict(other.state_dict())
    incomplete = {name: part for name, part in before.items() if name != "critic_normaliser"}
    with pytest.raises(ValueError, match=r"^checkpoint entry critic_normaliser: expected it to be there"):
        learner.load_state_dict(incomplete)
    assert same_state(before, learner.state_dict())


def test_weights_alone_start_a_new_run() -> None:
    spec = one_role()
    trained, batch = make(spec, normalize=True), random_rollout(spec)
    trained.observe(batch.obs, batch.agent_mask)
    trained.update(batch)
    for only_actor in (True, False):
        learner = make(spec, seed=1, normalize=True)
        before, saved = learner.state_dict(), trained.state_dict()
        learner.load_weights(saved, only_actor)
        after = learner.state_dict()
        for part in ("actor", "normaliser"):
            assert same_state(after[part], saved[part])
        kept = before if only_actor else saved
        assert same_state(after["critic"], kept["critic"])
        assert same_state(after["critic_normaliser"], kept["critic_normaliser"])
        assert same_state(after["actor_optimiser"], before["actor_optimiser"])


def test_a_policy_that_became_nan_is_noticed() -> None:
    learner = make(one_role())
    assert learner.is_finite()
    learner.actor.nets[0].part("free").fill_(float("nan"))
    assert not learner.is_finite()


def test_a_deviation_that_is_not_learnt_is_the_settings_whatever_is_loaded() -> None:
    """Fixed ones always, and in every gradient step; annealed ones where a run begins, while a resumed one goes on."""
    spec = one_role()
    learned = make(spec, MappoConfig(initial_std=0.8, learning_rate=0.01))
    batch = played_by(learned, random_rollout(spec))
    learned.update(batch)  # so that its optimiser pulls at the deviation
    saved, free = learned.state_dict(), learned.actor.nets[0].part("free").clone()

    def of(std_type: StdType) -> tuple[MappoLearner, Tensor]:
        learner = make(spec, MappoConfig(std_type=std_type, initial_std=0.3, learning_rate=0.01))
        return learner, learner.actor.nets[0].part("free")

    for load in ("load_weights", "load_state_dict"):
        fixed, its = of(StdType.FIXED)
        getattr(fixed, load)(saved)
        assert its.exp().flatten().tolist() == pytest.approx([0.3] * its.numel())
        fixed.update(batch)
        assert its.exp().flatten().tolist() == pytest.approx([0.3] * its.numel())
    annealed, its = of(StdType.ANNEALED)
    annealed.load_state_dict(saved)
    assert torch.equal(its, free)
    for only_actor in (True, False):
        annealed.load_weights(saved, only_actor)
        assert its.exp().flatten().tolist() == pytest.approx([0.3] * its.numel())
