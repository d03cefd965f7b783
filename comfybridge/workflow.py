"""A workflow's graph and what its inputs mean: trace them, set them by role, insert LoRAs. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfybridge.graph import Definitions as Definitions
from comfybridge.graph import InputRef as InputRef
from comfybridge.graph import Link as Link
from comfybridge.graph import Prompt as Prompt
from comfybridge.graph import as_link as as_link
from comfybridge.graph import class_types as class_types
from comfybridge.graph import fill as fill
from comfybridge.graph import output_nodes as output_nodes
from comfybridge.graph import title as title
from comfybridge.marks import FILES as FILES
from comfybridge.marks import ROLES as ROLES
from comfybridge.trace import Note as Note
from comfybridge.trace import Roles as Roles
from comfybridge.trace import trace as trace

FINISHER = "ImageScale"
"""The node class that brings a picture to an exact size."""

_SIZE_GRID = 8


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA file and its strength, the same for the model and the text encoder."""

    name: str
    strength: float = 1.0


def assign(prompt: Prompt, roles: Roles, values: Mapping[str, Any]) -> dict[InputRef, Any]:
    """The inputs that values for roles, or for names of the user's own, set; a name that the graph lacks sets none.

    A value goes into every input of its role, several files (a list) into one input each. Inputs that keep their
    proportion to a role follow it, and of a text that holds a placeholder only that is replaced.
    """
    assigned: dict[InputRef, Any] = {}
    told: dict[InputRef, dict[str, Any]] = {}
    for role, value in values.items():
        refs = roles[role] or roles.named.get(role, ())
        each = value if isinstance(value, list | tuple) and role in (*FILES, "loras") else [value] * len(refs)
        for ref, one in zip(refs, each, strict=False):
            token = roles.placeholders.get((role, ref))
            if token is None:
                assigned[ref] = one
            else:
                told.setdefault(ref, {})[token] = one
        for ref in roles.scales.get(role, ()):
            assigned[ref] = _in_proportion(_value(prompt, ref), _value(prompt, refs[0]), value, is_size=role != "steps")
    replaced = {ref: _replaced(_value(prompt, ref), tokens) for ref, tokens in told.items()}
    return {**replaced, **assigned}


def add_loras(prompt: Prompt, roles: Roles, loras: Sequence[Lora]) -> dict[str, dict[str, Any]]:
    """Return a copy of the graph with the LoRAs put right behind its model loader, in the given order.

    With a traced text encoder ``LoraLoader`` is used, else ``LoraLoaderModelOnly``. The graph must have a model source.
    """
    source = roles.model_source
    if not loras:
        return fill(prompt, {})
    if source is None:
        raise ValueError("a graph without a model loader takes no LoRA")
    model, clip = source, roles.clip_source
    added: dict[str, dict[str, Any]] = {}
    for number, lora in enumerate(loras, start=1):
        node_id = _free_id(prompt, f"lora{number}")
        inputs: dict[str, Any] = {
            "lora_name": lora.name,
            "strength_model": lora.strength,
            "model": [model.node_id, model.output],
        }
        if clip is not None:
            inputs |= {"strength_clip": lora.strength, "clip": [clip.node_id, clip.output]}
            clip = Link(node_id, 1)
        model = Link(node_id, 0)
        class_type = "LoraLoaderModelOnly" if clip is None else "LoraLoader"
        added[node_id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": f"LoRA {lora.name}"}}
    rewired = {source: [model.node_id, model.output]}
    if roles.clip_source is not None and clip is not None:
        rewired[roles.clip_source] = [clip.node_id, clip.output]
    moved = {
        InputRef(node_id, name): rewired[link]
        for node_id, node in prompt.items()
        for name, value in node["inputs"].items()
        if (link := as_link(value)) in rewired
    }
    return {**fill(prompt, moved), **added}


def finish_at(prompt: Prompt, output_ids: Iterable[str], width: int, height: int) -> dict[str, dict[str, Any]]:
    """Return a copy of the graph whose pictures are scaled and cropped around the centre, right before they are saved.

    Other outputs stay as they are.
    """
    added: dict[str, dict[str, Any]] = {}
    rewired: dict[InputRef, Any] = {}
    for node_id in output_ids:
        link = as_link(prompt[node_id]["inputs"].get("images"))
        if link is None:
            continue
        scaler = _free_id(prompt, f"size{node_id}")
        inputs = {
            "image": [link.node_id, link.output],
            "upscale_method": "lanczos",
            "width": width,
            "height": height,
            "crop": "center",
        }
        added[scaler] = {"class_type": FINISHER, "inputs": inputs, "_meta": {"title": f"To {width}×{height}"}}
        rewired[InputRef(node_id, "images")] = [scaler, 0]
    return {**fill(prompt, rewired), **added}


def replace_value(prompt: Prompt, old: str, new: str) -> dict[str, dict[str, Any]]:
    """Return a copy of the graph in which each input that holds the old value holds the new one."""
    refs = [InputRef(node_id, name) for node_id, node in prompt.items() for name in node["inputs"]]
    return fill(prompt, {ref: new for ref in refs if _value(prompt, ref) == old})


def _value(prompt: Prompt, ref: InputRef) -> Any:
    return prompt[ref.node_id]["inputs"][ref.input]


def _replaced(text: str, tokens: Mapping[str, Any]) -> Any:
    """The text with its placeholders replaced all at once: what looks like one in a value stays as it is."""
    if text in tokens:
        return tokens[text]
    return re.sub("|".join(map(re.escape, tokens)), lambda match: str(tokens[match[0]]), text)


def _in_proportion(now: Any, base: Any, value: Any, *, is_size: bool) -> Any:
    """What becomes of a number when the one it belongs to goes from ``base`` to ``value``."""
    if not all(isinstance(number, int) for number in (now, base, value)) or not base or value == base:
        return now
    if is_size:
        return round(now * value / base / _SIZE_GRID) * _SIZE_GRID
    # A stage that had a step keeps one.
    return min(max(round(now * value / base), 1), max(value - 1, 1))


def _free_id(prompt: Prompt, wanted: str) -> str:
    while wanted in prompt:
        wanted += "_"
    return wanted
