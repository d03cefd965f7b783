"""Pictures in another form, as ComfyUI makes them for ``/view`` and ``/upload/mask`` (server.py)."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, PngImagePlugin

PREVIEW_QUALITY = 90
MOST_PIXELS = 100_000_000
"""A picture takes 4 bytes for each, several times over."""
_BEST = 100
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, OverflowError, struct.error, zlib.error)
"""What Pillow raises of bytes that it cannot make sense of, or of sizes that a format has not."""


class NoPicture(Exception):
    """Bytes that are no picture, a broken one, or one that is too large."""


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture; whatever is wrong with it comes out while it is used.

    Raises:
        NoPicture: something is.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise NoPicture(f"{image.width}x{image.height} pixels")
            yield image
    except (*_BROKEN, Image.DecompressionBombError) as exc:
        raise NoPicture(str(exc)) from exc


def preview_kind(wanted: str, channel: str) -> tuple[str, int]:
    """Read ``webp;80`` or ``jpeg``; anything else, and anything with an alpha channel asked for, is webp."""
    kind, *others = wanted.split(";")
    if kind not in ("webp", "jpeg") or "a" in channel:
        kind = "webp"
    last = others[-1] if others else ""
    return kind, min(int(last[:4]), _BEST) if last.isdecimal() else PREVIEW_QUALITY


def preview(data: bytes, kind: str, quality: int, channel: str) -> bytes:
    with _opened(data) as image:
        picture = image.convert("RGB") if kind == "jpeg" or channel == "rgb" else image
        buffer = io.BytesIO()
        picture.save(buffer, kind, quality=quality)
        return buffer.getvalue()


def channel(data: bytes, name: str) -> bytes:
    """The colours alone (``rgb``), or the transparency alone (``a``), as a PNG."""
    with _opened(data) as image:
        if name == "rgb":
            picture = image.convert("RGB")
        else:
            alpha = image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size, 255)
            picture = Image.new("RGBA", image.size)
            picture.putalpha(alpha)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()


def masked(original: bytes, mask: bytes) -> bytes:
    """The original picture with the alpha channel of the mask."""
    with _opened(original) as picture, _opened(mask) as painted:
        info = PngImagePlugin.PngInfo()
        for key, text in getattr(picture, "text", {}).items():
            info.add_text(key, text)
        merged = picture.convert("RGBA")
        merged.putalpha(painted.convert("RGBA").getchannel("A"))
        buffer = io.BytesIO()
        merged.save(buffer, "PNG", pnginfo=info, compress_level=1)
        return buffer.getvalue()


def transparency(data: bytes) -> bytes | None:
    """A mask that is white where the picture is fully transparent, as a PNG; ``None`` where it is so nowhere."""
    with _opened(data) as image:
        if not image.has_transparency_data:
            return None
        mask = image.convert("RGBA").getchannel("A").point(lambda alpha: 0 if alpha else 255)
    if mask.getbbox() is None:
        return None
    buffer = io.BytesIO()
    mask.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
