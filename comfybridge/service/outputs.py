"""The files that nodes' outputs name, and the names that callers see instead. Pure."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from comfybridge.messages import Output, files

Place: TypeAlias = tuple[str, str, str]
"""type, subfolder, filename."""

_FOLDERS = ("output", "temp", "input")
_VIEWED, _BACKGROUND = "result", 2
"""What a 3D view shows (comfy_api/latest/_ui.py, PreviewUI3D): ``["3d/mesh.glb", camera, "temp/background.png"]``."""


def named(node_id: str, output: Mapping[str, Any] | None) -> list[Output]:
    """The files that one node's output says to be there, each once."""
    return [file for file in dict.fromkeys(files(node_id, output or {})) if file.type in _FOLDERS]


def viewed(node_id: str, output: Mapping[str, Any] | None) -> list[Output]:
    """Those that a 3D view shows: paths that its node was given, so there may be nothing."""
    shown = (output or {}).get(_VIEWED)
    places = (_viewed(number, value) for number, value in enumerate(shown if isinstance(shown, list) else ()))
    return [Output(node_id, filename, subfolder, folder) for folder, subfolder, filename in filter(None, places)]


def named_anew(output: Mapping[str, Any], renamed: Mapping[Place, str]) -> dict[str, Any]:
    """A node's output with the files' new names."""

    def anew(value: Any) -> Any:
        if isinstance(value, list):
            return [anew(inner) for inner in value]
        if not isinstance(value, Mapping):
            return value
        new = {name: anew(inner) for name, inner in value.items()}
        if "filename" in value:
            place = (str(value.get("type", "output")), str(value.get("subfolder", "")), str(value["filename"]))
            new["filename"] = renamed.get(place, value["filename"])
        return new

    def shown(number: int, value: Any) -> Any:
        place = _viewed(number, value)
        return value[: -len(place[2])] + renamed[place] if place in renamed and place is not None else anew(value)

    new = {name: anew(value) for name, value in output.items()}
    if isinstance(values := output.get(_VIEWED), list):
        new[_VIEWED] = [shown(number, value) for number, value in enumerate(values)]
    return new


def _viewed(number: int, value: Any) -> Place | None:
    path = PurePosixPath(value) if isinstance(value, str) and "\\" not in value else None
    if path is None or not path.suffix or path.is_absolute() or ".." in path.parts or path.as_posix() != value:
        return None
    if number == 0:
        return "output", path.parent.as_posix() if len(path.parts) > 1 else "", path.name
    # The front end looks for a background in the folder that its path begins with.
    if number == _BACKGROUND and len(path.parts) > 1 and path.parts[0] in _FOLDERS:
        return path.parts[0], "/".join(path.parts[1:-1]), path.name
    return None
