"""Latents: made, encoded, decoded and resized, in the pixels they will decode to."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from comfybridge.simulator.call import Call
from comfybridge.simulator.nodes_image import scaled
from comfybridge.simulator.nodes_mask import grown
from comfybridge.simulator.testcard import decoded
from comfybridge.simulator.values import Latent, Mask, Picture

LATENT_GRID = {
    "EmptyFlux2LatentImage": 16,
    "EmptyHunyuanImageLatent": 32,
    "EmptyChromaRadianceLatentImage": 1,
    "Wan22ImageToVideoLatent": 16,
    "EmptyHunyuanVideo15Latent": 16,
    "HunyuanVideo15ImageToVideo": 16,
    "EmptyLTXVLatentVideo": 32,
    "LTXVImgToVideo": 32,
}
"""Pixels per latent cell where it is not 8: sizes are rounded down to it, as in ComfyUI."""
LATENT_STRIDE = {
    "EmptyLTXVLatentVideo": 8,
    "LTXVImgToVideo": 8,
    "EmptyCosmosLatentVideo": 8,
    "CosmosImageToVideoLatent": 8,
    "EmptyMochiLatentVideo": 6,
}
"""Pictures per latent frame of a video where it is not 4."""


def made_up_latent(call: Call) -> Latent:
    """Make a latent of the size that the inputs name, else of the picture among them."""
    picture = next((value for value in call.inputs.values() if isinstance(value, Picture)), None)
    names_size = "width" in call.definition.inputs and "height" in call.definition.inputs
    if picture is not None and not names_size:
        return _encoded(picture)
    grid = LATENT_GRID.get(call.class_type, 8)
    stride = LATENT_STRIDE.get(call.class_type, 4)
    width, height = (max(grid, (call.integer(side) or 512) // grid * grid) for side in ("width", "height"))
    backdrop = picture and scaled(picture, width, height, "bilinear", "center")
    cells = 1 + max(0, call.integer("length") - 1) // stride
    batch = max(1, call.integer("batch_size"), call.integer("video_frames"))
    return Latent(width, height, batch, cells=cells, stride=stride, picture=backdrop)


def _layered(call: Call) -> tuple[Any, ...]:
    """One picture, and one for each layer; LatentCutToBatch takes them apart."""
    return (replace(made_up_latent(call), cells=call.integer("layers") + 1),)


def _cut_to_batch(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    if call.text("dim") != "t":
        return (latent,)
    size = max(1, min(call.integer("slice_size"), latent.cells))
    return (replace(latent, cells=size, batch=latent.batch * (latent.cells // size)),)


def _encoded(picture: Picture) -> Latent:
    # A VAE encodes whole cells only; ComfyUI cuts the rest off (sd.py, vae_encode_crop_pixels).
    width, height = max(8, picture.width // 8 * 8), max(8, picture.height // 8 * 8)
    return Latent(width, height, len(picture.frames), picture=scaled(picture, width, height, "lanczos", "center"))


def _encode(call: Call) -> tuple[Any, ...]:
    return (_encoded(call.value("pixels")),)


def _encode_for_inpaint(call: Call) -> tuple[Any, ...]:
    mask: Mask = call.value("mask")
    pixels = call.integer("grow_mask_by")
    area = Mask(tuple(grown(frame, pixels // 2) for frame in mask.frames))
    return (replace(_encoded(call.value("pixels")), mask=area),)


def _inpaint_conditioning(call: Call) -> tuple[Any, ...]:
    latent = _encoded(call.value("pixels"))
    masked = replace(latent, mask=call.value("mask")) if call.value("noise_mask") else latent
    return call.value("positive"), call.value("negative"), masked


def _set_mask(call: Call) -> tuple[Any, ...]:
    return (replace(call.value("samples"), mask=call.value("mask")),)


def _image_in_place(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("latent")
    return (replace(latent, picture=scaled(call.value("image"), latent.width, latent.height, "bilinear", "center")),)


def _trim(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    return (replace(latent, cells=max(1, latent.cells - call.integer("trim_amount"))),)


def _upscale_with_model(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    if call.integer("width"):
        return (_resized(latent, call.integer("width"), call.integer("height")),)
    return (_resized(latent, latent.width * 2, latent.height * 2),)


def _sound(call: Call) -> tuple[Any, ...]:
    """An empty latent of as many seconds as its cells come to."""
    match call.class_type:
        case "EmptyLatentAudio":
            seconds = round(call.number("seconds") * 44100 / 2048 / 2) * 2 * 2048 / 44100
        case "EmptyAceStepLatentAudio":
            seconds = int(call.number("seconds") * 44100 / 512 / 8) * 512 * 8 / 44100
        case _:
            seconds = call.integer("frames_number") / max(1.0, call.number("frame_rate"))
    return (Latent(8, 8, max(1, call.integer("batch_size")), seconds=seconds),)


def _with_sound(call: Call) -> tuple[Any, ...]:
    return (replace(call.value("video_latent"), seconds=call.value("audio_latent").seconds),)


def _without_sound(call: Call) -> tuple[Any, ...]:
    both: Latent = call.value("av_latent")
    return replace(both, seconds=0.0), Latent(8, 8, both.batch, seconds=both.seconds, sampling=both.sampling)


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


def _latent_batch(call: Call) -> tuple[Any, ...]:
    first: Latent = call.value("samples1")
    return (replace(first, batch=first.batch + call.value("samples2").batch),)


def _latent_from_batch(call: Call) -> tuple[Any, ...]:
    latent: Latent = call.value("samples")
    left = latent.batch - min(call.integer("batch_index"), latent.batch - 1)
    return (replace(latent, batch=max(1, min(call.integer("length"), left))),)


LATENT_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "VAEDecode": _decode,
    "VAEDecodeTiled": _decode,
    "VAEEncode": _encode,
    "VAEEncodeTiled": _encode,
    "VAEEncodeForInpaint": _encode_for_inpaint,
    "InpaintModelConditioning": _inpaint_conditioning,
    "SetLatentNoiseMask": _set_mask,
    "LatentUpscale": _latent_upscale,
    "LatentUpscaleBy": _latent_upscale_by,
    "LatentCrop": _latent_crop,
    "RepeatLatentBatch": _latent_repeat,
    "LatentBatch": _latent_batch,
    "LatentFromBatch": _latent_from_batch,
    "EmptyQwenImageLayeredLatentImage": _layered,
    "LatentCutToBatch": _cut_to_batch,
    "LTXVImgToVideoInplace": _image_in_place,
    "LTXVLatentUpsampler": _upscale_with_model,
    "HunyuanVideo15LatentUpscaleWithModel": _upscale_with_model,
    "TrimVideoLatent": _trim,
    "EmptyLatentAudio": _sound,
    "EmptyAceStepLatentAudio": _sound,
    "LTXVEmptyLatentAudio": _sound,
    "LTXVConcatAVLatent": _with_sound,
    "LTXVSeparateAVLatent": _without_sound,
}
