"""What the front end does to texts on their way into a prompt: choices in braces, comments, names of files."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from comfybridge.errors import InvalidInput

Choose: TypeAlias = Callable[[Sequence[str]], str]
Lookup: TypeAlias = Callable[[str, str], Any]
"""Node name and widget name -> the widget's value; LookupError where there is none."""

_DEEPEST = 50

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n\r\u2028\u2029]*", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")
_VARIABLE = re.compile(r"%([^%]+)%")
_DATE_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|y{2,4}")
_NOT_IN_FILENAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def dynamic_prompt(text: str, choose: Choose, *, depth: int = 0) -> str:
    """Strip comments and replace every ``{a|b}`` by one of its options; ``\\{`` stands for a brace.

    Comments go first, so that everything behind ``//`` is lost, in ``http://`` too: so does ComfyUI.
    """
    if depth > _DEEPEST:
        raise InvalidInput(
            f"A prompt has braces nested more than {_DEEPEST} deep.", f"提示词中的花括号嵌套超过 {_DEEPEST} 层。"
        )
    text = _COMMENT.sub("", text)
    parts: list[str] = []
    at = 0
    while at < len(text):
        match text[at]:
            case "\\":
                parts.append(text[at : at + 2])
                at += 2
            case "{":
                options, at = _options(text, at + 1)
                parts.append(dynamic_prompt(choose(options), choose, depth=depth + 1))
            case letter:
                parts.append(letter)
                at += 1
    return _ESCAPED.sub(r"\1", "".join(parts))


def _options(text: str, at: int) -> tuple[list[str], int]:
    """The options of a block that begins at ``at``, and where the text goes on; an open block ends with the text."""
    options, start, depth = [], at, 0
    while at < len(text):
        match text[at]:
            case "\\":
                at += 1
            case "{":
                depth += 1
            case "}" if depth:
                depth -= 1
            case "}":
                break
            case "|" if not depth:
                options.append(text[start:at])
                start = at + 1
        at += 1
    return [*options, text[start:at]], at + 1


def file_prefix(text: str, lookup: Lookup, now: datetime) -> str:
    """Replace ``%Node.widget%`` and ``%date:format%``; what is not known stays."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("date:") and "." not in name:
            return _DATE_PART.sub(lambda part: _date_part(part[0], now), name.removeprefix("date:"))
        try:
            node, widget = name.split(".")
            return _NOT_IN_FILENAMES.sub("_", as_text(lookup(node, widget)))
        except (ValueError, LookupError):
            return found[0]

    return _VARIABLE.sub(value, text)


def _date_part(letters: str, now: datetime) -> str:
    if letters[0] == "y":
        return {"yy": f"{now.year:04}"[2:], "yyyy": str(now.year)}.get(letters, letters)
    number = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}[letters[0]]
    return str(number).zfill(len(letters))


def as_text(value: Any) -> str:
    """A scalar as JavaScript prints it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e21:  # noqa: PLR2004
            return str(int(value))
        case list():
            return ",".join(as_text(item) for item in value)
        case _:
            return str(value)
