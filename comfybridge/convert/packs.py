"""Nodes that live in the browser only: ComfyUI's own and those of packs that many people use."""

import re
from collections.abc import Mapping
from typing import Any

NOTES = frozenset(
    (
        *("Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)", "Node Collector (rgthree)"),
        *("Fast Groups Muter (rgthree)", "Fast Groups Bypasser (rgthree)", "Fast Muter (rgthree)"),
        *("Fast Bypasser (rgthree)", "Fast Actions Button (rgthree)", "Mute / Bypass Relay (rgthree)"),
        *("Mute / Bypass Repeater (rgthree)", "Random Unmuter (rgthree)"),
    )
)
"""Send nothing and pass nothing on."""

PASSING = frozenset(("Reroute", "Reroute (rgthree)"))
"""Pass their first input on."""

SETTERS = frozenset(("SetNode", "easy setNode"))
GETTERS = frozenset(("GetNode", "easy getNode"))
"""A getter passes on what the setter of the same name is wired to."""

EVERYWHERE = frozenset(("Anything Everywhere", "Anything Everywhere3", "Anything Everywhere?", "Prompts Everywhere"))
"""Wire what they get to the open inputs of that type."""

PRIMITIVE = "PrimitiveNode"

_NEVER_SENT = NOTES | EVERYWHERE | {PRIMITIVE, "Reroute"}

_LORA_LOADER = "Power Lora Loader (rgthree)"


def is_virtual(class_type: str, *, is_known: bool) -> bool:
    """Whether the node is never sent; ``is_known`` tells that the server has a class of this name."""
    if class_type in _NEVER_SENT:
        return True
    return not is_known and class_type in PASSING | SETTERS | GETTERS


def extra_values(class_type: str, values: Any, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Values of widgets that the pack's own JavaScript adds: the server takes them though it declares none."""
    if class_type == _LORA_LOADER and isinstance(values, list):
        loras = [value for value in values if isinstance(value, dict) and "lora" in value]
        return {f"lora_{number}": lora for number, lora in enumerate(loras, start=1)}
    if class_type.startswith("VHS_") and isinstance(values, dict):
        return {
            name: value
            for name, value in values.items()
            if name not in declared and isinstance(value, (str, int, float)) and not name.startswith("choose ")
        }
    return {}


def wire_name(values: Any) -> str | None:
    """The name under which a setter and its getters meet."""
    first = values[0] if isinstance(values, list) and values else None
    return first if isinstance(first, str) and first else None


def receivers(class_type: str, values: Any, number: int) -> tuple[str, str] | None:
    """What the title of a receiving node and the name of its input must hold, for one input of an everywhere node.

    Its filters are regular expressions; only plain words are read here, and ``None`` stands for any other.
    """
    if class_type == "Prompts Everywhere":
        return "", ("pos", "neg")[min(number, 1)]
    if class_type != "Anything Everywhere?":
        return "", ""
    filters = ["" if each in (None, ".*") else str(each) for each in (values if isinstance(values, list) else [])]
    title, name, *others = [*filters, "", ""]
    if any(others) or not all(re.fullmatch(r"[\w ]*", each) for each in (title, name)):
        return None
    return title, name
