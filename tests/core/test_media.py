import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comfybridge.media import InputFile, MediaType, image_size, media_type, output_type


def png(length: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"\0" * length + b"\0\0\0\0IEND\xaeB\x60\x82"


def riff(kind: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 12) + kind + b"\0" * 8


GLB = b"glTF" + struct.pack("<II", 2, 20) + b"\0" * 8


class TestMediaType:
    @pytest.mark.parametrize(
        ("data", "mime", "extension"),
        [
            (png(40), "image/png", ".png"),
            (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg", ".jpg"),
            (riff(b"WEBP"), "image/webp", ".webp"),
            (b"GIF89a\x01\x00", "image/gif", ".gif"),
            (b"GIF87a\x01\x00", "image/gif", ".gif"),
            (b"BM\x01\x00", "image/bmp", ".bmp"),
            (b"\0\0\0\x1cftypavif", "image/avif", ".avif"),
            (b"\0\0\0\x18ftypisom", "video/mp4", ".mp4"),
            (b"\0\0\0\x14ftypqt  ", "video/quicktime", ".mov"),
            (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video/webm", ".webm"),
            (b"\x1aE\xdf\xa3\x9fB\x82\x88matroska", "video/x-matroska", ".mkv"),
            (b"fLaC\0\0\0\x22", "audio/flac", ".flac"),
            (b"ID3\x04\0", "audio/mpeg", ".mp3"),
            (b"\xff\xfb\x90\x64", "audio/mpeg", ".mp3"),
            (b"OggS\0\x02", "audio/ogg", ".ogg"),
            (riff(b"WAVE"), "audio/wav", ".wav"),
            (GLB, "model/gltf-binary", ".glb"),
        ],
    )
    def test_kind_is_told_by_the_first_bytes(self, data: bytes, mime: str, extension: str) -> None:
        assert media_type(data) == MediaType(mime, extension)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"<!doctype html><html></html>",
            b'{"error": "not found"}',
            png(40)[:-12],
            png(40)[:30],
            riff(b"WEBP")[:-1],
            GLB[:-1],
            b"RIFF",
        ],
        ids=["empty", "html", "json", "png without end", "png cut off", "webp cut off", "glb cut off", "head only"],
    )
    def test_what_is_no_whole_file_has_no_kind(self, data: bytes) -> None:
        assert media_type(data) is None

    @given(st.binary(max_size=64), st.text(max_size=12))
    def test_any_bytes_under_any_name_can_be_asked_about(self, data: bytes, filename: str) -> None:
        found = output_type(data, filename)

        assert found is None or "/" in found.mime


class TestOutputType:
    @pytest.mark.parametrize(
        ("data", "filename", "mime", "extension"),
        [
            (png(), "a.png", "image/png", ".png"),
            (png(), "a.jpg", "image/png", ".png"),
            (b"\xff\xd8\xff\xe0", "a.jpeg", "image/jpeg", ".jpeg"),
            (b"OggS\0\x02", "a.opus", "audio/ogg", ".opus"),
            (b"v 0 0 0\n", "mesh.obj", "model/obj", ".obj"),
            (b"solid x", "mesh.stl", "model/stl", ".stl"),
            (b"some words", "notes.txt", "text/plain", ".txt"),
            (b"\x10\0\0\0\0\0\0\0{}", "a.latent", "application/octet-stream", ".latent"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "image/svg+xml", ".svg"),
        ],
    )
    def test_bytes_decide_where_they_can_else_the_name(
        self, data: bytes, filename: str, mime: str, extension: str
    ) -> None:
        assert output_type(data, filename) == MediaType(mime, extension)

    @pytest.mark.parametrize(
        ("data", "filename"),
        [
            (b"<!DOCTYPE html><title>404</title>", "a.png"),
            (b"  <html>", "a.latent"),
            (b"not found", "a.mp4"),
            (png(40)[:-12], "a.png"),
            (b"", "a.obj"),
        ],
        ids=["page", "page as another file", "words as a video", "cut off", "empty"],
    )
    def test_what_cannot_be_that_file_is_none(self, data: bytes, filename: str) -> None:
        assert output_type(data, filename) is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("GIF", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 300}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    ],
    ids=["png", "gif", "jpeg", "progressive jpeg", "webp", "lossless webp", "webp with metadata"],
)
def test_size_of_a_picture_is_told(kind: str, options: dict[str, Any]) -> None:
    data = BytesIO()
    Image.new("RGB", (641, 37), (9, 8, 7)).save(data, kind, **options)

    assert image_size(data.getvalue()) == (641, 37)


@given(st.binary(max_size=80), st.sampled_from([b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"]))
def test_broken_pictures_have_no_size_or_some(data: bytes, magic: bytes) -> None:
    found = image_size(magic + data)

    assert found is None or len(found) == 2


def test_same_bytes_have_the_same_name_on_the_server_whatever_the_caller_calls_them() -> None:
    one, other = (
        InputFile(png(1), MediaType("image/png", ".png"), "我的.png"),
        InputFile(png(1), MediaType("image/png", ".png")),
    )

    assert one.name == other.name
    assert one.name.isascii()
    assert one.name.endswith(".png")
    assert one.name != InputFile(png(2), MediaType("image/png", ".png")).name
