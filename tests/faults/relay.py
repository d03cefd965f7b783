"""A relay between the core and a server that breaks what passes, by rules: real sockets, HTTP/1.1 and WebSocket."""

import asyncio
import contextlib
import fnmatch
import json
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

from tests.faults import frames
from tests.faults.frames import FrameFault

_LONGEST_HEAD = 1 << 16
_WAIT_S = 20.0
_PIECE = 1 << 20


@dataclass(frozen=True)
class Reset:
    """The connection breaks: before the server saw the request, or ``after`` it answered."""

    after: bool = False


@dataclass(frozen=True)
class Silence:
    """No answer ever, on a connection that stays open; ``after`` the server took the request, or before."""

    after: bool = False


@dataclass(frozen=True)
class Answer:
    """Another answer than the server's; ``after`` the server took the request, or before."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/html"
    after: bool = False


@dataclass(frozen=True)
class Drip:
    """The server's answer byte by byte, head and all or only the body, spread over so many seconds."""

    seconds: float
    head: bool = False


@dataclass(frozen=True)
class Truncate:
    """The server's answer with its full length announced and a part of the body sent."""

    kept: float = 0.5


@dataclass(frozen=True)
class Rewrite:
    """The server's answer with some bytes of its body replaced; an answer with a length, not in chunks."""

    old: bytes
    new: bytes


@dataclass(frozen=True)
class Huge:
    """So many bytes of nothing for a body."""

    size: int


@dataclass(frozen=True)
class Call:
    """Something happens before the request is passed on; the next rule may act on the same request."""

    action: Callable[[], None]


@dataclass(frozen=True)
class Chance:
    """A share of the exchanges breaks at a random point of the request or the answer."""

    share: float
    dice: random.Random


Action: TypeAlias = Reset | Silence | Answer | Drip | Truncate | Rewrite | Huge | Call | Chance


@dataclass(frozen=True)
class Rule:
    """What happens to requests of a method for a path, ``times`` times; shell patterns both."""

    action: Action
    path: str = "*"
    method: str = "*"
    times: int | None = None

    def concerns(self, method: str, path: str) -> bool:
        return fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(path, self.path)


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    data: bytes
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


@dataclass(frozen=True)
class _Answer:
    status: int
    head: bytes
    body: bytes


class Relay:
    """Serves at ``url`` for the server at ``server_url`` until the ``with`` block ends."""

    def __init__(self, server_url: str, rules: Sequence[Rule] = (), sockets: Sequence[FrameFault | None] = ()) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname or "", parts.port or 80)
        self._lock = threading.Lock()
        self._rules: list[tuple[Rule, int | None]] = [(rule, rule.times) for rule in rules]
        self._sockets = sockets
        self._opened = 0
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._posted = threading.Condition()
        self.port = 0
        self.posted: list[str] = []
        """The prompt_ids that were sent, as often as they were."""
        self.accepted: list[str] = []
        """Those that the server took, whether or not anybody learned of it."""
        self.client_ids: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(started),), name="relay")
        self._thread.start()
        if not started.wait(_WAIT_S):
            raise RuntimeError("the relay did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    # What tests pull on, from any thread

    def add(self, *rules: Rule) -> None:
        with self._lock:
            self._rules += [(rule, rule.times) for rule in rules]

    def heal(self) -> None:
        with self._lock:
            self._rules = []

    def cut(self) -> None:
        """Break all connections there are."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Refuse connections from now on, and break those there are, as a server that was killed."""
        self._do(self._refuse())

    def accept(self) -> None:
        self._do(self._listen())

    def wait_for_prompt(self, number: int = 1) -> str:
        """Wait until the server has taken so many prompts; the last one's prompt_id."""
        with self._posted:
            if not self._posted.wait_for(lambda: len(self.accepted) >= number, _WAIT_S):
                raise TimeoutError(f"the server took {len(self.accepted)} prompts, not {number}")
            return self.accepted[number - 1]

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_WAIT_S)

    # On the event loop

    async def _main(self, started: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        await self._listen()
        started.set()
        await self._stopping.wait()
        await self._refuse()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, limit=_LONGEST_HEAD, backlog=256, reuse_address=True
        )
        self._listener = server
        self.port = server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        self._listener.close()
        await self._cut()

    async def _cut(self) -> None:
        for writer in list(self._connections.values()):
            _reset(writer)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(lambda ended: self._connections.pop(ended, None))

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        upstream = _Upstream(*self._server)
        try:
            while (request := await _request(client)) is not None:
                self._note(request)
                if not await self._answer(request, client, to_client, upstream):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            _reset(to_client)
        finally:
            upstream.close()
            to_client.close()

    async def _answer(
        self,
        request: _Request,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        upstream: "_Upstream",
    ) -> bool:
        """Answer one request; whether the connection can be used for another."""
        while isinstance(action := self._take(request), Call):
            await asyncio.to_thread(action.action)
        if isinstance(action, Chance):
            action = await self._try_luck(action, request, upstream)
        early = isinstance(action, Reset | Silence | Answer) and not action.after
        answer = None if early else await upstream.exchange(request)
        if answer is not None:
            self._note_accepted(request, answer)
        match action:
            case Reset():
                _reset(to_client)
                return False
            case Silence():
                await self._stopping.wait()
                return False
            case Answer():
                head = f"HTTP/1.1 {action.status} X\r\nContent-Type: {action.content_type}\r\n"
                to_client.write(f"{head}Content-Length: {len(action.body)}\r\n\r\n".encode() + action.body)
                await to_client.drain()
                return True
            case Huge():
                to_client.write(f"HTTP/1.1 200 OK\r\nContent-Length: {action.size}\r\n\r\n".encode())
                for _ in range(0, action.size, _PIECE):
                    to_client.write(bytes(_PIECE))
                    await to_client.drain()
                return False
        assert answer is not None
        if answer.status == 101:
            await self._pass_frames(answer, client, to_client, upstream)
            return False
        return await _send(answer, action, to_client)

    async def _pass_frames(
        self,
        answer: _Answer,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        upstream: "_Upstream",
    ) -> None:
        fault = self._sockets[min(self._opened, len(self._sockets) - 1)] if self._sockets else None
        self._opened += 1
        to_client.write(answer.head)
        reader, writer = upstream.streams()
        both = [
            asyncio.ensure_future(frames.pump(client, writer)),
            asyncio.ensure_future(frames.relay(reader, to_client, fault)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            _reset(to_client)

    async def _try_luck(self, chance: Chance, request: _Request, upstream: "_Upstream") -> Action | None:
        dice = chance.dice
        if dice.random() >= chance.share:
            return None
        point = dice.randrange(3)
        if point == 0:
            await upstream.send(request.data[: dice.randrange(len(request.data))])
            return Reset()
        return Reset(after=True) if point == 1 else Truncate(dice.random())

    def _take(self, request: _Request) -> Action | None:
        with self._lock:
            for position, (rule, times) in enumerate(self._rules):
                if rule.concerns(request.method, request.path):
                    if times is not None:
                        self._rules[position : position + 1] = [(rule, times - 1)] if times > 1 else []
                    return rule.action
        return None

    def _note(self, request: _Request) -> None:
        if request.path == "/ws":
            self.client_ids += parse_qs(urlsplit(request.target).query).get("clientId", [])
        if (request.method, request.path) == ("POST", "/prompt"):
            self.posted.append(json.loads(request.body)["prompt_id"])

    def _note_accepted(self, request: _Request, answer: _Answer) -> None:
        if (request.method, request.path, answer.status) == ("POST", "/prompt", 200):
            with self._posted:
                self.accepted.append(json.loads(request.body)["prompt_id"])
                self._posted.notify_all()


class _Upstream:
    """One connection to the server, made when the first request needs it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._streams is not None
        return self._streams

    async def send(self, data: bytes) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=_LONGEST_HEAD)
        writer = self._streams[1]
        writer.write(data)
        await writer.drain()

    async def exchange(self, request: _Request) -> _Answer:
        await self.send(request.data)
        return await _whole_answer(self.streams()[0], request.method)

    def close(self) -> None:
        if self._streams is not None:
            _reset(self._streams[1])


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection with a TCP reset instead of an orderly end."""
    end = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> _Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    body = await reader.readexactly(int(_header(head, b"content-length") or 0))
    return _Request(method, target, head + body, body)


async def _whole_answer(reader: asyncio.StreamReader, method: str) -> _Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if method == "HEAD" or status in (101, 204, 304):
        return _Answer(status, head, b"")
    if b"chunked" in _header(head, b"transfer-encoding"):
        return _Answer(status, head, await _chunks(reader))
    return _Answer(status, head, await reader.readexactly(int(_header(head, b"content-length") or 0)))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return body


async def _send(answer: _Answer, action: Action | None, to_client: asyncio.StreamWriter) -> bool:
    """Send an answer as the action has it; whether all of it went."""
    match action:
        case Truncate():
            to_client.write(answer.head + answer.body[: int(len(answer.body) * action.kept)])
            await to_client.drain()
            return False
        case Rewrite():
            body = answer.body.replace(action.old, action.new)
            length = _header(answer.head, b"content-length")
            head = answer.head.replace(b"Length: " + length, b"Length: " + str(len(body)).encode())
            to_client.write(head + body)
            await to_client.drain()
        case Drip():
            at_once, slowly = (b"", answer.head + answer.body) if action.head else (answer.head, answer.body)
            to_client.write(at_once)
            for byte in slowly:
                to_client.write(bytes((byte,)))
                await to_client.drain()
                await asyncio.sleep(action.seconds / len(slowly))
        case _:
            to_client.write(answer.head + answer.body)
            await to_client.drain()
    return True


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.lower().split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key == name:
            return value.strip()
    return b""
