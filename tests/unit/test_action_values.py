"""Chosen values per branch: picked, brought back, and never of what is forbidden."""

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core.action_values import ActionValues
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from tests.unit.groups import CPU, random_action

# Two agents of a 3-choice and a 2-choice branch, and one of a single 4-choice branch.
SPEC = GroupSpec(
    (
        RoleSpec("a", 2, ((1,),), ActionLayout(0, (3, 2))),
        RoleSpec("b", 1, ((1,),), ActionLayout(0, (4,))),
    )
)
VALUES = ActionValues(SPEC, CPU)


def raw(rows: int = 64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows, r.num_slots, r.action.size, generator=generator) for r in SPEC.roles]


def allowed(rows: int = 64) -> Tensor:
    """Random, with at least one choice of every branch permitted."""
    generator = torch.Generator().manual_seed(3)
    drawn = (torch.rand(rows, SPEC.allowed_size, generator=generator) < 0.5).float()
    return torch.maximum(drawn, random_action(SPEC, rows, generator))


def test_chosen_values_by_hand() -> None:
    values = [
        torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]]]),
        torch.tensor([[[11.0, 12.0, 13.0, 14.0]]]),
    ]
    action = torch.tensor([[0.0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1]])
    assert VALUES.num_columns == 5
    assert VALUES.chosen(values, action).tolist() == [[2.0, 5.0, 6.0, 9.0, 14.0]]
    assert VALUES.slot_mean(torch.tensor([[2.0, 5.0, 6.0, 9.0, 14.0]])).tolist() == [[3.5, 7.5, 14.0]]
    assert VALUES.by_column(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 1.0, 2.0, 2.0, 3.0]]
    assert VALUES.column_share(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[0.5, 0.5, 1.0, 1.0, 3.0]]
    action[:, :5] = 0.0  # the first agent is absent
    assert VALUES.chosen(values, action).tolist() == [[0.0, 0.0, 6.0, 9.0, 14.0]]


def test_the_gradient_is_that_of_autograd() -> None:
    leaves = [values.requires_grad_() for values in raw()]
    action = random_action(SPEC, 64, torch.Generator().manual_seed(1))
    chosen = VALUES.chosen(leaves, action)
    gradient = torch.randn(chosen.shape, generator=torch.Generator().manual_seed(2))
    expected = torch.autograd.grad(chosen, leaves, gradient)
    for mine, its in zip(VALUES.backward(gradient, action), expected, strict=True):
        torch.testing.assert_close(mine, its)


def test_the_maximum_is_over_what_is_permitted() -> None:
    values, permitted = raw(), allowed()
    best = VALUES.best(values, values, permitted)
    doubled = VALUES.best([2.0 * value for value in values], values, permitted)
    assert torch.equal(doubled, 2.0 * best), "one chooses, the other says what it is worth"
    column = 0
    for i, role in enumerate(SPEC.roles):
        score = values[i].masked_fill(SPEC.role_allowed(permitted, i) == 0, -torch.inf)
        for slot in range(role.num_slots):
            for branch in torch.split(score[:, slot], list(role.action.branches), -1):
                assert torch.equal(best[:, column], branch.amax(-1))
                column += 1


def test_where_no_choice_of_a_branch_is_permitted_all_are() -> None:
    """A replay that an older version saved may hold such rows; whoever acts takes the largest there."""
    values, permitted = raw(), allowed()
    permitted[:, 3:5] = 0.0  # the second branch of the first agent
    everything = permitted.clone()
    everything[:, 3:5] = 1.0
    best = VALUES.best(values, values, permitted)
    assert torch.equal(best[:, 1], values[0][:, 0, 3:].amax(-1))
    assert torch.equal(best, VALUES.best(values, values, everything))


@pytest.mark.parametrize("temperature", [0.03, 1.0])
def test_soft_values_are_those_of_the_softmax_policy(temperature: float) -> None:
    """``sum_a pi(a) (q(a) - temperature log pi(a))``, Vieillard et al. 2020, eq. 1; forbidden choices have no part."""
    values, permitted = raw(), allowed()
    soft = VALUES.soft_maximum(values, permitted, temperature)
    actions = random_action(SPEC, 64, torch.Generator().manual_seed(5)) * permitted
    log_prob = VALUES.log_prob(values, actions, permitted, temperature)
    column = 0
    for i, role in enumerate(SPEC.roles):
        score = values[i].masked_fill(SPEC.role_allowed(permitted, i) == 0, -torch.inf)
        done = SPEC.role_action(actions, i)
        for slot in range(role.num_slots):
            sizes = list(role.action.branches)
            branches = zip(
                torch.split(score[:, slot], sizes, -1), torch.split(done[:, slot], sizes, -1), strict=True
            )
            for branch, one_hot in branches:
                chance = (branch / temperature).softmax(-1)
                entropy_part = torch.special.entr(chance).sum(-1) * temperature
                expected = (chance * branch.nan_to_num(neginf=0.0)).sum(-1) + entropy_part
                torch.testing.assert_close(soft[:, column], expected, rtol=1e-4, atol=1e-5)
                of_choice = (branch / temperature).log_softmax(-1).nan_to_num(neginf=0.0)
                torch.testing.assert_close(
                    log_prob[:, column], (of_choice * one_hot).sum(-1), rtol=1e-4, atol=1e-5
                )
                column += 1
    assert bool(torch.isfinite(soft).all())
