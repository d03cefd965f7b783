"""The files that a row names: where they are, and whether they are the same as the last time."""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from comfybridge.batch.rows import Row
from comfybridge.batch.tables import Mistake

# Addresses and the ids of earlier jobs are looked up when the row is made.
_ELSEWHERE = re.compile(r"https?://|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def located(row: Row, folder: Path) -> Row:
    """The row with whole paths, and with what is in its files as a part of what it asks for."""
    named = {name: row.parameters[name] for name in ("images", "masks") if row.parameters.get(name)}
    if not named:
        return row
    seen, found = hashlib.sha256(), {}
    for name, files in named.items():
        try:
            found[name] = tuple(_paths(files, folder))
            for path in found[name]:
                if not _ELSEWHERE.match(path):
                    seen.update(hashlib.sha256(Path(path).read_bytes()).digest())
        except OSError as exc:
            mistake = Mistake(name, f"{exc.filename} cannot be read: {exc.strerror}", f"无法读取 {exc.filename}")
            return dataclasses.replace(row, mistake=mistake)
    return dataclasses.replace(
        row, parameters={**row.parameters, **found}, content=f"{row.content}.{seen.hexdigest()[:12]}"
    )


def _paths(files: Iterable[str], folder: Path) -> Iterator[str]:
    for each in files:
        beside = folder / each
        yield each if _ELSEWHERE.match(each) or not beside.is_file() else str(beside.resolve())
