"""What may be uploaded: what load nodes take, by its bytes, under a name that every server's disk takes. Pure."""

import json
import re
import struct
import unicodedata

from comfybridge.media import MediaType, media_type

LONGEST_NAME = 200
"""Bytes of one part of a path; file systems end at 255, and a number may be added."""
_LONGEST_PATH = 1000
_DEEPEST = 10
# What Windows keeps for devices, whatever follows a dot.
_DEVICE = re.compile(r"con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]")
_FORBIDDEN = frozenset('<>:"|?*')
_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")

# Beside those that outputs have: pictures that Pillow opens, sounds and films that PyAV does, and 3D files.
_MORE = (
    (0, b"8BPS", MediaType("image/vnd.adobe.photoshop", ".psd")),
    (0, b"\x00\x00\x00\x0cJXL ", MediaType("image/jxl", ".jxl")),
    (0, b"\xff\x0a", MediaType("image/jxl", ".jxl")),
    (0, b"\x00\x00\x00\x0cjP  ", MediaType("image/jp2", ".jp2")),
    (0, b"\x76\x2f\x31\x01", MediaType("image/x-exr", ".exr")),
    (0, b"#?RADIANCE", MediaType("image/vnd.radiance", ".hdr")),
    (0, b"\x00\x00\x01\x00", MediaType("image/vnd.microsoft.icon", ".ico")),
    (8, b"AIFF", MediaType("audio/aiff", ".aiff")),
    (8, b"AIFC", MediaType("audio/aiff", ".aiff")),
    # Written as a stream, they do not know their length.
    (8, b"WAVE", MediaType("audio/wav", ".wav")),
    (8, b"AVI ", MediaType("video/x-msvideo", ".avi")),
    (0, b"FLV\x01", MediaType("video/x-flv", ".flv")),
    (0, b"\x00\x00\x01\xba", MediaType("video/mpeg", ".mpg")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", MediaType("video/x-ms-wmv", ".wmv")),
    (0, b"Kaydara FBX Binary", MediaType("model/fbx", ".fbx")),
)
_PNG = b"\x89PNG\r\n\x1a\n"
_SYNC_BYTE, _PACKET = 0x47, 188
_STL_HEAD, _STL_FACE = 84, 50
_OBJ_WORDS = frozenset(("v", "vn", "vt", "vp", "f", "l", "o", "g", "s", "mtllib", "usemtl"))
_BEGINNING = 4096


def is_usable(path: str) -> bool:
    """Whether all parts of a path are names that any file system takes, and none is long, hidden or a device."""
    parts = path.split("/")
    return len(path.encode(errors="replace")) <= _LONGEST_PATH and len(parts) <= _DEEPEST and all(map(_is_name, parts))


def _is_name(part: str) -> bool:
    stem = part.partition(".")[0].rstrip().casefold()
    return (
        0 < len(part.encode(errors="replace")) <= LONGEST_NAME
        and not _FORBIDDEN.intersection(part)
        and not any(unicodedata.category(character) in _INVISIBLE for character in part)
        and part == part.strip()
        and not part.endswith(".")
        and not _DEVICE.fullmatch(stem)
    )


def kind_of(data: bytes) -> MediaType | None:
    """What an upload is by its bytes; ``None`` for what no load node takes."""
    found = media_type(data)
    if found is not None:
        return found
    if data.startswith(_PNG) and b"IEND" in data:
        return MediaType("image/png", ".png")  # something follows its end
    found = next((media for at, magic, media in _MORE if data.startswith(magic, at)), None)
    return found or _stream(data) or _model(data)


def _stream(data: bytes) -> MediaType | None:
    """Sounds and films that begin with a packet, not with a name."""
    if len(data) > _PACKET and data[0] == data[_PACKET] == _SYNC_BYTE:
        return MediaType("video/mp2t", ".ts")
    if data[:1] == b"\xff" and len(data) > 1 and data[1] & 0xE0 == 0xE0:  # noqa: PLR2004  (eleven bits of sync)
        is_adts = data[1] & 0xF6 == 0xF0  # noqa: PLR2004
        return MediaType("audio/aac", ".aac") if is_adts else MediaType("audio/mpeg", ".mp3")
    return None


def _model(data: bytes) -> MediaType | None:
    """3D files that have no magic bytes."""
    if len(data) >= _STL_HEAD and len(data) == _STL_HEAD + _STL_FACE * int(struct.unpack_from("<I", data, 80)[0]):
        return MediaType("model/stl", ".stl")
    if data.lstrip()[:1] == b"{":
        try:
            parsed = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return MediaType("model/gltf+json", ".gltf") if isinstance(parsed, dict) and "asset" in parsed else None
    try:
        # A letter may be cut in two at the end of the beginning.
        lines = data[:_BEGINNING].decode(errors="strict" if len(data) <= _BEGINNING else "ignore").splitlines()
    except UnicodeDecodeError:
        return None
    lines = lines if len(data) <= _BEGINNING else lines[:-1]
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    if words and words[0] == "solid" and any("facet" in line for line in lines):
        return MediaType("model/stl", ".stl")
    return MediaType("model/obj", ".obj") if words and _OBJ_WORDS.issuperset(words) else None
