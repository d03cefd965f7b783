"""Names that people write and names that a server has: find the one that was meant, or the nearest ones. Pure."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Match:
    """The one name that was meant, or ``None`` and the names that come nearest."""

    name: str | None
    nearest: tuple[str, ...]


def find_name(wanted: str, names: Sequence[str]) -> Match:
    """Find the file that was meant: the exact name, else the only one that fits under a looser and looser reading.

    Folders, slashes, case and the extension may differ, a part of the name is enough, and so is a small typo, as long
    as only one name fits.
    """
    if wanted in names:
        return Match(wanted, (wanted,))
    for reading in (_slashes, _path, _basename, _stem, _letters):
        fitting = [name for name in names if reading(name) == reading(wanted) and reading(wanted)]
        if len(fitting) == 1:
            return Match(fitting[0], (fitting[0],))
    part = _letters(wanted)
    containing = [name for name in names if part and part in _letters(name)]
    if len(containing) == 1:
        return Match(containing[0], (containing[0],))
    close = difflib.get_close_matches(part, [_letters(name) for name in names], n=3, cutoff=0.5)
    nearest = [*containing[:3], *(name for letters in close for name in names if _letters(name) == letters)]
    # Another number is another version, not a typo.
    same_version = [_letters(name) for name in names if _digits(name) == _digits(wanted)]
    sure = difflib.get_close_matches(part, same_version, n=2, cutoff=0.85)
    if not containing and len(sure) == 1:
        return Match(next(name for name in names if _letters(name) == sure[0]), tuple(nearest))
    return Match(None, tuple(dict.fromkeys(nearest))[:3])


def same_file(wanted: str, names: Sequence[str]) -> str | None:
    """The same file as a server spells it, with other slashes, case or folder; ``None`` unless there is just one."""
    for reading in (_slashes, lambda name: _slashes(name).casefold(), _basename):
        fitting = [name for name in names if reading(name) == reading(wanted) and reading(wanted)]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def not_found(what_en: str, what_zh: str, wanted: str, names: Sequence[str]) -> tuple[str, str]:
    """Say that a name is not on the server: the nearest ones, and how many there are."""
    nearest = find_name(wanted, names).nearest or tuple(names[:3])
    if not names:
        return (
            f"{what_en} '{wanted}' is not on the server: it has none at all.",
            f"服务器上没有{what_zh}“{wanted}”，而且一个也没有安装。",
        )
    quoted = ", ".join(f"'{name}'" for name in nearest)
    return (
        f"{what_en} '{wanted}' is not on the server. Nearest of {len(names)}: {quoted}.",
        f"服务器上没有{what_zh}“{wanted}”。共有 {len(names)} 个，最接近的是：{quoted}。",
    )


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _path(name: str) -> str:
    return MODEL_FILE.sub("", _slashes(name).casefold())


def _basename(name: str) -> str:
    return _slashes(name).rsplit("/", 1)[-1].casefold()


def _stem(name: str) -> str:
    return MODEL_FILE.sub("", _basename(name))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", _stem(name))


def _digits(name: str) -> str:
    return re.sub(r"\D", "", _stem(name))
