"""Latents: made, encoded, decoded and resized, in the pixels they will decode to."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from comfybridge.simulator.call import Call
from comfybridge.simulator.nodes_image import scaled
from comfybridge.simulator.testcard import decoded
from comfybridge.simulator.values import Latent, Picture

LATENT_GRID = {"EmptyFlux2LatentImage": 16, "EmptyHunyuanImageLatent": 32, "EmptyChromaRadianceLatentImage": 1}
"""Pixels per latent cell where it is not 8: sizes are rounded down to it, as in ComfyUI."""


def made_up_latent(call: Call) -> Latent:
    """Make a latent of a picture among the inputs, or of the size they name."""
    for value in call.inputs.values():
        if isinstance(value, Picture):
            return _encoded(value)
    grid = LATENT_GRID.get(call.class_type, 8)
    width, height = ((call.integer(side) or 512) // grid * grid for side in ("width", "height"))
    return Latent(max(grid, width), max(grid, height), max(1, call.integer("batch_size")))


def _encoded(picture: Picture) -> Latent:
    # A VAE encodes whole cells only; ComfyUI cuts the rest off (sd.py, vae_encode_crop_pixels).
    width, height = max(8, picture.width // 8 * 8), max(8, picture.height // 8 * 8)
    return Latent(width, height, len(picture.frames), picture=scaled(picture, width, height, "lanczos", "center"))


def _encode(call: Call) -> tuple[Any, ...]:
    return (_encoded(call.value("pixels")),)


def _decode(call: Call) -> tuple[Any, ...]:
    return (decoded(call.value("samples")),)


def _latent_upscale(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    width, height = call.integer("width"), call.integer("height")
    if width == 0 and height == 0:
        return (latent,)
    width = width or max(64, round(latent.width * height / latent.height))
    height = height or max(64, round(latent.height * width / latent.width))
    return (_resized(latent, width, height),)


def _latent_upscale_by(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    factor = call.number("scale_by")
    return (_resized(latent, round(latent.width / 8 * factor) * 8, round(latent.height / 8 * factor) * 8),)


def _latent_crop(call: Call) -> tuple[Any, ...]:
    return (_resized(call.value("samples"), call.integer("width"), call.integer("height")),)


def _resized(latent: Latent, width: int, height: int) -> Latent:
    width, height = max(8, width // 8 * 8), max(8, height // 8 * 8)
    picture = latent.picture and scaled(latent.picture, width, height, "bicubic", "center")
    return replace(latent, width=width, height=height, picture=picture)


def _latent_repeat(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    return (replace(latent, batch=latent.batch * max(1, call.integer("amount"))),)


def _latent_from_batch(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    left = latent.batch - min(call.integer("batch_index"), latent.batch - 1)
    return (replace(latent, batch=max(1, min(call.integer("length"), left))),)


LATENT_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "VAEDecode": _decode,
    "VAEDecodeTiled": _decode,
    "VAEEncode": _encode,
    "VAEEncodeTiled": _encode,
    "VAEEncodeForInpaint": _encode,
    "LatentUpscale": _latent_upscale,
    "LatentUpscaleBy": _latent_upscale_by,
    "LatentCrop": _latent_crop,
    "RepeatLatentBatch": _latent_repeat,
    "LatentFromBatch": _latent_from_batch,
}
