"""A relay between the core and a server that breaks what passes, by rules: real sockets, HTTP/1.1 and WebSocket."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.faults import frames
from tests.faults.frames import FrameFault
from tests.faults.http import LONGEST_HEAD, Reply, Request, Upstream, read_request, reset, send_reply
from tests.faults.ports import own_port
from tests.faults.rules import Action, Answer, Call, Chance, Huge, Reset, Rule, Silence, Truncate

_WAIT_S = 20.0
_PIECE = 1 << 20


class Relay:
    """Serves at ``url`` for the server at ``server_url`` until the ``with`` block ends."""

    def __init__(self, server_url: str, rules: Sequence[Rule] = (), sockets: Sequence[FrameFault | None] = ()) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname or "", parts.port or 80)
        self._lock = threading.Lock()
        self._rules: list[tuple[Rule, int | None]] = [(rule, rule.times) for rule in rules]
        self._sockets = sockets
        self._opened = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._posted = threading.Condition()
        self.port = own_port()
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

    async def _listen(self) -> None:
        # Not asyncio's own server: closed at the wrong moment, it forgets a connection that it has just accepted.
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener, self._connected)

    async def _refuse(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        await self._cut()

    async def _cut(self) -> None:
        # First those on which nothing is under way: whoever learns by another that all is over must not find one open.
        for tasks in (list(self._idle), list(self._connections)):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _connected(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            task = asyncio.ensure_future(self._serve(connection))
            self._connections.add(task)
            self._idle.add(task)
            task.add_done_callback(lambda ended: self._ended(ended, connection))

    def _ended(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        self._connections.discard(task)
        self._idle.discard(task)
        # A task that was cancelled before its first step has not done it.
        connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        client, to_client = await asyncio.open_connection(sock=connection, limit=LONGEST_HEAD)
        upstream = Upstream(*self._server)
        task = asyncio.current_task()
        assert task is not None
        try:
            while (request := await read_request(client)) is not None:
                self._idle.discard(task)
                self._note(request)
                if not await self._answer(request, client, to_client, upstream):
                    return
                self._idle.add(task)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            reset(to_client)
        finally:
            upstream.close()
            to_client.close()
            with contextlib.suppress(ConnectionError):
                await to_client.wait_closed()

    async def _answer(
        self,
        request: Request,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        upstream: "Upstream",
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
                reset(to_client)
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
        return await send_reply(answer, action, to_client)

    async def _pass_frames(
        self,
        answer: Reply,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        upstream: "Upstream",
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
            reset(to_client)

    async def _try_luck(self, chance: Chance, request: Request, upstream: "Upstream") -> Action | None:
        dice = chance.dice
        if dice.random() >= chance.share:
            return None
        point = dice.randrange(3)
        if point == 0:
            await upstream.send(request.data[: dice.randrange(len(request.data))])
            return Reset()
        return Reset(after=True) if point == 1 else Truncate(dice.random())

    def _take(self, request: Request) -> Action | None:
        with self._lock:
            for position, (rule, times) in enumerate(self._rules):
                if rule.concerns(request.method, request.path):
                    if times is not None:
                        self._rules[position : position + 1] = [(rule, times - 1)] if times > 1 else []
                    return rule.action
        return None

    def _note(self, request: Request) -> None:
        if request.path == "/ws":
            self.client_ids += parse_qs(urlsplit(request.target).query).get("clientId", [])
        if (request.method, request.path) == ("POST", "/prompt"):
            self.posted.append(json.loads(request.body)["prompt_id"])

    def _note_accepted(self, request: Request, answer: Reply) -> None:
        if (request.method, request.path, answer.status) == ("POST", "/prompt", 200):
            with self._posted:
                self.accepted.append(json.loads(request.body)["prompt_id"])
                self._posted.notify_all()
