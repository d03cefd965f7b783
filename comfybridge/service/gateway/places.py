"""ComfyUI's names for files: a folder, a path below it, and what leads out of it. Pure."""

import posixpath
from typing import TypeAlias

TYPES = ("output", "input", "temp")

Place: TypeAlias = tuple[str, str, str]
"""type, subfolder, filename."""


def annotated(name: str) -> tuple[str, str | None]:
    """Split ``"x.png [input]"`` into the name and the folder that it selects."""
    for folder in TYPES:
        suffix = f"[{folder}]"
        if name.endswith(suffix):
            # ComfyUI cuts one character more: the space in front of the bracket.
            return name[: -len(suffix) - 1], folder
    return name, None


def of_input(name: str) -> Place | None:
    """The place that a value of a loader's input names; ``None`` for one outside."""
    plain, folder = annotated(name)
    path = inside(plain)
    if path is None:
        return None
    subfolder, filename = posixpath.split(path)
    return folder or "input", subfolder, filename


def inside(path: str) -> str | None:
    """A path in its shortest form, ``""`` for the folder itself; ``None`` for one that leads out of it."""
    if "\0" in path or path.startswith("/"):
        return None
    normal = posixpath.normpath(path.replace("\\", "/")) if path else ""
    if normal == ".." or normal.startswith(("../", "/")):
        return None
    return "" if normal == "." else normal
