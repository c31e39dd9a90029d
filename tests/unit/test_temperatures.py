"""Temperatures: what they aim at, and which way they go."""

import math

import pytest
import torch

from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.temperatures import Temperatures
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from tests.unit.groups import CONTINUOUS, CPU, HYBRID, one_role

TWO_KINDS = GroupSpec(
    (RoleSpec("a", 2, ((3,),), ActionLayout(3)), RoleSpec("b", 1, ((3,),), ActionLayout(0, (3, 2))))
)


def made(spec: GroupSpec, initial: float = 0.2) -> Temperatures:
    return Temperatures(spec, initial, (-1.0, 0.5), CPU)


def test_targets_grow_with_the_number_of_values_and_permitted_choices() -> None:
    allowed = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0, 1.0]])
    values, choices = made(TWO_KINDS).targets(allowed)
    assert values.tolist() == [-3.0, -3.0, 0.0]
    expected = [[0.0, 0.0, 0.5 * (math.log(3) + math.log(2))], [0.0, 0.0, 0.5 * math.log(2)]]
    torch.testing.assert_close(choices, torch.tensor(expected))


def test_entropy_is_worth_more_where_there_is_too_little_of_it() -> None:
    temperatures = made(one_role(2, HYBRID))
    optimiser = StackedAdam([temperatures], 0.1)
    temperatures.differentiate(torch.tensor([1.0, -1.0]), torch.tensor([-2.0, 2.0]))
    optimiser.step()
    assert temperatures.of_values.tolist() == pytest.approx([0.2 * math.exp(-0.1), 0.2 * math.exp(0.1)])
    assert temperatures.of_choices.tolist() == pytest.approx([0.2 * math.exp(0.1), 0.2 * math.exp(-0.1)])


def test_what_an_agent_does_not_have_has_no_temperature_that_moves() -> None:
    temperatures = made(TWO_KINDS)
    temperatures.differentiate(torch.ones(3), torch.ones(3))
    assert temperatures.gradient.tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    shown = temperatures.shown()
    assert shown["temperature"].tolist() == pytest.approx([0.2, 0.2, 0.0])
    assert shown["choice_temperature"].tolist() == pytest.approx([0.0, 0.0, 0.2])
    assert list(made(one_role(2, CONTINUOUS)).shown()) == ["temperature"]


def test_they_stay_within_what_can_be_told() -> None:
    temperatures = made(one_role(2, CONTINUOUS))
    temperatures.parameters.copy_(torch.tensor([[-50.0, 50.0], [0.0, 0.0]]))
    temperatures.bound()
    assert temperatures.of_values.tolist() == pytest.approx([math.exp(-10), math.exp(5)])
