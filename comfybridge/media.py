"""What a file is, by its first bytes, and whether it is whole as far as the bytes can tell. Pure."""

import hashlib
import mimetypes
import struct
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaType:
    """What a file is: ``image/png`` and ``.png``."""

    mime: str
    extension: str

    @property
    def kind(self) -> str:
        """``image``, ``video``, ``audio``, ``model``, ``text`` or ``application``."""
        return self.mime.partition("/")[0]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a caller gives for a graph to load; ``filename`` is what the caller calls it and may be empty."""

    data: bytes
    media: MediaType
    filename: str = ""

    @property
    def name(self) -> str:
        """The name that it gets on the server, the same for the same bytes, so that nothing is stored twice."""
        return f"comfybridge-{hashlib.sha256(self.data).hexdigest()[:24]}{self.media.extension}"


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", MediaType("image/png", ".png")),
    (b"\xff\xd8\xff", MediaType("image/jpeg", ".jpg")),
    (b"GIF87a", MediaType("image/gif", ".gif")),
    (b"GIF89a", MediaType("image/gif", ".gif")),
    (b"BM", MediaType("image/bmp", ".bmp")),
    (b"II*\x00", MediaType("image/tiff", ".tiff")),
    (b"MM\x00*", MediaType("image/tiff", ".tiff")),
    (b"fLaC", MediaType("audio/flac", ".flac")),
    (b"ID3", MediaType("audio/mpeg", ".mp3")),
    (b"\xff\xfb", MediaType("audio/mpeg", ".mp3")),
    (b"\xff\xf3", MediaType("audio/mpeg", ".mp3")),
    (b"\xff\xf2", MediaType("audio/mpeg", ".mp3")),
    (b"OggS", MediaType("audio/ogg", ".ogg")),
    (b"glTF", MediaType("model/gltf-binary", ".glb")),
    (b"ply\n", MediaType("model/ply", ".ply")),
    (b"ply\r\n", MediaType("model/ply", ".ply")),
)
# What "RIFF" and "ftyp" boxes hold, by the four letters that say so.
_RIFF = {
    b"WEBP": MediaType("image/webp", ".webp"),
    b"WAVE": MediaType("audio/wav", ".wav"),
    b"AVI ": MediaType("video/x-msvideo", ".avi"),
}
_FTYP = {
    b"avif": MediaType("image/avif", ".avif"),
    b"avis": MediaType("image/avif", ".avif"),
    b"heic": MediaType("image/heic", ".heic"),
    b"M4A ": MediaType("audio/mp4", ".m4a"),
    b"qt  ": MediaType("video/quicktime", ".mov"),
}
_MP4 = MediaType("video/mp4", ".mp4")
_WEBM, _MATROSKA = MediaType("video/webm", ".webm"), MediaType("video/x-matroska", ".mkv")
_SAME = {".jpeg": ".jpg", ".tif": ".tiff", ".opus": ".ogg", ".oga": ".ogg", ".apng": ".png", ".m4v": ".mp4"}
# Kinds that can be told by their bytes: a file that claims to be one and is not is broken, or no file at all.
_TOLD = ("image", "video", "audio")
_NOT_TOLD = ("image/svg+xml",)
_BY_NAME = {
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".gltf": "model/gltf+json",
    ".glb": "model/gltf-binary",
    ".ply": "model/ply",
}
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PAGE = (b"<!doctype html", b"<html")


def media_type(data: bytes) -> MediaType | None:
    """Tell by the magic bytes what a picture, video, sound or 3D file is; ``None`` for others and for parts of one.

    Cut off files are told apart where the format says its length or has an end: PNG, RIFF (WebP, WAV) and GLB.
    """
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12]) if len(data) >= _length(data, 4) + 8 else None
    if data[4:8] == b"ftyp":
        return _FTYP.get(data[8:12], _MP4)
    if data.startswith(b"\x1aE\xdf\xa3"):
        return _WEBM if b"webm" in data[:64] else _MATROSKA
    found = next((media for magic, media in _MAGIC if data.startswith(magic)), None)
    if found is None:
        return None
    is_cut = (found.extension == ".png" and data[-8:-4] != b"IEND") or (
        found.extension == ".glb" and len(data) < _length(data, 8)
    )
    return None if is_cut else found


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, WebP or JPEG; ``None`` where they cannot be told."""
    found = media_type(data)
    try:
        match found.extension if found is not None else "":
            case ".png":
                width, height = struct.unpack_from(">II", data, 16)
            case ".gif":
                width, height = struct.unpack_from("<HH", data, 6)
            case ".webp":
                width, height = _webp_size(data)
            case ".jpg":
                width, height = _jpeg_size(data)
            case _:
                return None
    except (struct.error, IndexError):
        return None
    return width, height


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        marker, length = struct.unpack_from(">xBH", data, at)
        # A start of frame of any kind; 0xC4, 0xC8 and 0xCC are something else.
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length


def output_type(data: bytes, filename: str) -> MediaType | None:
    """Tell what a file is that a node saved under this name; ``None`` when it cannot be that file.

    A kind that cannot be told by its bytes is what its name says, unless the bytes are a web page or nothing.
    """
    _, dot, letters = filename.rpartition(".")
    suffix = f"{dot}{letters}".lower() if dot else ""
    found = media_type(data)
    if found is not None:
        return MediaType(found.mime, suffix) if _SAME.get(suffix, suffix) == found.extension else found
    claimed = _BY_NAME.get(suffix) or mimetypes.guess_type(filename)[0] or "application/octet-stream"
    is_page = data[:64].lstrip().lower().startswith(_PAGE) and claimed != "text/html"
    if not data or is_page or (claimed.startswith(_TOLD) and claimed not in _NOT_TOLD):
        return None
    return MediaType(claimed, suffix)


def _length(data: bytes, offset: int) -> int:
    return int(struct.unpack_from("<I", data, offset)[0]) if len(data) >= offset + 4 else len(data) + 1
