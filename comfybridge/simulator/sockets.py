"""The WebSocket side: who is connected, and one stream of messages to all of them (server.py)."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import ClientError, WSMsgType, web

from comfybridge.simulator.faults import (
    CutWebSockets,
    DuplicateEvents,
    Faults,
    ForeignEvents,
    RefuseWebSockets,
    ReorderEvents,
    SilentWebSockets,
)

Message: TypeAlias = dict[str, Any] | bytes
FEATURES: dict[str, Any] = {
    "supports_preview_metadata": True,
    "max_upload_size": 104857600,
    "extension": {"manager": {"supports_v4": True}},
}


@dataclass(eq=False)
class Connection:
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    # None: never. Counts down, the socket is cut when it reaches zero.
    frames_left: int | None = None
    is_silent: bool = False
    supports_metadata: bool = False
    held_back: Message | None = field(default=None, repr=False)

    def cut(self) -> None:
        self.transport.abort()


class Sockets:
    """Used on the event loop only."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._connections: dict[str, Connection] = {}
        self._outgoing: asyncio.Queue[tuple[Message, str | None]] = asyncio.Queue()
        self.opened: set[Connection] = set()
        self.queue_info: Callable[[], dict[str, Any]] = dict
        self.current_node: Callable[[str], str | None] = lambda _: None
        """The node running for a client, told to it when it connects; ``None`` if none is."""

    def send(self, event: str, data: dict[str, Any], client_id: str | None = None) -> None:
        """Queue an event for one client, or for all when ``client_id`` is ``None``."""
        self._outgoing.put_nowait(({"type": event, "data": data}, client_id))

    def send_bytes(self, message: bytes, client_id: str | None = None) -> None:
        self._outgoing.put_nowait((message, client_id))

    def supports_metadata(self, client_id: str | None) -> bool:
        connection = self._connections.get(client_id or "")
        return connection is not None and connection.supports_metadata

    async def publish(self) -> None:
        """Send what is queued, in order, one message at a time, until cancelled."""
        while True:
            message, client_id = await self._outgoing.get()
            if client_id is None:
                receivers = list(self._connections.values())
            else:
                receivers = [self._connections[client_id]] if client_id in self._connections else []
            for connection in receivers:
                await self._deliver(connection, message)

    def cut_all(self) -> None:
        for connection in list(self.opened):
            connection.cut()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._faults.take(RefuseWebSockets):
            return web.Response(status=refusal.status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return socket  # gone already
        cut = self._faults.take(CutWebSockets)
        connection = Connection(
            socket,
            transport,
            frames_left=None if cut is None else cut.after_frames,
            is_silent=self._faults.take(SilentWebSockets) is not None,
        )
        client_id = request.query.get("clientId", "") or uuid.uuid4().hex
        self._connections[client_id] = connection
        self.opened.add(connection)
        try:
            await self._greet(connection, client_id)
            await self._listen(connection)
        finally:
            self.opened.discard(connection)
            # ComfyUI removes whatever is filed under this id, also a newer socket's entry: that one goes deaf.
            self._connections.pop(client_id, None)
        return socket

    async def _greet(self, connection: Connection, client_id: str) -> None:
        status = {"status": self.queue_info(), "sid": client_id}
        await self._deliver(connection, {"type": "status", "data": status})
        if (node_id := self.current_node(client_id)) is not None:
            await self._deliver(connection, {"type": "executing", "data": {"node": node_id}})

    async def _listen(self, connection: Connection) -> None:
        is_first = True
        async for received in connection.socket:
            if received.type != WSMsgType.TEXT:
                continue
            try:
                message = json.loads(received.data)
            except json.JSONDecodeError:
                continue
            # Only the first valid message may name features.
            if is_first and isinstance(message, dict) and message.get("type") == "feature_flags":
                flags = message.get("data") or {}
                connection.supports_metadata = flags.get("supports_preview_metadata") is True
                await self._deliver(connection, {"type": "feature_flags", "data": FEATURES})
            is_first = False

    async def _deliver(self, connection: Connection, message: Message) -> None:
        for each in self._disturbed(connection, message):
            if connection.frames_left == 0:
                connection.cut()
            if connection.is_silent or connection.socket.closed:
                return
            try:
                if isinstance(each, bytes):
                    await connection.socket.send_bytes(each)
                else:
                    await connection.socket.send_str(json.dumps(each))
            except (ClientError, ConnectionError):
                return
            if connection.frames_left is not None:
                connection.frames_left -= 1
                if connection.frames_left == 0:
                    connection.cut()

    def _disturbed(self, connection: Connection, message: Message) -> Iterator[Message]:
        """Apply the faults in force to one message for one socket."""
        if isinstance(message, bytes) or "prompt_id" not in message["data"]:
            yield message
            return
        if self._faults.has(ForeignEvents):
            yield from _foreign(message)
        if self._faults.has(ReorderEvents):
            held, connection.held_back = connection.held_back, None
            is_last = message["type"] == "executing" and message["data"]["node"] is None
            if held is None and not is_last:
                connection.held_back = message
                return
            yield message
            if held is not None:
                yield held
            return
        yield message
        if self._faults.has(DuplicateEvents):
            yield message


def _foreign(message: dict[str, Any]) -> Iterator[Message]:
    prompt_id = "00000000-0000-4000-8000-00000000f0e1"
    yield {**message, "data": {**message["data"], "prompt_id": prompt_id}}
    yield {"type": "progress", "data": {"value": 1, "max": 2, "prompt_id": prompt_id, "node": "1"}}
    yield {"type": "execution_success", "data": {"prompt_id": prompt_id, "timestamp": 0}}
    yield {"type": "executing", "data": {"node": None, "prompt_id": prompt_id}}
