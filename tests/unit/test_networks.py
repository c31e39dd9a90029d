"""Stacked networks, actors and critics: what they compute, who sees what, and where gradients go."""

import io
import warnings
from itertools import product

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlagents_marl_plugin.core.critics import CentralisedCritic, Critic, IndependentCritic
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape
from mlagents_marl_plugin.core.networks import DecentralisedActor, Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.plain_network import plain_network
from mlagents_marl_plugin.core.stacked_mlp import StackedMlp
from mlagents_marl_plugin.core.types import GroupSpec
from tests.unit.groups import CPU, one_role, random_batch, two_roles

NORMS = list(LayerNormalisation)
SHARINGS = list(Sharing)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stack(norm: LayerNormalisation = LayerNormalisation.NONE, num_networks: int = 3) -> StackedMlp:
    """Networks 4 -> 8 -> 6 -> 2 whose every parameter and statistic is some random number."""
    net = StackedMlp.create(MlpShape(4, (8, 6), 2, norm), num_networks, CPU, generator())
    for name, tensor in net.tensors().items():
        tensor.copy_(torch.randn(tensor.shape, generator=generator(1)) * 0.5)
        if name.endswith("variance"):
            tensor.abs_().add_(0.1)
    return net


def make_critic(
    spec: GroupSpec,
    sharing: Sharing,
    centralised: bool = True,
    num_twins: int = 1,
    norm: LayerNormalisation = LayerNormalisation.NONE,
    num_asked: int = 1,
) -> Critic:
    kind = CentralisedCritic if centralised else IndependentCritic
    critic: Critic = kind.create(spec, sharing, num_twins, (16, 16), norm, CPU, generator(), num_asked)
    for net in critic.nets:  # the small last layer would hide what the others do
        net.part("2.weight").mul_(100.0)
    return critic


def make_actor(spec: GroupSpec, sharing: Sharing, normalise: bool = False) -> DecentralisedActor:
    normalisers: list[RunningNormaliser | None] = [None] * len(spec.roles)
    if normalise:
        normalisers = [RunningNormaliser(role.obs_size, 5.0, CPU) for role in spec.roles]
    norm = LayerNormalisation.LAYER
    actor = DecentralisedActor.create(spec, sharing, (16, 16), norm, normalisers, CPU, generator())
    for role in actor.roles:
        role.net.part("2.weight").mul_(100.0)
        if role.normaliser is not None:
            rows = torch.randn(50, role.role.obs_size, generator=generator(9)) * 3 + 1
            role.normaliser.observe(rows, torch.ones(50))
    return actor


def joint_input(spec: GroupSpec, seed: int = 0, batch_size: int = 7) -> Tensor:
    batch = random_batch(spec, batch_size, seed)
    return torch.cat([batch.obs, batch.action], -1)


# --- stacked networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_each_network_of_a_stack_computes_what_its_plain_layers_do(norm: LayerNormalisation) -> None:
    net = stack(norm)
    inputs = torch.randn(3, 5, 4, generator=generator(2))
    outputs = net(inputs)
    for k in range(3):
        torch.testing.assert_close(outputs[k], plain_network(net, k, 4)(inputs[k]))


@pytest.mark.parametrize("norm", NORMS)
def test_the_written_gradient_is_that_of_the_plain_layers(norm: LayerNormalisation) -> None:
    """BatchNorm with what it remembers, as targets, acting and the actors' question see it."""
    net = stack(norm)
    inputs = torch.randn(3, 5, 4, generator=generator(2))
    weight = torch.randn(3, 5, 2, generator=generator(3))
    net(inputs)
    of_inputs = torch.bmm(net.backward(weight), net.part("0.weight"))
    for k in range(3):
        plain = plain_network(net, k, 4)
        rows = inputs[k].requires_grad_()
        parameters = list(plain.parameters())
        *expected, expected_of_inputs = torch.autograd.grad(plain(rows), [*parameters, rows], weight[k])
        torch.testing.assert_close(of_inputs[k], expected_of_inputs)
        if norm is LayerNormalisation.BATCH:  # its plain layers are fewer, see `plain_network`
            continue
        for part, of_part in zip(net.shape.parts.values(), expected, strict=True):
            torch.testing.assert_close(net.gradient[k, part.place].view(part.shape), of_part)


@pytest.mark.parametrize("norm", NORMS)
def test_a_gradient_of_the_first_rows_leaves_the_others_out(norm: LayerNormalisation) -> None:
    net = stack(norm)
    inputs, gradient = torch.randn(3, 5, 4, generator=generator(2)), torch.ones(3, 2, 2)
    net(inputs)
    of_first = net.backward(gradient).clone()
    of_parameters = net.gradient.clone()
    net(inputs)
    of_all = net.backward(torch.cat([gradient, torch.zeros(3, 3, 2)], 1))
    torch.testing.assert_close(of_first, of_all[:, :2])
    torch.testing.assert_close(of_parameters, net.gradient)


def test_batch_norm_takes_statistics_and_gradients_from_the_valid_rows_only() -> None:
    net = stack(LayerNormalisation.BATCH, num_networks=1)
    inputs, weight = (
        torch.randn(1, 8, 4, generator=generator(2)),
        torch.randn(1, 8, 2, generator=generator(3)),
    )
    mask = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]])
    layers: list[nn.Module] = []
    for i, (num_in, num_out) in enumerate(net.shape.layers):
        layer = nn.Linear(num_in, num_out)
        layer.weight.data, layer.bias.data = net.part(f"{i}.weight")[0], net.part(f"{i}.bias")[0]
        layers.append(layer)
        if i < 2:
            norm = nn.BatchNorm1d(num_out)
            norm.weight.data, norm.bias.data = net.part(f"{i}.scale")[0], net.part(f"{i}.shift")[0]
            layers += [norm, nn.ReLU()]
    plain = nn.Sequential(*layers)  # in training mode
    expected_output = plain(inputs[0, :6])
    expected = torch.autograd.grad(expected_output, list(plain.parameters()), weight[0, :6])
    before = net.part("0.mean").clone()

    outputs = net(inputs, mask)
    net.backward(weight * mask.unsqueeze(-1))

    torch.testing.assert_close(outputs[0, :6], expected_output, rtol=1e-4, atol=1e-5)
    for part, of_part in zip(net.shape.parts.values(), expected, strict=True):
        of_network = net.gradient[0, part.place].view(part.shape)
        torch.testing.assert_close(of_network, of_part, rtol=1e-3, atol=1e-4)
    first_product = F.linear(inputs[0, :6], net.part("0.weight")[0], net.part("0.bias")[0])
    torch.testing.assert_close(net.part("0.mean"), 0.9 * before + 0.1 * first_product.mean(0))


def test_batch_norm_without_a_valid_row_remembers_nothing_new() -> None:
    net = stack(LayerNormalisation.BATCH)
    before = net.statistics.clone()
    assert torch.isfinite(net(torch.randn(3, 5, 4, generator=generator(2)), torch.zeros(3, 5))).all()
    assert torch.equal(net.statistics, before)


@pytest.mark.parametrize("norm", NORMS)
def test_a_change_of_inputs_counts_as_the_changed_inputs(norm: LayerNormalisation) -> None:
    net = stack(norm).frozen(2)
    inputs = torch.randn(5, 4, generator=generator(2)).expand(2, -1, -1)
    change = torch.randn(2, 5, 2, generator=generator(3))
    changed = inputs.clone()
    changed[:, :, 1:3] += change
    expected = net(changed)
    of_hidden = net.backward(torch.ones(2, 5, 2)).clone()
    torch.testing.assert_close(net(inputs, None, change, net.part("0.weight")[:, :, 1:3]), expected)
    torch.testing.assert_close(net.backward(torch.ones(2, 5, 2)), of_hidden)


def test_a_pass_cannot_be_differentiated_after_its_memory_went_to_another() -> None:
    net = stack()
    inputs, gradient = torch.randn(3, 5, 4, generator=generator(2)), torch.ones(3, 5, 2)
    for spoil in (lambda: net.target_copy()(inputs), lambda: net.backward(gradient)):
        net(inputs)
        spoil()
        with pytest.raises(RuntimeError, match=r"expected to come right after its forward pass, got another"):
            net.backward(gradient)
    net(inputs)
    net.acting_copy(CPU)(inputs)  # has memory of its own
    net.backward(gradient)


def test_memory_fits_passes_of_any_size() -> None:
    net = stack()
    fresh = net.acting_copy(CPU)
    for num_rows in (3, 8, 2, 8, 1):
        inputs = torch.randn(3, num_rows, 4, generator=generator(num_rows))
        torch.testing.assert_close(net(inputs), fresh(inputs))
        net.backward(torch.ones(3, num_rows, 2))
    torch.testing.assert_close(net.gradient[:, net.shape.parts["2.bias"].place], torch.ones(3, 2))


def test_networks_of_a_stack_differ_and_a_seed_repeats_them() -> None:
    shape = MlpShape(4, (8,), 2)
    first, again = (StackedMlp.create(shape, 2, CPU, generator(5)) for _ in range(2))
    assert torch.equal(first.parameters, again.parameters)
    assert not torch.equal(first.part("0.weight")[0], first.part("0.weight")[1])
    assert first.part("0.weight").abs().max() <= 0.5  # 1 / sqrt(4)
    assert first.part("1.weight").abs().max() <= 3e-3


def test_targets_and_acting_copies_have_their_own_weights() -> None:
    net = stack()
    for copy in (net.target_copy(), net.acting_copy(CPU)):
        before = copy.parameters.clone()
        net.parameters.add_(1.0)
        assert torch.equal(copy.parameters, before)
        copy.copy_weights(net)
        assert torch.equal(copy.parameters, net.parameters)


# --- actors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS)
def test_an_actor_does_not_see_what_others_see(sharing: Sharing) -> None:
    spec = two_roles()
    actor, obs = make_actor(spec, sharing), random_batch(spec).obs
    before = [raw.clone() for raw in actor(obs, spec)]
    spec.role_obs(obs, 0)[:, 1] += 1.0  # slot 1 of role a
    after = actor(obs, spec)
    assert torch.equal(after[0][:, 0], before[0][:, 0])
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[0][:, 1], before[0][:, 1])


def test_shared_actors_do_the_same_from_every_slot_and_others_do_not() -> None:
    spec = one_role(3)
    obs = random_batch(spec).obs.view(-1, 3, 5)
    turned = obs.roll(1, 1)
    for sharing, same in ((Sharing.SHARED, True), (Sharing.SHARED_WITH_ID, False), (Sharing.SEPARATE, False)):
        actor = make_actor(spec, sharing)
        raw, raw_turned = actor(obs.flatten(1), spec)[0], actor(turned.flatten(1), spec)[0]
        assert torch.allclose(raw.roll(1, 1), raw_turned, atol=1e-6) is same, sharing


@pytest.mark.parametrize(("sharing", "normalise"), list(product(SHARINGS, [False, True])))
def test_acting_row_by_row_and_the_exported_module_agree_with_learning(
    sharing: Sharing, normalise: bool
) -> None:
    spec = two_roles()
    actor = make_actor(spec, sharing, normalise)
    copy = actor.acting_copy(CPU)
    obs = random_batch(spec).obs
    prepared = obs.clone()
    for i, role in enumerate(actor.roles):
        if role.normaliser is not None:
            role.normaliser.normalise_(spec.role_obs(prepared, i))
    expected = actor(prepared, spec)
    for i, role in enumerate(spec.roles):
        rows = spec.role_obs(obs, i)
        slot = torch.arange(role.num_slots).expand(len(obs), -1)
        order = torch.randperm(slot.numel(), generator=generator(3))
        got = copy.forward_rows(rows.flatten(0, 1)[order], slot.flatten()[order], role=i)
        torch.testing.assert_close(got, expected[i].flatten(0, 1)[order])
        for k in range(role.num_slots):
            torch.testing.assert_close(actor.slot_module(k, role=i)(rows[:, k]), expected[i][:, k])


def test_acting_takes_any_mix_of_slots_and_none() -> None:
    actor = make_actor(one_role(3), Sharing.SEPARATE)
    obs, slot = torch.randn(4, 5, generator=generator(1)), torch.tensor([2, 2, 0, 2])
    raw = actor.forward_rows(obs, slot)
    for row in range(4):
        torch.testing.assert_close(raw[row], actor.slot_module(int(slot[row]))(obs[row]))
    assert actor.forward_rows(obs[:0], slot[:0]).shape == (0, 2)


def test_an_acting_copy_follows_only_when_told() -> None:
    actor = make_actor(one_role(), Sharing.SEPARATE, normalise=True)
    copy = actor.acting_copy(CPU)
    obs, slot = torch.randn(4, 5, generator=generator(1)), torch.tensor([0, 1, 0, 1])
    before = copy.forward_rows(obs, slot)
    for role in actor.roles:
        role.net.parameters.mul_(2.0)
        assert role.normaliser is not None
        role.normaliser.observe(torch.full((500, 5), 9.0), torch.ones(500))
    assert torch.equal(copy.forward_rows(obs, slot), before)
    copy.copy_weights(actor)
    assert torch.equal(copy.forward_rows(obs, slot), actor.forward_rows(obs, slot))
    assert not torch.equal(copy.forward_rows(obs, slot), before)


@pytest.mark.parametrize("norm", NORMS)
def test_exported_layers_are_operators_of_opset_9(norm: LayerNormalisation) -> None:
    net = stack(norm)
    module = nn.Sequential(RunningNormaliser(4, 5.0, CPU).module(), *plain_network(net, 1, 4))
    file = io.BytesIO()
    with warnings.catch_warnings():  # torch says that this exporter is the old one
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(2, 4),), file, opset_version=9)
    model = onnx.load_model_from_string(file.getvalue())
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 9
    operators = {node.op_type for node in model.graph.node}
    assert operators.isdisjoint({"LayerNormalization", "BatchNormalization"})


# --- critics ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
def test_only_a_centralised_critic_sees_the_others(sharing: Sharing, centralised: bool) -> None:
    spec = two_roles()
    critic, joint = make_critic(spec, sharing, centralised), joint_input(spec)
    before = critic(joint)
    changed_obs, changed_action = joint.clone(), joint.clone()
    spec.role_obs(changed_obs, 0)[:, 1] += 1.0
    spec.role_action(changed_action[:, spec.obs_size :], 0)[:, 1] += 1.0
    for changed in (changed_obs, changed_action):
        q = critic(changed)
        assert not torch.allclose(q[..., 1], before[..., 1])
        for other in (0, 2):
            assert torch.allclose(q[..., other], before[..., other], atol=1e-6) is not centralised


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
@pytest.mark.parametrize(("num_twins", "num_asked"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("norm", NORMS)
def test_a_slots_own_action_is_replaced_for_its_own_value_only(
    sharing: Sharing, centralised: bool, num_twins: int, num_asked: int, norm: LayerNormalisation
) -> None:
    spec = two_roles()
    critic, joint = make_critic(spec, sharing, centralised, num_twins, norm, num_asked), joint_input(spec)
    other = joint_input(spec, seed=1)[:, spec.obs_size :]
    own = [spec.role_action(other, i) for i in range(2)]
    q = critic.with_own_action(joint, own)
    assert q.shape == (num_asked, 7, 3)
    slot = 0
    for i, role in enumerate(spec.roles):
        for k in range(role.num_slots):
            replaced = joint.clone()
            spec.role_action(replaced[:, spec.obs_size :], i)[:, k] = own[i][:, k]
            expected = critic(replaced)[:num_asked, :, slot]
            torch.testing.assert_close(q[..., slot], expected, rtol=1e-4, atol=1e-5)
            slot += 1


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("num_asked", [1, 2])
def test_the_gradient_by_own_actions_is_that_of_the_value(
    sharing: Sharing, centralised: bool, norm: LayerNormalisation, num_asked: int
) -> None:
    """Against differences of the values themselves, in every direction of every slot's action."""
    spec = two_roles()
    critic = make_critic(spec, sharing, centralised, 2, norm, num_asked)
    joint, weight = joint_input(spec), torch.randn(num_asked, 7, 3, generator=generator(4))
    own = [spec.role_action(joint_input(spec, seed=1)[:, spec.obs_size :], i) for i in range(2)]
    critic.with_own_action(joint, own)
    gradients = critic.own_action_gradient(weight)
    step = 1e-2
    for i, gradient in enumerate(gradients):
        assert gradient.shape == own[i].shape
        for k, a in product(range(gradient.shape[1]), range(gradient.shape[2])):
            moved = []
            for direction in (step, -step):
                shifted = [action.clone() for action in own]
                shifted[i][:, k, a] += direction
                moved.append((critic.with_own_action(joint, shifted) * weight).sum((0, 2)))
            slope = (moved[0] - moved[1]) / (2 * step)
            assert torch.isclose(gradient[:, k, a], slope, rtol=2e-2, atol=5e-2).float().mean() > 0.8


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
def test_a_slots_value_has_no_gradient_into_anothers_action(sharing: Sharing, centralised: bool) -> None:
    spec = two_roles()
    critic, joint = make_critic(spec, sharing, centralised), joint_input(spec)
    own = [spec.role_action(joint[:, spec.obs_size :], i) for i in range(2)]
    for slot, (role, k) in enumerate([(0, 0), (0, 1), (1, 0)]):
        critic.with_own_action(joint, own)
        for i, gradient in enumerate(
            critic.own_action_gradient(F.one_hot(torch.tensor([[slot] * 7]), 3).float())
        ):
            for j in range(gradient.shape[1]):
                assert bool(gradient[:, j].any()) is ((i, j) == (role, k))


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
def test_the_actors_question_leaves_no_gradient_in_the_critic(sharing: Sharing, centralised: bool) -> None:
    spec = two_roles()
    critic, joint = make_critic(spec, sharing, centralised, num_twins=2), joint_input(spec)
    critic(joint)
    critic.backward(torch.ones(2, 7, 3))
    before = [net.gradient.clone() for net in critic.nets]
    assert all(bool(gradient.any()) for gradient in before)
    critic.with_own_action(joint, [spec.role_action(joint[:, spec.obs_size :], i) for i in range(2)])
    critic.own_action_gradient(torch.ones(1, 7, 3))
    assert all(torch.equal(net.gradient, old) for net, old in zip(critic.nets, before, strict=True))


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
def test_every_twin_and_slot_gets_the_gradient_of_its_own_value(sharing: Sharing, centralised: bool) -> None:
    """Along the gradient of one value, that value grows by the gradient's square."""
    spec = two_roles()
    for twin, slot in product(range(2), range(3)):
        critic, joint = make_critic(spec, sharing, centralised, num_twins=2), joint_input(spec)
        before = critic(joint)[twin, :, slot].sum()
        gradient = torch.zeros(2, 7, 3)
        gradient[twin, :, slot] = 1.0
        critic(joint)
        critic.backward(gradient)
        step = 1e-5
        for net in critic.nets:
            net.parameters.add_(net.gradient, alpha=step)
        grown = critic(joint)[twin, :, slot].sum() - before
        square = sum(float(net.gradient.square().sum()) for net in critic.nets)
        assert grown / step == pytest.approx(square, rel=5e-2)


def test_a_shared_critic_values_like_agents_alike_from_every_side() -> None:
    spec = one_role(3)
    joint = joint_input(spec)
    obs, action = joint[:, :15].view(-1, 3, 5), joint[:, 15:].view(-1, 3, 2)
    turned = torch.cat([obs.roll(-1, 1).flatten(1), action.roll(-1, 1).flatten(1)], -1)
    critic = make_critic(spec, Sharing.SHARED)
    torch.testing.assert_close(critic(turned), critic(joint).roll(-1, -1))
    with_id = make_critic(spec, Sharing.SHARED_WITH_ID)
    assert not torch.allclose(with_id(turned), with_id(joint).roll(-1, -1), atol=1e-4)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
def test_twins_are_different_networks(sharing: Sharing, centralised: bool) -> None:
    spec = two_roles()
    q = make_critic(spec, sharing, centralised, num_twins=2)(joint_input(spec))
    assert q.shape == (2, 7, 3)
    assert not torch.isclose(q[0], q[1]).any()
