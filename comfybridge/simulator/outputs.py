"""Output nodes: what they write and what they report (nodes.py, SaveImage and its kin)."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, PngImagePlugin

from comfybridge.simulator.call import Call, NodeError
from comfybridge.simulator.files import SaveTarget
from comfybridge.simulator.values import Mask, Picture

COMPRESSION = 1
"""ComfyUI writes PNG with level 4 (1 for previews): a level nobody can see, and four times slower."""


@dataclass(frozen=True)
class Saved:
    """ui: what goes into ``executed`` and history. sent: PNG bytes for the socket only."""

    ui: dict[str, Any] = field(default_factory=dict)
    sent: tuple[bytes, ...] = ()


def save(call: Call) -> Saved:
    return OUTPUT_NODES[call.class_type](call)


def _save_image(call: Call) -> Saved:
    return _saved_frames(call, call.value("images"), call.text("filename_prefix"), "output")


def _preview_image(call: Call) -> Saved:
    return _saved_frames(call, call.value("images"), "ComfyUI" + call.temp_suffix, "temp")


def _preview_mask(call: Call) -> Saved:
    mask: Mask = call.value("mask")
    picture = Picture(tuple(frame.convert("RGB") for frame in mask.frames))
    return _saved_frames(call, picture, "ComfyUI" + call.temp_suffix, "temp")


def _saved_frames(call: Call, picture: Picture, prefix: str, folder_type: str) -> Saved:
    target = _target(call, picture, prefix, folder_type)
    encoded: dict[int, bytes] = {}
    images = []
    for number, frame in enumerate(picture.frames):
        if id(frame) not in encoded:
            encoded[id(frame)] = _png(frame, call.metadata)
        stem = target.name.replace("%batch_num%", str(number))
        name = f"{stem}_{target.counter + number:05}_.png"
        (target.folder / name).write_bytes(encoded[id(frame)])
        images.append({"filename": name, "subfolder": target.subfolder, "type": folder_type})
    return Saved({"images": images})


def _save_animation(call: Call) -> Saved:
    picture: Picture = call.value("images")
    is_webp = call.class_type == "SaveAnimatedWEBP"
    target = _target(call, picture, call.text("filename_prefix"), "output")
    name = f"{target.name}_{target.counter:05}_.{'webp' if is_webp else 'png'}"
    first, *others = (frame.convert("RGB") for frame in picture.frames)
    duration_ms = round(1000 / call.number("fps"))
    path = target.folder / name
    if is_webp:
        lossless, quality = bool(call.value("lossless")), call.integer("quality")
        first.save(
            path, "WEBP", save_all=True, append_images=others, duration=duration_ms, lossless=lossless, quality=quality
        )
    else:
        info = _info(call.metadata)
        first.save(path, "PNG", save_all=True, append_images=others, duration=duration_ms, pnginfo=info)
    return Saved({"images": [{"filename": name, "subfolder": target.subfolder, "type": "output"}], "animated": [True]})


def _send_image(call: Call) -> Saved:
    picture: Picture = call.value("images")
    return Saved(sent=tuple(_png(frame, {}) for frame in picture.frames))


def _preview_any(call: Call) -> Saved:
    source = call.value("source")
    return Saved({"text": ["None" if source is None else str(source)]})


def _target(call: Call, picture: Picture, prefix: str, folder_type: str) -> SaveTarget:
    try:
        return call.files.save_target(prefix, folder_type, width=picture.width, height=picture.height)
    except ValueError as fault:
        raise NodeError(str(fault), "Exception") from fault


def _png(frame: Image.Image, metadata: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, "PNG", pnginfo=_info(metadata), compress_level=COMPRESSION)
    return buffer.getvalue()


def _info(metadata: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, text in metadata.items():
        info.add_text(key, text)
    return info


OUTPUT_NODES: Mapping[str, Callable[[Call], Saved]] = {
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "MaskPreview": _preview_mask,
    "SaveAnimatedWEBP": _save_animation,
    "SaveAnimatedPNG": _save_animation,
    "SaveImageWebsocket": _send_image,
    "PreviewAny": _preview_any,
}
