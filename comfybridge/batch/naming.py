"""Names of files by a pattern, ``{row:04d}_{seed}.png``; none leaves its folder. Pure."""

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from comfybridge.errors import InvalidInput
from comfybridge.reading import shown

DEFAULT = "{row:04d}_{seed}.png"
FIELDS: Mapping[str, int | str] = {
    "row": 1,
    "n": 1,
    "index": 1,
    "seed": 42,
    "width": 1024,
    "height": 1024,
    "name": "name",
    "prompt": "prompt",
    "template": "template",
}
"""What a pattern may name, each with a value of its kind."""

_LONGEST, _LONGEST_WORD = 120, 60
# What some system or another gives a meaning; control characters are among what goes with it.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(png|jpe?g|webp|gif|bmp|tiff?|avif|mp4|webm|mkv|mov|flac|mp3|ogg|wav|glb|txt)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A checked pattern, without its extension: that is the file's own."""

    text: str
    fields: tuple[str, ...]

    def path(self, values: Mapping[str, Any], extension: str, copy: int = 1) -> PurePosixPath:
        """The path of a file below the output folder; ``copy`` counts those that would have the same."""
        filled = {name: _value(name, values.get(name)) for name in self.fields}
        parts = [_part(part) for part in self.text.format_map(filled).split("/")]
        number = f"-{copy}" if copy > 1 else ""
        return PurePosixPath(*parts[:-1], f"{parts[-1]}{number}{extension}")


def pattern(text: str) -> Pattern:
    """Check a pattern; folders in it are made.

    Raises:
        InvalidInput: it cannot be filled, or leads out of the output folder.
    """
    typed = text.strip().replace("\\", "/")
    try:
        pieces = list(string.Formatter().parse(typed))
    except ValueError as exc:
        raise _bad(text, str(exc), "大括号不成对") from exc
    for _, name, form, conversion in pieces:
        if name is not None and name not in FIELDS:
            known = ", ".join(FIELDS)
            raise _bad(text, f"there is no {{{name}}}, only {known}", f"没有 {{{name}}}，可用的有 {known}")
        if conversion is not None or (form and ("{" in form or re.search(r"\d{3}", form))):
            raise _bad(text, "a format is one like 04d", "格式说明应形如 04d")
    literal = "".join(piece for piece, *_ in pieces)
    if typed.startswith("/") or re.match(r"[A-Za-z]:", typed) or ".." in literal.split("/") or "../" in literal:
        raise _bad(text, "it leads out of the output folder", "路径超出了输出文件夹")
    stem, used = _SUFFIX.sub("", typed), tuple(dict.fromkeys(name for _, name, _, _ in pieces if name is not None))
    if not stem or stem.endswith("/"):
        raise _bad(text, "it names no file", "没有文件名")
    try:
        checked = Pattern(stem, used)
        checked.path(FIELDS, ".png")
    except (ValueError, KeyError, IndexError) as exc:
        raise _bad(text, str(exc), "格式说明无效") from exc
    return checked


def slug(text: str, longest: int = _LONGEST_WORD) -> str:
    """Text as a part of a file name, readable in any script: words with '-' between them."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text))
    cut = "-".join(words)[:longest]
    return cut.strip("-")


def _value(name: str, value: Any) -> int | str:
    if isinstance(FIELDS[name], int):
        return int(value or 0)
    return slug(str(value or "")) if name == "prompt" else _FORBIDDEN.sub("-", str(value or ""))


def _part(text: str) -> str:
    """One part of a path that every system takes: not reserved, not hidden, without a dot or blank at its ends."""
    plain = _FORBIDDEN.sub("-", text)
    if not plain.isascii():
        plain = "".join(" " if letter.isspace() else letter if letter.isprintable() else "" for letter in plain)
    plain = _short(plain.strip(" .")).strip(" .") or "_"
    return f"_{plain}" if _RESERVED.fullmatch(plain) else plain


def _short(text: str) -> str:
    """At most so many bytes: file systems count those, and leave a place for number and extension."""
    return text.encode(errors="ignore")[: 2 * _LONGEST].decode(errors="ignore")


def _bad(text: str, english: str, chinese: str) -> InvalidInput:
    example = DEFAULT
    return InvalidInput(
        f"The pattern {shown(text)} cannot be used: {english.rstrip('.')}. Example: {example}",
        f"无法使用命名模式 {shown(text)}：{chinese}。示例：{example}",
    )
