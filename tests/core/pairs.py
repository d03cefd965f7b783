"""Saved workflows beside the prompts that ComfyUI's own front end made of them, and when two prompts are the same."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from comfybridge.workflow import Definitions

FOLDER = Path(__file__).parent / "data" / "workflows"
PINNED, NEWEST = "1.35.9", "1.58.1"

Reduced: TypeAlias = dict[str, dict[str, Any]]


class Pair(NamedTuple):
    """``prompts`` by the version of the front end that made them; absent where it refused the workflow."""

    name: str
    workflow: dict[str, Any]
    prompts: Mapping[str, Mapping[str, Any]]


def definitions() -> Definitions:
    """The node definitions of the server that the prompts were made for, as far as the workflows use them."""
    recorded: Definitions = json.loads((FOLDER / "object_info.json").read_bytes())
    return recorded


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / folder).glob("*.json"))


def pair(folder: str, name: str) -> Pair:
    prompts = json.loads((FOLDER / folder / f"{name}.json").read_bytes())
    return Pair(name, prompts.pop("workflow"), prompts)


def pairs(folder: str) -> Iterator[Pair]:
    return (pair(folder, name) for name in names(folder))


def as_server_reads(prompt: Mapping[str, Any], definitions: Definitions) -> Reduced:
    """The prompt without titles and without inputs that the server does not declare."""
    return {
        node_id: {
            "class_type": node["class_type"],
            "inputs": {
                name: value
                for name, value in node["inputs"].items()
                if name.partition(".")[0] in _declared(definitions.get(node["class_type"], {}))
            },
        }
        for node_id, node in prompt.items()
    }


def as_server_runs(prompt: Mapping[str, Any], definitions: Definitions) -> Reduced:
    """The same, with only the nodes that an output needs."""
    read = as_server_reads(prompt, definitions)
    waiting = [node_id for node_id, node in read.items() if definitions[node["class_type"]]["output_node"]]
    run: Reduced = {}
    while waiting:
        node_id = waiting.pop()
        if node_id in read and node_id not in run:
            run[node_id] = read[node_id]
            waiting += [value[0] for value in read[node_id]["inputs"].values() if isinstance(value, list)]
    return run


def _declared(definition: Mapping[str, Any]) -> set[str]:
    return {name for group in ("required", "optional") for name in definition.get("input", {}).get(group, {})}
