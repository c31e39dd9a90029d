"""Spaces of Gym and Gymnasium as sensors and actions, one by one."""

from types import SimpleNamespace

import numpy as np
import pytest

from mlagents_marl_plugin.player.scene import ActionSpec
from mlagents_marl_plugin.player.scenes.parallel_spaces import (
    Sensors,
    SpaceError,
    action_spec,
    read_action,
    read_mask,
)
from tests.unit.parallel_envs import box, discrete


def test_multidiscrete_begins_where_it_says():
    space = SimpleNamespace(nvec=np.array([2, 3]), shape=(2,), start=np.array([-1, 5]))
    assert read_action(space, np.zeros(0, np.float32), np.array([1, 2])).tolist() == [0, 7]
    sensors = Sensors.of(space, "x")
    assert [value.tolist() for value in sensors.read(np.array([0, 7]), "x")] == [[0, 1, 0, 0, 1]]
    with pytest.raises(
        SpaceError, match=r"observation of x: expected .* \(choice -1 of 2, counted from 0\); mend"
    ):
        sensors.read(np.array([-2, 7]), "x")
    with pytest.raises(SpaceError, match=r"\(choice 3 of 3, counted from 0\)"):
        Sensors.of(discrete(3, start=1), "x").read(4, "x")


@pytest.mark.parametrize(
    "mask", [(np.array([1, 0]), np.array([0, 1, 1])), np.array([1, 0, 0, 1, 1], np.int8), [1, 0, 0, 1, 1]]
)
def test_a_mask_may_forbid_choices_of_several_branches(mask):
    space = SimpleNamespace(nvec=np.array([2, 3]), shape=(2,))
    assert read_mask(space, {"action_mask": mask}, {}, "x").tolist() == [False, True, True, False, False]
    assert read_mask(space, np.zeros(3), {}, "x") is None
    assert read_mask(box(2), {"action_mask": mask}, {}, "x") is None


def test_masks_of_another_size_are_refused():
    space = SimpleNamespace(nvec=np.array([2, 3]), shape=(2,))
    for mask, sizes in ((np.ones(4), [4]), ((np.ones(3), np.ones(2)), [3, 2]), (np.ones(()), [1])):
        with pytest.raises(SpaceError) as raised:
            read_mask(space, {"action_mask": mask}, {}, "x")
        assert str(raised.value) == (
            f"action_mask of x: expected 5 flags, or one mask each of [2, 3], got {sizes}; mend the environment"
        )
    with pytest.raises(
        SpaceError, match=r"^action_mask of x: expected 3 flags, got \[2\]; mend the environment$"
    ):
        read_mask(discrete(3), {}, {"action_mask": [1, 0]}, "x")


def test_actions_of_every_kind_are_understood():
    multi = SimpleNamespace(nvec=np.array([2, 3]), shape=(2,))
    lamps = SimpleNamespace(n=3, shape=(3,))
    assert action_spec(multi, "x") == ActionSpec(branches=(2, 3))
    assert action_spec(lamps, "x") == ActionSpec(branches=(2, 2, 2))
    assert action_spec(box(2, 3), "x") == ActionSpec(continuous=6)
    none, three = np.zeros(0, np.float32), np.array([1, 0, 1])
    assert read_action(multi, none, np.array([1, 2])).tolist() == [1, 2]
    assert read_action(lamps, none, three).tolist() == [1, 0, 1]
    assert read_action(discrete(4, start=-1), none, np.array([3])) == 2
    unbounded = read_action(box(2), np.array([-3.0, 2.0], np.float32), three[:0])
    assert unbounded.tolist() == [-3.0, 2.0]
