import contextlib
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfybridge.convert import class_types, convert, read_saved
from comfybridge.errors import InvalidInput
from tests.core import pairs

PROMPT = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
WORKFLOW = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "version": 0.4}
SAVED = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in [(b"IHDR", head), *chunks, (b"IEND", b"")])


def plain(name: str, text: str) -> tuple[bytes, bytes]:
    return b"tEXt", f"{name}\0{text}".encode("latin-1")


def packed(name: str, text: str) -> tuple[bytes, bytes]:
    return b"zTXt", name.encode() + b"\0\0" + zlib.compress(text.encode())


def international(name: str, text: str) -> tuple[bytes, bytes]:
    return b"iTXt", name.encode() + b"\0\0\0\0\0" + text.encode()


def packed_international(name: str, text: str) -> tuple[bytes, bytes]:
    return b"iTXt", name.encode() + b"\0\1\0\0\0" + zlib.compress(text.encode())


def exif(order: str, *texts: str) -> bytes:
    """What ComfyUI writes: one tag per text, counting down from the camera's model."""
    at = 8 + 2 + 12 * len(texts) + 4
    entries, bodies = b"", b""
    for number, text in enumerate(texts):
        body = text.encode() + b"\0"
        entries += struct.pack(f"{order}HHII", 0x0110 - number, 2, len(body), at + len(bodies))
        bodies += body
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return start + struct.pack(f"{order}H", len(texts)) + entries + bytes(4) + bodies


def webp(tiff: bytes) -> bytes:
    body = b"WEBP" + b"VP8 " + struct.pack("<I", 3) + b"abc\0" + b"EXIF" + struct.pack("<I", len(tiff)) + tiff
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(tiff: bytes) -> bytes:
    body = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe0\0\4ab\xff\xe1" + struct.pack(">H", len(body) + 2) + body + b"\xff\xda\0\2\xff\xd9"


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def mp4(**tags: str) -> bytes:
    keys = b"".join(box(b"mdta", name.encode()) for name in tags)
    values = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + text.encode()))
        for number, text in enumerate(tags.values(), start=1)
    )
    meta = bytes(4) + box(b"hdlr", bytes(24)) + box(b"keys", struct.pack(">II", 0, len(tags)) + keys)
    moov = box(b"moov", box(b"mvhd", bytes(8)) + box(b"udta", box(b"meta", meta + box(b"ilst", values))))
    return box(b"ftyp", b"isom") + box(b"mdat", bytes(32)) + moov


def webm(**tags: str) -> bytes:
    found = b""
    for name, text in tags.items():
        size = (0x4000 | len(text)).to_bytes(2, "big")
        found += b"\x45\xa3" + bytes([0x80 | len(name)]) + name.encode() + b"\x44\x87" + size + text.encode()
    return b"\x1aE\xdf\xa3" + bytes(20) + found


def flac(**tags: str) -> bytes:
    comments = b"".join(struct.pack("<I", len(f"{n}={t}")) + f"{n}={t}".encode() for n, t in tags.items())
    block = struct.pack("<I", 3) + b"abc" + struct.pack("<I", len(tags)) + comments
    return b"fLaC" + b"\0\0\0\2ab" + bytes([0x84]) + len(block).to_bytes(3, "big") + block


class TestReading:
    def test_a_picture_by_comfyui_holds_the_prompt_that_was_posted(self) -> None:
        data = (pairs.FOLDER / "saved_by_comfyui.png").read_bytes()

        prompt = convert(read_saved(data), {}).prompt

        assert prompt["1"]["inputs"] == {"width": 64, "height": 48, "batch_size": 1, "color": 255}
        assert prompt["2"]["inputs"] == {"filename_prefix": "fe_real", "images": ["1", 0]}

    @pytest.mark.parametrize("write", [plain, packed, international, packed_international])
    @pytest.mark.parametrize(("names", "expected"), [(["workflow", "prompt"], PROMPT), (["workflow"], WORKFLOW)])
    def test_png(self, write: Callable[[str, str], tuple[bytes, bytes]], names: list[str], expected: Any) -> None:
        assert read_saved(png(*(write(name, SAVED[name]) for name in names))) == expected

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("write", [webp, jpeg])
    def test_webp_and_jpeg(self, write: Callable[[bytes], bytes], order: str) -> None:
        data = write(exif(order, f"prompt:{SAVED['prompt']}", f"workflow:{SAVED['workflow']}"))

        assert read_saved(data) == PROMPT

    @pytest.mark.parametrize("write", [mp4, webm, flac])
    def test_videos_and_sounds(self, write: Callable[..., bytes]) -> None:
        assert read_saved(write(encoder="x", **SAVED)) == PROMPT
        assert read_saved(write(workflow=SAVED["workflow"])) == WORKFLOW

    def test_nan_is_read_as_a_browser_would(self) -> None:
        assert read_saved(png(plain("prompt", '{"1": NaN}'))) == {"1": None}

    def test_json_with_a_byte_order_mark(self) -> None:
        assert read_saved(b"\xef\xbb\xbf" + json.dumps(PROMPT).encode()) == PROMPT

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "not JSON: line 1, column 1"),
            (b'{"nodes": [}', "not JSON: line 1, column 12"),
            (b"\xff\xfe\x00", "neither JSON nor a picture"),
            (png(), "holds no ComfyUI workflow"),
            (png(plain("prompt", "a cat")), "holds no ComfyUI workflow"),
            (webp(exif("<", "camera")), "holds no ComfyUI workflow"),
            (b"[" * 10_000_000, "nested too deeply"),
            (b'{"a":' * 2_000_000, "nested too deeply"),
            (b"9" * 5000, "not JSON"),
        ],
        ids=["nothing", "broken", "binary", "bare-picture", "other-prompt", "photo", "lists", "objects", "number"],
    )
    def test_what_holds_no_workflow_says_so(self, data: bytes, said: str) -> None:
        with pytest.raises(InvalidInput, match=said) as caught:
            read_saved(data)

        assert caught.value.zh


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))
KNOWN = pairs.definitions()
SOME = [pairs.pair(folder, name).workflow for folder in ("synthetic", "newest") for name in pairs.names(folder)[::4]]


def attempt(workflow: Any, *, repair: bool) -> None:
    """Convert; nothing but our own error may come out."""
    with contextlib.suppress(InvalidInput):
        class_types(workflow)
        json.dumps(convert(workflow, KNOWN, repair=repair).prompt)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


class TestNothingElseComesOut:
    @given(JSON, st.booleans())
    def test_of_any_json(self, workflow: Any, repair: bool) -> None:  # noqa: FBT001
        attempt(workflow, repair=repair)

    @settings(max_examples=300)
    @given(st.sampled_from(SOME), st.integers(0, 2**32), JSON, st.booleans())
    def test_of_a_broken_workflow(self, workflow: Any, seed: int, junk: Any, repair: bool) -> None:  # noqa: FBT001
        broken = json.loads(json.dumps(workflow))
        chooser = random.Random(seed)  # noqa: S311
        for _ in range(chooser.randint(1, 8)):
            path = chooser.choice(places(broken))
            holder = broken
            for key in path[:-1]:
                holder = holder[key]
            match chooser.randrange(3):
                case 0:
                    del holder[path[-1]]
                case 1:
                    holder[path[-1]] = json.loads(json.dumps(junk))
                case _:
                    holder[path[-1]] = chooser.choice([-10, "-20", 0, 1, 4, 2**70, "", [], {}, None, "*"])

        attempt(broken, repair=repair)

    @given(st.binary())
    def test_of_any_bytes(self, data: bytes) -> None:
        for start in (
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe1",
            b"fLaC",
            b"\x1aE\xdf\xa3\x45\xa3\x86prompt\x44\x87",
        ):
            self.read(start + data)

    @given(st.sampled_from([png(plain("prompt", "{}")), webp(exif("<", "a:")), jpeg(exif(">", "prompt:{"))]), st.data())
    def test_of_a_broken_picture(self, data: bytes, draw: st.DataObject) -> None:
        at = draw.draw(st.integers(0, len(data)))
        self.read(data[:at] + draw.draw(st.binary(max_size=8)) + data[at + draw.draw(st.integers(0, 8)) :])

    @given(st.sampled_from([mp4(**SAVED), webm(**SAVED), flac(**SAVED)]), st.data())
    def test_of_a_broken_video(self, data: bytes, draw: st.DataObject) -> None:
        at = draw.draw(st.integers(0, len(data)))
        self.read(data[:at] + draw.draw(st.binary(max_size=8)) + data[at + draw.draw(st.integers(0, 8)) :])

    @staticmethod
    def read(data: bytes) -> None:
        with contextlib.suppress(InvalidInput):
            read_saved(data)
