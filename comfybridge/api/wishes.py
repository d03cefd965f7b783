"""The keywords of a call, or the cells of a row, as values that are checked; the rules are those of the Dify tools."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from comfybridge import library, parameters, reading
from comfybridge.api import given
from comfybridge.api.given import Given
from comfybridge.errors import InvalidInput
from comfybridge.filling import Inputs
from comfybridge.library import Named, Pasted, Source
from comfybridge.parameters import Limits
from comfybridge.pictures import AS_SAVED, FORMATS, Form
from comfybridge.template import AUTO, Template
from comfybridge.workflow import Lora


class Wishes(TypedDict, total=False):
    """The keywords of ``generate``, beside the prompt."""

    template: str | None
    negative_prompt: str | None
    width: int | str | None
    height: int | str | None
    size: str | None
    seed: int | str | None
    steps: int | str | None
    cfg: float | str | None
    sampler: str | None
    scheduler: str | None
    model: str | None
    loras: str | Iterable[str | tuple[str, float] | Lora] | Mapping[str, float] | None
    count: int | str | None
    images: Given | Iterable[Given] | None
    masks: Given | Iterable[Given] | None
    seconds: float | str | None
    denoise: float | str | None
    values: Mapping[str, Any] | str | None
    format: str | None
    keep_metadata: bool | str | None
    timeout: float | str | None
    key: str | None


NAMES = ("prompt", *Wishes.__annotations__)
"""What a row may have."""

_OF_RUN = ("workflow", "prompt", "negative_prompt", "seed", "files", "timeout")

_SIZES = {"text2image": "1:1", "text2video": "16:9"}
"""The shape of what is made of text alone; other things keep that of their picture, or of their template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One call; its files are still as they were given. Nothing was submitted yet under a key that ``is_new``."""

    source: Source
    inputs: Inputs
    form: Form = AS_SAVED
    timeout_s: float
    key: str = ""
    is_new: bool = False
    images: tuple[Given, ...] = ()
    masks: tuple[Given, ...] = ()


def of_keywords(values: Mapping[str, Any], limits: Limits, *, others: tuple[Template, ...], timeout_s: float) -> Wish:
    """Read the keywords of ``generate``; ``None`` and an empty text mean that nothing was said.

    Raises:
        InvalidInput: the first one that is unknown, or cannot be used, with what it may be.
    """
    if unknown := [name for name in values if name not in NAMES]:
        raise _unknown(unknown[0])
    images, masks = given.several(values.get("images")), given.several(values.get("masks"))
    seconds = reading.number(values, "seconds", reading.SECONDS_LIMITS)
    prompt, negative = (reading.text(values, name) for name in ("prompt", "negative_prompt"))
    own = reading.named_values(values)
    for name, text in (("prompt", prompt), ("negative_prompt", negative)):
        parameters.check_prompt(name, text, limits)
    for text in parameters.texts(own):
        parameters.check_text("values", text, limits)
    if not prompt.strip() and not images:
        raise InvalidInput("prompt is empty: say what the picture shows.", "prompt 为空：请描述画面内容。")
    name = reading.text(values, "template").strip() or AUTO
    task = _task(name, others, has_images=bool(images), has_masks=bool(masks), has_length=seconds is not None)
    inputs = Inputs(
        positive=prompt if prompt.strip() else None,
        negative=negative or None,
        seed=reading.seed(values),
        **_size(values, task),
        seconds=seconds,
        steps=reading.whole(values, "steps", reading.STEPS_LIMITS),
        cfg=reading.number(values, "cfg", reading.CFG_LIMITS),
        sampler=reading.text(values, "sampler").strip() or None,
        scheduler=reading.text(values, "scheduler").strip() or None,
        denoise=reading.number(values, "denoise", (0, 1)),
        model=reading.text(values, "model").strip() or None,
        loras=_loras(values),
        count=reading.whole(values, "count", reading.COUNT_LIMITS) or 1,
        values=own,
    )
    return Wish(
        source=Named(name, task or "text2image", others),
        inputs=inputs,
        form=Form(
            reading.choice(values, "format", FORMATS, default="original"),
            reading.flag(values, "keep_metadata", default=True),
        ),
        timeout_s=timeout(values) or timeout_s,
        key=reading.key(values, "key"),
        images=images,
        masks=masks,
    )


def of_workflow(source: Source, values: Mapping[str, Any], limits: Limits, *, timeout_s: float) -> Wish:
    """What ``run`` does: ``prompt``, ``negative_prompt`` and ``seed`` as everywhere, every other value by its name.

    Raises:
        InvalidInput: a text that cannot be sent, or a seed that is none.
    """
    prompt, negative = (reading.text(values, name) for name in ("prompt", "negative_prompt"))
    own = {name: value for name, value in values.items() if name not in _OF_RUN and value is not None}
    for name, text in (("prompt", prompt), ("negative_prompt", negative)):
        parameters.check_prompt(name, text, limits)
    for text in parameters.texts(own):
        parameters.check_text("values", text, limits)
    if isinstance(source, Pasted) and limits.blocked_words:
        for text in parameters.texts(source.saved):
            parameters.check_text("workflow", text, limits)
    inputs = Inputs(
        positive=prompt if prompt.strip() else None,
        negative=negative or None,
        seed=reading.seed(values),
        values=own,
    )
    return Wish(
        source=source,
        inputs=inputs,
        timeout_s=timeout(values) or timeout_s,
        images=given.several(values.get("files")),
    )


def timeout(values: Mapping[str, Any]) -> float | None:
    """Seconds; ``None`` where nobody said how many."""
    return reading.number(values, "timeout", (0, math.inf)) or None


def _task(name: str, others: tuple[Template, ...], *, has_images: bool, has_masks: bool, has_length: bool) -> str:
    """What is to be made of what; empty for a workflow that is saved on the server."""
    if name != AUTO:
        template = library.find(name, others)
        return template.task if template is not None else ""
    if has_length:
        return "image2video" if has_images else "text2video"
    if has_masks:
        return "inpaint"
    return "image2image" if has_images else "text2image"


def _size(values: Mapping[str, Any], task: str) -> dict[str, Any]:
    given = {side: values[side] for side in ("size", "width", "height") if values.get(side) not in (None, "")}
    if not given and task not in _SIZES:
        return {}
    default = {"size": _SIZES[task]} if task in _SIZES else {}
    return reading.size({**default, **given})


def _loras(values: Mapping[str, Any]) -> tuple[Lora, ...]:
    """As text, or names (with strengths) in a list or a mapping."""
    typed = values.get("loras")
    match typed:
        case None | str():
            return reading.loras(values)
        case Mapping():
            return tuple(reading.lora(str(name), strength) for name, strength in typed.items())
        case Iterable():
            return tuple(lora for each in typed for lora in _lora(each))
    raise InvalidInput("loras is no text, list or mapping.", "loras 不是文本、列表或映射。")


def _lora(each: Any) -> tuple[Lora, ...]:
    match each:
        case Lora():
            return (reading.lora(each.name, each.strength),)
        case (str(name), strength):
            return (reading.lora(name, strength),)
    return reading.loras({"loras": each})


def _unknown(name: str) -> InvalidInput:
    near = difflib.get_close_matches(str(name), NAMES, n=1)
    english = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(NAMES)}."
    chinese = f"是否指 {near[0]}？" if near else f"可用的有：{'、'.join(NAMES)}。"
    return InvalidInput(
        f"Nothing is called {reading.shown(name)}.{english}", f"没有名为 {reading.shown(name)} 的参数。{chinese}"
    )
