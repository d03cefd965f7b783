"""Single values of a Dify tool call. Pure.

Dify sends numbers as numbers or text, and an empty parameter as ``""``, ``None`` or not at all; defaults and limits of
the YAML are hints to its user interface only. So every default and limit is applied again here.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from comfybridge.errors import InvalidInput
from comfybridge.filling import MAX_SEED
from comfybridge.placement import RANDOM_SEEDS
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
PLATFORM_SIZES = {
    "wechat_cover": (900, 383),
    "wechat_square": (1080, 1080),
    "weibo": (1200, 675),
    "douyin": (1080, 1920),
    "xiaohongshu": (1242, 1660),
    "product_main": (800, 800),
    "product_detail": (1200, 800),
    "instagram_square": (1080, 1080),
    "instagram_portrait": (1080, 1350),
    "instagram_story": (1080, 1920),
    "x_post": (1600, 900),
    "youtube_thumbnail": (1280, 720),
    "a4_poster": (2480, 3508),
}
"""Pixels that platforms ask for; A4 at 300 dots per inch. The picture has exactly so many."""
CUSTOM, AUTO_SIZE = "custom", "auto"
SIDE_LIMITS = (64, 4096)
STEPS_LIMITS = (1, 150)
CFG_LIMITS = (0, 30)
COUNT_LIMITS = (1, 8)
SECONDS_LIMITS = (0.1, 600)
FPS_LIMITS = (1, 60)
SCALE_LIMITS = (0.25, 8)
GROW_LIMITS = (0, 256)

LONGEST_KEY = 200
UNTYPED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
"""C0 controls but for tab, line feed and carriage return; halves of characters."""

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_SQUARE = (1, 1)
_PIXELS = re.compile(r"(\d+)\s*[x×*]\s*(\d+)\s*(!?)", re.IGNORECASE)
_LORA = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)


def text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value)


def number(values: Mapping[str, Any], name: str, limits: tuple[float, float]) -> float | None:
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
            f"{name} must be a number from {allowed}, not {shown(value)}.",
            f"{name} 必须是 {allowed_zh} 的数字，而不是 {shown(value)}。",
        )
    return number


def whole(values: Mapping[str, Any], name: str, limits: tuple[int, int]) -> int | None:
    found = number(values, name, limits)
    if found is None:
        return None
    if not found.is_integer():
        raise InvalidInput(
            f"{name} must be a whole number, not {shown(values[name])}.",
            f"{name} 必须是整数，而不是 {shown(values[name])}。",
        )
    return int(found)


def seed(values: Mapping[str, Any]) -> int | None:
    """A number or a text; -1 and ``random`` mean what other tools mean by them: choose one."""
    value = values.get("seed")
    text = "" if value is None else str(value).strip()
    if not text or text.lower() in RANDOM_SEEDS:
        return None
    try:
        # int() first: a float would round a seed above 2**53.
        seed = int(text)
    except ValueError:
        seed = whole({"seed": text}, "seed", (-1, MAX_SEED)) or 0
    if seed == -1:
        return None
    if isinstance(value, bool) or not 0 <= seed <= MAX_SEED:
        raise InvalidInput(
            f"seed must be a whole number from 0 to {MAX_SEED}, or empty for a random one, not {shown(value)}.",
            f"seed 必须是 0 到 {MAX_SEED} 的整数，留空则随机，而不是 {shown(value)}。",
        )
    return seed


def size(values: Mapping[str, Any]) -> dict[str, Any]:
    """``width`` and ``height`` in pixels, the ``aspect`` for what is missing of them, or an ``exact`` size.

    ``800x600!`` is exact, ``800x600`` what the model's grid makes of it.
    """
    width, height = whole(values, "width", SIDE_LIMITS), whole(values, "height", SIDE_LIMITS)
    if width is not None and height is not None:
        return {"width": width, "height": height}
    # Models like to write pixels where an aspect ratio is asked for; what they mean is plain.
    if pixels := _PIXELS.fullmatch(text(values, "size").strip()):
        typed = {"width": pixels[1], "height": pixels[2]}
        sides = {side: whole(typed, side, SIDE_LIMITS) for side in typed}
        return {"exact": tuple(sides.values())} if pixels[3] else sides
    wanted = choice(values, "size", (*SIZES, *PLATFORM_SIZES, AUTO_SIZE, CUSTOM), default=AUTO_SIZE)
    if wanted == CUSTOM:
        raise InvalidInput(
            "size custom needs both width and height.", "size 为 custom 时必须同时填写 width 和 height。"
        )
    if wanted in PLATFORM_SIZES and width is None and height is None:
        return {"exact": PLATFORM_SIZES[wanted]}
    across, down = {**SIZES, **PLATFORM_SIZES, AUTO_SIZE: _SQUARE}[wanted]
    if width is not None:
        return {"width": width, "height": _derived(values, "height", width * down / across)}
    if height is not None:
        return {"width": _derived(values, "width", height * across / down), "height": height}
    return {"aspect": (across, down)}


def has_size(values: Mapping[str, Any]) -> bool:
    """Whether a caller asks for a size, or leaves it open."""
    return text(values, "size").strip() not in ("", AUTO_SIZE) or bool(values.get("width") or values.get("height"))


def _derived(values: Mapping[str, Any], name: str, pixels: float) -> int:
    """The side that an aspect ratio gives to the one that was typed."""
    low, high = SIDE_LIMITS
    if not low <= round(pixels) <= high:
        size = text(values, "size") if has_size({"size": values.get("size")}) else "1:1"
        raise InvalidInput(
            f"{name} would be {pixels:.0f} at size {size}, but must be from {low} to {high}.",
            f"按 size {size} 计算，{name} 为 {pixels:.0f}，应在 {low} 到 {high} 之间。",
        )
    return round(pixels)


def choice(values: Mapping[str, Any], name: str, options: Collection[str], *, default: str) -> str:
    value = text(values, name).strip() or default
    if value not in options:
        raise InvalidInput(
            f"{name} must be one of {', '.join(options)}, not {shown(value)}.",
            f"{name} 必须是 {'、'.join(options)} 之一，而不是 {shown(value)}。",
        )
    return value


def flag(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = values.get(name)
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return default
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidInput(
        f"{name} must be true or false, not {shown(value)}.", f"{name} 必须是 true 或 false，而不是 {shown(value)}。"
    )


def loras(values: Mapping[str, Any]) -> tuple[Lora, ...]:
    """``name:0.8, name2``; the ``<lora:name:0.8>`` of other tools is read too."""
    found = []
    listed = _LORA.sub(r",\1,", text(values, "loras"))
    for entry in filter(None, map(str.strip, re.split(r"[,，;；\n]", listed))):
        name, colon, strength = entry.rpartition(":")
        found.append(lora(name, strength) if colon else lora(strength))
    return tuple(found)


def lora(name: str, strength: Any = 1) -> Lora:
    try:
        factor = float(strength)
    except (TypeError, ValueError):
        factor = math.nan
    if not name.strip() or not abs(factor) <= 100:  # noqa: PLR2004  # LoraLoader's own limit (nodes.py)
        entry = shown(f"{name}:{strength}")
        raise InvalidInput(
            f"loras: {entry} is not 'name' or 'name:strength'. Example: detail:0.8, lineart.",
            f"loras：{entry} 不是“名称”或“名称:强度”。示例：detail:0.8, lineart。",
        )
    return Lora(name.strip(), factor)


def prompt_ids(values: Mapping[str, Any]) -> tuple[str, ...]:
    """One or several, with commas or blanks between them."""
    ids = tuple(filter(None, re.split(r"[\s,，]+", text(values, "prompt_id"))))
    if not ids:
        raise InvalidInput(
            "prompt_id is empty: give the one that an earlier call returned.",
            "prompt_id 为空：请填写之前调用返回的 prompt_id。",
        )
    return ids


def key(values: Mapping[str, Any], name: str) -> str:
    """What a repeated call is known by; empty for none."""
    typed = text(values, name).strip()
    if len(typed) > LONGEST_KEY:
        raise InvalidInput(
            f"{name} has {len(typed)} characters, the limit is {LONGEST_KEY}.",
            f"{name} 有 {len(typed)} 个字符，上限为 {LONGEST_KEY}。",
        )
    return typed


def shown(value: Any) -> str:
    text = str(value)
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"  # noqa: PLR2004


def named_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object, or lines of ``name=value``."""
    value = values.get("values")
    typed = text(values, "values").strip()
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items() if each is not None}
    if typed.startswith("{"):
        try:
            parsed = json.loads(typed)
        except (ValueError, RecursionError) as exc:
            raise InvalidInput(f"values is not valid JSON: {exc}.", f"values 不是有效的 JSON：{exc}。") from exc
        return {name: each for name, each in parsed.items() if each is not None}
    named: dict[str, Any] = {}
    for number, line in enumerate(typed.splitlines(), start=1):
        if not line.strip():
            continue
        name, equals, each = line.replace("＝", "=", 1).partition("=")
        if not equals or not name.strip():
            raise InvalidInput(
                f"values: line {number} is not 'name=value': {shown(line)}.",
                f"values：第 {number} 行不是“名称=值”：{shown(line)}。",
            )
        named[name.strip()] = each.strip()
    return named
