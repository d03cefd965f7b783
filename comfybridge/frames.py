"""A WebSocket server's frames out of the bytes that arrive (RFC 6455). Pure.

websocket-client reads them too, at ten times the cost: ComfyUI sends two for each step of a sampler.
"""

from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_CONTINUED, _LAST, _RESERVED, _MASKED, _SIZE = 0, 0x80, 0x70, 0x80, 0x7F
_SIZE_IN_2, _SIZE_IN_8 = 126, 127


class BrokenFrameError(Exception):
    """What arrives is no frame that a server may send: nothing behind it can be read."""


class Frame(NamedTuple):
    """A whole message, or one of the three that control the connection."""

    opcode: int
    data: bytes


class Frames:
    """Takes bytes in pieces of any size and gives the messages in them."""

    def __init__(self) -> None:
        self._rest = b""
        self._opcode = _CONTINUED
        self._parts: list[bytes] = []

    def feed(self, piece: bytes) -> list[Frame]:
        """The messages that are whole now.

        Raises:
            BrokenFrameError: this cannot be read, nor what follows.
        """
        data = self._rest + piece if self._rest else piece
        found: list[Frame] = []
        at = 0
        while len(data) >= at + 2:
            first, second = data[at], data[at + 1]
            if first & _RESERVED or second & _MASKED:
                raise BrokenFrameError
            begin, size = at + 2, second & _SIZE
            if size >= _SIZE_IN_2:
                begin += 2 if size == _SIZE_IN_2 else 8
                if len(data) < begin:
                    break
                size = int.from_bytes(data[at + 2 : begin], "big")
            if len(data) < begin + size:
                break
            at = begin + size
            frame = self._whole(first, data[begin:at])
            if frame is not None:
                found.append(frame)
        self._rest = data[at:]
        return found

    def _whole(self, first: int, data: bytes) -> Frame | None:
        opcode, is_last = first & 0xF, bool(first & _LAST)
        if opcode >= CLOSE or (is_last and opcode and not self._parts):
            return Frame(opcode, data)
        if bool(opcode) == bool(self._parts):
            # A new message within another, or the rest of none.
            raise BrokenFrameError
        self._opcode = opcode or self._opcode
        self._parts.append(data)
        if not is_last:
            return None
        whole = Frame(self._opcode, b"".join(self._parts))
        self._parts = []
        return whole
