"""Protobuf by hand, so that the fake build shares no code with what it tests: fields written, fields read.

Fields at their default are left out, as proto3 has it.
"""

import struct
from collections.abc import Iterator, Sequence


def number(field: int, value: int) -> bytes:
    """An int32, bool or enum."""
    return _varint(field << 3) + _varint(value & (1 << 64) - 1) if value else b""


def real(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value) if value else b""


def reals(field: int, values: Sequence[float]) -> bytes:
    return data(field, struct.pack(f"<{len(values)}f", *values)) if values else b""


def text(field: int, value: str) -> bytes:
    return data(field, value.encode()) if value else b""


def data(field: int, value: bytes) -> bytes:
    """Bytes or a message; present even if empty."""
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and raw value of each field."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == 0:
            value, at = _read_varint(message, at)
            yield key >> 3, value
            continue
        if key & 7 == 2:
            size, at = _read_varint(message, at)
        else:
            size = {1: 8, 5: 4}[key & 7]
        yield key >> 3, message[at : at + size]
        at += size


def first(message: bytes, field: int, default: int | bytes = b"") -> int | bytes:
    """The value of a field that occurs once."""
    return next((value for key, value in fields(message) if key == field), default)


def every(message: bytes, field: int) -> list[bytes]:
    """The values of a repeated field of messages."""
    return [value for key, value in fields(message) if key == field and isinstance(value, bytes)]


def floats(packed: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
