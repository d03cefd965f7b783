"""Somebody else's HTTP server, to which webhooks go."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Any:
        """The message, as the specification's own library reads it."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass(slots=True)
class Receiver:
    """``answers`` are given in turn to requests for a path, then always 200; ``silent`` paths wait for ``release``."""

    url: str
    answers: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)
    received: list[Received] = field(default_factory=list)

    def at(self, path: str) -> list[Received]:
        return [one for one in self.received if one.path == path]


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append(Received(self.path, dict(self.headers), body))
            if self.path in receiver.silent:
                receiver.released.wait(60)
            waiting = receiver.answers.get(self.path) or [(200, {})]
            status, headers = waiting.pop(0) if len(waiting) > 1 or self.path in receiver.answers else waiting[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Whoever was killed hangs up."""

    server = Quiet(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        thread.join(60)
        server.server_close()
