"""The side channels of a Unity scene: engine configuration and environment parameters in, statistics out.

Wire format of one message: 16 bytes channel id (little-endian UUID), int32 length, payload. Channels that the
player does not know are ignored, as a scene without the channel ignores them; so is training analytics.
"""

import logging
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from mlagents_marl_plugin.player.film import PICTURES

ENGINE_CONFIGURATION = uuid.UUID("e951342c-4f7e-11ea-b238-784f4387d1f7")
ENVIRONMENT_PARAMETERS = uuid.UUID("534c891e-810f-11ea-a9d0-822485860400")
STATISTICS = uuid.UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520")
TRAINING_ANALYTICS = uuid.UUID("b664a4a9-d86f-5a5f-95cb-e8353a7e8356")

_HEADER = struct.Struct("<16si")
# Screen resolution, quality level, time scale, target frame rate, capture frame rate.
_ENGINE_SETTINGS = range(5)
_TIME_SCALE = 2


class Aggregation(IntEnum):
    """How mlagents combines a statistic's values within a summary period."""

    AVERAGE = 0
    MOST_RECENT = 1
    SUM = 2
    HISTOGRAM = 3


class Statistic(NamedTuple):
    """A value for TensorBoard under the tag ``name``."""

    name: str
    value: float
    aggregation: Aggregation = Aggregation.AVERAGE


class SideChannelError(ValueError):
    """A side channel's bytes could not be read."""


class _Reader:
    """Reads a payload's values in the order in which they were written."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def _take(self, code: str) -> float:
        layout = struct.Struct("<" + code)
        (value,) = layout.unpack_from(self._payload, self._at)
        self._at += layout.size
        return value

    def int32(self) -> int:
        return int(self._take("i"))

    def float32(self) -> float:
        return float(self._take("f"))

    def string(self) -> str:
        length = self.int32()
        text = self._payload[self._at : self._at + length]
        self._at += length
        return text.decode("ascii")

    def floats(self) -> list[float]:
        return [self.float32() for _ in range(self.int32())]


class EnvironmentParameters:
    """Named floats that the trainer sets; a sampler (randomisation) is drawn from at every ``get``."""

    def __init__(self) -> None:
        self._draw: dict[str, Callable[[], float]] = {}

    def get(self, name: str, default: float) -> float:
        """The parameter's value now, or ``default`` if the trainer never set it."""
        draw = self._draw.get(name)
        return default if draw is None else draw()

    def set_value(self, name: str, value: float) -> None:
        self._draw[name] = lambda: value

    def set_sampler(self, name: str, kind: int, seed: int, numbers: list[float]) -> None:
        """``kind`` 0: uniform (low, high); 1: normal (mean, deviation); 2: uniform over (a, b), (c, d)..."""
        random = np.random.default_rng(seed % 2**32)
        if kind == 0:
            low, high = numbers
            self._draw[name] = lambda: float(random.uniform(low, high))
        elif kind == 1:
            mean, deviation = numbers
            self._draw[name] = lambda: float(random.normal(mean, deviation))
        elif kind == 2:
            low_ends = np.array(numbers[0::2])
            widths = np.array(numbers[1::2]) - low_ends

            def draw() -> float:
                interval = random.choice(len(widths), p=widths / widths.sum())
                return float(low_ends[interval] + widths[interval] * random.random())

            self._draw[name] = draw
        else:
            raise SideChannelError(
                f"environment parameter {name}: expected sampler type 0, 1 or 2, got {kind}"
            )


class SideChannels:
    """Receives what the trainer sends beside the actions, and packs what the scene reports.

    Attributes:
        parameters: the environment parameters as last set.
        time_scale: as last set by the trainer. It is only noted: the player always runs as fast as it can.
        wants_statistics: report statistics to this trainer. A trainer without a statistics channel prints a
            warning for each of them, in lines that grow with the square (each warning adds a log handler). So
            they go to whoever sets the engine's whole configuration, as mlagents-learn does, or on demand.
        filmed_area: somebody wants to see pictures of this area; None if nobody does.
    """

    def __init__(self, log: logging.Logger, wants_statistics: bool = False) -> None:
        self.parameters = EnvironmentParameters()
        self.time_scale = 1.0
        self.wants_statistics = wants_statistics
        self.filmed_area: int | None = None
        self._engine_settings: set[int] = set()
        self._log = log
        self._ignored: set[uuid.UUID] = {TRAINING_ANALYTICS}

    def receive(self, data: bytes) -> None:
        """Take in the side-channel bytes of one message from the trainer."""
        for channel, payload in _messages(data):
            try:
                if channel == ENGINE_CONFIGURATION:
                    self._configure_engine(_Reader(payload))
                elif channel == ENVIRONMENT_PARAMETERS:
                    self._set_parameter(_Reader(payload))
                elif channel == PICTURES:
                    self.filmed_area = _Reader(payload).int32()
                elif channel not in self._ignored:
                    self._ignored.add(channel)
                    self._log.info("Ignoring side channel %s, which this scene does not have.", channel)
            except struct.error as error:
                raise SideChannelError(f"side channel {channel}: {error}") from error

    def _configure_engine(self, reader: _Reader) -> None:
        setting = reader.int32()
        if setting not in _ENGINE_SETTINGS:
            self._log.info("Ignoring engine setting %d, which this player does not know.", setting)
            return
        self._engine_settings.add(setting)
        self.wants_statistics |= self._engine_settings == set(_ENGINE_SETTINGS)
        if setting == _TIME_SCALE:
            self.time_scale = reader.float32()
            self._log.info("Time scale %g; the player always runs as fast as it can.", self.time_scale)

    def _set_parameter(self, reader: _Reader) -> None:
        name = reader.string()
        if reader.int32() == 0:
            value = reader.float32()
            self._log.info("Environment parameter %s = %g", name, value)
            self.parameters.set_value(name, value)
            return
        seed, kind = reader.int32(), reader.int32()
        numbers = reader.floats() if kind == 2 else [reader.float32(), reader.float32()]
        self._log.info("Environment parameter %s: sampler %d of %s, seed %d", name, kind, numbers, seed)
        self.parameters.set_sampler(name, kind, seed, numbers)


def pack_statistics(statistics: Iterable[Statistic]) -> bytes:
    """The side-channel bytes that report ``statistics`` to the trainer."""
    packed = bytearray()
    for name, value, aggregation in statistics:
        text = name.encode("ascii")
        payload = struct.pack(f"<i{len(text)}sfi", len(text), text, value, aggregation)
        packed += pack_message(STATISTICS, payload)
    return bytes(packed)


def pack_message(channel: uuid.UUID, payload: bytes) -> bytes:
    """One message of a side channel."""
    return _HEADER.pack(channel.bytes_le, len(payload)) + payload


def _messages(data: bytes) -> Iterator[tuple[uuid.UUID, bytes]]:
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise SideChannelError(
                f"side channel: expected a {_HEADER.size}-byte header, got {len(data) - at} bytes"
            )
        channel_bytes, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        payload = data[at : at + length]
        if len(payload) != length:
            raise SideChannelError(f"side channel: expected a message of {length} bytes, got {len(payload)}")
        at += length
        yield uuid.UUID(bytes_le=channel_bytes), payload
