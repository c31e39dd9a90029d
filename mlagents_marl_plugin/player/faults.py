"""Faults on demand, so that tests see what a trainer does when its player fails.

A fault takes the place of one of the player's messages. Those that spoil a message leave the rest of it as it is.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mlagents_envs.communicator_objects.agent_info_pb2 import AgentInfoProto
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from mlagents_envs.communicator_objects.unity_rl_output_pb2 import UnityRLOutputProto

from mlagents_marl_plugin.player.messages import handshake
from mlagents_marl_plugin.player.protocol import TrainerConnection

CRASH_EXIT_CODE = 70
HANG_SECONDS = 900.0
STRANGER = 1_000_000
"""The id of an agent that no scene has."""


class Faults(NamedTuple):
    """Which fault there is, and when.

    Attributes:
        kind: a key of FAULTS.
        after: instead of the message after this many steps; None is never.
        once: a file that the failing player makes; while it exists no player fails. So of all players of a run,
            and of their successors, one fails.
    """

    kind: str = "crash"
    after: int | None = None
    once: Path | None = None

    def instead_of(self, message: bytes, step: int, connection: TrainerConnection) -> bytes:
        """What is sent in place of the message of this step; some faults never return."""
        if self.after is None or step < self.after:
            return message
        if self.once is not None and not _claim(self.once):
            return message
        return FAULTS[self.kind](message, connection)


def _claim(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _crash(_message: bytes, _connection: TrainerConnection) -> bytes:
    """Die without a word."""
    os._exit(CRASH_EXIT_CODE)


def _hang(_message: bytes, _connection: TrainerConnection) -> bytes:
    """Never answer, and stay, for longer than any trainer waits."""
    time.sleep(HANG_SECONDS)
    os._exit(CRASH_EXIT_CODE)


def _drop(message: bytes, connection: TrainerConnection) -> bytes:
    """Close the connection in the middle of a step, and stay."""
    connection.close()
    return _hang(message, connection)


def _quit(_message: bytes, connection: TrainerConnection) -> bytes:
    """Say good-bye in the middle of a step, as a game does whose window is closed."""
    connection.say_good_bye()
    os._exit(0)


def _garbage(_message: bytes, _connection: TrainerConnection) -> bytes:
    """Bytes that are no message."""
    return b"\xff" * 64


def _cut(message: bytes, _connection: TrainerConnection) -> bytes:
    """A message without its end."""
    return message[: len(message) * 2 // 3]


def _hello(message: bytes, connection: TrainerConnection) -> bytes:
    """Introduce oneself again, then go on: messages out of order."""
    connection.exchange(handshake("marl-player", "again"))
    return message


def _nan(message: bytes, _connection: TrainerConnection) -> bytes:
    """An observation that is not a number."""
    parsed = UnityMessageProto.FromString(message)
    _speaking(parsed).value[0].observations[0].float_data.data[0] = math.nan
    return bytes(parsed.SerializeToString())


def _shape(message: bytes, _connection: TrainerConnection) -> bytes:
    """An observation of another size than was announced."""
    parsed = UnityMessageProto.FromString(message)
    observation = _speaking(parsed).value[0].observations[0]
    observation.shape[0] += 1
    observation.float_data.data.append(0.0)
    return bytes(parsed.SerializeToString())


def _twice(message: bytes, _connection: TrainerConnection) -> bytes:
    """Every agent twice."""
    parsed = UnityMessageProto.FromString(message)
    for infos in parsed.unity_output.rl_output.agentInfos.values():
        infos.value.extend(list(infos.value))
    return bytes(parsed.SerializeToString())


def _stranger(message: bytes, _connection: TrainerConnection) -> bytes:
    """The end of an agent that never began."""
    parsed = UnityMessageProto.FromString(message)
    infos = _speaking(parsed)
    ended = AgentInfoProto()
    ended.CopyFrom(infos.value[0])
    ended.id, ended.done = STRANGER, True
    infos.value.append(ended)
    return bytes(parsed.SerializeToString())


def _statistics(message: bytes, _connection: TrainerConnection) -> bytes:
    """A side channel that announces more bytes than there are."""
    parsed = UnityMessageProto.FromString(message)
    parsed.unity_output.rl_output.side_channel = bytes(16) + b"\xff\xff\xff\x7f"
    return bytes(parsed.SerializeToString())


def _speaking(message: UnityMessageProto) -> UnityRLOutputProto.ListAgentInfoProto:
    """The rows of the first behaviour that has any; a tick without rows is never sent."""
    return next(infos for infos in message.unity_output.rl_output.agentInfos.values() if infos.value)


FAULTS: dict[str, Callable[[bytes, TrainerConnection], bytes]] = {
    "crash": _crash,
    "hang": _hang,
    "drop": _drop,
    "quit": _quit,
    "garbage": _garbage,
    "cut": _cut,
    "hello": _hello,
    "nan": _nan,
    "shape": _shape,
    "twice": _twice,
    "stranger": _stranger,
    "statistics": _statistics,
}
