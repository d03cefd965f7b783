"""A TCP server that answers HTTP requests with exactly the bytes a test wants, for what no real server would say."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_PAUSE_S = 0.05


@dataclass(frozen=True)
class Reply:
    """The bytes to send, the last ``slow`` of them one by one with a pause, and whether to close then."""

    data: bytes = b""
    slow: int = 0
    is_last: bool = True


def http(status: str, body: bytes = b"", *headers: str, keep_alive: bool = False) -> Reply:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return Reply("\r\n".join([*lines, "", ""]).encode() + body, is_last=not keep_alive)


def json(body: bytes, *, keep_alive: bool = False) -> Reply:
    return http("200 OK", body, "Content-Type: application/json", keep_alive=keep_alive)


class RawServer:
    """Serves on 127.0.0.1 until the ``with`` block ends.

    ``answer`` gets the request's first line and says what to reply; ``None`` is silence until the end. With a
    ``context`` it speaks TLS.
    """

    def __init__(self, answer: Callable[[str], Reply | None], context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._ending = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="raw server")]
        self.requests: list[bytes] = []
        """The heads of the requests, as they came."""
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ending.is_set():
                connection, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), name="raw server"))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), self._secured(connection) as secured:
            for head in _requests(secured):
                self.requests.append(head)
                reply = self._answer(head.split(b"\r\n", 1)[0].decode())
                if reply is None:
                    self._ending.wait()
                    return
                self._send(secured, reply)
                if reply.is_last:
                    return

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._context is None:
            return connection
        with connection:
            return self._context.wrap_socket(connection, server_side=True)

    def _send(self, connection: socket.socket, reply: Reply) -> None:
        at_once = len(reply.data) - reply.slow
        connection.sendall(reply.data[:at_once])
        for byte in reply.data[at_once:]:
            connection.sendall(bytes([byte]))
            if self._ending.wait(_PAUSE_S):
                return


def _requests(connection: socket.socket) -> Iterator[bytes]:
    """The head of each request on a connection, its body read too."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            received = connection.recv(65536)
            if not received:
                return
            buffer += received
        head, buffer = buffer.split(b"\r\n\r\n", 1)
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        while len(buffer) < length:
            buffer += connection.recv(65536)
        buffer = buffer[length:]
        yield head


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """The address of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    yield url
