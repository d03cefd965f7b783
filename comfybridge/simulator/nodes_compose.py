"""Pictures put together, to the sizes ComfyUI would give them."""

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageChops

from comfybridge.simulator.call import Call
from comfybridge.simulator.nodes_image import each_frame, scaled
from comfybridge.simulator.values import Mask, Picture


def _batch(call: Call) -> tuple[Any, ...]:
    first: Picture = call.value("image1")
    second: Picture = call.value("image2")
    if (second.width, second.height) != (first.width, first.height):
        second = scaled(second, first.width, first.height, "bilinear", "center")
    return (Picture(first.frames + second.frames),)


def _pad(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    left, top, right, bottom = (call.integer(side) for side in ("left", "top", "right", "bottom"))
    size = (picture.width + left + right, picture.height + top + bottom)
    mask = Image.new("L", size, 255)
    mask.paste(0, (left, top, left + picture.width, top + picture.height))

    def padded(frame: Image.Image) -> Image.Image:
        canvas = Image.new("RGB", size, (128, 128, 128))
        canvas.paste(frame, (left, top))
        return canvas

    return each_frame(picture, padded), Mask((mask,))


def _blend(call: Call) -> tuple[Any, ...]:
    first: Picture = call.value("image1")
    second = scaled(call.value("image2"), first.width, first.height, "bicubic", "center")
    share = call.number("blend_factor")
    return (each_frame(first, lambda frame: Image.blend(frame, second.frames[0], share)),)


def _resize_and_pad(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    width, height = call.integer("target_width"), call.integer("target_height")
    factor = min(width / picture.width, height / picture.height)
    inner = (int(picture.width * factor), int(picture.height * factor))
    shrunk = scaled(picture, *inner, call.text("interpolation"))
    return (each_frame(shrunk, lambda frame: _on_canvas(frame, (width, height), call.text("padding_color"))),)


def _on_canvas(frame: Image.Image, size: tuple[int, int], color: str) -> Image.Image:
    canvas = Image.new("RGB", size, color)
    canvas.paste(frame, ((size[0] - frame.width) // 2, (size[1] - frame.height) // 2))
    return canvas


def _stitch(call: Call) -> tuple[Any, ...]:
    first: Picture = call.value("image1")
    second: Picture | None = call.value("image2")
    if second is None:
        return (first,)
    direction, gap, color = call.text("direction"), call.integer("spacing_width"), call.text("spacing_color")
    is_beside = direction in ("left", "right")
    if call.value("match_image_size"):
        ratio = second.width / second.height
        size = (int(first.height * ratio), first.height) if is_beside else (first.width, int(first.width / ratio))
        second = scaled(second, *size, "lanczos")
    gap += gap % 2
    pairs = zip(_padded(first, second), _padded(second, first), strict=True)
    ordered = (pair if direction in ("right", "down") else pair[::-1] for pair in pairs)
    return (Picture(tuple(_joined(pair, gap, color, is_beside=is_beside) for pair in ordered)),)


def _padded(picture: Picture, other: Picture) -> tuple[Image.Image, ...]:
    """Repeat the last frame until both batches are equally long."""
    return picture.frames + picture.frames[-1:] * (len(other.frames) - len(picture.frames))


def _joined(pair: tuple[Image.Image, ...], gap: int, color: str, *, is_beside: bool) -> Image.Image:
    one, other = pair
    if is_beside:
        size, place = (one.width + gap + other.width, max(one.height, other.height)), (one.width + gap, 0)
    else:
        size, place = (max(one.width, other.width), one.height + gap + other.height), (0, one.height + gap)
    canvas = Image.new("RGB", size, color)
    canvas.paste(one, (0, 0))
    canvas.paste(other, place)
    return canvas


def _composite(call: Call) -> tuple[Any, ...]:
    destination: Picture = call.value("destination")
    source: Picture = call.value("source")
    if call.value("resize_source"):
        source = scaled(source, destination.width, destination.height, "bilinear")
    mask: Mask | None = call.value("mask")
    stencil = None if mask is None else mask.frames[0].resize((source.width, source.height))
    at = (call.integer("x"), call.integer("y"))

    def pasted(frame: Image.Image) -> Image.Image:
        canvas = frame.copy()
        canvas.paste(source.frames[0], at, stencil)
        return canvas

    return (each_frame(destination, pasted),)


def _with_alpha(call: Call) -> tuple[Any, ...]:
    mask: Mask = call.value("alpha")
    picture: Picture = call.value("image")
    alpha = ImageChops.invert(mask.frames[0].resize((picture.width, picture.height)))

    def joined(frame: Image.Image) -> Image.Image:
        canvas = frame.convert("RGB")
        canvas.putalpha(alpha)
        return canvas

    return (each_frame(picture, joined),)


def _without_alpha(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    masks = tuple(ImageChops.invert(frame.convert("RGBA").getchannel("A")) for frame in picture.frames)
    return each_frame(picture, lambda frame: frame.convert("RGB")), Mask(masks)


COMPOSE_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "ImageBatch": _batch,
    "ImageStitch": _stitch,
    "ImageBlend": _blend,
    "ImageCompositeMasked": _composite,
    "ImagePadForOutpaint": _pad,
    "ResizeAndPadImage": _resize_and_pad,
    "JoinImageWithAlpha": _with_alpha,
    "SplitImageWithAlpha": _without_alpha,
}
