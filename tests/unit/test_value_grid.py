"""Continuous actions cut into choices: there and back, in learning, in acting and in what is exported."""

import torch

from mlagents_marl_plugin.core import actions, value_grid
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import DecentralisedActor, Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.types import ActionLayout
from tests.unit.groups import CPU, HYBRID, one_role, two_roles

K = 5
GRID = torch.linspace(-1.0, 1.0, K)


def test_every_value_becomes_a_branch_before_the_branches() -> None:
    assert value_grid.choices_layout(ActionLayout(2, (3,)), K) == ActionLayout(0, (K, K, 3))
    spec = value_grid.choices_spec(two_roles(), K)
    assert [role.action for role in spec.roles] == [ActionLayout(0, (K, K)), ActionLayout(0, (K, 3))]
    assert spec.obs_size == two_roles().obs_size


def test_actions_become_the_nearest_choice() -> None:
    spec = one_role(2, HYBRID)
    joint = torch.tensor([[-1.0, 1, 0, 0, 0.3, 0, 1, 0], [0.76, 0, 0, 1, 0.0, 0, 0, 0]])
    here = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    choices = value_grid.joint_choices(spec, K, joint, here)
    assert choices[0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0]
    assert choices[1].tolist() == [0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_every_value_of_the_grid_finds_its_own_choice() -> None:
    spec = one_role(1, ActionLayout(1))
    for k in (2, 3, 7, 11):
        values = torch.linspace(-1.0, 1.0, k).unsqueeze(1)
        assert torch.equal(value_grid.joint_choices(spec, k, values, torch.ones(k, 1)), torch.eye(k))


def test_masks_permit_every_value_and_what_they_permitted() -> None:
    spec = two_roles()
    allowed = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    wide = value_grid.joint_allowed(spec, K, allowed)
    choices = value_grid.choices_spec(spec, K)
    assert wide.shape == (2, choices.allowed_size)
    assert bool(choices.role_allowed(wide, 0).all())
    assert torch.equal(choices.role_allowed(wide, 1)[:, 0, K:], allowed)
    assert bool(choices.role_allowed(wide, 1)[:, 0, :K].all())


def actor(sharing: Sharing = Sharing.SEPARATE) -> tuple[value_grid.GridActor, DecentralisedActor]:
    spec = one_role(2, HYBRID)
    normalisers = [RunningNormaliser(5, 5.0, CPU)]
    normalisers[0].observe(torch.randn(50, 5) * 3, torch.ones(50))
    choices = DecentralisedActor.create(
        value_grid.choices_spec(spec, K),
        sharing,
        (16,),
        LayerNormalisation.NONE,
        normalisers,
        CPU,
        torch.Generator().manual_seed(0),
    )
    choices.nets[0].parameters.mul_(20.0)
    return value_grid.GridActor(spec, K, choices), choices


def test_the_greedy_action_is_the_best_value_of_the_grid_exactly() -> None:
    cut, choices = actor()
    obs, slot = torch.randn(200, 5, generator=torch.Generator().manual_seed(1)), torch.arange(200) % 2
    values = choices.forward_rows(obs, slot)
    greedy = actions.mode(HYBRID, cut.forward_rows(obs, slot), torch.ones(200, 3))
    best = values[:, :K].argmax(1)
    assert len(best.unique()) > 2
    torch.testing.assert_close(greedy[:, 0], GRID[best], rtol=0.0, atol=1e-6)
    assert greedy[best == 0, 0].eq(-1.0).all()
    assert greedy[best == K - 1, 0].eq(1.0).all()
    assert torch.equal(greedy[:, 1:].argmax(1), values[:, K:].argmax(1))


def test_copies_and_modules_say_the_same() -> None:
    cut, choices = actor()
    obs = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    copy = cut.acting_copy(CPU)
    for slot in range(2):
        number = torch.full((30,), slot)
        raw = cut.forward_rows(obs, number)
        assert torch.equal(copy.forward_rows(obs, number), raw)
        torch.testing.assert_close(cut.slot_module(slot)(obs), raw)
    before = copy.forward_rows(obs, number)
    choices.nets[0].parameters.neg_()
    assert torch.equal(copy.forward_rows(obs, number), before)
    copy.copy_weights(cut)
    assert torch.equal(copy.forward_rows(obs, number), cut.forward_rows(obs, number))
    assert not torch.equal(copy.forward_rows(obs, number), before)
