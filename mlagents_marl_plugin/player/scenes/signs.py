"""Signs: what is to be done stands in a picture, in a list of things, or in a goal; for tests of encoders.

At every step each agent is shown a sign, 0 or 1, by each of the sensors that ``--show`` names, and has a discrete
branch per sensor to say which. Right and wrong answers count 1 and -1; the mean over sensors is its reward. Everything
else that a sensor shows is noise. The sensors are Unity's:

``camera``  a picture of ``--pixels`` by ``--pixels`` with a bright square on its left (0) or right (1) half
``list``    up to 5 things of 3 values in any order and number; of the one whose first is 1, the second says -1 or 1
``goal``    a goal signal, one of two flags
"""

import io
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlagents_marl_plugin.player.scene import (
    Actions,
    ActionSpec,
    Behavior,
    Frame,
    Rows,
    Scene,
    SceneSettings,
    SensorSpec,
)
from mlagents_marl_plugin.player.side_channels import Statistic

SENSORS = ("list", "camera", "goal")  # in the order of their sensors' names, which Unity sorts
MOST_THINGS, THING_SIZE = 5, 3
# ML-Agents' flags of an axis: none, translational equivariance, variable size.
_NONE, _MOVES, _VARIABLE = 1, 2, 4
_NOISE = 64  # pixels are darker than that, but for the square

Shown = tuple[NDArray[np.float32] | list[bytes], ...]


@dataclass(frozen=True)
class SignsOptions:
    """What the scene shows.

    Attributes:
        agents: per area; they form a group.
        show: the sensors, some of `SENSORS`.
        pixels: height and width of the picture.
        uncompressed: pictures come as numbers and not as PNG files.
        length: of an episode, in steps.
    """

    agents: int = 2
    show: tuple[str, ...] = SENSORS
    pixels: int = 20
    uncompressed: bool = False
    length: int = 4

    def __post_init__(self) -> None:
        for name, least in (("agents", 1), ("pixels", 4), ("length", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"Signs.{name}: expected a whole number >= {least}, got {getattr(self, name)}"
                )


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
    """Declare what a test may change about the scene."""
    defaults = SignsOptions()
    options = parser.add_argument_group("options of Signs")
    options.add_argument("--agents", type=int, default=defaults.agents, metavar="N", help="agents of an area")
    options.add_argument(
        "--show", type=_sensors, default=defaults.show, metavar="camera,list", help="sensors that show signs"
    )
    options.add_argument(
        "--pixels", type=int, default=defaults.pixels, metavar="N", help="sides of a picture"
    )
    options.add_argument("--uncompressed", action="store_true", help="pictures as numbers, not as PNG files")
    options.add_argument(
        "--length", type=int, default=defaults.length, metavar="N", help="steps of an episode"
    )


def options_from(arguments: Namespace) -> SignsOptions:
    """The scene's options from the command line.

    Raises:
        ValueError: if one is out of range.
    """
    given = vars(arguments)
    return SignsOptions(**{field.name: given[field.name] for field in fields(SignsOptions)})


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    return SignsScene(settings.num_areas, settings.seed, options_from(settings.options))


class SignsScene(Scene):
    """Seat ``area * agents + agent``.

    Attributes:
        scores: per step, the mean reward by sensor [sensors], of all agents.
        sign: what is shown now, [agents, sensors], 0 or 1.
    """

    def __init__(self, num_areas: int, seed: int, options: SignsOptions) -> None:
        self.options = options
        self.num_seats = num_areas * options.agents
        self.scores: list[NDArray[np.float64]] = []
        actions = ActionSpec(0, (2,) * len(options.show))
        self.behaviors = (Behavior("Signs", self._sensors(), actions),)
        self._random = np.random.default_rng(seed)
        self._seat = np.arange(self.num_seats)
        self._group = self._seat // options.agents + 1
        self._step = 0
        self.sign = np.zeros((self.num_seats, len(options.show)), np.int64)
        self._unsent: list[Statistic] = []

    def reset(self) -> Frame:
        self._step = 0
        return {self.behaviors[0].id: Rows(self._seat, self._show(), group=self._group)}

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        answers = actions[self.behaviors[0].id]
        right = np.zeros((self.num_seats, len(self.options.show)))
        right[answers.seat] = np.where(answers.discrete == self.sign[answers.seat], 1.0, -1.0)
        self.scores.append(right.mean(0))
        self._unsent.append(Statistic("Signs/Right", float(right.mean())))
        reward = right.mean(1).astype(np.float32)
        self._step += 1
        over = self._step == self.options.length
        shown, zero = self._show(), np.zeros_like(reward)
        if not over:
            return {self.behaviors[0].id: Rows(self._seat, shown, reward, group=self._group)}
        self._step = 0
        both = tuple(_joined(last, first) for last, first in zip(shown, self._show(), strict=True))
        done = np.arange(2 * self.num_seats) < self.num_seats
        seat, group = np.tile(self._seat, 2), np.tile(self._group, 2)
        return {self.behaviors[0].id: Rows(seat, both, np.concatenate([reward, zero]), done, group=group)}

    def drain_statistics(self) -> list[Statistic]:
        drained, self._unsent = self._unsent, []
        return drained

    def _sensors(self) -> tuple[SensorSpec, ...]:
        """In the order of their names, as Unity sorts them; a vector that says nothing is always there."""
        pixels = self.options.pixels
        sensors = {
            "list": SensorSpec("BufferSensor", (MOST_THINGS, THING_SIZE), (_VARIABLE, _NONE)),
            "camera": SensorSpec(
                "CameraSensor",
                (3, pixels, pixels),
                (_NONE, _MOVES, _MOVES),
                png=not self.options.uncompressed,
            ),
            "goal": SensorSpec("GoalSensor", (2,), (_NONE,), goal_signal=True),
        }
        shown = tuple(sensor for name, sensor in sensors.items() if name in self.options.show)
        return (*shown, SensorSpec("VectorSensor", (2,), (_NONE,)))

    def _show(self) -> Shown:
        """New signs for all agents."""
        self.sign = self._random.integers(0, 2, self.sign.shape)
        sign = dict(zip(self.options.show, self.sign.T, strict=True))
        seen: list[NDArray[np.float32] | list[bytes]] = []
        if "list" in sign:
            seen.append(self._things(sign["list"]))
        if "camera" in sign:
            seen.append(self._pictures(sign["camera"]))
        if "goal" in sign:
            seen.append(np.eye(2, dtype=np.float32)[sign["goal"]])
        seen.append(self._random.normal(size=(self.num_seats, 2)).astype(np.float32))
        return tuple(seen)

    def _things(self, sign: NDArray[np.int64]) -> NDArray[np.float32]:
        """[n, 5, 3], padded with zeros."""
        things = self._random.uniform(-1, 1, (self.num_seats, MOST_THINGS, THING_SIZE)).astype(np.float32)
        number = self._random.integers(1, MOST_THINGS + 1, self.num_seats)
        asked = self._random.integers(0, number)
        things[:, :, 0] = -1.0
        things[self._seat, asked, :2] = np.stack([np.ones_like(sign), 2 * sign - 1], axis=1)
        things[np.arange(MOST_THINGS) >= number[:, None]] = 0.0
        return things

    def _pictures(self, sign: NDArray[np.int64]) -> NDArray[np.float32] | list[bytes]:
        """[n, 3, height, width] in [0, 1], or n PNG files."""
        pixels = self.options.pixels
        size = pixels // 3
        pictures = self._random.integers(0, _NOISE, (self.num_seats, pixels, pixels, 3)).astype(np.uint8)
        row = self._random.integers(0, pixels - size + 1, self.num_seats)
        column = sign * (pixels // 2) + self._random.integers(0, pixels // 2 - size + 1, self.num_seats)
        for picture, top, left in zip(pictures, row, column, strict=True):
            picture[top : top + size, left : left + size] = 255
        if self.options.uncompressed:
            return pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return [_png(picture) for picture in pictures]


def _png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _joined(
    first: NDArray[np.float32] | list[bytes], second: NDArray[np.float32] | list[bytes]
) -> NDArray[np.float32] | list[bytes]:
    if isinstance(first, list):
        return [*first, *second]
    return np.concatenate([first, second])


def _sensors(text: str) -> tuple[str, ...]:
    named = tuple(text.split(","))
    if not set(named) <= set(SENSORS) or len(set(named)) < len(named):
        raise ArgumentTypeError(f"expected some of {', '.join(SENSORS)} with commas between, got {text}")
    return named
