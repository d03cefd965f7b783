"""One picture: loaded, scaled, cut and filtered with Pillow, to the size ComfyUI would give it."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageChops, ImageFilter, ImageOps, ImageSequence

from comfybridge.simulator.call import Call, NodeError, full_name
from comfybridge.simulator.testcard import noted
from comfybridge.simulator.values import Mask, Named, Picture

RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FACTOR = re.compile(r"(?<!\d)([1-8])x|x([1-8])(?!\d)")
"""How many times larger a model makes a picture, by its file name: ``4x-UltraSharp``, ``RealESRGAN_x2plus``."""
MEGAPIXEL = 1024 * 1024
WIDE_KONTEXT_SIZES = (
    (1104, 944),
    (1184, 880),
    (1248, 832),
    (1328, 800),
    (1392, 752),
    (1456, 720),
    (1504, 688),
    (1568, 672),
)
KONTEXT_SIZES = (*WIDE_KONTEXT_SIZES, (1024, 1024), *((height, width) for width, height in WIDE_KONTEXT_SIZES))
"""The sizes that Flux Kontext was trained on (comfy_extras/nodes_flux.py)."""


def each_frame(picture: Picture, change: Callable[[Image.Image], Image.Image]) -> Picture:
    """Change every frame; frames that are one object stay one object (a batch of one colour costs one frame)."""
    done: dict[int, Image.Image] = {}
    for frame in picture.frames:
        if id(frame) not in done:
            done[id(frame)] = change(frame)
    return Picture(tuple(done[id(frame)] for frame in picture.frames))


def scaled(picture: Picture, width: int, height: int, method: str, crop: str = "disabled") -> Picture:
    resampling = RESAMPLING.get(method, Image.Resampling.BICUBIC)
    if crop == "center":
        return each_frame(picture, lambda frame: ImageOps.fit(frame, (width, height), resampling))
    return each_frame(picture, lambda frame: frame.resize((width, height), resampling))


def _empty(call: Call) -> tuple[Any, ...]:
    color = call.integer("color")
    rgb = (color >> 16 & 255, color >> 8 & 255, color & 255)
    frame = Image.new("RGB", (call.integer("width"), call.integer("height")), rgb)
    return (Picture((frame,) * call.integer("batch_size")),)


def _opened(call: Call, name: str) -> list[Image.Image]:
    try:
        with Image.open(call.files.input_path(name)) as image:
            return [ImageOps.exif_transpose(frame.copy()) for frame in ImageSequence.Iterator(image)]
    except (OSError, SyntaxError) as fault:  # Pillow raises SyntaxError for broken PNG chunks
        raise NodeError(str(fault), full_name(fault)) from fault


def _load(call: Call) -> tuple[Any, ...]:
    return loaded(call, call.text("image"))


def loaded(call: Call, name: str) -> tuple[Picture, Mask]:
    frames = _opened(call, name)
    frames = [frame for frame in frames if frame.size == frames[0].size]
    masks = [ImageChops.invert(frame.convert("RGBA").getchannel("A")) for frame in frames]
    if "A" not in frames[0].getbands():
        # ComfyUI gives a 64x64 empty mask for a picture without alpha.
        masks = [Image.new("L", (64, 64))]
    return Picture(tuple(frame.convert("RGB") for frame in frames)), Mask(tuple(masks))


def _load_mask(call: Call) -> tuple[Any, ...]:
    channel = call.text("channel")[:1].upper()
    plane = _opened(call, call.text("image"))[0].convert("RGBA").getchannel(channel)
    return (Mask((ImageChops.invert(plane) if channel == "A" else plane,)),)


def _scale(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    width, height = call.integer("width"), call.integer("height")
    if width == 0 and height == 0:
        return (picture,)
    width = width or max(1, round(picture.width * height / picture.height))
    height = height or max(1, round(picture.height * width / picture.width))
    return (scaled(picture, width, height, call.text("upscale_method"), call.text("crop")),)


def _scale_by(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    factor = call.number("scale_by")
    width, height = round(picture.width * factor), round(picture.height * factor)
    return (scaled(picture, width, height, call.text("upscale_method")),)


def _scale_to_total(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    factor = math.sqrt(call.number("megapixels") * MEGAPIXEL / (picture.width * picture.height))
    step = call.integer("resolution_steps") or 1
    width, height = (round(side * factor / step) * step for side in (picture.width, picture.height))
    return (scaled(picture, width, height, call.text("upscale_method")),)


def _scale_to_max(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    factor = call.integer("largest_size") / max(picture.width, picture.height)
    width, height = round(picture.width * factor), round(picture.height * factor)
    return (scaled(picture, width, height, call.text("upscale_method")),)


def _scale_to_kontext(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    wanted = picture.width / picture.height
    width, height = min(KONTEXT_SIZES, key=lambda size: (abs(wanted - size[0] / size[1]), size))
    return (scaled(picture, width, height, "lanczos", "center"),)


def _upscale_with_model(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    model = call.value("upscale_model")
    found = FACTOR.search(model.name.lower()) if isinstance(model, Named) else None
    factor = int(found[1] or found[2]) if found else 4
    return (each_frame(scaled(picture, picture.width * factor, picture.height * factor, "lanczos"), noted),)


def _crop(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    x = min(call.integer("x"), picture.width - 1)
    y = min(call.integer("y"), picture.height - 1)
    right, bottom = min(x + call.integer("width"), picture.width), min(y + call.integer("height"), picture.height)
    return (each_frame(picture, lambda frame: frame.crop((x, y, right, bottom))),)


def _repeat(call: Call) -> tuple[Any, ...]:
    return (Picture(call.value("image").frames * call.integer("amount")),)


def _from_batch(call: Call) -> tuple[Any, ...]:
    frames = call.value("image").frames
    start = min(call.integer("batch_index"), len(frames) - 1)
    return (Picture(frames[start : start + call.integer("length")]),)


def _flip(call: Call) -> tuple[Any, ...]:
    turn = ImageOps.flip if call.text("flip_method").startswith("x") else ImageOps.mirror
    return (each_frame(call.value("image"), turn),)


def _rotate(call: Call) -> tuple[Any, ...]:
    degrees = next((n for n in (90, 180, 270) if call.text("rotation").startswith(str(n))), 0)
    return (each_frame(call.value("image"), lambda frame: frame.rotate(-degrees, expand=True)),)


def _blur(call: Call) -> tuple[Any, ...]:
    filtered = ImageFilter.GaussianBlur(call.number("sigma") * call.integer("blur_radius") / 2)
    return (each_frame(call.value("image"), lambda frame: frame.filter(filtered)),)


def _sharpen(call: Call) -> tuple[Any, ...]:
    filtered = ImageFilter.UnsharpMask(call.integer("sharpen_radius"), round(call.number("alpha") * 100))
    return (each_frame(call.value("image"), lambda frame: frame.filter(filtered)),)


def _invert(call: Call) -> tuple[Any, ...]:
    return (each_frame(call.value("image"), lambda frame: ImageChops.invert(frame.convert("RGB"))),)


def _canny(call: Call) -> tuple[Any, ...]:
    level = call.number("high_threshold") * 127

    def outlined(frame: Image.Image) -> Image.Image:
        edges = frame.convert("L").filter(ImageFilter.GaussianBlur(1)).filter(ImageFilter.FIND_EDGES)
        return edges.point([255 * (own > level / 4) for own in range(256)]).convert("RGB")

    return (each_frame(call.value("image"), outlined),)


def _size(call: Call) -> tuple[Any, ...]:
    picture: Picture = call.value("image")
    return picture.width, picture.height, len(picture.frames)


IMAGE_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "EmptyImage": _empty,
    "LoadImage": _load,
    "LoadImageOutput": _load,
    "LoadImageMask": _load_mask,
    "ImageScale": _scale,
    "ImageScaleBy": _scale_by,
    "ImageScaleToTotalPixels": _scale_to_total,
    "ImageScaleToMaxDimension": _scale_to_max,
    "FluxKontextImageScale": _scale_to_kontext,
    "ImageUpscaleWithModel": _upscale_with_model,
    "ImageCrop": _crop,
    "RepeatImageBatch": _repeat,
    "ImageFromBatch": _from_batch,
    "ImageFlip": _flip,
    "ImageRotate": _rotate,
    "ImageBlur": _blur,
    "ImageSharpen": _sharpen,
    "ImageInvert": _invert,
    "Canny": _canny,
    "GetImageSize": _size,
}
