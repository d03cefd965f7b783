"""Output nodes for video, sound and meshes, and the table of all output nodes."""

import json
import random
import string
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from comfybridge.simulator import film, mesh, sound
from comfybridge.simulator.call import Call
from comfybridge.simulator.outputs import IMAGE_OUTPUTS, Saved, result, target

if TYPE_CHECKING:
    from comfybridge.simulator.values import Film, FilmFile, Mesh, Picture, Sound

EXTENSIONS = {"auto": "mp4", "mp4": "mp4"}


def save(call: Call) -> Saved:
    return OUTPUT_NODES[call.class_type](call)


def _save_film(call: Call) -> Saved:
    video: Film | FilmFile = call.value("video")
    place = target(call, call.text("filename_prefix"), size=film.size(video))
    kind = call.text("format")
    name = f"{place.name}_{place.counter:05}_.{EXTENSIONS[kind]}"
    metadata = {key: json.loads(text) for key, text in call.metadata.items()}
    film.save(video, place.folder / name, kind=kind, codec=call.text("codec"), metadata=metadata)
    return Saved({"images": [result(name, place)], "animated": [True]})


def _save_webm(call: Call) -> Saved:
    picture: Picture = call.value("images")
    place = target(call, call.text("filename_prefix"), size=picture.size)
    name = f"{place.name}_{place.counter:05}_.webm"
    film.save_webm(
        picture,
        place.folder / name,
        codec=call.text("codec"),
        fps=call.number("fps"),
        crf=call.number("crf"),
        metadata=call.metadata,
    )
    return Saved({"images": [result(name, place)], "animated": [True]})


def _save_sound(call: Call, kind: str) -> Saved:
    return _saved_clips(call, kind, call.text("filename_prefix"), "output")


def _preview_sound(call: Call) -> Saved:
    suffix = "".join(random.choices(string.ascii_lowercase, k=5))  # noqa: S311  (a file name)
    return _saved_clips(call, "flac", f"ComfyUI_temp_{suffix}", "temp")


def _saved_clips(call: Call, kind: str, prefix: str, folder_type: str) -> Saved:
    given: Sound = call.value("audio")
    place = target(call, prefix, folder_type)
    quality = call.text("quality")
    results = []
    for number in range(len(given.clips)):
        stem = place.name.replace("%batch_num%", str(number))
        name = f"{stem}_{place.counter + number:05}_.{kind}"
        (place.folder / name).write_bytes(sound.encoded(given, number, kind, quality, call.metadata))
        results.append(result(name, place, folder_type))
    return Saved({"audio": results})


def _save_mesh(call: Call) -> Saved:
    given: Mesh = call.value("mesh")
    place = target(call, call.text("filename_prefix"))
    results = []
    for number in range(given.count):
        name = f"{place.name}_{place.counter + number:05}_.glb"
        (place.folder / name).write_bytes(mesh.glb(call.metadata))
        results.append(result(name, place))
    return Saved({"3d": results})


def _preview_mesh(call: Call) -> Saved:
    background: Picture | None = call.value("bg_image")
    path = None
    if background is not None:
        name = f"bg_{uuid.uuid4().hex}.png"
        background.frames[0].save(call.files.root / "temp" / name, "PNG", compress_level=1)
        path = f"temp/{name}"
    return Saved({"result": [call.text("model_file"), call.value("camera_info"), path]})


OUTPUT_NODES: Mapping[str, Callable[[Call], Saved]] = {
    **IMAGE_OUTPUTS,
    "SaveVideo": _save_film,
    "SaveWEBM": _save_webm,
    "SaveAudio": partial(_save_sound, kind="flac"),
    "SaveAudioMP3": partial(_save_sound, kind="mp3"),
    "SaveAudioOpus": partial(_save_sound, kind="opus"),
    "PreviewAudio": _preview_sound,
    "SaveGLB": _save_mesh,
    "Preview3D": _preview_mesh,
}
