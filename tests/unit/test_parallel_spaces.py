"""Spaces of Gym and Gymnasium as sensors and actions, one by one."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mlagents_marl_plugin.player.scene import ActionSpec
from mlagents_marl_plugin.player.scenes.parallel_spaces import (
    Sensors,
    SpaceError,
    action_spec,
    read_action,
    read_mask,
)
from tests.unit.parallel_envs import box, discrete


def test_a_box_of_integers_takes_the_nearest():
    space, sent = box(5, low=0, high=3, dtype=np.int64), np.array([-1, -0.6, 0.1, 0.6, 0.9], np.float32)
    taken = read_action(space, sent, np.zeros(0, np.int64))
    assert (taken.tolist(), taken.dtype) == ([0, 1, 2, 2, 3], np.int64)


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


def picture(*shape, high=255):
    return box(*shape, low=0, high=high, dtype=np.uint8)


def shown(space, obs):
    """The sensor, and what arrives of an observation: for a camera the pixels of its PNG file."""
    sensors = Sensors.of(space, "x")
    (spec,), (value,) = sensors.specs, sensors.read(obs, "x")
    if not spec.png:
        return spec, value
    image = Image.open(io.BytesIO(value))
    assert image.mode == {1: "L", 3: "RGB"}[spec.shape[0]], "eight bits a channel"
    return spec, np.asarray(image)


def test_a_picture_of_two_axes_is_a_camera_of_one_channel():
    seen = np.arange(20, dtype=np.uint8).reshape(4, 5)
    spec, pixels = shown(picture(4, 5), seen)
    assert (spec.shape, spec.dimension_properties, spec.png) == ((1, 4, 5), (1, 2, 2), True)
    np.testing.assert_array_equal(pixels, seen)


def test_a_stack_of_frames_arrives_as_shares_of_255():
    seen = np.arange(80, dtype=np.uint8).reshape(4, 5, 4)
    spec, stack = shown(picture(4, 5, 4), seen)
    assert (spec.shape, spec.png, stack.dtype) == ((4, 4, 5), False, np.float32)
    np.testing.assert_allclose(stack, np.moveaxis(seen, -1, 0) / 255, rtol=1e-6)


def test_bytes_with_a_lower_bound_are_numbers():
    board = np.array([[0, 3], [2, 1]], np.uint8)
    spec, numbers = shown(picture(2, 2, high=3), board)
    assert (spec.shape, spec.png) == ((4,), False)
    assert numbers.tolist() == [0, 3, 2, 1]
    spec, numbers = shown(picture(2, 2, 1, high=3), board[..., None])
    assert (spec.shape, spec.png) == ((1, 2, 2), False)
    assert numbers.tolist() == [board.tolist()]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_may_come_in_another_type_if_bytes_hold_it(dtype, channels):
    space, seen = picture(2, 3, channels), np.full((2, 3, channels), 200)
    np.testing.assert_array_equal(shown(space, seen.astype(dtype))[1], shown(space, seen.astype(np.uint8))[1])
    for wrong in (0.5, 256, -1, np.nan):
        if np.dtype(dtype).kind == "i" and not float(wrong).is_integer():
            continue
        seen = np.zeros((2, 3, channels), dtype)
        seen[0, 0] = wrong
        with pytest.raises(SpaceError, match=rf"\({seen.dtype} from .*, where bytes belong\); mend"):
            shown(space, seen)


def test_pictures_of_floats_are_sent_as_they_are():
    seen = np.linspace(0, 1, 12).reshape(2, 2, 3)
    spec, numbers = shown(box(2, 2, 3, low=0.0, high=1.0), seen)
    assert (spec.shape, spec.png) == ((3, 2, 2), False)
    np.testing.assert_allclose(numbers, np.moveaxis(seen, -1, 0), rtol=1e-6)
