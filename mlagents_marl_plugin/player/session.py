"""One player's life: shake hands with the trainer, then obey its commands until it stops or dies."""

import logging
import time
from collections.abc import Callable

import numpy as np
from mlagents_envs.communicator_objects import command_pb2
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from mlagents_envs.communicator_objects.unity_rl_initialization_input_pb2 import (
    UnityRLInitializationInputProto,
)
from mlagents_envs.communicator_objects.unity_rl_input_pb2 import UnityRLInputProto
from numpy.typing import NDArray

from mlagents_marl_plugin.player import messages
from mlagents_marl_plugin.player.action_decoder import ActionDecoder
from mlagents_marl_plugin.player.agent_ids import AgentIds
from mlagents_marl_plugin.player.event_log import EventLog
from mlagents_marl_plugin.player.faults import Faults
from mlagents_marl_plugin.player.film import PICTURES, Film, pack_pictures
from mlagents_marl_plugin.player.protocol import (
    TRAINER_LIMIT,
    MessageTooLarge,
    TrainerClosed,
    TrainerConnection,
    TrainerGone,
)
from mlagents_marl_plugin.player.row_encoder import Encode, RowEncoder, row_encoder
from mlagents_marl_plugin.player.row_shapes import check_frame
from mlagents_marl_plugin.player.scene import Actions, Behavior, Frame, Rows, Scene
from mlagents_marl_plugin.player.side_channels import (
    SideChannelError,
    SideChannels,
    pack_message,
    pack_statistics,
)

PRODUCT = "marl-player"
# The release of Unity's package whose behaviour is simulated; the trainer only prints it.
PACKAGE_VERSION = "3.0.0-marl-player"
# Room in a message for its frame and for statistics.
_FRAMING = 64 * 1024

_CLOSED = "the trainer closed the connection"

MakeScene = Callable[[int, int, SideChannels], Scene]
"""From the number of areas, the seed and the side channels to a scene."""


class ProtocolMismatch(ValueError):
    """The trainer speaks another major version of the protocol."""


class Session:
    """Plays one scene for one trainer.

    Attributes:
        beginning: the trainer waits for its first frame; if that fails, there is no scene, or it has too many areas.
    """

    def __init__(
        self,
        connection: TrainerConnection,
        make_scene: MakeScene,
        log: logging.Logger,
        event_log: EventLog | None = None,
        faults: Faults | None = None,
        wants_statistics: bool = False,
    ) -> None:
        self._connection = connection
        self._make_scene = make_scene
        self._log = log
        self._event_log = event_log
        self._faults = faults or Faults()
        self._side_channels = SideChannels(log, wants_statistics)
        self._speed = _Speed()
        self.beginning = False

    def run(self) -> str:
        """Play until the trainer ends the session; returns how it ended, in words.

        Raises:
            TrainerGone: if what listens on the port does not answer the handshake.
            ProtocolMismatch, MessageError, SideChannelError, MessageTooLarge: if the two sides misunderstand
                each other.
            SceneError: if the scene cannot be made or cannot go on.
        """
        settings = self._shake_hands()
        try:
            # mlagents waits for this message without limit, whether the player lives or not; while it waits for the
            # next ones it looks. So the scene, which may be a stranger's code, is made after it.
            answer = self._connection.exchange(messages.bare(messages.OK))
            if not _is_command(answer):
                return _CLOSED
            self.beginning = True
            self._begin(settings)
            try:
                return self._obey(answer)
            finally:
                self._scene.close()
                self._log.info(self._speed.summary())
        except TrainerClosed:
            return _CLOSED
        except TrainerGone as gone:
            return f"the trainer is gone ({gone})"

    def _obey(self, answer: UnityMessageProto) -> str:
        while _is_command(answer):
            rl_input = answer.unity_input.rl_input
            if rl_input.command == command_pb2.QUIT:
                return "the trainer sent QUIT"
            message = self._tick(rl_input)
            self.beginning = False
            message = self._faults.instead_of(message, self._speed.steps, self._connection)
            answer = self._connection.exchange(message)
        return _CLOSED

    def _shake_hands(self) -> UnityRLInitializationInputProto:
        answer: UnityMessageProto = self._connection.exchange(messages.handshake(PRODUCT, PACKAGE_VERSION))
        settings = answer.unity_input.rl_initialization_input
        theirs = settings.communication_version
        if theirs.split(".")[0] != messages.PROTOCOL_VERSION.split(".")[0]:
            raise ProtocolMismatch(
                f"handshake: expected protocol {messages.PROTOCOL_VERSION}, got {theirs or 'none'}; "
                "use mlagents 1.1.0, or another release that speaks protocol 1.x"
            )
        return settings

    def _begin(self, settings: UnityRLInitializationInputProto) -> None:
        num_areas = max(1, settings.num_areas)
        self._log.info(
            "Connected to mlagents-envs %s: protocol %s, seed %d, %d areas",
            settings.package_version,
            settings.communication_version,
            settings.seed,
            num_areas,
        )
        self._scene = self._make_scene(num_areas, settings.seed, self._side_channels)
        self._ids = AgentIds(self._scene.num_seats)
        self._behavior: dict[str, Behavior] = {behavior.id: behavior for behavior in self._scene.behaviors}
        self._encode: dict[str, Encode] = {
            name: row_encoder(behavior) for name, behavior in self._behavior.items()
        }
        self._decode = {name: ActionDecoder(behavior.actions) for name, behavior in self._behavior.items()}
        self._num_areas = num_areas
        self._introduced: set[str] = set()
        self._asked: dict[str, NDArray[np.int64]] = {}
        self._playing = False
        self._film: Film | None = None
        self._filmed_area: int | None = None

    def _tick(self, rl_input: UnityRLInputProto) -> bytes:
        """Carry out one command and report the next tick at which an agent has something to say."""
        self._side_channels.receive(rl_input.side_channel)
        self._start_film()
        if rl_input.command == command_pb2.RESET or not self._playing:
            frame = self._reset()
        else:
            frame = self._step(rl_input)
        while not any(len(rows.seat) for rows in frame.values()):
            frame = self._scene.step({})
        return self._report(frame)

    def _reset(self) -> Frame:
        if self._event_log:
            self._event_log.reset()
        frame = self._scene.reset()
        if not self._playing:
            self._check_size(frame)
            self._speed.start()
        self._playing = True
        return frame

    def _check_size(self, frame: Frame) -> None:
        """Refuse more areas than fit into the message of a tick at which all episodes end and begin, or one."""
        size = 0
        for name, rows in frame.items():
            encode = self._encode.get(name)
            if isinstance(encode, RowEncoder):  # the size of PNG files is not known beforehand
                size += 2 * len(rows.seat) * encode.row_size
        room = TRAINER_LIMIT - _FRAMING
        if size > room:
            fitting = self._num_areas * room // size
            if not fitting:
                raise MessageTooLarge(
                    f"one area: expected at most {room} bytes when its episodes end, got {size // self._num_areas}, "
                    f"and mlagents takes no longer messages; use {self._scene.smaller}"
                )
            raise MessageTooLarge(
                f"--num-areas: expected at most {fitting}, got {self._num_areas}; "
                f"when all episodes end, a message has {size} bytes, and mlagents takes {TRAINER_LIMIT}"
            )

    def _step(self, rl_input: UnityRLInputProto) -> Frame:
        actions: dict[str, Actions] = {
            name: messages.read_actions(rl_input, self._behavior[name], self._decode[name], seat)
            for name, seat in self._asked.items()
        }
        self._speed.count(sum(map(len, self._asked.values())))
        if self._event_log:
            self._event_log.decided(actions)
        return self._scene.step(actions)

    def _report(self, frame: Frame) -> bytes:
        check_frame(self._behavior, frame)
        ids = self._ids.assign(frame)
        if self._event_log:
            self._event_log.reported(frame, ids)
        self._asked = {name: _asking(rows) for name, rows in frame.items()}
        infos = {name: self._encode[name](rows, ids[name]) for name, rows in frame.items()}
        new = [self._behavior[name] for name in infos if name not in self._introduced and ids[name].size]
        introduction = messages.introduction(new) if new else b""
        self._introduced.update(behavior.id for behavior in new)
        return messages.tick(infos, self._statistics() + self._pictures(), introduction)

    def _statistics(self) -> bytes:
        statistics = self._scene.drain_statistics()
        return pack_statistics(statistics) if self._side_channels.wants_statistics else b""

    def _start_film(self) -> None:
        area = self._side_channels.filmed_area
        if area == self._filmed_area or area is None:
            return
        if not 0 <= area < self._num_areas:
            raise SideChannelError(f"pictures: expected an area from 0 to {self._num_areas - 1}, got {area}")
        self._filmed_area, self._film = area, self._scene.film(area)

    def _pictures(self) -> bytes:
        if self._film is None:
            return b""
        pictures = self._film.drain()
        return pack_message(PICTURES, pack_pictures(pictures, self._film.seconds, self._film.why_blind))


def _is_command(answer: UnityMessageProto) -> bool:
    return bool(answer.header.status == messages.OK)


def _asking(rows: Rows) -> NDArray[np.int64]:
    """Seats of the rows that ask for a decision."""
    return rows.seat if rows.done is None else rows.seat[~rows.done]


class _Speed:
    """How much of the processor the player itself used since its first command."""

    def __init__(self) -> None:
        self.steps = 0
        self._agent_steps = 0
        self._began = time.process_time()

    def start(self) -> None:
        self._began = time.process_time()

    def count(self, agents: int) -> None:
        self.steps += 1
        self._agent_steps += agents

    def summary(self) -> str:
        seconds = time.process_time() - self._began
        rate = self._agent_steps / seconds if seconds else 0.0
        return (
            f"Played {self.steps} steps, {self._agent_steps} agent-steps in {seconds:.2f} CPU seconds: "
            f"{rate:.0f} agent-steps per CPU second"
        )
