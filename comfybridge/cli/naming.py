"""Where files are saved: into a folder, under a name, or by a pattern."""

import string
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from typing import Any

from comfybridge.api.result import File, Result, with_extension
from comfybridge.errors import InvalidInput

FIELDS = ("row", "seed", "template", "prompt_id", "name", "width", "height", "n")
"""What a pattern may have; ``n`` counts the files of one call."""


class Naming:
    """``output`` is a folder (one that is there, one with a ``/`` at its end or without a dot in its name), a file's
    name, or a pattern such as ``out/{row:04d}_{seed}.png``. What is there already is replaced only under a file's name.
    """

    def __init__(self, output: str, more: Collection[str] = ()) -> None:
        """``more`` are further fields that a pattern may have."""
        self._output = output
        self._is_pattern = "{" in output
        path = Path(output)
        self._is_folder = not self._is_pattern and (path.is_dir() or output.endswith(("/", "\\")) or not path.suffix)
        if self._is_pattern:
            self._check((*FIELDS, *more))

    def save(self, result: Result, *, row: int = 0, more: Mapping[str, Any] | None = None) -> list[Path]:
        """Write all files of a result; ``more`` are further fields for the pattern.

        Raises:
            InvalidInput: they cannot be written.
        """
        try:
            return [self._saved(file, number, result, row, more or {}) for number, file in enumerate(result.files, 1)]
        except OSError as exc:
            raise InvalidInput(
                f"--output: {exc.filename or self._output} cannot be written: {exc.strerror}.",
                f"--output：无法写入 {exc.filename or self._output}：{exc.strerror}。",
                prompt_id=result.prompt_id,
                server=result.server,
            ) from exc

    def _saved(self, file: File, number: int, result: Result, row: int, more: Mapping[str, Any]) -> Path:
        if self._is_folder:
            return file.save(f"{self._output.rstrip('/')}/")
        if self._is_pattern:
            facts = {"seed": result.seed, "template": result.template.partition("@")[0], "prompt_id": result.prompt_id}
            facts |= {"width": result.width, "height": result.height, "name": PurePath(file.filename).stem}
            known = {key: _harmless(value) for key, value in {**more, **facts}.items()}
            name = self._output.format_map({**known, "row": row, "n": number})
            if "{n" in self._output:
                return _beside(file, Path(name))
            return _beside(file, _numbered(Path(name), number))
        return file.save(_numbered(Path(self._output), number))

    def _check(self, fields: Collection[str]) -> None:
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self._output) if name is not None]
        except ValueError as exc:
            raise InvalidInput(f"--output is no pattern: {exc}.", f"--output 不是有效的模式：{exc}。") from exc
        if not set(names) <= set(fields):
            raise InvalidInput(
                f"--output: a pattern has fields such as {{row:04d}}; there are {', '.join(fields)}.",
                f"--output：模式使用 {{row:04d}} 形式的字段；可用的有 {'、'.join(fields)}。",
            )


def _numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _beside(file: File, path: Path) -> Path:
    """Save under a name that nothing has yet."""
    path = with_extension(path, PurePath(file.filename).suffix)
    number = 1
    while True:
        free = _numbered(path, number)
        if not free.exists():
            return file.save(free)
        number += 1


def _harmless(value: Any) -> Any:
    """A text without what would lead into another folder."""
    return value if isinstance(value, int | float) else str(value).replace("/", "_").replace("\\", "_").strip(". ")
