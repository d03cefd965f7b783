"""A Dify tool call's parameters as values. Pure.

Dify sends numbers as numbers or text, and an empty parameter as ``""``, ``None`` or not at all; defaults and limits of
the YAML are hints to its user interface only. So every default and limit is applied again here.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from comfybridge.convert import read_saved
from comfybridge.errors import InvalidInput
from comfybridge.library import Named, Pasted, Source
from comfybridge.media import InputFile
from comfybridge.template import AUTO, MAX_SEED, Inputs
from comfybridge.workflow import Lora

SIZES = {
    "1:1": (1, 1),
    "4:3": (4, 3),
    "3:4": (3, 4),
    "3:2": (3, 2),
    "2:3": (2, 3),
    "16:9": (16, 9),
    "9:16": (9, 16),
    "21:9": (21, 9),
}
CUSTOM = "custom"
OUTPUTS = ("image", "markdown", "both")
AFTER_TIMEOUT = ("keep", "cancel")
LONGEST_KEY = 200
SIDE_LIMITS = (64, 4096)
STEPS_LIMITS = (1, 150)
CFG_LIMITS = (0, 30)
COUNT_LIMITS = (1, 8)
TIMEOUT_DEFAULT_S, TIMEOUT_MAX_S = 240, 570
"""Dify's daemon kills a call at 600 s."""
SERVERLESS_TIMEOUT_MAX_S = 270
"""Dify Cloud's limit is 300 s."""

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_RANDOM_SEEDS = ("random", "-1")
_PIXELS = re.compile(r"(\d+)\s*[x×*]\s*(\d+)", re.IGNORECASE)
_LORA = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator and the host allow; the prompt's length in characters."""

    max_prompt_length: int
    serverless: bool


@dataclass(frozen=True, slots=True)
class Attached:
    """A file as the caller attached it."""

    data: bytes
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool. ``attachments`` are as Dify gave them; ``from_prompt_id`` may be empty."""

    source: Source
    inputs: Inputs
    output: str
    wait: bool
    timeout_s: float
    progress: bool
    idempotency_key: str = ""
    keeps_on: bool = True
    attachments: tuple[Any, ...] = ()
    image_urls: tuple[str, ...] = ()
    from_prompt_id: str = ""

    def with_files(self, files: tuple[InputFile, ...]) -> Self:
        return replace(self, inputs=replace(self.inputs, files=files)) if files else self


def text2image(values: Mapping[str, Any], limits: Limits) -> Call:
    """Read the parameters of the tool.

    Raises:
        InvalidInput: the first one that cannot be used, with what it may be.
    """
    prompt, negative = _prompts(values, limits)
    if not prompt.strip():
        raise InvalidInput("prompt is empty: say what the picture shows.", "prompt 为空：请描述画面内容。")
    width, height, aspect = _size(values)
    inputs = Inputs(
        positive=prompt,
        negative=negative or None,
        seed=_seed(values),
        width=width,
        height=height,
        aspect=aspect,
        steps=_whole(values, "steps", STEPS_LIMITS),
        cfg=_number(values, "cfg", CFG_LIMITS),
        sampler=_text(values, "sampler").strip() or None,
        scheduler=_text(values, "scheduler").strip() or None,
        model=_text(values, "model").strip() or None,
        loras=_loras(values),
        count=_whole(values, "count", COUNT_LIMITS) or 1,
    )
    return Call(
        source=Named(_text(values, "template").strip() or AUTO),
        inputs=inputs,
        **_answering(values, limits),
        **_repeating(values),
    )


def run_workflow(values: Mapping[str, Any], limits: Limits, *, attached: Attached | None) -> Call:
    """Read the parameters of the tool; ``attached`` is the file with the workflow.

    Raises:
        InvalidInput: the first one that cannot be used, with what it may be.
    """
    prompt, negative = _prompts(values, limits)
    inputs = Inputs(
        # An empty prompt leaves the workflow's own text.
        positive=prompt if prompt.strip() else None,
        negative=negative or None,
        seed=_seed(values),
        values=_named_values(values),
    )
    pictures = values.get("images")
    listed = pictures if isinstance(pictures, list | tuple) else [pictures]
    return Call(
        source=_workflow(values, attached),
        inputs=inputs,
        attachments=tuple(file for file in listed if file not in (None, "")),
        image_urls=tuple(filter(None, re.split(r"[\s,，]+", _text(values, "image_url")))),
        from_prompt_id=_text(values, "from_prompt_id").strip(),
        **_answering(values, limits),
        **_repeating(values),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """One call that is about jobs which were submitted before."""

    prompt_ids: tuple[str, ...]
    output: str
    timeout_s: float
    progress: bool


def earlier(values: Mapping[str, Any], limits: Limits) -> Earlier:
    """Read the parameters of a tool that takes the ``prompt_id`` of an earlier call.

    Raises:
        InvalidInput: the first one that cannot be used, with what it may be.
    """
    ids = tuple(filter(None, re.split(r"[\s,，]+", _text(values, "prompt_id"))))
    if not ids:
        raise InvalidInput(
            "prompt_id is empty: give the one that an earlier call returned.",
            "prompt_id 为空：请填写之前调用返回的 prompt_id。",
        )
    answering = _answering(values, limits)
    return Earlier(
        prompt_ids=ids,
        output=answering["output"],
        timeout_s=answering["timeout_s"],
        progress=answering["progress"],
    )


def _repeating(values: Mapping[str, Any]) -> dict[str, Any]:
    """What becomes of a call that is repeated, or late."""
    key = _text(values, "idempotency_key").strip()
    if len(key) > LONGEST_KEY:
        raise InvalidInput(
            f"idempotency_key has {len(key)} characters, the limit is {LONGEST_KEY}.",
            f"idempotency_key 有 {len(key)} 个字符，上限为 {LONGEST_KEY}。",
        )
    after = _choice(values, "after_timeout", AFTER_TIMEOUT, default="keep")
    return {"idempotency_key": key, "keeps_on": after == "keep"}


def _prompts(values: Mapping[str, Any], limits: Limits) -> tuple[str, str]:
    prompt, negative = _text(values, "prompt"), _text(values, "negative_prompt")
    for name, text in (("prompt", prompt), ("negative_prompt", negative)):
        _check_prompt(name, text, limits.max_prompt_length)
    return prompt, negative


def _answering(values: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """How the answer is wanted, the same for all tools."""
    longest = SERVERLESS_TIMEOUT_MAX_S if limits.serverless else TIMEOUT_MAX_S
    timeout_s = _number(values, "timeout", (1, math.inf)) or TIMEOUT_DEFAULT_S
    return {
        "output": _choice(values, "output", OUTPUTS, default="image"),
        "wait": _flag(values, "wait", default=True),
        "timeout_s": min(timeout_s, longest),
        "progress": _flag(values, "progress", default=False),
    }


def _workflow(values: Mapping[str, Any], attached: Attached | None) -> Source:
    """What to run: the attached file, pasted JSON, or a name."""
    value = values.get("workflow")
    text = _text(values, "workflow").strip()
    if attached is not None:
        if text:
            raise InvalidInput(
                "Both workflow and workflow_file were given: leave one of them empty.",
                "同时提供了 workflow 和 workflow_file：请只保留一个。",
            )
        name = attached.filename.rpartition(".")[0] or attached.filename or "workflow"
        return Pasted(read_saved(attached.data), name)
    if isinstance(value, Mapping):
        return Pasted(value)
    if text.startswith(("{", "[")):
        return Pasted(read_saved(text.encode(errors="replace")))
    if not text:
        raise InvalidInput(
            "workflow is empty: give a template's name, the name of a workflow saved in ComfyUI, or its JSON.",
            "workflow 为空：请填写模板名、ComfyUI 中保存的工作流名，或粘贴工作流 JSON。",
        )
    return Named(text)


def _named_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object, or lines of ``name=value``."""
    value = values.get("values")
    text = _text(values, "values").strip()
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items() if each is not None}
    if text.startswith("{"):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise InvalidInput(f"values is not valid JSON: {exc}.", f"values 不是有效的 JSON：{exc}。") from exc
        return {name: each for name, each in parsed.items() if each is not None}
    named: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, equals, each = line.replace("＝", "=", 1).partition("=")
        if not equals or not name.strip():
            raise InvalidInput(
                f"values: line {number} is not 'name=value': {_shown(line)}.",
                f"values：第 {number} 行不是“名称=值”：{_shown(line)}。",
            )
        named[name.strip()] = each.strip()
    return named


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value)


def _check_prompt(name: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise InvalidInput(
            f"{name} has {len(text)} characters, the limit is {longest}: shorten it.",
            f"{name} 有 {len(text)} 个字符，上限为 {longest}：请缩短。",
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(f"{name} holds half a character (a lone surrogate).", f"{name} 包含不完整的字符。")


def _number(values: Mapping[str, Any], name: str, limits: tuple[float, float]) -> float | None:
    """``None`` for ``""``, ``None`` and a missing parameter."""
    value = values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    low, high = limits
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or not low <= number <= high or math.isinf(number):
        allowed = f"{low} to {high}" if math.isfinite(high) else f"{low} up"
        allowed_zh = f"{low} 到 {high}" if math.isfinite(high) else f"不小于 {low}"
        raise InvalidInput(
            f"{name} must be a number from {allowed}, not {_shown(value)}.",
            f"{name} 必须是 {allowed_zh} 的数字，而不是 {_shown(value)}。",
        )
    return number


def _whole(values: Mapping[str, Any], name: str, limits: tuple[int, int]) -> int | None:
    number = _number(values, name, limits)
    if number is None:
        return None
    if not number.is_integer():
        raise InvalidInput(
            f"{name} must be a whole number, not {_shown(values[name])}.",
            f"{name} 必须是整数，而不是 {_shown(values[name])}。",
        )
    return int(number)


def _seed(values: Mapping[str, Any]) -> int | None:
    """A number or a text; -1 and ``random`` mean what other tools mean by them: choose one."""
    value = values.get("seed")
    text = "" if value is None else str(value).strip()
    if not text or text.lower() in _RANDOM_SEEDS:
        return None
    try:
        # int() first: a float would round a seed above 2**53.
        seed = int(text)
    except ValueError:
        seed = _whole({"seed": text}, "seed", (-1, MAX_SEED)) or 0
    if seed == -1:
        return None
    if isinstance(value, bool) or not 0 <= seed <= MAX_SEED:
        raise InvalidInput(
            f"seed must be a whole number from 0 to {MAX_SEED}, or empty for a random one, not {_shown(value)}.",
            f"seed 必须是 0 到 {MAX_SEED} 的整数，留空则随机，而不是 {_shown(value)}。",
        )
    return seed


def _size(values: Mapping[str, Any]) -> tuple[int | None, int | None, tuple[int, int] | None]:
    """Width and height in pixels, and the aspect for what is missing of them."""
    width, height = _whole(values, "width", SIDE_LIMITS), _whole(values, "height", SIDE_LIMITS)
    if width is not None and height is not None:
        return width, height, None
    # Models like to write pixels where an aspect ratio is asked for; what they mean is plain.
    if pixels := _PIXELS.fullmatch(_text(values, "size").strip()):
        typed = {"width": pixels[1], "height": pixels[2]}
        return _whole(typed, "width", SIDE_LIMITS), _whole(typed, "height", SIDE_LIMITS), None
    size = _choice(values, "size", (*SIZES, CUSTOM), default="1:1")
    if size == CUSTOM:
        raise InvalidInput(
            "size custom needs both width and height.", "size 为 custom 时必须同时填写 width 和 height。"
        )
    across, down = SIZES[size]
    if width is not None:
        return width, _derived(values, "height", width * down / across), None
    if height is not None:
        return _derived(values, "width", height * across / down), height, None
    return None, None, (across, down)


def _derived(values: Mapping[str, Any], name: str, pixels: float) -> int:
    """The side that an aspect ratio gives to the one that was typed."""
    low, high = SIDE_LIMITS
    if not low <= round(pixels) <= high:
        size = _text(values, "size") or "1:1"
        raise InvalidInput(
            f"{name} would be {pixels:.0f} at size {size}, but must be from {low} to {high}.",
            f"按 size {size} 计算，{name} 为 {pixels:.0f}，应在 {low} 到 {high} 之间。",
        )
    return round(pixels)


def _choice(values: Mapping[str, Any], name: str, options: Collection[str], *, default: str) -> str:
    value = _text(values, name).strip() or default
    if value not in options:
        raise InvalidInput(
            f"{name} must be one of {', '.join(options)}, not {_shown(value)}.",
            f"{name} 必须是 {'、'.join(options)} 之一，而不是 {_shown(value)}。",
        )
    return value


def _flag(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = values.get(name)
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return default
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidInput(
        f"{name} must be true or false, not {_shown(value)}.", f"{name} 必须是 true 或 false，而不是 {_shown(value)}。"
    )


def _loras(values: Mapping[str, Any]) -> tuple[Lora, ...]:
    """``name:0.8, name2``; the ``<lora:name:0.8>`` of other tools is read too."""
    loras = []
    text = _LORA.sub(r",\1,", _text(values, "loras"))
    for entry in filter(None, map(str.strip, re.split(r"[,，;；\n]", text))):
        name, colon, strength = entry.rpartition(":")
        if not colon:
            name, strength = strength, "1"
        try:
            number = float(strength)
        except ValueError:
            number = math.nan
        if not name.strip() or not abs(number) <= 100:  # noqa: PLR2004  # LoraLoader's own limit (nodes.py)
            raise InvalidInput(
                f"loras: {_shown(entry)} is not 'name' or 'name:strength'. Example: detail:0.8, lineart.",
                f"loras：{_shown(entry)} 不是“名称”或“名称:强度”。示例：detail:0.8, lineart。",
            )
        loras.append(Lora(name.strip(), number))
    return tuple(loras)


def _shown(value: Any) -> str:
    text = str(value)
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"  # noqa: PLR2004
