"""The wire: a gRPC client of the trainer's ``UnityToExternalProto/Exchange``, on this machine only."""

import socket
import time
from collections.abc import Callable

import grpc
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto

from mlagents_marl_plugin.player.messages import QUIT, bare

_EXCHANGE = "/communicator_objects.UnityToExternalProto/Exchange"
_PROBE_INTERVAL = 0.1
_GOOD_BYE_SECONDS = 2.0
# What gRPC tells the callers of a server that is being stopped.
_SERVER_STOPPED = "Cancelling all calls"
# The trainer's server keeps gRPC's default limit for what it receives, and mlagents has no setting for it.
TRAINER_LIMIT = 4 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A company's http_proxy must not come between two processes of one machine.
    ("grpc.enable_http_proxy", 0),
)


class NobodyListens(ConnectionError):
    """No trainer answers on the port."""


class TrainerGone(ConnectionError):
    """The trainer was there and is not any more."""


class TrainerClosed(TrainerGone):
    """The trainer stopped its server, as mlagents does at the end of a session."""


class MessageTooLarge(ValueError):
    """The trainer's server would refuse a message of this size."""


class TrainerConnection:
    """One player's connection to the trainer that listens on 127.0.0.1 at ``port``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._channel: grpc.Channel | None = None
        self._exchange: Callable[..., UnityMessageProto] | None = None

    def wait_for_trainer(self, seconds: float) -> None:
        """Return once something listens on the port.

        Raises:
            NobodyListens: after ``seconds`` without.
        """
        deadline = time.monotonic() + seconds
        while not self._listening():
            if time.monotonic() >= deadline:
                raise NobodyListens(
                    f"nobody listens on port {self.port} (waited {seconds:g} s); start mlagents-learn first"
                )
            time.sleep(_PROBE_INTERVAL)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=_OPTIONS)
        # No serialiser: requests are encoded already.
        self._exchange = self._channel.unary_unary(_EXCHANGE, None, UnityMessageProto.FromString)

    def _listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def exchange(self, message: bytes, timeout: float | None = None) -> UnityMessageProto:
        """Send ``message`` and wait for the trainer's answer, without limit or for ``timeout`` seconds.

        Raises:
            TrainerGone: if the connection ends; TrainerClosed if the trainer itself ended it.
            MessageTooLarge: if the trainer could not take the message.
        """
        if self._exchange is None:
            raise TrainerGone("not connected")
        if len(message) > TRAINER_LIMIT:
            raise MessageTooLarge(
                f"message to the trainer: expected at most {TRAINER_LIMIT} bytes, got {len(message)}; "
                "use fewer areas (--num-areas) or smaller observations"
            )
        try:
            return self._exchange(message, timeout=timeout)
        except grpc.RpcError as error:
            # mlagents stops its server right after its last message, which may lose that race.
            closed = error.details() == _SERVER_STOPPED
            gone = TrainerClosed if closed else TrainerGone
            raise gone(f"{error.code().name}: {error.details()}") from error

    def say_good_bye(self) -> None:
        """Tell the trainer, if it is still there, that the player quits, as Unity does at Stop."""
        try:
            self.exchange(bare(QUIT), timeout=_GOOD_BYE_SECONDS)
        except TrainerGone:
            return

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = self._exchange = None
