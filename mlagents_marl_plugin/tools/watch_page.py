"""A page on this machine that shows a performance while it goes on."""

import base64
import contextlib
import json
import queue
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from mlagents_marl_plugin.tools.performance import Moment

HOST = "127.0.0.1"
# A browser that sleeps misses moments; it does not hold up the others, nor fill the memory.
_WAITING_MOMENTS = 30
_HEARTBEAT_SECONDS = 1.0
_HEARTBEAT = b": still here\n\n"


class WatchPage:
    """Serves the page and tells every browser that has it open what happens.

    Args:
        port: on 127.0.0.1; 0 takes any that is free.
        scene: the title.

    Raises:
        OSError: the port is in use.
    """

    def __init__(self, port: int, scene: str) -> None:
        self._scene = scene
        self._audience: list[queue.Queue[bytes | None]] = []
        self._latest: bytes | None = None
        self._lock = threading.Lock()
        self._server = _Server((HOST, port), _Handler)
        self._server.page = self
        threading.Thread(target=self._server.serve_forever, name="watch-page", daemon=True).start()

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    @property
    def audience(self) -> int:
        """How many browsers have the page open."""
        with self._lock:
            return len(self._audience)

    def show(self, moment: Moment, seconds: float) -> None:
        """Tell of a moment whose pictures shall be shown for ``seconds`` each."""
        told = vars(moment) | {
            "agents": [vars(agent) for agent in moment.agents],
            "scene": self._scene,
            "pictures": [base64.b64encode(picture).decode() for picture in moment.pictures],
            "seconds": seconds,
        }
        self._tell(_event(told))

    def end(self, why: str) -> None:
        """Say good-bye and stop serving."""
        self._tell(_event(why, "end"))
        with self._lock:
            for listener in self._audience:
                _put(listener, None)
        self._server.shutdown()
        self._server.server_close()

    def join(self) -> queue.Queue[bytes | None]:
        """Another browser: its queue of events, None at the end."""
        listener: queue.Queue[bytes | None] = queue.Queue(_WAITING_MOMENTS)
        with self._lock:
            if self._latest is not None:
                listener.put(self._latest)
            self._audience.append(listener)
        return listener

    def leave(self, listener: queue.Queue[bytes | None]) -> None:
        """A browser closed the page."""
        with self._lock:
            self._audience.remove(listener)

    def _tell(self, event: bytes) -> None:
        with self._lock:
            self._latest = event
            for listener in self._audience:
                _put(listener, event)


def _put(listener: "queue.Queue[bytes | None]", event: bytes | None) -> None:
    """Put an event into a queue, in place of the oldest if it is full."""
    while True:
        try:
            listener.put_nowait(event)
            return
        except queue.Full:
            with contextlib.suppress(queue.Empty):
                listener.get_nowait()


def _event(content: Any, name: str = "message") -> bytes:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()


class _Server(ThreadingHTTPServer):
    # Open event streams must not hold up the end.
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = sys.platform != "win32"  # there it would let two programs have one port
    page: WatchPage


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        # A page of another site must not read along under a name of its own that leads to this machine.
        if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "expected 127.0.0.1 or localhost in the address")
        elif self.path == "/":
            self._send_page()
        elif self.path == "/events":
            self._send_events()
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "expected / in the address")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the console belongs to the tool."""

    def _send_page(self) -> None:
        content = files("mlagents_marl_plugin.tools").joinpath("watch.html").read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_events(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        listener = self.server.page.join()
        try:
            while True:
                try:
                    event = listener.get(timeout=_HEARTBEAT_SECONDS)
                except queue.Empty:
                    event = _HEARTBEAT
                if event is None:
                    break
                self.wfile.write(event)
                self.wfile.flush()
        except OSError:
            pass  # the browser is gone
        finally:
            self.server.page.leave(listener)
            self.close_connection = True
