"""Sound: the tune that stands in for a generated one, and real files read and written through PyAV.

PyAV is imported with the first file: the simulator starts without it.
"""

import hashlib
import io
import math
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfybridge.simulator.pyav import reported
from comfybridge.simulator.values import Samples, Sampling, Sound

if TYPE_CHECKING:
    import av

TUNE_RATE = 44100
SCALE = (220.0, 247.5, 275.0, 330.0, 366.7, 440.0, 495.0, 550.0)
"""Tones, in hertz, that go together in any order."""
TONES, TONE_S, LOUDNESS = 8, 0.25, 0.2
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
BITS_PER_SECOND = {"64k": 64000, "96k": 96000, "128k": 128000, "192k": 192000, "320k": 320000}


def silence(seconds: float, *, rate: int = TUNE_RATE, channels: int = 2, batch: int = 1) -> Sound:
    clip = array("f", bytes(4 * channels * round(seconds * rate)))
    return Sound((clip,) * batch, channels, rate)


def tune(sampling: Sampling | None, seconds: float, *, batch: int = 1) -> Sound:
    """Play eight tones again and again that prompt and seed choose; silence where no sampler was at work."""
    if sampling is None:
        return silence(seconds, batch=batch)
    return Sound(tuple(_clip(sampling, number, seconds) for number in range(batch)), 2, TUNE_RATE)


def _clip(sampling: Sampling, number: int, seconds: float) -> Samples:
    told = f"{sampling.positive}\0{sampling.seed}\0{number}".encode("utf-8", "surrogatepass")
    chosen = hashlib.sha256(told).digest()[:TONES]
    phrase: Samples = array("f")
    for choice in chosen:
        phrase.extend(_tone(SCALE[choice % len(SCALE)]))
    wanted = 2 * round(seconds * TUNE_RATE)
    return (phrase * (wanted // len(phrase) + 1))[:wanted]


def _tone(frequency: float) -> Iterator[float]:
    count = int(TONE_S * TUNE_RATE)
    for number in range(count):
        # Rises and falls like a plucked string, so that nothing clicks.
        strength = LOUDNESS * math.sin(math.pi * number / count)
        level = strength * math.sin(2 * math.pi * frequency * number / TUNE_RATE)
        yield level
        yield level


@reported
def read(path: Path) -> Sound:
    """Decode a file's first sound track.

    Raises:
        ValueError: there is none in it.
        NodeError: nothing in it can be decoded.
    """
    import av  # noqa: PLC0415

    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise ValueError("No audio stream found in the file.")
        stream = container.streams.audio[0]
        channels = stream.channels
        resampler = av.AudioResampler(format="flt", layout=stream.layout)
        clip = array("f")
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                clip.frombytes(_bytes(piece, channels))
        if not clip:
            raise ValueError("No audio frames decoded.")
        return Sound((clip,), channels, stream.rate)


def _bytes(frame: "av.AudioFrame", channels: int) -> bytes:
    # A plane is padded; what counts are its first samples.
    return bytes(frame.planes[0])[: 4 * channels * frame.samples]


def frame_of(clip: Samples, channels: int, rate: int) -> "av.AudioFrame":
    import av  # noqa: PLC0415

    frame = av.AudioFrame(format="flt", layout="mono" if channels == 1 else "stereo", samples=len(clip) // channels)
    frame.planes[0].update(clip.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = rate
    frame.pts = 0
    return frame


@reported
def resampled(sound: Sound, rate: int) -> Sound:
    import av  # noqa: PLC0415

    if rate == sound.rate:
        return sound
    clips = []
    for clip in sound.clips:
        resampler = av.AudioResampler(format="flt", layout="mono" if sound.channels == 1 else "stereo", rate=rate)
        pieces = resampler.resample(frame_of(clip, sound.channels, sound.rate))
        pieces += resampler.resample(None)
        changed = array("f")
        for piece in pieces:
            changed.frombytes(_bytes(piece, sound.channels))
        clips.append(changed)
    return Sound(tuple(clips), sound.channels, rate)


@reported
def encoded(sound: Sound, number: int, kind: str, quality: str, metadata: Mapping[str, str]) -> bytes:
    """Encode one clip as ``flac``, ``mp3`` or ``opus`` (comfy_api/latest/_ui.py, AudioSaveHelper)."""
    import av  # noqa: PLC0415

    if kind == "opus":
        sound = resampled(sound, next((rate for rate in OPUS_RATES if rate >= sound.rate), OPUS_RATES[-1]))
    codec = {"opus": "libopus", "mp3": "libmp3lame"}.get(kind, "flac")
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=kind) as container:
        container.metadata.update(metadata)
        layout = "mono" if sound.channels == 1 else "stereo"
        stream: Any = container.add_stream(codec, rate=sound.rate, layout=layout)
        if bits := BITS_PER_SECOND.get(quality):
            stream.bit_rate = bits
        container.mux(stream.encode(frame_of(sound.clips[number], sound.channels, sound.rate)))
        container.mux(stream.encode(None))
    return buffer.getvalue()
