"""Sound, video and meshes: loaded, decoded, cut and put together."""

import operator
from array import array
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from comfybridge.simulator import film, sound
from comfybridge.simulator.call import Call
from comfybridge.simulator.nodes_image import loaded
from comfybridge.simulator.values import Film, FilmFile, Latent, Mesh, Samples, Sound


def _load_sound(call: Call) -> tuple[Any, ...]:
    return (sound.read(call.files.input_path(call.text("audio"))),)


def _decode_sound(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    return (sound.tune(latent.sampling, latent.seconds, batch=latent.batch),)


def _encode_sound(call: Call) -> tuple[Any, ...]:
    given: Sound = call.value("audio")
    return (Latent(8, 8, len(given.clips), seconds=given.length / given.rate),)


def _empty_sound(call: Call) -> tuple[Any, ...]:
    channels = call.integer("channels")
    return (sound.silence(call.number("duration"), rate=call.integer("sample_rate"), channels=channels),)


def _trim(call: Call) -> tuple[Any, ...]:
    given: Sound = call.value("audio")
    start = round(call.number("start_index") * given.rate)
    start = max(0, min(start + given.length if start < 0 else start, given.length - 1))
    end = max(0, min(start + round(call.number("duration") * given.rate), given.length))
    if start >= end:
        raise ValueError("AudioTrim: Start time must be less than end time and be within the audio length.")
    return (_each(given, lambda clip: clip[start * given.channels : end * given.channels]),)


def _split(call: Call) -> tuple[Any, ...]:
    given: Sound = call.value("audio")
    if given.channels != 2:  # noqa: PLR2004
        raise ValueError("AudioSplit: Input audio has only one channel.")
    left, right = (Sound(tuple(clip[side::2] for clip in given.clips), 1, given.rate) for side in (0, 1))
    return left, right


def _concatenate(call: Call) -> tuple[Any, ...]:
    first, second = _alike(_stereo(call.value("audio1")), _stereo(call.value("audio2")))
    if call.text("direction") == "before":
        first, second = second, first
    clips = tuple(one + other for one, other in zip(first.clips, second.clips, strict=True))
    return (Sound(clips, 2, first.rate),)


def _merge(call: Call) -> tuple[Any, ...]:
    first, second = _alike(call.value("audio1"), call.value("audio2"))
    if first.channels != second.channels:
        first, second = _stereo(first), _stereo(second)
    combine = MERGES[call.text("merge_method")]
    merged = []
    for one, other in zip(first.clips, second.clips, strict=True):
        fitting = other[: len(one)] + array("f", bytes(4 * max(0, len(one) - len(other))))
        levels = array("f", map(combine, one, fitting))
        loudest = max(map(abs, levels), default=0.0)
        merged.append(levels if loudest <= 1 else array("f", (level / loudest for level in levels)))
    return (Sound(tuple(merged), first.channels, first.rate),)


def _volume(call: Call) -> tuple[Any, ...]:
    gain = 10 ** (call.integer("volume") / 20)
    return (_each(call.value("audio"), lambda clip: array("f", (level * gain for level in clip))),)


def _each(given: Sound, change: Callable[[Samples], Samples]) -> Sound:
    return Sound(tuple(change(clip) for clip in given.clips), given.channels, given.rate)


def _stereo(given: Sound) -> Sound:
    if given.channels == 2:  # noqa: PLR2004
        return given
    return Sound(tuple(array("f", (level for level in clip for _ in (0, 1))) for clip in given.clips), 2, given.rate)


def _alike(first: Sound, second: Sound) -> tuple[Sound, Sound]:
    rate = max(first.rate, second.rate)
    return sound.resampled(first, rate), sound.resampled(second, rate)


def _load_film(call: Call) -> tuple[Any, ...]:
    return (FilmFile(call.files.input_path(call.text("file"))),)


def _create_film(call: Call) -> tuple[Any, ...]:
    return (Film(call.value("images"), Fraction(call.number("fps")), call.value("audio")),)


def _film_parts(call: Call) -> tuple[Any, ...]:
    parts = film.components(call.value("video"))
    return parts.picture, parts.sound, float(parts.rate)


def _decode_mesh(call: Call) -> tuple[Any, ...]:
    return (Mesh(call.value("samples").batch),)


def _mesh(call: Call) -> tuple[Any, ...]:
    return (call.value("voxel"),)


def _empty_mesh(call: Call) -> tuple[Any, ...]:
    return (Latent(8, 8, max(1, call.integer("batch_size"))),)


def _load_mesh(call: Call) -> tuple[Any, ...]:
    """Load what the editor's viewport recorded of the mesh."""
    shots: Mapping[str, Any] = call.value("image")
    picture, _ = loaded(call, shots["image"])
    _, mask = loaded(call, shots["mask"])
    normal, _ = loaded(call, shots["normal"])
    recording = FilmFile(call.files.input_path(shots["recording"])) if shots["recording"] else None
    return picture, mask, call.text("model_file"), normal, shots["camera_info"], recording


def _mean(one: float, other: float) -> float:
    return (one + other) / 2


MERGES: Mapping[str, Callable[[float, float], float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "mean": _mean,
}
MEDIA_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "LoadAudio": _load_sound,
    "RecordAudio": _load_sound,
    "VAEDecodeAudio": _decode_sound,
    "LTXVAudioVAEDecode": _decode_sound,
    "VAEEncodeAudio": _encode_sound,
    "LTXVAudioVAEEncode": _encode_sound,
    "EmptyAudio": _empty_sound,
    "TrimAudioDuration": _trim,
    "SplitAudioChannels": _split,
    "AudioConcat": _concatenate,
    "AudioMerge": _merge,
    "AudioAdjustVolume": _volume,
    "LoadVideo": _load_film,
    "CreateVideo": _create_film,
    "GetVideoComponents": _film_parts,
    "EmptyLatentHunyuan3Dv2": _empty_mesh,
    "VAEDecodeHunyuan3D": _decode_mesh,
    "VoxelToMeshBasic": _mesh,
    "VoxelToMesh": _mesh,
    "Load3D": _load_mesh,
}
