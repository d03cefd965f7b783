"""Show what a workflow's inputs mean, as a table for people and as values for programs. Pure."""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from comfybridge.workflow import ROLES, InputRef, Prompt, Roles, title

_LONGEST_VALUE = 44
_HEADER = ("role", "value now", "node", "input")


def as_values(prompt: Prompt, roles: Roles) -> dict[str, Any]:
    """Everything that was found, in JSON's own types."""
    return {
        "roles": {role: [_place(prompt, ref) for ref in roles[role]] for role in ROLES if roles[role]},
        "named": {name: [_place(prompt, ref) for ref in refs] for name, refs in roles.named.items()},
        "outputs": [
            {"node_id": node_id, "title": title(prompt, node_id), "kind": roles.kinds.get(node_id, "text")}
            for node_id in roles.outputs
        ],
        "follows": {role: [_place(prompt, ref) for ref in refs] for role, refs in roles.scales.items()},
        "missing": list(roles.missing),
        "notes": [{"role": note.role, "en": note.en, "zh": note.zh} for note in roles.notes],
    }


def as_table(prompt: Prompt, roles: Roles) -> str:
    """Lines for a terminal: the named inputs, the outputs, and what could not be found."""
    rows = [_HEADER, *_rows(prompt, roles)]
    widths = [max(columns(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    outputs = [f"{node_id} {title(prompt, node_id)} ({roles.kinds.get(node_id, 'text')})" for node_id in roles.outputs]
    lines += ["", f"outputs: {', '.join(outputs) or 'none'}"]
    lines += [f"{note.role}: {note.en}" for note in roles.notes]
    if roles.missing:
        lines.append(f"not found: {', '.join(roles.missing)} (a .yaml beside the file can bind them: bindings)")
    return "\n".join(lines)


def _rows(prompt: Prompt, roles: Roles) -> Iterator[tuple[str, str, str, str]]:
    found: Mapping[str, tuple[InputRef, ...]] = {**roles.inputs, **roles.named}
    for role in (*(role for role in ROLES if role in found), *roles.named):
        for number, ref in enumerate(found[role]):
            value = prompt[ref.node_id]["inputs"][ref.input]
            label = f"{ref.node_id} {title(prompt, ref.node_id)}"
            yield role if not number else "", _shortened(value), label, ref.input


def _place(prompt: Prompt, ref: InputRef) -> dict[str, Any]:
    return {
        "node_id": ref.node_id,
        "title": title(prompt, ref.node_id),
        "input": ref.input,
        "value": prompt[ref.node_id]["inputs"][ref.input],
    }


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def columns(text: str) -> int:
    """How wide a terminal shows a text: Chinese characters take two columns."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
