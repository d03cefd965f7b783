"""What a check found."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from comfybridge.errors import ComfyError

State: TypeAlias = Literal["ok", "warn", "fail", "skipped"]
Said: TypeAlias = tuple[str, str]
"""In English and in Chinese."""

NAMES: dict[str, Said] = {
    "address": ("address", "地址"),
    "proxy": ("proxy", "代理"),
    "dns": ("DNS", "域名解析"),
    "port": ("port", "端口"),
    "tls": ("TLS", "TLS"),
    "answer": ("answer", "应答"),
    "access": ("access", "访问权限"),
    "comfyui": ("ComfyUI", "ComfyUI"),
    "version": ("version", "版本"),
    "websocket": ("WebSocket", "WebSocket"),
    "device": ("device", "设备"),
    "queue": ("queue", "队列"),
    "disk": ("disk", "磁盘"),
    "models": ("models", "模型"),
    "templates": ("templates", "模板"),
}
"""The checks, in their order."""


_ASKED = re.compile(r"[，：；](请[^。]*)$")
"""What a Chinese sentence says to do, at its end."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one of ``NAMES`` found, and what to do about it; ``details`` are more lines, the same in every language."""

    name: str
    state: State
    said: Said
    fix: Said | None = None
    details: tuple[Said, ...] = ()


def ok(name: str, english: str, chinese: str, details: Sequence[Said] = ()) -> Finding:
    return Finding(name, "ok", (english, chinese), details=tuple(details))


def warn(name: str, said: Said, fix: Said, details: Sequence[Said] = ()) -> Finding:
    return Finding(name, "warn", said, fix, tuple(details))


def fail(name: str, said: Said, fix: Said | None = None) -> Finding:
    return Finding(name, "fail", said, fix)


def skipped(name: str, english: str = "not done", chinese: str = "未检查") -> Finding:
    return Finding(name, "skipped", (english, chinese))


def failed(name: str, error: ComfyError, more: Said | None = None) -> Finding:
    """An error as a finding: its first sentence says what, the others what to do; ``more`` is known beside."""
    english, _, fix = str(error).partition(". ")
    chinese, _, fix_zh = error.zh.partition("。")
    if fix and not fix_zh and (asked := _ASKED.search(chinese)):
        chinese, fix_zh = chinese[: asked.start()], f"{asked[1]}。"
    if more is not None:
        fix, fix_zh = f"{fix} {more[0]}".strip(), f"{fix_zh}{more[1]}"
    return Finding(
        name, "fail", (f"{english.rstrip('.')}.", f"{chinese.rstrip('。')}。"), (fix, fix_zh) if fix else None
    )
