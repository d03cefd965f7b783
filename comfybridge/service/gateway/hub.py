"""``/ws``: every client hears of its own jobs. One connection listens for all; texts pass through unread.

What is heard may be late or lost, with a gateway or a connection: the rows say what is so, and what ended meanwhile is
told when the listening begins again.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from aiohttp import ClientError, WSMsgType, web
from psycopg_pool import AsyncConnectionPool

from comfybridge.service import frames
from comfybridge.service.database import ENDED, FRAMES, QUEUED, STARTED
from comfybridge.service.frames import Frame, Parcel
from comfybridge.service.gateway import rows
from comfybridge.service.gateway.endings import Endings
from comfybridge.service.gateway.onlookers import Onlookers, send
from comfybridge.service.gateway.recent import Recent
from comfybridge.service.supervised import DATABASE_FAULTS

logger = logging.getLogger(__name__)

FEATURES: dict[str, Any] = {
    "supports_preview_metadata": True,
    "extension": {"manager": {"supports_v4": True}},
}

_BROADCAST = frozenset({"progress", "progress_state", "execution_interrupted"})
"""What ComfyUI tells everybody of a job that names no client; here: every client of the same caller."""
_MOST_WAITING = 2000
_AGAIN_S = 0.5
_LOOK_EVERY_S = 3.0
_MOST_TOLD, _MOST_STATES = 10_000, 1_000
_HEARTBEAT_S = 30.0


@dataclass(slots=True)
class State:
    """Where a running job is, for those who come later."""

    node: str | None = None
    nodes: dict[str, Any] | None = None

    @classmethod
    def of(cls, progress: Mapping[str, Any]) -> "State":
        """As its worker wrote it down."""
        return cls(progress.get("node"), progress.get("nodes"))

    def hear(self, frame: Frame) -> None:
        if frame["type"] == "executing":
            self.node = frame["data"]["node"]
        elif frame["type"] == "progress_state":
            self.nodes = frame["data"].get("nodes")

    def frames(self, prompt_id: str) -> Iterator[Frame]:
        """ComfyUI's own front end takes the first, which ComfyUI sends without the job's id, and shows the second."""
        if self.node is not None:
            yield {"type": "executing", "data": {"node": self.node}}
        if self.nodes is not None:
            yield {"type": "progress_state", "data": {"prompt_id": prompt_id, "nodes": self.nodes}}


@dataclass(eq=False)
class Client:
    """One socket; a writer of its own sends what waits, so that a slow one holds up nobody."""

    owner: str
    client_id: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    reads_metadata: bool = False
    waiting: "asyncio.Queue[str | bytes]" = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What it has seen of jobs that run, by job and node."""

    def send(self, message: Frame | bytes) -> None:
        try:
            self.waiting.put_nowait(message if isinstance(message, bytes) else json.dumps(message))
        except asyncio.QueueFull:
            logger.warning("client %s does not read; its socket is closed", self.client_id)
            self.transport.abort()

    def show(self, frame: Frame) -> None:
        """Send a frame, unless it shows again what the client has seen."""
        data = frame["data"]
        if frame["type"] == "executed":
            seen = self.shown.setdefault(data["prompt_id"], {})
            if data["node"] in seen and seen[data["node"]] == data["output"]:
                return
            seen[data["node"]] = data["output"]
        self.send(frame)

    async def write(self) -> None:
        while True:
            message = await self.waiting.get()
            try:
                await send(self.socket, message)
            except (ClientError, ConnectionError):
                return


class Hub:
    def __init__(self, database: str, pool: AsyncConnectionPool) -> None:
        self._database = database
        self._pool = pool
        self.endings = Endings()
        self.onlookers = Onlookers()
        self.recent = Recent()
        self.features = dict(FEATURES)
        """What clients are told that this gateway can."""
        self._clients: dict[str, set[Client]] = {}
        self._open: dict[str, dict[str, str]] = {}
        """The jobs that wait or run, of callers who listen, and their clients."""
        self._states: dict[str, State] = {}
        """Where each job is that runs."""
        self._told: dict[str, None] = {}
        """The jobs whose end was told of late: news and looks may cross."""

    # Sockets

    @property
    def open_sockets(self) -> int:
        return sum(map(len, self._clients.values())) + len(self.onlookers)

    async def handle(self, request: web.Request, owner: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S)
        await socket.prepare(request)
        if not isinstance(request.transport, asyncio.Transport):
            return socket  # gone already
        client = Client(owner, request.query.get("clientId", "") or uuid.uuid4().hex, socket, request.transport)
        async with self._connected(client):
            await self._greet(client)
            await self._listen(client)
        return socket

    @asynccontextmanager
    async def _connected(self, client: Client) -> AsyncIterator[None]:
        if client.owner not in self._open:
            self._open[client.owner] = await self._open_of(client.owner)
        self._clients.setdefault(client.owner, set()).add(client)
        writing = asyncio.create_task(client.write())
        try:
            yield
        finally:
            writing.cancel()
            self._clients[client.owner].discard(client)
            if not self._clients[client.owner]:
                del self._clients[client.owner]
                self._open.pop(client.owner, None)

    @property
    def owners(self) -> list[str]:
        """Of whom there are sockets."""
        return list(self._clients)

    def drop(self, owners: Iterable[str]) -> None:
        """End the sockets of these."""
        for owner in owners:
            for client in self._clients.get(owner, ()):
                client.transport.abort()

    async def _greet(self, client: Client) -> None:
        known_open = self._open.get(client.owner, {})
        hello = frames.status(len(known_open))
        hello["data"]["sid"] = client.client_id
        client.send(hello)
        if client.client_id not in known_open.values():
            return  # a client of a new id, as most are
        query = """
            SELECT prompt_id, progress FROM jobs
            WHERE owner = %s AND client_id = %s AND state = 'running' ORDER BY started
        """
        async with self._pool.connection() as connection:
            running = await (await connection.execute(query, (client.owner, client.client_id))).fetchall()
        for prompt_id, progress in running:
            known = self._states.get(prompt_id) or State.of(progress or {})
            for frame in known.frames(prompt_id):
                client.send(frame)

    async def _listen(self, client: Client) -> None:
        is_first = True
        async for received in client.socket:
            if received.type != WSMsgType.TEXT:
                continue
            try:
                message = json.loads(received.data)
            except (ValueError, RecursionError):
                continue
            # Only the first valid message may name features.
            if is_first and isinstance(message, dict) and message.get("type") == "feature_flags":
                flags = message.get("data")
                client.reads_metadata = isinstance(flags, dict) and flags.get("supports_preview_metadata") is True
                await client.socket.send_json({"type": "feature_flags", "data": self.features})
            is_first = False

    # Notifications

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._database, autocommit=True) as connection:
                    for channel in (QUEUED, STARTED, ENDED, FRAMES):
                        await connection.execute(f"LISTEN {channel}".encode())
                    await self._catch_up()
                    while True:
                        async for notice in connection.notifies(timeout=_LOOK_EVERY_S):
                            if notice.payload:
                                await self._hear(notice.channel, notice.payload)
                        await self._catch_up()
            except DATABASE_FAULTS as exc:
                logger.warning("listening begins again: %s", exc)
                await asyncio.sleep(_AGAIN_S)

    async def _hear(self, channel: str, payload: str) -> None:
        if channel == FRAMES:
            await self._pass_on(frames.unpack(payload))
            return
        told = json.loads(payload)
        owner, prompt_id = told["owner"], told["prompt_id"]
        self.onlookers.change(owner)
        if channel == ENDED:
            self._states.pop(prompt_id, None)
            self.endings.tell(prompt_id)
        if owner not in self._clients or prompt_id in self._told:
            return
        if channel == QUEUED:
            self._open[owner][prompt_id] = told["client_id"]
            self._tell_status(owner)
        elif channel == STARTED:
            self._tell_status(owner)
        else:
            await self._end(owner, told["client_id"], prompt_id)

    async def _end(self, owner: str, client_id: str, prompt_id: str) -> None:
        self._states.pop(prompt_id, None)
        self._told[prompt_id] = None
        if len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._open.get(owner, {}).pop(prompt_id, None)
        changes = self.recent.changes
        history = None
        if (found := await rows.ended(self._pool, owner, prompt_id)) is not None:
            job, files = found
            history = job.history
            if job.state == "ended":
                self.recent.remember(owner, job, files, changes=changes)
        for frame in frames.of_end(prompt_id, history):
            self._tell(owner, client_id, frame)
        for client in self._hearers(owner, client_id):
            client.shown.pop(prompt_id, None)
        self._tell_status(owner)
        if history is not None:
            self._tell(owner, client_id, frames.last(prompt_id))

    async def _pass_on(self, parcel: Parcel) -> None:
        if parcel.prompt_id in self._told:
            return
        if parcel.stored is None:
            self._remember(parcel.prompt_id, parcel.frames)
            self._tell_all(parcel, parcel.frames)
            return
        if parcel.owner not in self._clients and not self.onlookers.any_sees(parcel.owner):
            return
        async with self._pool.connection() as connection:
            query = "SELECT content FROM frames WHERE id = %s"
            row = await (await connection.execute(query, (parcel.stored,))).fetchone()
        if row is None:
            return
        if not parcel.is_binary:
            several = json.loads(row[0])
            self._remember(parcel.prompt_id, several)
            self._tell_all(parcel, several)
            return
        preview = frames.read_preview(row[0])
        if preview is not None:
            self.onlookers.show(parcel.owner, parcel.prompt_id, preview)
            for client in self._hearers(parcel.owner, parcel.client_id):
                client.send(frames.write_preview(preview, with_metadata=client.reads_metadata))

    def _remember(self, prompt_id: str, several: Iterable[Frame]) -> None:
        """Whoever connects while a job runs may have missed them, so they count without a client, too."""
        state = self._states.setdefault(prompt_id, State())
        for frame in several:
            state.hear(frame)
        if len(self._states) > _MOST_STATES:
            del self._states[next(iter(self._states))]

    def _tell_all(self, parcel: Parcel, several: Iterable[Frame]) -> None:
        self.onlookers.tell(parcel.owner, parcel.prompt_id, several)
        for frame in several:
            self._tell(parcel.owner, parcel.client_id, frame)

    def _tell(self, owner: str, client_id: str, frame: Frame) -> None:
        if client_id or frame["type"] in _BROADCAST:
            for client in self._hearers(owner, client_id):
                client.show(frame)

    def _hearers(self, owner: str, client_id: str) -> list[Client]:
        return [client for client in self._clients.get(owner, ()) if client_id in ("", client.client_id)]

    def _tell_status(self, owner: str) -> None:
        status = frames.status(len(self._open.get(owner, ())))
        for client in self._clients.get(owner, ()):
            client.send(status)

    async def _catch_up(self) -> None:
        """Tell what ended while nobody listened."""
        for owner in list(self._clients):
            now_open = await self._open_of(owner)
            if owner not in self._clients:
                continue  # nobody of these is there any more
            before, self._open[owner] = self._open.get(owner, {}), now_open
            for prompt_id in before.keys() - now_open.keys():
                async with self._pool.connection() as connection:
                    query = "SELECT client_id, state FROM jobs WHERE prompt_id = %s"
                    row = await (await connection.execute(query, (prompt_id,))).fetchone()
                if row is not None and row[1] == "ended":
                    await self._end(owner, row[0], prompt_id)
                elif row is not None and owner in self._open:
                    # It came after the look, whose answer came after the news.
                    self._open[owner][prompt_id] = row[0]

    async def _open_of(self, owner: str) -> dict[str, str]:
        async with self._pool.connection() as connection:
            query = "SELECT prompt_id, client_id FROM jobs WHERE owner = %s AND state <> 'ended'"
            return dict(await (await connection.execute(query, (owner,))).fetchall())
