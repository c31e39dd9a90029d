"""The brains of a 0.4 build as behaviours of today, and their agents' infos as arrays."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.legacy.schema import CONTINUOUS, DISCRETE, EXTERNAL
from mlagents_marl_plugin.player.scene import ActionSpec, Behavior, SceneError, SensorSpec

_PNG_HEAD = struct.Struct(">8s4x4sII")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ASK = "is it one of the course's builds, unchanged?"

Observation = tuple[NDArray[np.float32] | bytes, ...]
"""What one agent sees: the stacked vector if the brain has one, then a PNG file per camera."""


@dataclass(frozen=True)
class Brain:
    """One brain that Python plays.

    Attributes:
        behavior: as mlagents sees it; ``behavior.name`` is the brain's name.
        vector_length: numbers in the vector observation, stacked frames included.
        one_hot: size of the one-hot vector that stands for each number; 0 for numbers as they are.
        cameras: width and height of each.
    """

    behavior: Behavior
    vector_length: int
    one_hot: int
    cameras: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        return self.behavior.name


class Reading(NamedTuple):
    """The infos of one brain's ``n`` agents, in the build's order."""

    agent: list[int]  # the build's own ids, which outlive episodes
    obs: list[Observation]
    reward: list[float]
    done: list[bool]
    max_step_reached: list[bool]


def served_brains(parameters: Sequence[Any]) -> list[Brain]:
    """The brains that wait for Python's actions, from a build's ``BrainParameters``.

    Raises:
        SceneError: if there is none, or one does not make sense.
    """
    external = [brain for brain in parameters if brain.brain_type == EXTERNAL]
    if not external:
        found = ", ".join(brain.brain_name for brain in parameters) or "no brain at all"
        raise SceneError(
            f"build: expected a brain of type External, got {found}; "
            "in Unity set the brain's type to External and build again"
        )
    return [_brain(brain) for brain in external]


def _brain(parameters: Any) -> Brain:
    name, stack = parameters.brain_name, max(1, parameters.num_stacked_vector_observations)
    size, num_actions = parameters.vector_observation_size, parameters.vector_action_size
    discrete_obs = parameters.vector_observation_space_type == DISCRETE and size > 0
    length = stack if discrete_obs else size * stack
    cameras = tuple((camera.width, camera.height) for camera in parameters.camera_resolutions)
    smallest = min([length, *(side for camera in cameras for side in camera)])
    if num_actions < 1 or smallest < 0 or length == 0 == len(cameras):
        raise SceneError(
            f"brain {name}: expected at least one action and one observation, got {num_actions} actions, "
            f"{length} numbers and cameras {list(cameras)}; {_ASK}"
        )
    sensors = []
    if length:
        width = length * size if discrete_obs else length
        sensors.append(SensorSpec(f"VectorSensor_size{width}", (width,), dimension_properties=(1,)))
    for number, camera in enumerate(parameters.camera_resolutions):
        shape = (1 if camera.gray_scale else 3, camera.height, camera.width)
        sensors.append(SensorSpec(f"Camera{number}", shape, dimension_properties=(1, 2, 2), png=True))
    continuous = parameters.vector_action_space_type == CONTINUOUS
    actions = ActionSpec(continuous=num_actions) if continuous else ActionSpec(branches=(num_actions,))
    return Brain(Behavior(name, tuple(sensors), actions), length, size if discrete_obs else 0, cameras)


def read_infos(brain: Brain, infos: Sequence[Any]) -> Reading:
    """The ``AgentInfo`` messages of a brain's agents.

    Raises:
        SceneError: if they are not what the brain's parameters promised.
    """
    agent = [info.id for info in infos]
    if len(set(agent)) < len(agent):
        raise SceneError(f"brain {brain.name}: expected every agent once, got ids {agent}; {_ASK}")
    return Reading(
        agent,
        [_observation(brain, info) for info in infos],
        [info.reward for info in infos],
        [info.done for info in infos],
        [info.max_step_reached for info in infos],
    )


def _observation(brain: Brain, info: Any) -> Observation:
    vector = np.array(info.stacked_vector_observation, np.float32)
    if len(vector) != brain.vector_length or len(info.visual_observations) != len(brain.cameras):
        raise SceneError(
            f"brain {brain.name}: expected {brain.vector_length} numbers and {len(brain.cameras)} pictures of "
            f"each agent, as the build said at first, got {len(vector)} and {len(info.visual_observations)}; {_ASK}"
        )
    for number, (picture, camera) in enumerate(zip(info.visual_observations, brain.cameras, strict=True)):
        _check_picture(brain, number, picture, camera)
    pictures = tuple(info.visual_observations)
    if not brain.vector_length:
        return pictures
    return (_one_hot(brain, vector) if brain.one_hot else vector, *pictures)


def _one_hot(brain: Brain, index: NDArray[np.float32]) -> NDArray[np.float32]:
    """[stack] indices to [stack * size], which is what 0.4's own trainers made of discrete observations."""
    if not ((index >= 0) & (index < brain.one_hot)).all():
        raise SceneError(
            f"brain {brain.name}: expected discrete observations from 0 to {brain.one_hot - 1}, "
            f"got {index.tolist()}; {_ASK}"
        )
    return np.eye(brain.one_hot, dtype=np.float32)[index.astype(np.int64)].ravel()


def _check_picture(brain: Brain, number: int, picture: bytes, camera: tuple[int, int]) -> None:
    size = None
    if len(picture) >= _PNG_HEAD.size:
        signature, chunk, width, height = _PNG_HEAD.unpack_from(picture)
        size = (width, height) if (signature, chunk) == (_PNG_SIGNATURE, b"IHDR") else None
    if size != camera:
        got = f"{len(picture)} bytes that are none" if size is None else f"one of {size[0]} x {size[1]}"
        raise SceneError(
            f"brain {brain.name}, camera {number}: expected a PNG file of {camera[0]} x {camera[1]} pixels, "
            f"got {got}; {_ASK}"
        )
