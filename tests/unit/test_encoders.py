"""Encoders in front of stacked networks: their gradients, copies and states, and what critics read behind them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import attr
import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core import encoders
from mlagents_marl_plugin.core.encoded_critics import EncodedValueCritic, create_value_critic
from mlagents_marl_plugin.core.encoded_mixer import EncodedMixer
from mlagents_marl_plugin.core.encoded_q_critics import EncodedCritic, create_critic
from mlagents_marl_plugin.core.encoders import StackedEncoder
from mlagents_marl_plugin.core.group_encoder import GroupEncoder
from mlagents_marl_plugin.core.mixers import MonotonicMixer
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import DecentralisedActor, Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.sequences import Memory, Recurrence
from mlagents_marl_plugin.core.stacked_mlp import UNIFORM
from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec
from mlagents_marl_plugin.core.value_critics import ValueCritic, ValueOutput
from tests.unit.groups import CPU, DISCRETE, one_role, random_batch, random_rollout, two_roles
from tests.unit.seeing import NUM_FEATURES, PICTURE, VECTOR, Encoder, seeing, seeing_and_blind, seeing_role

SHAPES = [PICTURE, VECTOR]
OBS_SIZE = 27


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stacked(num_networks: int = 2, seed: int = 0) -> StackedEncoder:
    return StackedEncoder.create(lambda: Encoder(SHAPES), SHAPES, num_networks, CPU, generator(seed))


def test_a_seed_gives_the_same_encoders_all_unlike_each_other_and_leaves_torchs_own_numbers_alone() -> None:
    before = torch.get_rng_state()
    made = stacked()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(made.parameters, stacked().parameters)
    assert not torch.equal(made.parameters[0], made.parameters[1])
    assert made.num_features == NUM_FEATURES


@pytest.mark.parametrize("num_learnt", [7, 5])
@pytest.mark.parametrize("rows_at_once", [512, 3])
def test_features_and_gradients_are_those_of_the_modules(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int, num_learnt: int
) -> None:
    """Also where there are more rows than are computed at once, or some of which nothing is learnt."""
    monkeypatch.setattr(encoders, "_ROWS_AT_ONCE", rows_at_once)
    made = stacked()
    rows, of_features = torch.randn(2, 7, OBS_SIZE), torch.randn(2, num_learnt, NUM_FEATURES)
    features = made(rows)
    made.backward(of_features)
    for k in range(2):
        module = made.module(k)
        expected = module([rows[k, :, :24].unflatten(1, PICTURE), rows[k, :, 24:]])
        torch.testing.assert_close(features[k], expected.detach())
        (expected[:num_learnt] * of_features[k]).sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(made._gradient_parts[name][k], parameter.grad)


def test_a_backward_pass_needs_a_call_of_its_own() -> None:
    made = stacked(1)
    made(torch.randn(1, 2, OBS_SIZE))
    made.backward(torch.zeros(1, 2, NUM_FEATURES))
    with pytest.raises(RuntimeError, match=r"StackedEncoder\.backward: expected to come right after a call"):
        made.backward(torch.zeros(1, 2, NUM_FEATURES))


def test_copies_have_weights_of_their_own() -> None:
    made, rows = stacked(), torch.randn(2, 3, OBS_SIZE)
    for copy in (made.target_copy, lambda: made.acting_copy(CPU)):
        copied, before = copy(), made(rows)
        torch.testing.assert_close(copied(rows), before)
        made.parameters.add_(0.1)
        torch.testing.assert_close(copied(rows), before)
        assert not torch.equal(made(rows), before)
        copied.copy_weights(made)
        torch.testing.assert_close(copied(rows), made(rows))


CRITICS: list[ValueOutput | None] = [*ValueOutput, None]


def critic_of(
    spec: GroupSpec, output: ValueOutput | None, sharing: Sharing, memory_size: int = 0
) -> ValueCritic:
    rest = (UNIFORM, CPU, generator(1), memory_size)
    return create_value_critic(spec, output, sharing, (8,), LayerNormalisation.LAYER, *rest)


def slope(
    value: Callable[[], Tensor], weight: Tensor, place: Tensor, direction: Tensor, step: float = 2e-3
) -> float:
    """Derivative of a weighted sum along a direction of a tensor that the values depend on."""
    place.add_(direction, alpha=step)
    above = float((value() * weight).sum())
    place.add_(direction, alpha=-2 * step)
    below = float((value() * weight).sum())
    place.add_(direction, alpha=step)
    return (above - below) / (2 * step)


@pytest.mark.parametrize("memory_size", [0, 3])
@pytest.mark.parametrize("sharing", list(Sharing))
@pytest.mark.parametrize("output", CRITICS)
def test_a_critics_gradient_reaches_what_it_reads(
    output: ValueOutput | None, sharing: Sharing, memory_size: int
) -> None:
    """By finite differences along random directions of the joint observation."""
    spec = two_roles()
    critic = critic_of(spec, output, sharing, memory_size)
    for net in critic.nets:
        net.parameters.mul_(3.0)  # away from the small last layer
    joint, weight = torch.randn(4, spec.obs_size, generator=generator(2)), torch.randn(4, spec.num_slots)
    recurrence = None
    if memory_size:
        memory = torch.randn(2, *critic.memory_shape, generator=generator(3))
        recurrence = Recurrence((2, 2), memory, None)
    critic(joint, recurrence)
    of_joint = critic.joint_gradient(weight)  # type: ignore[attr-defined]
    for seed in range(3):
        direction = torch.nn.functional.normalize(
            torch.randn(joint.shape, generator=generator(seed)), dim=(0, 1)
        )
        found = slope(lambda: critic(joint, recurrence), weight, joint, direction)
        assert found == pytest.approx(float((of_joint * direction).sum()), rel=0.05, abs=2e-3)


@pytest.mark.parametrize("sharing", [Sharing.SHARED, Sharing.SEPARATE])
@pytest.mark.parametrize("output", CRITICS)
def test_critics_and_their_encoders_learn_as_one(output: ValueOutput | None, sharing: Sharing) -> None:
    spec = seeing_and_blind()
    critic = critic_of(spec, output, sharing)
    assert isinstance(critic, EncodedValueCritic)
    for net in critic.nets:
        net.parameters.mul_(3.0)
    encoder = critic.learnt[-1]
    joint, weight = torch.randn(4, spec.obs_size, generator=generator(2)), torch.randn(4, spec.num_slots)
    critic(joint)
    critic.backward(weight)
    gradient = encoder.gradient.clone()
    for seed in range(3):
        direction = torch.nn.functional.normalize(
            torch.randn(gradient.shape, generator=generator(seed)), dim=(0, 1)
        )
        found = slope(lambda: critic(joint), weight, encoder.parameters, direction)
        assert found == pytest.approx(float((gradient * direction).sum()), rel=0.05, abs=2e-3)


@pytest.mark.parametrize("spec", [two_roles(), seeing_and_blind()], ids=["read", "encoded"])
@pytest.mark.parametrize("sharing", list(Sharing))
@pytest.mark.parametrize("centralised", [True, False])
def test_critics_of_actions_learn_with_their_encoders(
    centralised: bool, sharing: Sharing, spec: GroupSpec
) -> None:
    """Both twins; by finite differences of the joint observation, or of the encoder's parameters."""
    rest = ((8,), LayerNormalisation.LAYER, CPU, generator(1))
    critic = create_critic(spec, centralised, sharing, 2, *rest)
    for net in critic.nets:
        net.parameters.mul_(3.0)
    joint = torch.randn(4, spec.obs_size + spec.action_size, generator=generator(2))
    weight = torch.randn(2, 4, spec.num_slots, generator=generator(4))
    critic(joint)
    if isinstance(critic, EncodedCritic):
        critic.backward(weight)
        place, gradient = critic.learnt[-1].parameters, critic.learnt[-1].gradient.clone()
    else:
        place = joint[:, : spec.obs_size]
        gradient = critic.joint_gradient(weight)  # type: ignore[attr-defined]
    for seed in range(3):
        direction = torch.nn.functional.normalize(
            torch.randn(gradient.shape, generator=generator(seed)), dim=(0, 1)
        )
        found = slope(lambda: critic(joint), weight, place, direction)
        assert found == pytest.approx(float((gradient * direction).sum()), rel=0.05, abs=2e-3)


@pytest.mark.parametrize("centralised", [True, False])
def test_critics_are_asked_about_actions_behind_their_encoders(centralised: bool) -> None:
    spec = seeing_and_blind()
    rest = ((8,), LayerNormalisation.NONE, CPU, generator(1))
    critic = create_critic(spec, centralised, Sharing.SHARED, 2, *rest)
    target = critic.target_copy()
    joint = torch.randn(3, spec.obs_size + spec.action_size)
    torch.testing.assert_close(target(joint), critic(joint))
    action = joint[:, spec.obs_size :]
    own = [spec.role_action(action, i) for i in range(2)]
    torch.testing.assert_close(critic.with_own_action(joint, own), critic(joint)[:1])
    twice = [part.repeat_interleave(2, 0) for part in own]
    torch.testing.assert_close(
        critic.with_own_action(joint, twice, 2)[:, ::2], critic.with_own_action(joint, own)
    )
    of_own = critic.own_action_gradient(torch.ones(1, 3, 3))
    assert [part.shape for part in of_own] == [part.shape for part in own]


def test_a_mixers_encoder_learns_from_the_groups_value() -> None:
    """By finite differences of the encoder's parameters; the gradient by the agents' values stays what it is."""
    spec, present = seeing_and_blind(), torch.ones(4, 3)
    encoder = GroupEncoder.create(spec, Sharing.SHARED, CPU, generator())
    assert encoder is not None
    inner = MonotonicMixer.create(3, encoder.features.obs_size + 3, 4, 8, CPU, generator(1))
    mixer = EncodedMixer(spec, encoder, inner)
    chosen = torch.randn(4, 3, generator=generator(2))
    state = torch.cat([torch.randn(4, spec.obs_size, generator=generator(3)), present], 1)
    weight = torch.randn(4, 1, generator=generator(4))
    torch.testing.assert_close(mixer.target_copy()(chosen, present, state), mixer(chosen, present, state))
    torch.testing.assert_close(mixer.backward(weight), mixer.sensitivity() * weight)
    learnt = mixer.learnt[-1]
    gradient = learnt.gradient.clone()
    for seed in range(3):
        direction = torch.nn.functional.normalize(
            torch.randn(gradient.shape, generator=generator(seed)), dim=(0, 1)
        )
        found = slope(lambda: mixer(chosen, present, state), weight, learnt.parameters, direction)
        assert found == pytest.approx(float((gradient * direction).sum()), rel=0.05, abs=2e-3)


def test_what_needs_no_encoder_has_none() -> None:
    assert GroupEncoder.create(two_roles(), Sharing.SHARED, CPU, generator()) is None
    critic = critic_of(one_role(), ValueOutput.OWN_VIEW, Sharing.SHARED)
    assert critic.learnt == critic.nets
    mixed = GroupEncoder.create(seeing_and_blind(), Sharing.SHARED, CPU, generator())
    assert mixed is not None and len(mixed.stacks) == 1
    assert [role.obs_size for role in mixed.features.roles] == [NUM_FEATURES, 2]
    joint = torch.randn(3, seeing_and_blind().obs_size)
    assert torch.equal(mixed(joint)[:, -2:], joint[:, -2:]), "who is blind passes by"


@pytest.mark.parametrize("sharing", list(Sharing))
def test_an_actor_acts_as_it_learns_and_as_it_is_exported(sharing: Sharing) -> None:
    spec, role = seeing(), seeing_role()
    normaliser = RunningNormaliser.of(role, 5.0, CPU)
    normaliser.observe(torch.randn(50, OBS_SIZE) * 3 + 1, torch.ones(50))
    rest = (LayerNormalisation.NONE, [normaliser], CPU, generator())
    actor = DecentralisedActor.create(spec, sharing, (8,), *rest)
    raw_obs = torch.randn(6, 2, OBS_SIZE) * 2
    learnt = actor(normaliser.normalise_(raw_obs.clone()).flatten(1), spec)[0]  # [B, N, P]
    acting = actor.acting_copy(CPU)
    order = torch.randperm(12, generator=generator())
    rows, slots = raw_obs.flatten(0, 1)[order], torch.arange(2).repeat(6)[order]
    torch.testing.assert_close(acting.forward_rows(rows, slots), learnt.flatten(0, 1)[order])
    for slot in range(2):
        sensors = [raw_obs[:, slot, :24].unflatten(1, PICTURE), raw_obs[:, slot, 24:]]
        torch.testing.assert_close(actor.slot_module(slot)(sensors), learnt[:, slot])


def test_pictures_are_not_normalised() -> None:
    normaliser = RunningNormaliser.of(seeing_role(), 5.0, CPU)
    obs = torch.randn(20, 2, OBS_SIZE) * 4 + 2
    normaliser.observe(obs, torch.ones(20, 2))
    seen = normaliser.normalise_(obs.clone())
    assert torch.equal(seen[..., :24], obs[..., :24])
    alone = RunningNormaliser(3, 5.0, CPU)
    alone.observe(obs[..., 24:], torch.ones(20, 2))
    assert torch.equal(seen[..., 24:], alone.normalise_(obs[..., 24:].clone()))
    assert torch.equal(normaliser.copy(CPU).normalise_(obs.clone()), seen)


FAMILIES = {algorithm.learner: name for name, algorithm in reversed(ALGORITHMS.items())}.values()
CASES = [(name, False) for name in FAMILIES] + [("mappo", True)]


@pytest.mark.parametrize("sharing", [Sharing.SHARED, Sharing.SEPARATE])
@pytest.mark.parametrize(("name", "remembers"), CASES)
def test_a_learner_moves_its_encoders_and_goes_on_where_it_stopped(
    name: str, remembers: bool, sharing: Sharing
) -> None:
    """Of every network, those of targets included, which follow."""
    algorithm = ALGORITHMS[name]
    blind = RoleSpec("b", 1, ((2,),), DISCRETE)
    spec = GroupSpec((replace(seeing_role(), action=DISCRETE), blind))

    def learner() -> Any:
        given = {
            "share_actor": sharing,
            "share_critic": sharing,
            "batch_size": 24,
            "target_update_interval": 1,
        }
        fields = attr.fields_dict(algorithm.config)
        config = algorithm.config(**{field: value for field, value in given.items() if field in fields})
        sizes = {"hidden_units": 8, "num_layers": 1, "normalize": True, "discount": 0.9}
        memory = {"memory": Memory(4, 3)} if remembers else {}
        return algorithm.learner(spec, config, **sizes, device=CPU, seed=3, **memory)

    first, again = learner(), learner()
    batch = random_batch(spec) if algorithm.data_regime == "off_policy" else random_rollout(spec)
    if remembers:
        number = torch.arange(len(batch.obs))
        memory = torch.zeros(len(batch.action), spec.num_slots, 4)
        batch = batch._replace(memory=memory, number=number, waiting=number[len(memory) :])
    before = encoders_in(first.state_dict())
    assert {part for part, _ in before} == {
        part for part in first.state_dict() if part.removeprefix("target_") in ("actor", "critic", "mixer")
    }
    first.observe(batch.obs, batch.agent_mask)
    for _ in range(3):  # actors may be delayed
        first.update(batch)
    for place, weights in encoders_in(first.state_dict()).items():
        assert not torch.equal(weights, before[place]), place
    assert all(figure.shape in ((), (3,)) for figure in first.metrics().values())
    again.load_state_dict(first.state_dict())
    for each in (first, again):
        each.update(batch)
    mine, its = encoders_in(first.state_dict()), encoders_in(again.state_dict())
    assert all(torch.equal(mine[place], its[place]) for place in mine)


def encoders_in(saved: dict[str, Any]) -> dict[tuple[str, str], Tensor]:
    """What a state holds of encoders, by network and name."""
    parts = {part: value for part, value in saved.items() if isinstance(value, dict)}
    return {
        (part, name): tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
        if "convolutions" in name
    }
