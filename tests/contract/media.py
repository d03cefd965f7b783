"""Small sounds and videos to upload, and a look into those that come back."""

import io
import json
import math
import struct
import wave
from array import array
from dataclasses import dataclass
from typing import Any

import av
from PIL import Image

RATE = 22050


def png(color: tuple[int, ...] = (200, 10, 10), *, size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def wav(seconds: float = 1.0) -> bytes:
    """A tone: one channel at 22050 Hz."""
    levels = array("h", (int(8000 * math.sin(number / 20)) for number in range(int(seconds * RATE))))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(levels.tobytes())
    return buffer.getvalue()


def mp4(frames: int = 5, *, size: tuple[int, int] = (64, 48)) -> bytes:
    """A mute video of ten pictures a second, from black to red."""
    buffer = io.BytesIO()
    from_image: Any = av.VideoFrame.from_image
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("h264", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = Image.new("RGB", size, (number * 20, 0, 0))
            container.mux(stream.encode(from_image(picture).reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@dataclass(frozen=True)
class Video:
    codec: str
    size: tuple[int, int]
    frames: int
    rate: float
    sound: str | None
    metadata: dict[str, str]


def video(content: bytes) -> Video:
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        frames: list[Any] = list(container.decode(video=0))
        sound = container.streams.audio[0].codec.name if container.streams.audio else None
        size = (frames[0].width, frames[0].height)
        rate = float(stream.average_rate or 0)
        return Video(stream.codec.name, size, len(frames), rate, sound, dict(container.metadata))


@dataclass(frozen=True)
class Sound:
    codec: str
    rate: int
    channels: int
    seconds: float
    loudest: float


def sound(content: bytes) -> Sound:
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt")
        levels = array("f")
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                levels.frombytes(bytes(piece.planes[0])[: 4 * stream.channels * piece.samples])
        seconds = len(levels) / stream.channels / stream.rate
        return Sound(stream.codec.name, stream.rate, stream.channels, seconds, max(map(abs, levels)))


def gltf(content: bytes) -> dict[str, Any]:
    """Take a binary glTF apart; its description, after a look at every length in it."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    binary, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert (kind, 28 + size + binary) == (b"BIN\0", length)
    described: dict[str, Any] = json.loads(content[20 : 20 + size])
    assert described["buffers"][0]["byteLength"] == binary
    return described
