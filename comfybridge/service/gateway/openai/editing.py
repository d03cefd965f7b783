"""Which pictures an edit loads, and the mask in the form that the templates take. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from comfybridge import reencoding
from comfybridge.media import InputFile, image_size, media_type
from comfybridge.service.gateway.openai import errors
from comfybridge.service.gateway.openai.models import find, is_default, task_of
from comfybridge.template import Template

MOST_PIXELS = 50_000_000
_MOST_IMAGES = 16
_KINDS = ("image/png", "image/jpeg", "image/webp")
_MASK_IN_PICTURE = "dall-e-2"
"""The one model of OpenAI's that takes a picture's own transparency as the mask."""


@dataclass(frozen=True, slots=True)
class Given:
    """What came with the request."""

    images: list[InputFile]
    masks: list[InputFile]


def picture(data: bytes, param: str) -> InputFile:
    """Raises ApiError for what is no picture, or too large a one."""
    media = media_type(data)
    size = image_size(data)
    if media is None or media.mime not in _KINDS or size is None:
        raise errors.invalid(
            f"{param} must be a PNG, JPEG or WebP picture.", f"{param} 必须是 PNG、JPEG 或 WebP 图片。", param=param
        )
    if size[0] * size[1] > MOST_PIXELS:
        raise errors.invalid(
            f"{param} has {size[0]}x{size[1]} pixels: make it smaller than {MOST_PIXELS // 1_000_000} megapixels.",
            f"{param} 为 {size[0]}x{size[1]} 像素：请缩小到 {MOST_PIXELS // 1_000_000} 百万像素以内。",
            param=param,
        )
    # Without the caller's name for it, which could be that of an input of the graph.
    return InputFile(data, media)


def files(model: str, given: Given, templates: Sequence[Template]) -> tuple[str, tuple[InputFile, ...]]:
    """The task for a model that leaves the choice to us, and the files that the graph loads, the mask last.

    A mask marks by full transparency what is to be drawn anew, the templates' own by white.

    Raises:
        ApiError: there is no picture, or the mask marks nothing.
    """
    if not 0 < len(given.images) <= _MOST_IMAGES:
        raise errors.invalid(
            f"image is missing, or more than {_MOST_IMAGES} were given.",
            f"缺少 image，或数量超过 {_MOST_IMAGES} 个。",
            param="image",
        )
    if not given.masks:
        if model != _MASK_IN_PICTURE:
            return "image2image", tuple(given.images)
        mask = _transparency(given.images[0])
        return ("inpaint", (*given.images, mask)) if mask is not None else ("image2image", tuple(given.images))
    template = None if is_default(model) else find(model, templates)
    takes_mask = template is None or bool(template.roles({})["masks"])
    if template is not None and not takes_mask and task_of(template) != "inpaint":
        raise errors.invalid(
            f"The model '{template.name}' takes no mask: leave it out, or name another model.",
            f"模型“{template.name}”不使用蒙版：请去掉 mask，或改用其他模型。",
            param="mask",
        )
    if not takes_mask:
        # It takes the picture's own transparency.
        merged = reencoding.masked(given.images[0].data, given.masks[0].data)
        return "inpaint", (picture(merged, "mask"), *given.images[1:])
    mask = _transparency(given.masks[0])
    if mask is None:
        raise errors.invalid(
            "mask marks nothing: make transparent what is to be drawn anew.",
            "mask 没有标记任何区域：请将需要重绘的部分设为透明。",
            param="mask",
        )
    return "inpaint", (*given.images, mask)


def _transparency(source: InputFile) -> InputFile | None:
    mask = reencoding.transparency(source.data)
    found = media_type(mask) if mask is not None else None
    return InputFile(mask, found, "mask.png") if mask is not None and found is not None else None
