"""Videos, read and written through PyAV, which is imported with the first of them."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfybridge.simulator import sound
from comfybridge.simulator.pyav import reported
from comfybridge.simulator.values import Film, FilmFile, Picture, Sound

if TYPE_CHECKING:
    import av

FASTEST: Mapping[str, Mapping[str, str]] = {
    "h264": {"preset": "veryfast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "8"},
}
"""ComfyUI lets its encoders take their time; nobody can see that on a test card."""
WEBM_CODECS = {"vp9": "libvpx-vp9", "av1": "libsvtav1"}


@reported
def components(video: Film | FilmFile) -> Film:
    """Decode a file's pictures and its sound.

    Raises:
        ValueError: there are no pictures in it.
        NodeError: nothing in it can be decoded.
    """
    if isinstance(video, Film):
        return video
    import av  # noqa: PLC0415

    with av.open(str(video.path)) as container:
        if not container.streams.video:
            raise ValueError(f"No video stream found in file '{video.path}'")
        rate: Any = container.streams.video[0].average_rate or Fraction(1)
        decoded: Iterator[Any] = container.decode(video=0)
        frames = tuple(frame.to_image() for frame in decoded)
        has_sound = bool(container.streams.audio)
    return Film(Picture(frames), Fraction(rate), sound.read(video.path) if has_sound else None)


@reported
def size(video: Film | FilmFile) -> tuple[int, int]:
    if isinstance(video, Film):
        return video.picture.size
    import av  # noqa: PLC0415

    with av.open(str(video.path)) as container:
        if not container.streams.video:
            raise ValueError(f"No video stream found in file '{video.path}'")
        stream = container.streams.video[0]
        return stream.width, stream.height


@reported
def save(video: Film | FilmFile, path: Path, *, kind: str, codec: str, metadata: Mapping[str, Any]) -> None:
    """Write an MP4; a file is copied as it is unless another format or codec is wanted.

    metadata: values that become JSON text, by key.
    """
    if isinstance(video, FilmFile) and _fits(video, kind, codec):
        _copy(video, path, metadata)
        return
    if kind not in ("auto", "mp4"):
        raise ValueError("Only MP4 format is supported for now")
    if codec not in ("auto", "h264"):
        raise ValueError("Only H264 codec is supported for now")
    _encode(components(video), path, metadata)


def _fits(video: FilmFile, kind: str, codec: str) -> bool:
    import av  # noqa: PLC0415

    with av.open(str(video.path)) as container:
        own = container.streams.video[0].codec.name if container.streams.video else None
        return (kind == "auto" or kind in container.format.name.split(",")) and (
            codec == "auto" or own in (None, codec)
        )


def _copy(video: FilmFile, path: Path, metadata: Mapping[str, Any]) -> None:
    import av  # noqa: PLC0415

    with (
        av.open(str(video.path)) as source,
        av.open(str(path), mode="w", options={"movflags": "use_metadata_tags"}) as target,
    ):
        target.metadata.update(source.metadata)
        target.metadata.update({key: json.dumps(value) for key, value in metadata.items()})
        streams = {
            stream.index: target.add_stream_from_template(stream, opaque=True)
            for stream in (*source.streams.video, *source.streams.audio)
        }
        for packet in source.demux():
            if packet.stream.index in streams and packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


def _encode(film: Film, path: Path, metadata: Mapping[str, Any]) -> None:
    import av  # noqa: PLC0415

    rate = Fraction(round(film.rate * 1000), 1000)
    with av.open(str(path), mode="w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update({key: json.dumps(value) for key, value in metadata.items()})
        stream = _stream(container, "h264", rate, film.picture)
        track = None if film.sound is None else container.add_stream("aac", rate=film.sound.rate)
        _encode_pictures(container, stream, film.picture)
        if film.sound is not None and track is not None:
            fitting = _cut(film.sound, math.ceil(film.sound.rate / rate * len(film.picture.frames)))
            container.mux(track.encode(sound.frame_of(fitting.clips[0], fitting.channels, fitting.rate)))
            container.mux(track.encode(None))


@reported
def save_webm(picture: Picture, path: Path, *, codec: str, fps: float, crf: float, metadata: Mapping[str, str]) -> None:
    import av  # noqa: PLC0415

    with av.open(str(path), mode="w") as container:
        container.metadata.update(metadata)
        stream = _stream(container, WEBM_CODECS[codec], Fraction(round(fps * 1000), 1000), picture)
        stream.pix_fmt = "yuv420p10le" if codec == "av1" else "yuv420p"
        stream.bit_rate = 0
        stream.options = {**stream.options, "crf": str(crf)}
        _encode_pictures(container, stream, picture)


def _stream(
    container: "av.container.OutputContainer", codec: str, rate: Fraction, picture: Picture
) -> "av.VideoStream":
    options: Any = {"options": dict(FASTEST[codec])}
    stream: Any = container.add_stream(codec, rate=rate, **options)
    stream.width, stream.height = picture.size
    stream.pix_fmt = "yuv420p"
    found: av.VideoStream = stream
    return found


def _encode_pictures(container: "av.container.OutputContainer", stream: "av.VideoStream", picture: Picture) -> None:
    import av  # noqa: PLC0415

    from_image: Any = av.VideoFrame.from_image
    for image in picture.frames:
        frame = from_image(image.convert("RGB")).reformat(format=stream.pix_fmt)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _cut(track: Sound, length: int) -> Sound:
    clips = tuple(clip[: length * track.channels] for clip in itertools.islice(track.clips, 1))
    return Sound(clips, track.channels, track.rate)
