"""The version of a saved workflow, written into the file by whoever serves several versions under one name. Pure.

A workflow of the editor holds it in its ``extra``, a graph in API format in its first node's ``_meta``: ComfyUI and its
front end keep both and read neither.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAME = re.compile(r"\w[\w.-]*")
"""What a template may be called."""

USER = "comfybridge_user"
"""The part of a query that says on whose behalf a workflow is read; ComfyUI ignores it."""

_PLACE = "comfybridge"
_VERSION = re.compile(r"[1-9]\d{0,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """``bindings`` are those of a sidecar: role to ``node_id.input``, or to several of them."""

    name: str
    version: str
    bindings: Mapping[str, str | list[str]]

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.version}"


def is_version(text: str) -> bool:
    """Versions are whole numbers, as in ``poster@2``."""
    return _VERSION.fullmatch(text) is not None


def is_editors(saved: Mapping[str, Any]) -> bool:
    """Whether it is a workflow of the editor, and no graph in API format."""
    return isinstance(saved.get("nodes"), list)


def marked(saved: Mapping[str, Any], mark: Mark) -> dict[str, Any]:
    """The workflow with its version; what it held in that place before goes."""
    told = {"name": mark.name, "version": mark.version}
    return _with(saved, told | {"bindings": dict(mark.bindings)} if mark.bindings else told)


def unmarked(saved: Mapping[str, Any]) -> dict[str, Any]:
    return _with(saved, None)


def mark_of(saved: Mapping[str, Any]) -> Mark | None:
    """What the file says of itself; ``None`` where it says nothing, or what makes no sense."""
    told = _held(saved).get(_PLACE)
    if not isinstance(told, Mapping):
        return None
    name, version, bindings = told.get("name"), told.get("version"), told.get("bindings") or {}
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return None
    if not isinstance(version, str) or not is_version(version) or not isinstance(bindings, Mapping):
        return None
    return Mark(name=name, version=version, bindings={str(role): _refs(refs) for role, refs in bindings.items()})


def _refs(refs: Any) -> str | list[str]:
    return [str(ref) for ref in refs] if isinstance(refs, list) else str(refs)


def _held(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    if is_editors(saved):
        held = saved.get("extra")
    else:
        first = saved.get(next(iter(saved), ""))
        held = first.get("_meta") if isinstance(first, Mapping) else None
    return held if isinstance(held, Mapping) else {}


def _with(saved: Mapping[str, Any], told: Mapping[str, Any] | None) -> dict[str, Any]:
    held = {name: value for name, value in _held(saved).items() if name != _PLACE}
    if told is not None:
        held[_PLACE] = told
    elif _PLACE not in _held(saved):
        return dict(saved)
    if is_editors(saved):
        return {**saved, "extra": held}
    first, *others = saved
    return {first: {**saved[first], "_meta": held}, **{name: saved[name] for name in others}}
