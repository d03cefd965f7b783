"""Primitives and strings: computed for real, since prompts and sizes may come out of them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from comfybridge.simulator.call import Call


def _value(call: Call) -> tuple[Any, ...]:
    return (call.value("value"),)


def _concatenate(call: Call) -> tuple[Any, ...]:
    return (call.text("delimiter").join((call.text("string_a"), call.text("string_b"))),)


def _substring(call: Call) -> tuple[Any, ...]:
    return (call.text("string")[call.integer("start") : call.integer("end")],)


def _length(call: Call) -> tuple[Any, ...]:
    return (len(call.text("string")),)


def _case(call: Call) -> tuple[Any, ...]:
    text = call.text("string")
    changed = {
        "UPPERCASE": text.upper,
        "lowercase": text.lower,
        "Capitalize": text.capitalize,
        "Title Case": text.title,
    }
    return (changed[call.text("mode")](),)


def _trim(call: Call) -> tuple[Any, ...]:
    text = call.text("string")
    return ({"Both": text.strip, "Left": text.lstrip, "Right": text.rstrip}[call.text("mode")](),)


def _replace(call: Call) -> tuple[Any, ...]:
    return (call.text("string").replace(call.text("find"), call.text("replace")),)


def _contains(call: Call) -> tuple[Any, ...]:
    text, part = call.text("string"), call.text("substring")
    if not call.value("case_sensitive"):
        text, part = text.lower(), part.lower()
    return (part in text,)


def _compare(call: Call) -> tuple[Any, ...]:
    left, right = call.text("string_a"), call.text("string_b")
    if not call.value("case_sensitive"):
        left, right = left.lower(), right.lower()
    match call.text("mode"):
        case "Starts With":
            return (left.startswith(right),)
        case "Ends With":
            return (left.endswith(right),)
        case _:
            return (left == right,)


def _regex(call: Call) -> re.Pattern[str]:
    flags = re.NOFLAG
    if call.value("case_insensitive"):
        flags |= re.IGNORECASE
    if call.value("multiline"):
        flags |= re.MULTILINE
    if call.value("dotall"):
        flags |= re.DOTALL
    return re.compile(call.text("regex_pattern"), flags)


def _regex_match(call: Call) -> tuple[Any, ...]:
    return (_regex(call).search(call.text("string")) is not None,)


def _regex_replace(call: Call) -> tuple[Any, ...]:
    return (_regex(call).sub(call.text("replace"), call.text("string"), count=call.integer("count")),)


def _regex_extract(call: Call) -> tuple[Any, ...]:
    mode, group = call.text("mode"), call.integer("group_index")
    try:
        pattern = _regex(call)
    except re.error:
        return ("",)
    matches = list(pattern.finditer(call.text("string")))
    if mode.startswith("First"):
        matches = matches[:1]
    if mode == "First Match":
        group = 0
    if mode == "All Matches":
        # ComfyUI uses findall here, which gives the first group where there is one.
        group = min(1, pattern.groups)
    if group > pattern.groups:
        return ("",)
    return ("\n".join(match.group(group) or "" for match in matches),)


TEXT_NODES: Mapping[str, Callable[[Call], tuple[Any, ...]]] = {
    "PrimitiveString": _value,
    "PrimitiveStringMultiline": _value,
    "PrimitiveInt": _value,
    "PrimitiveFloat": _value,
    "PrimitiveBoolean": _value,
    "CustomCombo": lambda call: (call.value("choice"),),
    "StringConcatenate": _concatenate,
    "StringSubstring": _substring,
    "StringLength": _length,
    "CaseConverter": _case,
    "StringTrim": _trim,
    "StringReplace": _replace,
    "StringContains": _contains,
    "StringCompare": _compare,
    "RegexMatch": _regex_match,
    "RegexExtract": _regex_extract,
    "RegexReplace": _regex_replace,
}
