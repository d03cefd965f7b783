"""Pictures as bytes: how they are wanted, whether they move, and how they are without what is written in them. Pure."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

FORMATS = ("original", "webp", "jpeg")


@dataclass(frozen=True, slots=True)
class Form:
    """How pictures shall be handed over: ``original`` is as ComfyUI saved them."""

    format: str = "original"
    keep_metadata: bool = True


AS_SAVED = Form()

Parts: TypeAlias = Iterator[bytes | memoryview]

_PNG = b"\x89PNG\r\n\x1a\n"
# What a PNG needs to look the same; texts, EXIF, dates and chunks of anybody's own are not among it.
_PNG_KEPT = frozenset((
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"sBIT",
    b"bKGD", b"hIST", b"pHYs", b"acTL", b"fcTL", b"fdAT",
))  # fmt: skip
_WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_WEBP_FLAGS, _WEBP_METADATA = 20, 0x04 | 0x08
# JFIF, ICC profiles and Adobe's note on the colours; the other application segments hold EXIF, XMP, IPTC and the like.
_JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_JPEG_COMMENT, _JPEG_SCAN, _JPEG_END = 0xFE, 0xDA, 0xD9
_JPEG_MARKER = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")
_SVG_METADATA = re.compile(rb"<!--.*?-->|<metadata\b.*?(/>|</metadata\s*>)", re.DOTALL)
_GIF_KEPT = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


class _BrokenError(Exception):
    """The file is not what its first bytes say."""


def is_still(begun: bytes) -> bool:
    """Whether the beginning of a file is that of one picture that does not move; False where it cannot be told."""
    if begun.startswith(_PNG):
        for kind, _, _ in _png_chunks(memoryview(begun)):
            if kind in (b"IDAT", b"acTL"):
                return kind == b"IDAT"
        return False
    if begun[:4] == b"RIFF" and begun[8:12] == b"WEBP":
        is_extended = begun[12:16] == b"VP8X"
        return begun[12:15] == b"VP8" and len(begun) > _WEBP_FLAGS and not (is_extended and begun[_WEBP_FLAGS] & 2)
    return begun.startswith((b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*")) or begun[4:12] == b"ftypavif"


def without_metadata(data: bytes) -> bytes | None:
    """The same picture, its pixels untouched, without texts, EXIF, XMP and comments: so without ComfyUI's workflow.

    Colour profiles stay; how to turn a photograph, as EXIF says it, goes too. ``None`` of a kind that is not known
    here, and of a broken file.
    """
    view = memoryview(data)
    try:
        if data.startswith(_PNG):
            return b"".join(_png(view))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            body = b"".join(_webp(view))
            return b"".join((b"RIFF", struct.pack("<I", len(body) + 4), b"WEBP", body))
        if data.startswith(b"\xff\xd8"):
            return b"".join(_jpeg(view))
        if data.startswith((b"GIF87a", b"GIF89a")):
            return b"".join(_gif(view))
    except (_BrokenError, IndexError, struct.error):
        return None
    if data[:5] in (b"<?xml", b"<svg "):
        return _SVG_METADATA.sub(b"", data)
    return data if data.startswith(b"BM") else None


def _png_chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk, where it begins and where it ends, as far as they begin in what there is."""
    at = len(_PNG)
    while at + 8 <= len(view):
        (size,) = struct.unpack_from(">I", view, at)
        yield bytes(view[at + 4 : at + 8]), at, at + 12 + size
        at += 12 + size


def _png(view: memoryview) -> Parts:
    yield _PNG
    for kind, begin, end in _png_chunks(view):
        if end > len(view):
            break
        if kind in _PNG_KEPT:
            yield view[begin:end]
        if kind == b"IEND":
            return
    raise _BrokenError


def _webp(view: memoryview) -> Parts:
    at, end = 12, min(len(view), 8 + struct.unpack_from("<I", view, 4)[0])
    while at + 8 <= end:
        kind = bytes(view[at : at + 4])
        (size,) = struct.unpack_from("<I", view, at + 4)
        following = at + 8 + size + size % 2
        if following > end + 1:
            raise _BrokenError
        if kind == b"VP8X":
            yield view[at : at + 8]
            yield bytes((view[at + 8] & ~_WEBP_METADATA,))
            yield view[at + 9 : following]
        elif kind in _WEBP_KEPT:
            yield view[at:following]
        at = following


def _jpeg(view: memoryview) -> Parts:
    yield view[:2]
    at = 2
    while True:
        while view[at + 1] == 0xFF:  # noqa: PLR2004  # a marker may begin with any number of them
            at += 1
        if view[at] != 0xFF:  # noqa: PLR2004
            raise _BrokenError
        marker = view[at + 1]
        if marker == _JPEG_END:
            yield view[at : at + 2]
            return
        end = at + 2 + struct.unpack_from(">H", view, at + 2)[0]
        if marker == _JPEG_SCAN:
            # Its packed pixels go on to the next marker that is none of theirs.
            found = _JPEG_MARKER.search(view, end)
            if found is None:
                raise _BrokenError
            end = found.start()
        is_application = marker == _JPEG_COMMENT or marker & 0xF0 == 0xE0  # noqa: PLR2004
        begins_with = _JPEG_KEPT.get(marker)
        if not is_application or (begins_with and bytes(view[at + 4 : at + 4 + len(begins_with)]) == begins_with):
            yield view[at:end]
        at = end


def _gif(view: memoryview) -> Parts:
    at = 13 + _colors(view[10])
    yield view[:at]
    while view[at] != 0x3B:  # noqa: PLR2004  # the trailer
        begin = at
        if view[at] == 0x2C:  # noqa: PLR2004  # a frame
            is_kept, at = True, at + 11 + _colors(view[at + 9])
        elif view[at] == 0x21:  # noqa: PLR2004  # an extension: 0xF9 times a frame, 0xFF is anybody's
            kind, name = view[at + 1], bytes(view[at + 3 : at + 14])
            is_kept, at = kind == 0xF9 or (kind == 0xFF and name in _GIF_KEPT), at + 2  # noqa: PLR2004
        else:
            raise _BrokenError
        while view[at]:
            at += 1 + view[at]
        at += 1
        if is_kept:
            yield view[begin:at]
    yield b"\x3b"


def _colors(flags: int) -> int:
    """The bytes of the colour table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
