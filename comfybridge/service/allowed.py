"""Whether a graph is what a template makes of a caller's values, and how many pixels it begins with. Pure.

What a client says of its graph proves nothing, so the graph itself is compared: the template's nodes, classes and
links, and its values wherever the template declares no input. Which model it is stays as its author chose.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from comfybridge import placement, workflow
from comfybridge.nearest import MODEL_FILE
from comfybridge.template import Template
from comfybridge.workflow import FILES, Definitions, InputRef, Prompt, Roles

_FIXED = ("model", "loras")
_SAVED_UNDER = "filename_prefix"
_SIDES = ("width", "height")
_BATCH = "batch_size"


def template_of(prompt: Prompt, templates: Iterable[Template], definitions: Definitions) -> Template | None:
    """The first of the templates that this graph can be made of."""
    return next((each for each in templates if _is_of(prompt, each, definitions)), None)


def _is_of(prompt: Prompt, template: Template, definitions: Definitions) -> bool:
    roles = template.roles(definitions)
    free = set(_declared(roles))
    return any(_is_same(prompt, variant, free) for variant in _variants(prompt, template, roles, definitions))


def _declared(roles: Roles) -> Iterator[InputRef]:
    """The inputs that callers may set: roles, what the author gave names, and what keeps its proportion to those."""
    for known in (roles.inputs, roles.named, roles.scales):
        for role, refs in known.items():
            if role not in _FIXED:
                yield from refs


def _variants(prompt: Prompt, template: Template, roles: Roles, definitions: Definitions) -> Iterator[Prompt]:
    """What ``filling`` makes of the template: without the files that nobody gave, and scaled to an exact size."""
    files = {ref.node_id for role in FILES for ref in roles[role]}
    absent = [node_id for node_id in files if node_id not in prompt]
    base = placement.without(template.prompt, absent, definitions) if absent else template.prompt
    if base is None:
        return
    yield base
    size = _finished_at(prompt, base)
    if size is not None:
        yield workflow.finish_at(base, (each for each in roles.outputs if each in base), *size)


def _finished_at(prompt: Prompt, base: Prompt) -> tuple[int, int] | None:
    """The size in the nodes that the graph has and the template has not."""
    for node_id, node in prompt.items():
        if node_id not in base and node.get("class_type") == workflow.FINISHER:
            inputs = _inputs(node)
            width, height = inputs.get("width"), inputs.get("height")
            return (width, height) if isinstance(width, int) and isinstance(height, int) else None
    return None


def _is_same(prompt: Prompt, variant: Prompt, free: set[InputRef]) -> bool:
    if prompt.keys() != variant.keys():
        return False
    for node_id, wanted in variant.items():
        given = prompt[node_id]
        mine, theirs = _inputs(given), _inputs(wanted)
        if given.get("class_type") != wanted.get("class_type") or mine.keys() != theirs.keys():
            return False
        for name, value in theirs.items():
            is_free = InputRef(node_id, name) in free or name == _SAVED_UNDER
            if is_free and not isinstance(mine[name], list | dict) and not isinstance(value, list | dict):
                continue
            if mine[name] != value and not _is_same_file(mine[name], value):
                return False
    return True


def _is_same_file(one: Any, other: Any) -> bool:
    """One model file in another folder of another server."""
    if not isinstance(one, str) or not isinstance(other, str) or not MODEL_FILE.search(other):
        return False
    names = [PurePosixPath(each.replace("\\", "/")).name.lower() for each in (one, other)]
    return names[0] == names[1]


def _inputs(node: Any) -> Mapping[str, Any]:
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def pixels(prompt: Prompt) -> int:
    """The most that one node of the graph is told to make: width by height by batch; 0 where none says so."""
    return max((_pixels(prompt, _inputs(node)) for node in prompt.values()), default=0)


def _pixels(prompt: Prompt, inputs: Mapping[str, Any]) -> int:
    sides = [_number(prompt, inputs.get(name)) for name in _SIDES]
    return math.prod(sides) * (_number(prompt, inputs.get(_BATCH)) or 1) if all(sides) else 0


def _number(prompt: Prompt, value: Any) -> int:
    """A number, also where it comes from a node that holds nothing else; 0 for what cannot be told."""
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        source = prompt.get(str(value[0]))
        numbers = [each for each in _inputs(source).values() if isinstance(each, int | float)]
        value = numbers[0] if len(numbers) == 1 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return max(0, int(value))
