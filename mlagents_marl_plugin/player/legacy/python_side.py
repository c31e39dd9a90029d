"""The server that a 0.4 build calls: what the Python package of that time was to it."""

import queue
from concurrent.futures import ThreadPoolExecutor

import grpc

from mlagents_marl_plugin.player.legacy.schema import EXCHANGE

_OPTIONS = (
    # Builds with cameras send more than gRPC's 4 MB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Another player must never share the port.
    ("grpc.so_reuseport", 0),
)


class HungUp(ConnectionError):
    """The build broke off a call that waited for its answer."""


class PythonSide:
    """Listens on a free port of this machine, and hands over calls one by one: a call, its answer, the next call.

    Attributes:
        port: where the build has to call.
        foreign_call: a method that was called and that 0.4 does not know, if any: another protocol.
    """

    def __init__(self) -> None:
        self._calls: queue.Queue[bytes | None] = queue.Queue()
        self._answers: queue.Queue[bytes] = queue.Queue()
        self.foreign_call: str | None = None
        self._server = grpc.server(ThreadPoolExecutor(max_workers=1), options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Methods(self),))
        # As the build will resolve it: IPv4, IPv6 or both.
        self.port: int = self._server.add_insecure_port("localhost:0")
        self._server.start()

    def exchange(self, call: bytes, context: grpc.ServicerContext) -> bytes:
        """Runs in the server's thread for every call; returns the answer."""
        answered = False

        def on_end() -> None:
            if not answered:
                self._calls.put(None)

        if not context.add_callback(on_end):
            self._calls.put(None)
        self._calls.put(call)
        answer = self._answers.get()
        answered = True
        return answer

    def next_call(self, seconds: float) -> bytes | None:
        """What the build says next, or None if it says nothing for ``seconds``.

        Raises:
            HungUp: if the build broke off.
        """
        try:
            call = self._calls.get(timeout=seconds)
        except queue.Empty:
            return None
        if call is None:
            raise HungUp
        return call

    def answer(self, message: bytes) -> None:
        """Answer the call that was handed over last."""
        self._answers.put(message)

    def close(self) -> None:
        """Stop listening."""
        stopped = self._server.stop(grace=None)
        # A call that nobody answered would keep its thread, and with it the process.
        self._answers.put(b"")
        stopped.wait()


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, side: PythonSide) -> None:
        self._side = side
        # No serialisers: messages are bytes.
        self._handler = grpc.unary_unary_rpc_method_handler(side.exchange)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method == EXCHANGE:
            return self._handler
        self._side.foreign_call = handler_call_details.method
        return None
