"""The texts that pictures, videos and sounds carry: PNG chunks, EXIF, MP4 and Matroska tags, Vorbis comments."""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

Texts: TypeAlias = Iterator[tuple[str, str]]

_MOST_UNPACKED = 64 * 2**20
_PNG, _FLAC, _EBML = b"\x89PNG\r\n\x1a\n", b"fLaC", b"\x1aE\xdf\xa3"
_EXIF_STRINGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x9286)
_EXIF_FOLDER = 0x8769
_FOLDERS = (b"moov", b"udta", b"trak")


def texts(data: bytes) -> Sequence[tuple[str, str]] | None:
    """Name and text of all that is written into the file; ``None`` when it is of no kind that can have it."""
    if data.startswith(_PNG):
        return list(_png(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return list(_webp(data))
    if data.startswith(b"\xff\xd8"):
        return list(_jpeg(data))
    if data[4:8] == b"ftyp":
        return list(_mp4(data))
    if data.startswith(_EBML):
        return list(_matroska(data))
    if data.startswith(_FLAC):
        return list(_flac(data))
    return None


def _png(data: bytes) -> Texts:
    at = len(_PNG)
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size
        name, _, rest = body.partition(b"\0")
        if kind != b"eXIf" and name.lower() not in (b"prompt", b"workflow"):
            continue
        if kind == b"tEXt":
            yield name.decode("latin-1"), _decoded(rest)
        elif kind == b"zTXt":
            yield name.decode("latin-1"), _decoded(_unpacked(rest[1:]))
        elif kind == b"iTXt":
            parts = rest[2:].split(b"\0", 2)
            text = parts[2] if len(parts) > 2 else b""  # noqa: PLR2004
            yield name.decode("latin-1"), _decoded(_unpacked(text) if rest[:1] == b"\1" else text)
        elif kind == b"eXIf":
            yield from _exif(body)


def _decoded(text: bytes) -> str:
    """PNG's own charset is Latin-1, but some write UTF-8; JSON from ComfyUI is plain ASCII."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _MOST_UNPACKED)
    except zlib.error:
        return b""


def _webp(data: bytes) -> Texts:
    at = 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"EXIF":
            yield from _exif(data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0"))
        at += 8 + size + size % 2


def _jpeg(data: bytes) -> Texts:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004
        (size,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + size]
        if data[at + 1] == 0xE1 and body.startswith(b"Exif\0\0"):  # noqa: PLR2004
            yield from _exif(body[6:])
        elif data[at + 1] == 0xDA:  # noqa: PLR2004
            return
        at += 2 + size


def _exif(tiff: bytes) -> Texts:
    """ComfyUI writes ``prompt:{…}`` and ``workflow:{…}`` into the tags of camera and maker."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:  # noqa: PLR2004
        return
    waiting, seen = [struct.unpack_from(f"{order}I", tiff, 4)[0]], set[int]()
    while waiting:
        at = waiting.pop()
        if at in seen or at + 2 > len(tiff):
            continue
        seen.add(at)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
            tag, kind, size, value = struct.unpack_from(f"{order}HHII", tiff, entry)
            if tag == _EXIF_FOLDER:
                waiting.append(value)
            elif tag in _EXIF_STRINGS and kind in (1, 2, 7):
                start = entry + 8 if size <= 4 else value  # noqa: PLR2004
                yield from _named(_comment(tiff[start : start + size]))


def _comment(raw: bytes) -> str:
    """A user comment begins with eight bytes that name its charset."""
    if raw.startswith(b"UNICODE\0"):
        body = raw[8:]
        return body.decode("utf-16-be" if body[:1] == b"\0" else "utf-16-le", "replace").rstrip("\0")
    return _decoded(raw.removeprefix(b"ASCII\0\0\0").rstrip(b"\0"))


def _named(text: str) -> Texts:
    name, _, rest = text.partition(":")
    if name.strip().lower() in ("prompt", "workflow"):
        yield name.strip(), rest.strip()
    elif text.lstrip().startswith("{"):
        # The whole comment is JSON: the workflow itself, or an envelope.
        yield "workflow", text


def _mp4(data: bytes) -> Texts:
    waiting = [(0, len(data))]
    while waiting:
        at, end = waiting.pop()
        while at + 8 <= end:
            size, kind = struct.unpack_from(">I4s", data, at)
            head = 8
            if size == 1 and at + 16 <= end:
                (size,) = struct.unpack_from(">Q", data, at + 8)
                head = 16
            size = size or end - at
            if size < head:
                break
            if kind in _FOLDERS:
                waiting.append((at + head, min(at + size, end)))
            elif kind == b"meta":
                yield from _mp4_tags(data[at + head : min(at + size, end)])
            at += size


def _mp4_tags(meta: bytes) -> Texts:
    """The ``keys`` box numbers the names, the ``ilst`` box has the values by number."""
    keys, values = meta.find(b"keys"), meta.find(b"ilst")
    if keys < 4 or values < 4 or keys + 12 > len(meta):  # noqa: PLR2004
        return
    names: list[str] = []
    (count,) = struct.unpack_from(">I", meta, keys + 8)
    at = keys + 12
    while len(names) < count and at + 8 <= len(meta):
        (size,) = struct.unpack_from(">I", meta, at)
        if size < 8:  # noqa: PLR2004
            return
        names.append(_decoded(meta[at + 8 : at + size]))
        at += size
    at = values + 4
    while at + 24 <= len(meta):
        size, number, inner = struct.unpack_from(">III", meta, at)
        if size < 24 or not 0 < number <= len(names):  # noqa: PLR2004
            return
        yield names[number - 1], _decoded(meta[at + 24 : at + 8 + inner])
        at += size


def _matroska(data: bytes) -> Texts:
    """A simple tag is a TagName (45 A3) and a TagString (44 87); each has a length before it."""
    for found in re.finditer(rb"\x45\xa3[\x80-\xff]((?i:prompt|workflow))", data):
        at = data.find(b"\x44\x87", found.end(), found.end() + 64)
        if at < 0 or at + 10 > len(data) or not data[at + 2]:
            continue
        width = 9 - data[at + 2].bit_length()
        size = int.from_bytes(data[at + 2 : at + 2 + width], "big") & ((1 << 7 * width) - 1)
        yield found[1].decode(), _decoded(data[at + 2 + width : at + 2 + width + size])


def _flac(data: bytes) -> Texts:
    at = 4
    while at + 4 <= len(data):
        kind, size = data[at] & 0x7F, int.from_bytes(data[at + 1 : at + 4], "big")
        if kind == 4:  # noqa: PLR2004
            yield from _vorbis(data[at + 4 : at + 4 + size])
        if data[at] & 0x80:
            return
        at += 4 + size


def _vorbis(block: bytes) -> Texts:
    at = 4 + int.from_bytes(block[:4], "little") + 4
    while at + 4 <= len(block):
        size = int.from_bytes(block[at : at + 4], "little")
        name, _, text = block[at + 4 : at + 4 + size].partition(b"=")
        yield name.decode("latin-1"), _decoded(text)
        at += 4 + size
