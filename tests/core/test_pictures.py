"""Pictures by Pillow, with what ComfyUI and others write into them."""

import io
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from comfybridge.convert import read_saved
from comfybridge.errors import ComfyError
from comfybridge.pictures import is_still, without_metadata

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16}}}
WORKFLOW = {"nodes": [], "links": [], "version": 0.4}
MARK = "s3cr3t-w0rkfl0w"


def noise(mode: str = "RGB", side: int = 48) -> Image.Image:
    bands = [Image.effect_noise((side, side), 60) for _ in mode]
    return Image.merge(mode, bands) if len(mode) > 1 else bands[0]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


def exif() -> bytes:
    """As ComfyUI's SaveAnimatedWEBP writes it."""
    made = Image.Exif()
    made[0x0110] = f"prompt:{json.dumps(GRAPH)}"
    made[0x010F] = f"workflow:{json.dumps(WORKFLOW)}"
    made[0x0131] = MARK
    return made.tobytes()


def png(image: Image.Image | None = None, **options: Any) -> bytes:
    """As ComfyUI's SaveImage writes it."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", json.dumps(GRAPH))
    texts.add_text("workflow", json.dumps(WORKFLOW))
    texts.add_text("parameters", MARK)
    texts.add_text("packed", MARK, zip=True)
    texts.add_itxt("international", MARK)
    texts.add(b"comf", MARK.encode(), after_idat=True)
    return saved(image or noise(), "PNG", pnginfo=texts, exif=exif(), **options)


def icc() -> bytes:
    from PIL import ImageCms  # noqa: PLC0415  # only where it is built in

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


MOVING = [noise(side=24) for _ in range(3)]
PICTURES = {
    "png": png(),
    "png with alpha": png(noise("RGBA")),
    "png with palette": png(noise().quantize(16), transparency=3),
    "png, 16 bits": png(noise("L").convert("I").convert("I;16")),
    "png with a profile": png(icc_profile=icc(), dpi=(300, 300)),
    "moving png": png(MOVING[0], save_all=True, append_images=MOVING[1:], duration=70, loop=0),
    "jpeg": saved(noise(), "JPEG", exif=exif(), comment=MARK, dpi=(300, 300), xmp=f"<x:xmpmeta>{MARK}".encode()),
    "progressive jpeg": saved(noise(side=200), "JPEG", exif=exif(), progressive=True, quality=95, comment=MARK),
    "jpeg with a profile": saved(noise(), "JPEG", exif=exif(), icc_profile=icc()),
    "cmyk jpeg": saved(noise("CMYK"), "JPEG", exif=exif()),
    "jpeg with restarts": saved(noise(side=128), "JPEG", exif=exif(), restart_marker_blocks=2, comment=MARK),
    "webp": saved(noise(), "WEBP", exif=exif(), xmp=MARK.encode()),
    "lossless webp": saved(noise("RGBA"), "WEBP", lossless=True, exif=exif()),
    "webp with alpha and a profile": saved(noise("RGBA"), "WEBP", exif=exif(), icc_profile=icc()),
    "moving webp": saved(MOVING[0], "WEBP", save_all=True, append_images=MOVING[1:], exif=exif(), duration=70),
    "gif": saved(noise(), "GIF", comment=MARK.encode()),
    "moving gif": saved(
        MOVING[0], "GIF", save_all=True, append_images=MOVING[1:], loop=0, duration=70, comment=MARK.encode()
    ),
    "bmp": saved(noise(), "BMP"),
}


def frames(data: bytes) -> list[tuple[bytes, Any]]:
    image = Image.open(io.BytesIO(data))
    found = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        found.append((image.tobytes(), image.info.get("duration")))
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_stay_and_texts_go(name: str) -> None:
    data = PICTURES[name]

    stripped = without_metadata(data)

    assert stripped is not None
    assert frames(stripped) == frames(data)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(stripped))
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    for kept in ("icc_profile", "transparency", "gamma", "jfif_density", "loop", "adobe_transform"):
        assert after.info.get(kept) == before.info.get(kept), kept
    assert after.format == "JPEG" or after.info.get("dpi") == before.info.get("dpi")
    assert not dict(after.getexif())
    after.load()
    assert {"exif", "xmp", "comment", "prompt", "workflow", "parameters"}.isdisjoint(after.info)
    assert not getattr(after, "text", {})
    assert MARK.encode() not in stripped
    assert b"EmptyImage" not in stripped


@pytest.mark.parametrize("name", [name for name in PICTURES if "gif" not in name and name != "bmp"])
def test_no_workflow_is_left_to_be_read(name: str) -> None:
    read_saved(PICTURES[name])

    with pytest.raises(ComfyError):
        read_saved(without_metadata(PICTURES[name]) or b"")


@pytest.mark.parametrize("name", PICTURES)
def test_stripping_twice_changes_nothing_more(name: str) -> None:
    once = without_metadata(PICTURES[name])

    assert once is not None
    assert without_metadata(once) == once


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "gif"])
def test_what_hangs_on_behind_goes_too(name: str) -> None:
    assert MARK.encode() not in (without_metadata(PICTURES[name] + MARK.encode()) or b"")


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "bmp"])
def test_part_of_a_picture_is_not_taken_for_one(name: str) -> None:
    assert without_metadata(PICTURES[name][: len(PICTURES[name]) // 2]) is None or "webp" in name


@pytest.mark.parametrize("data", [b"", b"GIF", b"\x00\x00\x00\x20ftypisom", b"II*\x00", b"fLaC", b"<svg/>"])
def test_other_kinds_are_left_to_others(data: bytes) -> None:
    assert without_metadata(data) is None


@given(st.sampled_from(sorted(PICTURES)), st.integers(0, 400), st.binary(max_size=6))
def test_broken_pictures_are_refused_or_stripped_but_never_a_crash(name: str, at: int, junk: bytes) -> None:
    data = bytearray(PICTURES[name])
    data[at : at + len(junk)] = junk

    stripped = without_metadata(bytes(data))

    assert stripped is None or len(stripped) <= len(data) + 12


@pytest.mark.parametrize("name", PICTURES)
def test_what_moves_is_told_by_the_beginning(name: str) -> None:
    assert is_still(PICTURES[name][:200_000]) == ("moving" not in name and name != "gif")


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0WEBPVP8X"]
)
def test_what_cannot_be_told_counts_as_moving(data: bytes) -> None:
    assert not is_still(data)


def test_long_text_before_the_pixels_hides_nothing() -> None:
    text = b"prompt\0" + b"x" * 3000
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    data = PICTURES["png"][:33] + chunk + PICTURES["png"][33:]

    assert not is_still(data[:2000])
    assert is_still(data)
