"""A relay in front of the server that counts what passes: requests, WebSocket handshakes and bytes, both ways."""

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_LONGEST_HEAD = 1 << 16
_PIECE = 1 << 16
_START_S = 10.0
_NAMES = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "{id}"),
    (re.compile(r"(?<=/object_info/)[^/]+"), "{class}"),
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request and its answer, in bytes with their heads."""

    method: str
    path: str
    sent: int
    received: int

    @property
    def kind(self) -> str:
        """Method and path, without the names in it."""
        path = self.path
        for name, placeholder in _NAMES:
            path = name.sub(placeholder, path)
        return f"{self.method} {path}"

    @property
    def is_picture(self) -> bool:
        return self.path.rpartition("/")[2] == "view"


@dataclass(slots=True)
class Traffic:
    """What has passed; ``sent`` goes to the server."""

    exchanges: list[Exchange] = field(default_factory=list)
    handshakes: int = 0
    socket_sent: int = 0
    socket_received: int = 0

    @property
    def sent(self) -> int:
        return self.socket_sent + sum(exchange.sent for exchange in self.exchanges)

    @property
    def largest_answer(self) -> Exchange:
        """The largest but for pictures."""
        answers = [exchange for exchange in self.exchanges if not exchange.is_picture]
        return max(answers, key=lambda exchange: exchange.received)


class Relay:
    """Listens on the loopback for one server; a context manager. ``url`` stands for ``base_url``."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port, self._prefix = parts.hostname, parts.port or 80, parts.path.rstrip("/")
        self._traffic = Traffic()
        self._started = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="relay")
        self._thread.start()
        if not self._started.wait(_START_S):
            raise RuntimeError("the relay did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def take(self) -> Traffic:
        """Give what has passed since the last time."""
        traffic, self._traffic = self._traffic, Traffic()
        return traffic

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_LONGEST_HEAD, backlog=256)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._prefix}"
        self._started.set()
        await self._stopping.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(self._host, self._port, limit=_LONGEST_HEAD)
            try:
                await self._exchange(client, to_client, server, to_server)
            finally:
                to_server.close()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one side has hung up, and now the other side learns of it
        finally:
            to_client.close()

    async def _exchange(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        while True:
            request, sent = await _message(client, to_server, has_body=True)
            method, target, _ = request.split(b" ", 2)
            answer, received = await _message(server, to_client, has_body=method != b"HEAD")
            if answer.split(b" ", 2)[1] == b"101":
                self._traffic.handshakes += 1
                await self._frames(client, to_client, server, to_server)
                return
            path = target.decode().partition("?")[0]
            self._traffic.exchanges.append(Exchange(method.decode(), path, sent, received))

    async def _frames(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        def count_sent(size: int) -> None:
            self._traffic.socket_sent += size

        def count_received(size: int) -> None:
            self._traffic.socket_received += size

        pumps = [
            asyncio.ensure_future(_pump(client, to_server, count_sent)),
            asyncio.ensure_future(_pump(server, to_client, count_received)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, has_body: bool) -> tuple[bytes, int]:
    """Pass one HTTP message on; give its first line and its size."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(head)
    first, *lines = head.lower().split(b"\r\n")
    headers = dict(line.split(b":", 1) for line in lines if b":" in line)
    size = len(head)
    if has_body and b"chunked" in headers.get(b"transfer-encoding", b""):
        size += await _chunks(reader, writer)
    elif has_body:
        size += await _body(reader, writer, int(headers.get(b"content-length", b"0")))
    await writer.drain()
    return head[: len(first)], size


async def _body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> int:
    left = size
    while left:
        data = await reader.readexactly(min(left, _PIECE))
        writer.write(data)
        await writer.drain()
        left -= len(data)
    return size


async def _chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    total = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        writer.write(line)
        size = int(line.partition(b";")[0], 16)
        total += len(line) + await _body(reader, writer, size + len(b"\r\n"))
        if size == 0:
            return total


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    while data := await reader.read(_PIECE):
        count(len(data))
        writer.write(data)
        await writer.drain()
