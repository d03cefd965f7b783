"""Nodes that bring several pictures or masks to one size, or one to a size told in many ways."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import ImageEnhance

from comfybridge.simulator.call import Call
from comfybridge.simulator.nodes_image import MEGAPIXEL, each_frame, scaled
from comfybridge.simulator.values import Latent, Mask, Picture

Size = tuple[int, int]
GROWING = {
    "ResizeImageMaskNode": "resize_type",
    "BatchImagesNode": "images",
    "BatchMasksNode": "masks",
    "BatchLatentsNode": "latents",
}


def _size_told(call: Call, size: Size) -> Size:
    """Read ``resize_type`` and the inputs that it brings along."""
    kind, (width, height) = call.text("resize_type"), size
    match kind:
        case "scale by multiplier":
            factor = call.number("resize_type.multiplier")
            return round(width * factor), round(height * factor)
        case "scale longer dimension":
            wanted = call.integer("resize_type.longer_size")
            return (
                (wanted, round(height / width * wanted))
                if width >= height
                else (round(width / height * wanted), wanted)
            )
        case "scale shorter dimension":
            wanted = call.integer("resize_type.shorter_size")
            return (
                (round(width / height * wanted), wanted)
                if width >= height
                else (wanted, round(height / width * wanted))
            )
        case "scale total pixels":
            factor = math.sqrt(int(call.number("resize_type.megapixels") * MEGAPIXEL) / (width * height))
            return round(width * factor), round(height * factor)
        case "match size":
            match: Picture | Mask = call.value("resize_type.match")
            return match.frames[0].size
    wanted_width, wanted_height = (
        call.integer(f"resize_type.{side}") if f"resize_type.{side}" in call.inputs else 0
        for side in ("width", "height")
    )
    if wanted_width == wanted_height == 0:
        return size
    return (
        wanted_width or max(1, round(width * wanted_height / height)),
        wanted_height or max(1, round(height * wanted_width / width)),
    )


def _missing(call: Call) -> TypeError:
    """Say what Python says when nothing fits the input that grows or chooses."""
    name = GROWING[call.class_type]
    return TypeError(f"{call.class_type}.execute() missing 1 required positional argument: '{name}'")


def _resize(call: Call) -> tuple[Any, ...]:
    if "resize_type" not in call.inputs:
        raise _missing(call)
    given: Picture | Mask = call.value("input")
    width, height = _size_told(call, given.frames[0].size)
    crop = call.text("resize_type.crop") or "disabled"
    resized = scaled(Picture(given.frames), width, height, call.text("scale_method"), crop)
    return (type(given)(resized.frames),)


def _by_edge(call: Call, edge: str) -> tuple[Any, ...]:
    picture: Picture = call.value("images")
    wanted = call.integer(edge)
    side = min(picture.size) if edge == "shorter_edge" else max(picture.size)
    width, height = (wanted if own == side else int(own * (wanted / side)) for own in picture.size)
    return (scaled(picture, width, height, "lanczos"),)


def _crop(call: Call, *, is_random: bool) -> tuple[Any, ...]:
    picture: Picture = call.value("images")
    width, height = call.integer("width"), call.integer("height")
    rooms = max(0, picture.width - width), max(0, picture.height - height)
    chance = random.Random(call.integer("seed"))  # noqa: S311  (a place in a picture)
    left, top = (chance.randint(0, room) if is_random else room // 2 for room in rooms)
    box = (left, top, min(picture.width, left + width), min(picture.height, top + height))
    return (each_frame(picture, lambda frame: frame.crop(box)),)


def _brightness(call: Call) -> tuple[Any, ...]:
    factor = call.number("factor")
    return (each_frame(call.value("images"), lambda frame: ImageEnhance.Brightness(frame).enhance(factor)),)


def _contrast(call: Call) -> tuple[Any, ...]:
    factor = call.number("factor")
    moved = [int(min(255, max(0, (level - 127.5) * factor + 127.5))) for level in range(256)]
    return (each_frame(call.value("images"), lambda frame: frame.convert("RGB").point(moved * 3)),)


def _batch(call: Call) -> tuple[Any, ...]:
    """Put all inputs into one batch, to the size of the first one."""
    if not call.inputs:
        raise _missing(call)
    first, *others = call.inputs.values()
    if isinstance(first, Latent):
        return (_batched(first, others),)
    width, height = first.frames[0].size
    frames = [
        frame
        for given in (first, *others)
        for frame in (scaled(Picture(given.frames), width, height, "bilinear", "center").frames)
    ]
    return (type(first)(tuple(frames)),)


def _batched(first: Latent, others: list[Latent]) -> Latent:
    return replace(first, batch=first.batch + sum(other.batch for other in others))


RESIZE_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "ResizeImageMaskNode": _resize,
    "ResizeImagesByShorterEdge": partial(_by_edge, edge="shorter_edge"),
    "ResizeImagesByLongerEdge": partial(_by_edge, edge="longer_edge"),
    "CenterCropImages": partial(_crop, is_random=False),
    "RandomCropImages": partial(_crop, is_random=True),
    "AdjustBrightness": _brightness,
    "AdjustContrast": _contrast,
    "BatchImagesNode": _batch,
    "BatchMasksNode": _batch,
    "BatchLatentsNode": _batch,
}
