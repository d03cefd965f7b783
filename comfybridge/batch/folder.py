"""The output folder of a batch: one process at a time, files that appear whole, an id that outlives the process."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from comfybridge.errors import InvalidInput

_LOCK, _ABOUT = ".comfybridge.lock", "batch.json"
_PART = ".comfybridge-part"


@dataclass(frozen=True, slots=True)
class Folder:
    """``batch_id`` is that of whatever was begun here first; ``is_new`` says that it was just now."""

    path: Path
    batch_id: str
    is_new: bool
    _copies: dict[PurePosixPath, int] = field(default_factory=dict, repr=False)

    def save(self, data: bytes, named: Callable[[int], PurePosixPath]) -> tuple[PurePosixPath, str]:
        """Put a file there under the first name that is free; its path in the folder and its SHA-256.

        A file of just these bytes is left as it is: a process that crashed had written it, but not its line.
        """
        digest = hashlib.sha256(data).hexdigest()
        part = self.path / f"{_PART}-{digest[:16]}"
        part.write_bytes(data)
        # Where every file would have one name, the search shall not begin at the first each time.
        first = named(1)
        copy = self._copies.get(first, 1)
        while True:
            name = named(copy) if copy > 1 else first
            target = self.path / name
            if not target.exists():
                break
            if target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data:
                part.unlink()
                return name, digest
            copy += 1
        self._copies[first] = copy + 1
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        return name, digest

    def has(self, files: Iterable[Mapping[str, Any]]) -> bool:
        """Whether the files of a manifest's line are there, each whole: the machine may have stopped while it wrote."""
        return all(_size(self.path / str(file["path"])) == file["bytes"] for file in files)

    def write(self, name: str, text: Iterator[str]) -> Path:
        """Write a text file of our own, the one before it whole until then."""
        part, target = self.path / f"{_PART}-{name}", self.path / name
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for piece in text:
                file.write(piece)
        part.replace(target)
        return target


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """Hold an output folder, which is made where there is none.

    Raises:
        InvalidInput: it cannot be written, or another process works there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("a+b")
    except OSError as exc:
        raise InvalidInput(
            f"The output folder {path} cannot be written: {exc.strerror}.",
            f"无法写入输出文件夹 {path}：{exc.strerror}。",
        ) from exc
    with lock:
        if not _locked(lock.fileno()):
            raise InvalidInput(
                f"Another process works in {path}: wait for it, or choose another folder by --output.",
                f"另一个进程正在使用 {path}：请等待其结束，或用 --output 指定其他文件夹。",
            )
        for part in path.rglob(f"{_PART}-*"):
            part.unlink()
        known, batch_id = _batch_id(path / _ABOUT), ""
        if known is None:
            part, batch_id = path / f"{_PART}-about", uuid4().hex
            part.write_text(json.dumps({"batch": batch_id, "format": 1}) + "\n", encoding="utf-8")
            part.replace(path / _ABOUT)
        yield Folder(path, known or batch_id, is_new=known is None)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _batch_id(path: Path) -> str | None:
    try:
        about = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    batch_id = about.get("batch") if isinstance(about, dict) else None
    return batch_id if isinstance(batch_id, str) else None


if sys.platform == "win32":
    import msvcrt

    def _locked(number: int) -> bool:
        """Lock a file for as long as it is open; the system lets go of it when the process ends, however it ends."""
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locked(number: int) -> bool:
        """Lock a file for as long as it is open; the system lets go of it when the process ends, however it ends."""
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
