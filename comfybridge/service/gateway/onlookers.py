"""Those who watch: the page's sockets. An admin's sees all jobs, another one those of its key, whatever their client.

Only the latest of each kind waits for one who reads slowly, so a socket costs no more than what runs.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, web

from comfybridge.service.frames import Frame, Preview, write_preview
from comfybridge.service.gateway.callers import Caller

_KINDS = frozenset({"executing", "progress", "progress_state"})
_PAUSE_S = 0.1
_HEARTBEAT_S = 30.0

Message = str | bytes
Key = tuple[str, str]


@dataclass(eq=False)
class Onlooker:
    caller: Caller
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    waiting: dict[Key, Message] = field(default_factory=dict)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def sees(self, owner: str) -> bool:
        return self.caller.is_admin or self.caller.owner == owner

    def send(self, key: Key, message: Message) -> None:
        self.waiting[key] = message
        self.woken.set()

    async def write(self) -> None:
        while True:
            await self.woken.wait()
            self.woken.clear()
            several, self.waiting = self.waiting, {}
            try:
                for message in several.values():
                    await send(self.socket, message)
            except (ClientError, ConnectionError):
                return
            await asyncio.sleep(_PAUSE_S)


class Onlookers:
    def __init__(self) -> None:
        self._all: set[Onlooker] = set()

    def __len__(self) -> int:
        return len(self._all)

    async def handle(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        # Previews are JPEGs: there is nothing to compress.
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, compress=False)
        await socket.prepare(request)
        if not isinstance(request.transport, asyncio.Transport):
            return socket  # gone already
        onlooker = Onlooker(caller, socket, request.transport)
        self._all.add(onlooker)
        writing = asyncio.create_task(onlooker.write())
        onlooker.send(("", "changed"), _told("changed"))
        try:
            async for _ in socket:
                pass
        finally:
            writing.cancel()
            self._all.discard(onlooker)
        return socket

    def any_sees(self, owner: str) -> bool:
        return any(onlooker.sees(owner) for onlooker in self._all)

    def change(self, owner: str) -> None:
        """Something of this owner's waits, started or ended: what it is, is to be asked for."""
        for onlooker in self._of(owner):
            onlooker.send(("", "changed"), _told("changed"))

    def tell(self, owner: str, prompt_id: str, several: Iterable[Frame]) -> None:
        """Frames of a running job."""
        if not (there := self._of(owner)):
            return
        for frame in several:
            if frame["type"] in _KINDS:
                text = _told(frame["type"], {**frame["data"], "prompt_id": prompt_id})
                for onlooker in there:
                    onlooker.send((prompt_id, frame["type"]), text)

    def show(self, owner: str, prompt_id: str, preview: Preview) -> None:
        """A preview; whose it is stands with it, whether or not ComfyUI said so."""
        if not (there := self._of(owner)):
            return
        known = {"prompt_id": prompt_id, "image_type": preview.image_type}
        message = write_preview(Preview(known, preview.image_type, preview.image), with_metadata=True)
        for onlooker in there:
            onlooker.send((prompt_id, "preview"), message)

    def recheck(self, caller_of: Callable[[str], Caller | None]) -> None:
        """End the sockets of those whose key is no more, or is no longer what it was."""
        for onlooker in self._all:
            now = caller_of(onlooker.caller.owner)
            if now is None or (onlooker.caller.is_admin and not now.is_admin):
                onlooker.transport.abort()

    def _of(self, owner: str) -> list[Onlooker]:
        return [onlooker for onlooker in self._all if onlooker.sees(owner)]


def _told(kind: str, data: Any = None) -> str:
    return json.dumps({"type": kind, "data": data or {}})


async def send(socket: web.WebSocketResponse, message: Message) -> None:
    """Send a text or a binary frame; raises ClientError or ConnectionError when the socket is gone."""
    if isinstance(message, bytes):
        await socket.send_bytes(message)
    else:
        await socket.send_str(message)
