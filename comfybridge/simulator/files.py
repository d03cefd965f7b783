"""ComfyUI's three folders on disk and its rules for names in them (folder_paths.py)."""

import mimetypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MESH_SUFFIXES = (".gltf", ".glb", ".obj", ".fbx", ".stl")
FOLDERS = ("output", "input", "temp")


@dataclass(frozen=True)
class SaveTarget:
    """Where a save node writes: ``{name}_{counter:05}_.png`` in ``folder``."""

    folder: Path
    name: str
    counter: int
    subfolder: str


class Files:
    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)

    @property
    def user(self) -> Path:
        """The editor's files: settings, saved workflows."""
        return self.root.absolute() / "user" / "default"

    def folder(self, folder_type: str) -> Path | None:
        return self.root / folder_type if folder_type in FOLDERS else None

    def annotated(self, name: str) -> tuple[str, Path | None]:
        """Split ``"x.png [input]"`` into the name and the folder it selects."""
        for folder in FOLDERS:
            suffix = f"[{folder}]"
            if name.endswith(suffix):
                # ComfyUI cuts one character more: the space in front of the bracket.
                return name[: -len(suffix) - 1], self.root / folder
        return name, None

    def input_path(self, name: str) -> Path:
        plain, folder = self.annotated(name)
        return (folder or self.root / "input") / plain

    def has_input(self, name: str) -> bool:
        return self.input_path(name).exists()

    def inputs(self, kinds: Sequence[str]) -> list[str]:
        """Name the uploaded files of these kinds (``image``, ``video``, ``audio``), or all; ``mesh`` is a folder's."""
        if "mesh" in kinds:
            meshes = (path for path in (self.root / "input" / "3d").rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
            return sorted(path.relative_to(self.root / "input").as_posix() for path in meshes)
        names = sorted(entry.name for entry in (self.root / "input").iterdir() if entry.is_file())
        return [name for name in names if not kinds or _kind(name) in kinds]

    def save_target(self, prefix: str, folder_type: str, *, width: int, height: int) -> SaveTarget:
        """Find the next free counter for a filename prefix (folder_paths.get_save_image_path).

        Raises:
            ValueError: the prefix leaves the folder.
        """
        base = self.root / folder_type
        if "%" in prefix:
            prefix = _fill_in(prefix, width=width, height=height)
        subfolder, name = os.path.split(os.path.normpath(prefix))
        folder = base / subfolder
        if not is_inside(base, folder):
            raise ValueError(
                "**** ERROR: Saving image outside the output folder is not allowed."
                f"\n full_output_folder: {folder}\n         output_dir: {base}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        counters = (_counter(entry.name, name) for entry in folder.iterdir())
        return SaveTarget(folder, name, max(counters, default=0) + 1, subfolder)

    def empty_temp(self) -> None:
        """What ComfyUI does at start (main.py, cleanup_temp)."""
        for path in sorted((self.root / "temp").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def is_inside(base: Path, path: Path) -> bool:
    base_text = os.path.abspath(base)  # noqa: PTH100  (lexical as in ComfyUI; resolve() would follow links)
    return os.path.commonpath((base_text, os.path.abspath(path))) == base_text  # noqa: PTH100


def _kind(name: str) -> str:
    return (mimetypes.guess_type(name, strict=False)[0] or "").split("/")[0]


def _fill_in(prefix: str, *, width: int, height: int) -> str:
    now = time.localtime()
    values = {
        "%width%": str(width),
        "%height%": str(height),
        "%year%": str(now.tm_year),
        "%month%": f"{now.tm_mon:02}",
        "%day%": f"{now.tm_mday:02}",
        "%hour%": f"{now.tm_hour:02}",
        "%minute%": f"{now.tm_min:02}",
        "%second%": f"{now.tm_sec:02}",
    }
    for name, value in values.items():
        prefix = prefix.replace(name, value)
    return prefix


def _counter(file_name: str, prefix: str) -> int:
    if not file_name.startswith(prefix + "_"):
        return 0
    digits = file_name[len(prefix) + 1 :].split("_", maxsplit=1)[0]
    return int(digits) if digits.isdecimal() else 0
