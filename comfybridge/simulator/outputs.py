"""Output nodes for pictures and text: what they write and what they report (nodes.py, SaveImage and its kin)."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, PngImagePlugin

from comfybridge.simulator.call import Call, NodeError
from comfybridge.simulator.files import SaveTarget
from comfybridge.simulator.values import Mask, Picture

EXIF_MODEL, EXIF_MAKE = 0x0110, 0x010F
COMPRESSION = 1
"""ComfyUI writes PNG with level 4 (1 for previews): a level nobody can see, and four times slower."""


@dataclass(frozen=True)
class Saved:
    """ui: what goes into ``executed`` and history. sent: PNG bytes for the socket only."""

    ui: dict[str, Any] = field(default_factory=dict)
    sent: tuple[bytes, ...] = ()


def _save_image(call: Call) -> Saved:
    return _saved_frames(call, call.value("images"), call.text("filename_prefix"), "output", call.metadata)


def _preview_image(call: Call) -> Saved:
    return _saved_frames(call, call.value("images"), "ComfyUI" + call.temp_suffix, "temp", call.metadata)


def _preview_mask(call: Call) -> Saved:
    mask: Mask = call.value("mask")
    picture = Picture(tuple(frame.convert("RGB") for frame in mask.frames))
    saved = _saved_frames(call, picture, "ComfyUI" + call.temp_suffix, "temp", {})
    return Saved({**saved.ui, "animated": [False]})


def _saved_frames(call: Call, picture: Picture, prefix: str, folder_type: str, metadata: Mapping[str, str]) -> Saved:
    place = target(call, prefix, folder_type, size=picture.size)
    encoded: dict[int, bytes] = {}
    images = []
    for number, frame in enumerate(picture.frames):
        if id(frame) not in encoded:
            encoded[id(frame)] = _png(frame, metadata)
        stem = place.name.replace("%batch_num%", str(number))
        name = f"{stem}_{place.counter + number:05}_.png"
        (place.folder / name).write_bytes(encoded[id(frame)])
        images.append(result(name, place, folder_type))
    return Saved({"images": images})


def _save_animation(call: Call) -> Saved:
    picture: Picture = call.value("images")
    is_webp = call.class_type == "SaveAnimatedWEBP"
    place = target(call, call.text("filename_prefix"), size=picture.size)
    name = f"{place.name}_{place.counter:05}_.{'webp' if is_webp else 'png'}"
    first, *others = (frame.convert("RGB") for frame in picture.frames)
    options: dict[str, Any] = {"save_all": True, "append_images": others, "duration": int(1000 / call.number("fps"))}
    if is_webp:
        options |= {"lossless": bool(call.value("lossless")), "quality": call.integer("quality")}
        options |= {"exif": _exif(first, call.metadata), "method": 0}
    else:
        options |= {"pnginfo": _animated_info(call.metadata), "compress_level": COMPRESSION}
    first.save(place.folder / name, "WEBP" if is_webp else "PNG", **options)
    ui: dict[str, Any] = {"images": [result(name, place)]}
    return Saved({**ui, "animated": [True]} if others else ui)


def _exif(picture: Image.Image, metadata: Mapping[str, str]) -> Image.Exif:
    """Put the graph into the tag for the camera's model, and everything else into the tags before that."""
    exif = picture.getexif()
    others = [f"{key}:{text}" for key, text in metadata.items() if key != "prompt"]
    exif[EXIF_MODEL] = f"prompt:{metadata.get('prompt', '')}"
    for number, text in enumerate(others):
        exif[EXIF_MAKE - number] = text
    return exif


def _animated_info(metadata: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, text in metadata.items():
        info.add(b"comf", f"{key}\0{text}".encode("latin-1"), after_idat=True)
    return info


def _send_image(call: Call) -> Saved:
    picture: Picture = call.value("images")
    return Saved(sent=tuple(_png(frame, {}) for frame in picture.frames))


def _preview_any(call: Call) -> Saved:
    source = call.value("source")
    if isinstance(source, bool | int | float | None):
        return Saved({"text": [str(source)]})
    if isinstance(source, dict | list):
        return Saved({"text": [json.dumps(source, indent=4)]})
    return Saved({"text": [str(source)]})


def target(call: Call, prefix: str, folder_type: str = "output", *, size: tuple[int, int] = (0, 0)) -> SaveTarget:
    try:
        return call.files.save_target(prefix, folder_type, width=size[0], height=size[1])
    except ValueError as fault:
        raise NodeError(str(fault), "Exception") from fault


def result(name: str, place: SaveTarget, folder_type: str = "output") -> dict[str, str]:
    return {"filename": name, "subfolder": place.subfolder, "type": folder_type}


def _png(frame: Image.Image, metadata: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, "PNG", pnginfo=_info(metadata), compress_level=COMPRESSION)
    return buffer.getvalue()


def _info(metadata: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, text in metadata.items():
        info.add_text(key, text)
    return info


IMAGE_OUTPUTS: Mapping[str, Callable[[Call], Saved]] = {
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "MaskPreview": _preview_mask,
    "SaveAnimatedWEBP": _save_animation,
    "SaveAnimatedPNG": _save_animation,
    "SaveImageWebsocket": _send_image,
    "PreviewAny": _preview_any,
}
