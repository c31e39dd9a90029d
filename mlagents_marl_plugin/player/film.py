"""Pictures of a running scene for whoever asks: the side channel that carries them.

A client that wants to watch sends the number of an area on channel ``PICTURES``; from then on the player
answers every command with the pictures of that area since the last. Scenes that cannot draw themselves send
nothing, and neither does a build of Unity, which ignores the channel.
"""

import struct
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence

PICTURES = uuid.UUID("5a0d4c1e-0f0b-4d0e-9c86-3d1f6b6f3a52")

_HEAD = struct.Struct("<fi")
_LENGTH = struct.Struct("<i")


class Film(ABC):
    """What one area of a scene looks like while it plays.

    Attributes:
        seconds: how long each picture lasts when the scene is watched as fast as life.
        why_blind: why there are no pictures and what to do about it; empty while there are some.
    """

    seconds: float
    why_blind: str = ""

    @abstractmethod
    def drain(self) -> list[bytes]:
        """PNG files of what happened since the last call, in order."""


class Blind(Film):
    """No pictures, and a reason."""

    seconds = 0.0

    def __init__(self, why: str) -> None:
        self.why_blind = why

    def drain(self) -> list[bytes]:
        return []


def pack_request(area: int) -> bytes:
    """The payload that asks for pictures of an area."""
    return _LENGTH.pack(area)


def pack_pictures(pictures: Sequence[bytes], seconds: float, why_blind: str = "") -> bytes:
    """The payload that carries pictures of ``seconds`` each, or the reason why there are none."""
    parts = [_LENGTH.pack(len(picture)) + picture for picture in pictures]
    return _HEAD.pack(seconds, len(pictures)) + b"".join(parts) + why_blind.encode()


def unpack_pictures(payload: bytes) -> tuple[list[bytes], float, str]:
    """What ``pack_pictures`` packed."""
    seconds, count = _HEAD.unpack_from(payload)
    at, pictures = _HEAD.size, []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        pictures.append(payload[at : at + length])
        at += length
    return pictures, seconds, payload[at:].decode()
