"""The games of the fake build: brains, agents, and when episodes end."""

import struct
import zlib
from typing import NamedTuple

DISCRETE, CONTINUOUS = 0, 1
PLAYER, EXTERNAL = 0, 2


class Camera(NamedTuple):
    width: int
    height: int
    gray: bool = False


class Brain(NamedTuple):
    name: str
    agents: tuple[int, ...]  # Unity's instance ids, which may be negative
    vector: int
    stack: int
    actions: int
    action_kind: int = CONTINUOUS
    vector_kind: int = CONTINUOUS
    cameras: tuple[Camera, ...] = ()
    brain_type: int = EXTERNAL


class Game(NamedTuple):
    """``lengths`` are those of an agent's successive episodes, in turns; the longest ones end by their limit."""

    brains: tuple[Brain, ...]
    lengths: tuple[int, ...] = (5, 7, 6, 9)
    academy_limit: int = 1_000_000
    together: bool = True  # the agents' episodes end at the same ticks
    parameters: dict[str, float] = {}


PLAYER_BRAIN = Brain("PlayerBrain", (), 8, 3, 2, brain_type=PLAYER)
GAMES = {
    "tennis": Game((Brain("TennisBrain", (-1266, -1234), 8, 3, 2), PLAYER_BRAIN), academy_limit=20),
    "reacher": Game(
        (Brain("ReacherBrain", tuple(range(1000, 1020)), 33, 1, 4),),
        lengths=(12,),
        parameters={"goal_size": 5.0, "goal_speed": 1.0},
    ),
    "banana": Game((Brain("BananaBrain", (77,), 37, 1, 4, DISCRETE),), lengths=(6,), academy_limit=15),
    "soccer": Game(
        (
            Brain("StrikerBrain", (41, 31), 12, 3, 6, DISCRETE),
            Brain("GoalieBrain", (32, 42), 12, 3, 4, DISCRETE),
        ),
        together=False,
    ),
    "pixels": Game(
        (
            Brain("PixelBrain", (5, 6), 0, 1, 4, DISCRETE, cameras=(Camera(12, 8), Camera(4, 6, gray=True))),
            Brain("BasicBrain", (7,), 20, 2, 2, DISCRETE, DISCRETE),
        )
    ),
}


def png(camera: Camera, shade: int) -> bytes:
    """A picture of one colour, as Unity encodes it: RGB even where the brain wants grey."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    line = b"\0" + bytes([shade, shade // 2, 0]) * camera.width
    head = struct.pack(">IIBBBBB", camera.width, camera.height, 8, 2, 0, 0, 0)
    body = zlib.compress(line * camera.height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
