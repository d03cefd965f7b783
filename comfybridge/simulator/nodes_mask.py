"""Masks: made, cut out of pictures, grown, feathered and put together."""

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageChops, ImageFilter

from comfybridge.simulator.call import Call
from comfybridge.simulator.values import Mask, Picture

MOST_STEPS = 64
"""A mask is grown by so many pixels at most, one at a time: further nobody grows one."""


def _each(mask: Mask, change: Callable[[Image.Image], Image.Image]) -> tuple[Mask]:
    return (Mask(tuple(change(frame) for frame in mask.frames)),)


def grown(frame: Image.Image, pixels: int) -> Image.Image:
    """Grow the set part by some pixels; shrink it by a negative number."""
    change = ImageFilter.MinFilter(3) if pixels < 0 else ImageFilter.MaxFilter(3)
    for _ in range(min(abs(pixels), MOST_STEPS)):
        frame = frame.filter(change)
    return frame


def _to_mask(call: Call) -> tuple[Any, ...]:
    channel = call.text("channel")[:1].upper()
    return (Mask(tuple(frame.convert("RGBA").getchannel(channel) for frame in call.value("image").frames)),)


def _color_to_mask(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    color = call.integer("color")
    wanted = (color >> 16 & 255, color >> 8 & 255, color & 255)

    def found(frame: Image.Image) -> Image.Image:
        planes = (
            plane.point([255 * (level == own) for level in range(256)])
            for plane, own in zip(frame.convert("RGB").split(), wanted, strict=True)
        )
        red, green, blue = planes
        return ImageChops.multiply(ImageChops.multiply(red, green), blue)

    return (Mask(tuple(found(frame) for frame in picture.frames)),)


def _from_mask(call: Call) -> tuple[Any, ...]:
    return (Picture(tuple(frame.convert("RGB") for frame in call.value("mask").frames)),)


def _solid(call: Call) -> tuple[Any, ...]:
    size = (call.integer("width"), call.integer("height"))
    return (Mask((Image.new("L", size, round(call.number("value") * 255)),)),)


def _crop(call: Call) -> tuple[Any, ...]:
    mask: Mask = call.value("mask")
    left, top = call.integer("x"), call.integer("y")
    right = min(left + call.integer("width"), mask.frames[0].width)
    bottom = min(top + call.integer("height"), mask.frames[0].height)
    return _each(mask, lambda frame: frame.crop((left, top, right, bottom)))


def _invert(call: Call) -> tuple[Any, ...]:
    return _each(call.value("mask"), ImageChops.invert)


def _grow(call: Call) -> tuple[Any, ...]:
    return _each(call.value("mask"), lambda frame: grown(frame, call.integer("expand")))


def _threshold(call: Call) -> tuple[Any, ...]:
    level = call.number("value") * 255
    return _each(call.value("mask"), lambda frame: frame.point([255 * (own > level) for own in range(256)]))


def _feather(call: Call) -> tuple[Any, ...]:
    """Fade the mask out towards the edges that have a width."""
    mask: Mask = call.value("mask")
    width, height = mask.frames[0].size
    across = _ramp(width, call.integer("left"), call.integer("right")).resize((width, height))
    down = _ramp(height, call.integer("top"), call.integer("bottom")).transpose(Image.Transpose.ROTATE_270)
    veil = ImageChops.multiply(across, down.resize((width, height)))
    return _each(mask, lambda frame: ImageChops.multiply(frame, veil))


def _ramp(length: int, start: int, end: int) -> Image.Image:
    """One line of grey, dark at the ends: its first ``start`` pixels get lighter, its last ``end`` get darker."""
    line = Image.new("L", (length, 1), 255)
    for number in range(min(start, length)):
        line.putpixel((number, 0), round(255 * (number + 1) / start))
    for number in range(min(end, length)):
        at = (length - 1 - number, 0)
        line.putpixel(at, min(round(255 * (number + 1) / end), _level(line, at)))
    return line


def _level(line: Image.Image, at: tuple[int, int]) -> int:
    level = line.getpixel(at)
    return int(level) if isinstance(level, int | float) else 0


def _composite(call: Call) -> tuple[Any, ...]:
    source: Mask = call.value("source")
    combine = COMBINATIONS[call.text("operation")]
    left, top = call.integer("x"), call.integer("y")

    def combined(frame: Image.Image) -> Image.Image:
        right, bottom = (
            min(left + source.frames[0].width, frame.width),
            min(top + source.frames[0].height, frame.height),
        )
        box = (left, top, right, bottom)
        canvas = frame.copy()
        canvas.paste(combine(frame.crop(box), source.frames[0].crop((0, 0, right - left, bottom - top))), box)
        return canvas

    return _each(call.value("destination"), combined)


def _as_bits(combine: Callable[[Image.Image, Image.Image], Image.Image]) -> Callable[..., Image.Image]:
    return lambda one, other: combine(one.convert("1", dither=NO_DITHER), other.convert("1", dither=NO_DITHER)).convert(
        "L"
    )


NO_DITHER = Image.Dither.NONE
COMBINATIONS: Mapping[str, Callable[[Image.Image, Image.Image], Image.Image]] = {
    "multiply": ImageChops.multiply,
    "add": ImageChops.add,
    "subtract": ImageChops.subtract,
    "and": _as_bits(ImageChops.logical_and),
    "or": _as_bits(ImageChops.logical_or),
    "xor": _as_bits(ImageChops.logical_xor),
}
MASK_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "ImageToMask": _to_mask,
    "ImageColorToMask": _color_to_mask,
    "MaskToImage": _from_mask,
    "SolidMask": _solid,
    "CropMask": _crop,
    "InvertMask": _invert,
    "GrowMask": _grow,
    "ThresholdMask": _threshold,
    "FeatherMask": _feather,
    "MaskComposite": _composite,
}
