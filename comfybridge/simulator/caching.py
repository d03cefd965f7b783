"""ComfyUI's default cache: results of the previous prompt's nodes, by input signature (comfy_execution/caching.py)."""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from comfybridge.simulator.files import Files
from comfybridge.validation import Prompt, is_link

FILE_INPUTS = {"LoadImage": "image", "LoadImageMask": "image", "LoadImageOutput": "image", "LoadAudio": "audio"}
"""Classes whose result also depends on the bytes of a file: their IS_CHANGED hashes it."""
DATED_INPUTS = {"LoadVideo": "file"}
"""Classes whose IS_CHANGED is the time of the file's last change."""
NEVER_CACHED = frozenset({"SaveImageWebsocket"})


@dataclass(frozen=True)
class Entry:
    """What a finished node left: values per output slot, and its UI output if it had one."""

    outputs: tuple[Any, ...]
    ui: dict[str, Any] | None


class Cache:
    def __init__(self, files: Files) -> None:
        self._files = files
        self._entries: dict[Hashable, Entry] = {}
        self._keys: dict[str, Hashable] = {}

    def start(self, prompt: Prompt) -> None:
        """Forget everything that this prompt has no node for.

        A file's hash is written into the node as ``is_changed``, as ComfyUI does: it shows in the picture's metadata.
        """
        for node in prompt.values():
            _note_changes(node, self._files)
        self._keys = {node_id: _signature(prompt, node_id) for node_id in prompt}
        used = set(self._keys.values())
        self._entries = {key: entry for key, entry in self._entries.items() if key in used}

    def get(self, node_id: str) -> Entry | None:
        return self._entries.get(self._keys[node_id])

    def set(self, node_id: str, entry: Entry) -> None:
        self._entries[self._keys[node_id]] = entry

    def clear(self) -> None:
        self._entries.clear()


def _note_changes(node: dict[str, Any], files: Files) -> None:
    class_type = node["class_type"]
    if class_type in NEVER_CACHED:
        node["is_changed"] = [object().__hash__()]
    if (name := FILE_INPUTS.get(class_type) or DATED_INPUTS.get(class_type)) is None:
        return
    value = node["inputs"].get(name)
    path = files.input_path(value) if isinstance(value, str) else None
    if path is None or not path.is_file():
        node["is_changed"] = float("nan")
        return
    if class_type in DATED_INPUTS:
        node["is_changed"] = [path.stat().st_mtime]
        return
    node["is_changed"] = [hashlib.sha256(path.read_bytes()).hexdigest()]


def _signature(prompt: Prompt, node_id: str) -> Hashable:
    order: dict[str, int] = {}
    _number_ancestors(prompt, node_id, order)
    return tuple(_own_signature(prompt, current, order) for current in (node_id, *order))


def _number_ancestors(prompt: Prompt, node_id: str, order: dict[str, int]) -> None:
    """Number ancestors by the inputs they hang on, so that node ids do not matter."""
    if node_id not in prompt:
        return
    inputs = prompt[node_id]["inputs"]
    for name in sorted(inputs):
        if is_link(inputs[name]) and (ancestor := inputs[name][0]) not in order:
            order[ancestor] = len(order)
            _number_ancestors(prompt, ancestor, order)


def _own_signature(prompt: Prompt, node_id: str, order: Mapping[str, int]) -> Hashable:
    if node_id not in prompt:
        return _Unequal()
    node = prompt[node_id]
    inputs = node["inputs"]
    parts = [
        (name, ("link", order[value[0]], value[1]) if is_link(value) else _hashable(value))
        for name, value in sorted(inputs.items())
    ]
    return node["class_type"], _hashable(node.get("is_changed", False)), tuple(parts)


def _hashable(value: object) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((str(key), _hashable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, str | int | float | bool | None) and value == value:  # noqa: PLR0124  (NaN equals nothing)
        return value
    return _Unequal()


class _Unequal:
    """Equals nothing but itself, so that what holds one is never found again."""
