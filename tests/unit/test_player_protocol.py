import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from mlagents_envs.communicator_objects.unity_to_external_pb2_grpc import (
    UnityToExternalProtoServicer,
    add_UnityToExternalProtoServicer_to_server,
)

from mlagents_marl_plugin.player.protocol import (
    TRAINER_LIMIT,
    MessageTooLarge,
    TrainerClosed,
    TrainerConnection,
)


class SlowTrainer(UnityToExternalProtoServicer):
    """Has not answered yet when its server is stopped."""

    def __init__(self):
        self.asked = threading.Event()
        self.stopped = threading.Event()

    def Exchange(self, request, context):
        self.asked.set()
        self.stopped.wait(30)
        return request


def test_a_trainer_that_stops_its_server_has_closed_the_connection():
    # mlagents stops its server right after its last message, so the message may never arrive.
    trainer = SlowTrainer()
    server = grpc.server(ThreadPoolExecutor(1))
    add_UnityToExternalProtoServicer_to_server(trainer, server)
    connection = TrainerConnection(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    connection.wait_for_trainer(5)
    stopper = threading.Thread(target=lambda: (trainer.asked.wait(30), server.stop(None)))
    stopper.start()
    try:
        with pytest.raises(TrainerClosed, match="UNAVAILABLE: Cancelling all calls"):
            connection.exchange(b"", timeout=30)
    finally:
        trainer.stopped.set()
        stopper.join()
        connection.close()


def test_a_message_that_the_host_would_refuse_is_not_sent():
    sent = []
    connection = TrainerConnection(5005)
    connection._exchange = lambda message, timeout: sent.append(message)
    connection.exchange(bytes(TRAINER_LIMIT))
    with pytest.raises(MessageTooLarge, match="expected at most 4194304 bytes, got 4194305; use fewer areas"):
        connection.exchange(bytes(TRAINER_LIMIT + 1))
    assert len(sent) == 1
