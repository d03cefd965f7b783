"""HTTP/1.1 messages as a relay reads and sends them."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.faults.rules import Action, Drip, Rewrite, Truncate

LONGEST_HEAD = 1 << 16


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    data: bytes
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


@dataclass(frozen=True)
class Reply:
    status: int
    head: bytes
    body: bytes


class Upstream:
    """One connection to the server, made when the first request needs it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._streams is not None
        return self._streams

    async def send(self, data: bytes) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=LONGEST_HEAD)
        writer = self._streams[1]
        writer.write(data)
        await writer.drain()

    async def exchange(self, request: Request) -> Reply:
        await self.send(request.data)
        return await _reply(self.streams()[0], request.method)

    def close(self) -> None:
        if self._streams is not None:
            reset(self._streams[1])


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection with a TCP reset instead of an orderly end."""
    end = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    body = await reader.readexactly(int(_header(head, b"content-length") or 0))
    return Request(method, target, head + body, body)


async def _reply(reader: asyncio.StreamReader, method: str) -> Reply:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if method == "HEAD" or status in (101, 204, 304):
        return Reply(status, head, b"")
    if b"chunked" in _header(head, b"transfer-encoding"):
        return Reply(status, head, await _chunks(reader))
    return Reply(status, head, await reader.readexactly(int(_header(head, b"content-length") or 0)))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return body


async def send_reply(answer: Reply, action: Action | None, to_client: asyncio.StreamWriter) -> bool:
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
