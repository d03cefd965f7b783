"""What may happen to the frames of a WebSocket on their way from the server (RFC 6455, section 5.2)."""

import asyncio
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_PIECE = 1 << 16
_TEXT = 1
_STRANGER = "00000000-0000-4000-8000-00000000f0e1"


@dataclass(frozen=True)
class Cut:
    """The connection breaks after so many frames."""

    after: int


@dataclass(frozen=True)
class Mute:
    """Nothing comes any more after so many frames, pongs included; the connection stays open."""

    after: int


@dataclass(frozen=True)
class Duplicate:
    """Every event of a prompt comes twice."""


@dataclass(frozen=True)
class Reorder:
    """The events of prompts come in swapped pairs; what is left over comes never."""


@dataclass(frozen=True)
class Foreign:
    """Before each event of a prompt, somebody else's prompt ends."""


FrameFault: TypeAlias = Cut | Mute | Duplicate | Reorder | Foreign


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: FrameFault | None) -> None:
    """Pass a server's frames on until it ends, or until the fault says so."""
    limit = fault.after if isinstance(fault, Cut | Mute) else None
    disturbed = _Disturbed(fault)
    passed = 0
    while limit is None or passed < limit:
        for frame in disturbed.by(await _frame(reader)):
            writer.write(frame)
        await writer.drain()
        passed += 1
    if isinstance(fault, Mute):
        while await reader.read(_PIECE):
            pass


@dataclass
class _Disturbed:
    fault: FrameFault | None
    held: list[bytes] = field(default_factory=list)

    def by(self, frame: bytes) -> Iterator[bytes]:
        """What is sent in place of one frame."""
        if self.fault is None or "prompt_id" not in (event := _event(frame)).get("data", {}):
            yield frame
            return
        match self.fault:
            case Duplicate():
                yield frame
                yield frame
            case Reorder() if not self.held:
                self.held.append(frame)
            case Reorder():
                yield frame
                yield self.held.pop()
            case Foreign():
                yield _text({**event, "data": {**event["data"], "prompt_id": _STRANGER}})
                yield _text({"type": "executing", "data": {"node": None, "prompt_id": _STRANGER}})
                yield frame
            case _:
                yield frame


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    size = head[1] & 0x7F
    more = b""
    if size >= 126:
        more = await reader.readexactly(2 if size == 126 else 8)
        size = int.from_bytes(more, "big")
    return head + more + await reader.readexactly(size)


def _event(frame: bytes) -> dict[str, Any]:
    if frame[0] & 0x0F != _TEXT:
        return {}
    start = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    event: dict[str, Any] = json.loads(frame[start:])
    return event


def _text(event: dict[str, Any]) -> bytes:
    data = json.dumps(event).encode()
    if len(data) < 126:
        return bytes((0x80 | _TEXT, len(data))) + data
    return struct.pack(">BBH", 0x80 | _TEXT, 126, len(data)) + data
