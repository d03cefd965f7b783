"""``results.jsonl``: one line for each row that ended, written when its files are there; whole again after a crash."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

NAME = "results.jsonl"

_SYNC_EVERY_S = 1.0

Entry: TypeAlias = Mapping[str, Any]
"""One line of the manifest, see docs/batch.md."""


class Manifest:
    """The lines of one output folder; the last one of a row counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = 0
        """Lines that no reader can use: a torn one is what a crash leaves."""
        # By content: where its line begins, how the row ended, and its number.
        self._known: dict[str, tuple[int, str, int]] = {}
        self._end = 0
        self._sync_at = 0.0
        self._lock = threading.Lock()
        self._repair()

    def outcome(self, content: str) -> str | None:
        known = self._known.get(content)
        return known[1] if known is not None else None

    def entry(self, content: str) -> Entry | None:
        known = self._known.get(content)
        if known is None:
            return None
        with self.path.open("rb") as file:
            file.seek(known[0])
            found: Entry = json.loads(file.readline())
        return found

    def append(self, entry: Entry) -> None:
        """Write a line so that it outlives this process, and after a second at most the machine.

        A line that a power cut takes costs nothing: the row is looked up by its key, and its files are there.
        """
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        with self._lock, self.path.open("r+b" if self.path.exists() else "wb") as file:
            # A line that was interrupted goes: the next one begins where it began.
            file.truncate(self._end)
            file.seek(self._end)
            file.write(line)
            file.flush()
            if time.monotonic() >= self._sync_at:
                os.fsync(file.fileno())
                self._sync_at = time.monotonic() + _SYNC_EVERY_S
            self._known[entry["content"]] = (self._end, entry["outcome"], entry["row"])
            self._end += len(line)

    def entries(self) -> Iterator[Entry]:
        """The last line of each row, in the order of the rows; one in memory at a time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for _, at in sorted((row, at) for at, _, row in self._known.values()):
                file.seek(at)
                yield json.loads(file.readline())

    def _repair(self) -> None:
        """Read what is there; what a crash left of a last line is cut off, so that the next one begins a line."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    self.dropped += 1
                    break
                entry = _parsed(line)
                if entry is not None:
                    self._known[entry["content"]] = (self._end, entry["outcome"], entry["row"])
                else:
                    self.dropped += 1
                self._end += len(line)


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"content", "outcome", "row"} <= entry.keys() else None


def read_row(path: Path, row: int) -> Entry | None:
    """The last line of a row, by its number; reads only."""
    return _last(path, lambda entry: bool(entry["row"] == row))


def read_file(path: Path, file: str) -> Entry | None:
    """The last line with a file, by its path in the output folder; reads only."""
    return _last(path, lambda entry: any(each["path"] == file for each in entry.get("files") or ()))


def _last(path: Path, fits: Callable[[Entry], bool]) -> Entry | None:
    found = None
    with path.open("rb") as lines:
        for line in lines:
            entry = _parsed(line)
            if entry is not None and fits(entry):
                found = entry
    return found
