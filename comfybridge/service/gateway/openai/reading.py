"""What a request asks for, as OpenAI's clients write it: JSON, or the fields of a form. Pure."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from comfybridge import parameters, reading
from comfybridge.errors import InvalidInput
from comfybridge.filling import Inputs
from comfybridge.service.gateway.openai import errors

FORMATS = ("png", "jpeg", "webp")
LONGEST_PROMPT = 32_000
"""In characters, as OpenAI has it."""
MOST_PICTURES = 10

_RESPONSE_FORMATS = ("b64_json", "url")
_QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd")
_IGNORED = {
    "quality": _QUALITIES,
    "style": ("vivid", "natural"),
    "moderation": ("auto", "low"),
    "input_fidelity": ("low", "high"),
    "background": ("auto", "opaque"),
}
"""What changes nothing here, and what it may be."""
_NOT_HERE = ("svg", "frame_count", "frame_duration_ms", "markup")
_MOST_PARTIAL = 3
_LINKED = "dall-e"
"""Models of this name answer with links where the caller says nothing, as OpenAI's did."""
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_LIMITS = parameters.Limits(max_prompt_length=LONGEST_PROMPT, serverless=False)
_TIMEOUT_S = (1, 3600)
_DEFAULT_TIMEOUT_S = 570.0
"""OpenAI's own clients wait for 600 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """``inputs`` are without files and without a model file; ``model`` is the name as it came, empty for none."""

    model: str
    inputs: Inputs
    user: str
    as_links: bool
    stream: bool
    format: str
    quality: int
    """Of what is not PNG, in percent."""
    timeout_s: float


def wish(values: Mapping[str, Any]) -> Wish:
    """Raises ApiError for the first parameter that cannot be used."""
    for name, options in _IGNORED.items():
        _choice(values, name, options, default=options[0])
    for name in _NOT_HERE:
        if values.get(name) not in (None, "", 0, "0"):
            raise errors.invalid(f"{name} is not supported here.", f"此处不支持 {name}。", param=name)
    _whole(values, "partial_images", (0, _MOST_PARTIAL), default=0)
    model = _text(values, "model").strip()
    default = "url" if model.startswith(_LINKED) else "b64_json"
    stream = _flag(values, "stream")
    return Wish(
        model=model,
        inputs=_inputs(values),
        user=_text(values, "safety_identifier") or _text(values, "user"),
        as_links=_choice(values, "response_format", _RESPONSE_FORMATS, default=default) == "url" and not stream,
        stream=stream,
        format=_choice(values, "output_format", FORMATS, default="png"),
        quality=_whole(values, "output_compression", (0, 100), default=100) or 1,
        timeout_s=_number(values, "timeout", _TIMEOUT_S) or _DEFAULT_TIMEOUT_S,
    )


def _inputs(values: Mapping[str, Any]) -> Inputs:
    prompt = _prompt(values, "prompt")
    if not prompt.strip():
        raise errors.invalid(
            "prompt is empty: say what the picture shows.", "prompt 为空：请描述画面内容。", param="prompt"
        )
    with _about("seed"):
        seed = reading.seed(values)
    with _about("loras"):
        loras = reading.loras(values)
    return Inputs(
        positive=prompt,
        negative=_prompt(values, "negative_prompt") or None,
        seed=seed,
        exact=_size(values),
        steps=_whole(values, "steps", reading.STEPS_LIMITS, default=0) or None,
        cfg=_number(values, "guidance", reading.CFG_LIMITS),
        denoise=_number(values, "strength", (0, 1)),
        loras=loras,
        count=_whole(values, "n", (1, MOST_PICTURES), default=1),
    )


def _size(values: Mapping[str, Any]) -> tuple[int, int] | None:
    """In pixels, that the picture has in the end; it is drawn as the model likes it. ``None``: as it is drawn."""
    text = _text(values, "size").strip().lower().replace("×", "x")
    if text in ("", "auto"):
        return None
    low, high = reading.SIDE_LIMITS
    sides = tuple(map(int, found.groups())) if (found := _SIZE.fullmatch(text)) else ()
    if not sides or not all(low <= side <= high for side in sides):
        shown = reading.shown(text)
        raise errors.invalid(
            f"size must be auto, or width x height from {low}x{low} to {high}x{high}, such as 1024x1024, 1536x1024,"
            f" 1024x1536 or 512x512, not {shown}.",
            f"size 应为 auto，或 {low}x{low} 到 {high}x{high} 之间的“宽x高”，如 1024x1024、1536x1024、1024x1536、"
            f"512x512，而不是 {shown}。",
            param="size",
            code="invalid_size",
        )
    return sides[0], sides[1]


@contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except InvalidInput as exc:
        raise errors.of(exc, name) from exc


def _prompt(values: Mapping[str, Any], name: str) -> str:
    text = _text(values, name)
    with _about(name):
        parameters.check_prompt(name, text, _LIMITS)
    return text


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.invalid(f"{name} must be text.", f"{name} 必须是文本。", param=name)
    return value


def _choice(values: Mapping[str, Any], name: str, options: tuple[str, ...], *, default: str) -> str:
    with _about(name):
        return reading.choice(values, name, options, default=default)


def _flag(values: Mapping[str, Any], name: str) -> bool:
    with _about(name):
        return reading.flag(values, name, default=False)


def _number(values: Mapping[str, Any], name: str, limits: tuple[float, float]) -> float | None:
    with _about(name):
        return reading.number(values, name, limits)


def _whole(values: Mapping[str, Any], name: str, limits: tuple[int, int], *, default: int) -> int:
    with _about(name):
        found = reading.whole(values, name, limits)
    return default if found is None else found
