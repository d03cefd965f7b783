"""What every other node computes: text, samplers and latents by name, the rest by the types of its slots."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from comfybridge.simulator.call import Call
from comfybridge.simulator.nodes_compose import COMPOSE_NODES
from comfybridge.simulator.nodes_image import IMAGE_NODES
from comfybridge.simulator.nodes_latent import LATENT_NODES, made_up_latent
from comfybridge.simulator.nodes_mask import MASK_NODES
from comfybridge.simulator.nodes_media import MEDIA_NODES
from comfybridge.simulator.nodes_resize import RESIZE_NODES
from comfybridge.simulator.nodes_text import TEXT_NODES
from comfybridge.simulator.sound import silence
from comfybridge.simulator.values import (
    Conditioning,
    Guider,
    Latent,
    Mask,
    Mesh,
    Model,
    Named,
    Noise,
    Picture,
    Sampling,
    Sigmas,
)

SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"})
PLAIN = ("INT", "FLOAT", "STRING")
NO_MODEL = Model("")
TILE, OVERLAP = 512, 32


def compute(call: Call) -> tuple[Any, ...]:
    """Compute a node's output slots.

    Raises:
        NodeError: the node fails.
    """
    known = KNOWN.get(call.class_type)
    return known(call) if known else _by_type(call)


def steps(call: Call) -> int:
    """Count the steps that a sampler node takes."""
    if isinstance(sigmas := call.value("sigmas"), Sigmas):
        return max(1, sigmas.steps)
    first, last = call.integer("start_at_step"), call.value("end_at_step")
    total = max(1, call.integer("steps"))
    return max(1, min(total, int(last)) - first) if last is not None else total


def tiles(call: Call) -> int:
    """Count the tiles of 512 pixels, 32 of them shared, in which an upscale model works; 0 for other nodes."""
    if call.class_type != "ImageUpscaleWithModel":
        return 0
    picture: Picture = call.value("image")
    across, down = (1 if side <= TILE else math.ceil((side - OVERLAP) / (TILE - OVERLAP)) for side in picture.size)
    return len(picture.frames) * across * down


def _by_type(call: Call) -> tuple[Any, ...]:
    """Pass the n-th input of an output's type through as its n-th output; make one up where there is none.

    A number or text comes from the input that is called like the output.
    """
    seen: dict[str, int] = {}
    outputs = []
    for kind, name in zip(call.definition.outputs, call.definition.output_names, strict=True):
        if kind in PLAIN and name in call.inputs:
            outputs.append(call.inputs[name])
            continue
        given = list(_inputs_of(call, kind))
        position = seen[kind] = seen.get(kind, -1) + 1
        outputs.append(given[min(position, len(given) - 1)] if given else _made_up(call, kind))
    return tuple(outputs)


def _inputs_of(call: Call, kind: str) -> Iterator[Any]:
    for name, spec in call.definition.inputs.items():
        if spec.kind == kind and call.inputs.get(name) is not None and kind not in PLAIN:
            yield call.inputs[name]


def _made_up(call: Call, kind: str) -> Any:
    texts = [value for value in call.inputs.values() if isinstance(value, str)]
    match kind:
        case "MODEL":
            return Model(texts[0] if texts else "")
        case "CONDITIONING":
            return Conditioning(max(_prompt_texts(call), key=len, default=""))
        case "LATENT":
            return made_up_latent(call)
        case "IMAGE":
            return Picture((Image.new("RGB", (512, 512), (128, 128, 128)),))
        case "MASK":
            return Mask((Image.new("L", (512, 512), 255),))
        case "AUDIO":
            return silence(1.0)
        case "MESH" | "VOXEL":
            return Mesh()
        case "NOISE":
            return Noise(call.integer("noise_seed"))
        case "SIGMAS":
            name = call.text("scheduler") or call.class_type.removesuffix("Scheduler").lower()
            return Sigmas(call.integer("steps") or 1, name, call.number("denoise") or 1.0)
        case "GUIDER":
            return _guider(call)
        case "STRING":
            return texts[0] if texts else ""
        case "INT":
            return 0
        case "FLOAT":
            return 0.0
        case "BOOLEAN":
            return False
        case _:
            return Named(texts[0] if texts else call.class_type)


def _prompt_texts(call: Call) -> Iterator[str]:
    for name, spec in call.definition.inputs.items():
        if spec.kind == "STRING" and isinstance(value := call.inputs.get(name), str):
            yield value


def _k_sampler(call: Call) -> tuple[Any, ...]:
    seed = "noise_seed" if "noise_seed" in call.definition.inputs else "seed"
    return _sampled(
        call,
        positive=_text_of(call.value("positive")),
        negative=_text_of(call.value("negative")),
        seed=call.integer(seed),
        cfg=call.number("cfg"),
        sampler=call.text("sampler_name"),
        scheduler=call.text("scheduler"),
        denoise=call.number("denoise") if "denoise" in call.definition.inputs else 1.0,
        model=_model(call.value("model")),
    )


def _sampler_custom(call: Call) -> tuple[Any, ...]:
    sigmas = call.value("sigmas")
    return _sampled(
        call,
        positive=_text_of(call.value("positive")),
        negative=_text_of(call.value("negative")),
        seed=call.integer("noise_seed"),
        cfg=call.number("cfg"),
        sampler=_name_of(call.value("sampler")),
        scheduler=sigmas.scheduler,
        denoise=sigmas.denoise,
        model=_model(call.value("model")),
    )


def _sampler_custom_advanced(call: Call) -> tuple[Any, ...]:
    guider: Guider = call.value("guider")
    sigmas: Sigmas = call.value("sigmas")
    return _sampled(
        call,
        positive=guider.positive,
        negative=guider.negative,
        seed=call.value("noise").seed,
        cfg=guider.cfg,
        sampler=_name_of(call.value("sampler")),
        scheduler=sigmas.scheduler,
        denoise=sigmas.denoise,
        model=guider.model,
    )


def _sampled(call: Call, **told: Any) -> tuple[Any, ...]:
    latent: Latent = call.value("latent_image")
    result = replace(latent, sampling=Sampling(steps=steps(call), **told))
    return tuple(result for _ in call.definition.outputs)


def _guider(call: Call) -> Guider:
    positive = next((call.inputs[name] for name in ("conditioning", "positive", "cond1") if name in call.inputs), None)
    cfg = next((call.number(name) for name in ("cfg", "cfg_conds") if name in call.inputs), 1.0)
    return Guider(_model(call.value("model")), _text_of(positive), _text_of(call.value("negative")), cfg)


def _lora(call: Call) -> tuple[Any, ...]:
    model = _model(call.value("model"))
    return (replace(model, loras=(*model.loras, call.text("lora_name"))), call.value("clip"))[
        : len(call.definition.outputs)
    ]


def _joined(call: Call) -> tuple[Any, ...]:
    texts = [value.text for value in call.inputs.values() if isinstance(value, Conditioning)]
    return (Conditioning(", ".join(dict.fromkeys(text for text in texts if text))),)


def _switch(call: Call) -> tuple[Any, ...]:
    return (call.value("on_true" if call.value("switch") else "on_false"),)


def _manual_sigmas(call: Call) -> tuple[Any, ...]:
    numbers = [part for part in call.text("sigmas").replace(",", " ").split() if part]
    return (Sigmas(max(1, len(numbers) - 1), "manual"),)


def _split_sigmas(call: Call) -> tuple[Any, ...]:
    sigmas: Sigmas = call.value("sigmas")
    first = min(sigmas.steps, call.integer("step"))
    return replace(sigmas, steps=first), replace(sigmas, steps=sigmas.steps - first)


def _text_of(value: object) -> str:
    return value.text if isinstance(value, Conditioning) else ""


def _name_of(value: object) -> str:
    return value.name if isinstance(value, Named) else ""


def _model(value: object) -> Model:
    return value if isinstance(value, Model) else NO_MODEL


KNOWN: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    **TEXT_NODES,
    **IMAGE_NODES,
    **RESIZE_NODES,
    **COMPOSE_NODES,
    **MASK_NODES,
    **MEDIA_NODES,
    **LATENT_NODES,
    "KSampler": _k_sampler,
    "KSamplerAdvanced": _k_sampler,
    "SamplerCustom": _sampler_custom,
    "SamplerCustomAdvanced": _sampler_custom_advanced,
    "LoraLoader": _lora,
    "LoraLoaderModelOnly": _lora,
    "ConditioningCombine": _joined,
    "ConditioningConcat": _joined,
    "ConditioningAverage": _joined,
    "ComfySwitchNode": _switch,
    "ManualSigmas": _manual_sigmas,
    "SplitSigmas": _split_sigmas,
}
LAZY_CHOICE: Mapping[str, Callable[[Call], str]] = {
    "ComfySwitchNode": lambda call: "on_true" if call.value("switch") else "on_false",
}
"""Which lazy input a node asks for (check_lazy_status)."""
