"""What stands before a server in practice: a gate that ends TLS, or a proxy that leads to it whatever host is asked."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

_TLS_HANDSHAKE = b"\x16"

DATA = Path(__file__).parent / "data"
LOCALHOST = DATA / "localhost.pem"
"""A certificate for localhost and 127.0.0.1, with its key; it is its own authority."""
ELSEWHERE = DATA / "files.example.pem"


def context(certificate: Path = LOCALHOST) -> ssl.SSLContext:
    """A server's side of TLS."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


class Gate:
    """Listens on 127.0.0.1 and passes on all bytes to a port there until the ``with`` block ends.

    With a ``context`` it speaks TLS; whoever does not is redirected to https at the same port. A proxy answers CONNECT
    itself.
    """

    def __init__(self, target_port: int, context: ssl.SSLContext | None = None, *, is_proxy: bool = False) -> None:
        self._target_port = target_port
        self._context = context
        self._is_proxy = is_proxy
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="gate")]
        self.heads: list[bytes] = []
        """How each connection began."""
        self.redirected: list[bytes] = []
        """The first lines of those that were sent to https."""

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://localhost:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._sockets):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _start(self, run: Callable[..., None], *sockets: socket.socket) -> None:
        self._sockets += [each for each in sockets if each not in self._sockets]
        self._threads.append(threading.Thread(target=run, args=sockets, name="gate"))
        self._threads[-1].start()

    def _serve(self, caller: socket.socket) -> None:
        with contextlib.suppress(OSError):
            is_plain = caller.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE
            if self._context is not None and not is_plain:
                caller = self._context.wrap_socket(caller, server_side=True)
                self._sockets.append(caller)
            head = _head(caller)
            if self._context is not None and is_plain:
                self.redirected.append(head.partition(b"\r\n")[0])
                location = f"{self.url}{head.split()[1].decode()}"
                caller.sendall(
                    f"HTTP/1.1 301 Moved Permanently\r\nLocation: {location}\r\nContent-Length: 0\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                caller.shutdown(socket.SHUT_RDWR)
                return
            self.heads.append(head)
            server = socket.create_connection(("127.0.0.1", self._target_port))
            if self._is_proxy and head.startswith(b"CONNECT "):
                caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(head)
            self._start(_pass_on, server, caller)
            _pass_on(caller, server)


def _head(caller: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        received = caller.recv(65536)
        if not received:
            raise ConnectionError
        head += received
    return head


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65536):
            target.sendall(received)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
