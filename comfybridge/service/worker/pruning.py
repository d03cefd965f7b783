"""The folders of a ComfyUI that shares its worker's disk: what the store has of them is deleted there after a while.

Nothing else is, whatever it is called: a file goes only where it lies really, and only with the bytes that were stored.
"""

import logging
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from psycopg import Connection

from comfybridge.service import store

logger = logging.getLogger(__name__)

AFTER_S = 3600.0
"""How long ComfyUI may answer a repeated prompt from its cache, with the names of the old files."""
_BATCH = 100

_NOTE = """
INSERT INTO leftovers (server, type, subfolder, filename, digest, prompt_id) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (server, type, subfolder, filename) DO UPDATE SET
    digest = EXCLUDED.digest, prompt_id = EXCLUDED.prompt_id, since = now()
"""
# A job notes what it brings after it was claimed: what was noted last before an open job came, that one does not need.
_DUE = """
SELECT type, subfolder, filename, digest FROM leftovers
WHERE server = %(server)s AND since < now() - make_interval(secs => %(after_s)s) AND NOT EXISTS (
    SELECT FROM jobs WHERE jobs.server = leftovers.server AND state IN ('claimed', 'running')
        AND jobs.claimed <= leftovers.since
)
ORDER BY since LIMIT %(batch)s
"""
_GONE = "DELETE FROM leftovers WHERE server = %s AND type = %s AND subfolder = %s AND filename = %s"


class File(Protocol):
    """A file as its ComfyUI names it."""

    @property
    def type(self) -> str: ...
    @property
    def subfolder(self) -> str: ...
    @property
    def filename(self) -> str: ...
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file in the input folder of a server."""

    subfolder: str
    filename: str
    digest: str
    type: str = "input"


class Pruning:
    """Does nothing without a folder. Used from several threads."""

    def __init__(self, server: str, folder: Path | None, after_s: float) -> None:
        self._server = server
        self._folder = folder
        self._after_s = after_s
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        return self._folder is not None

    @property
    def undisturbed(self) -> AbstractContextManager[object]:
        """While it is held nothing is deleted: for those who bring a file that may be there, and then note it."""
        return self._lock if self.is_on else nullcontext()

    def note(self, connection: Connection, prompt_id: str, files: Iterable[File]) -> None:
        """The store has these files of the server's."""
        if not self.is_on:
            return
        rows = [(self._server, each.type, each.subfolder, each.filename, each.digest, prompt_id) for each in files]
        connection.cursor().executemany(_NOTE, rows)

    def prune(self, connection: Connection) -> int:
        """Delete what no job has named for long enough; how many files went."""
        if self._folder is None:
            return 0
        values = {"server": self._server, "after_s": self._after_s, "batch": _BATCH}
        deleted = 0
        while True:
            with self._lock:
                due = connection.execute(_DUE, values).fetchall()
                for folder, subfolder, filename, digest in due:
                    deleted += _delete(self._folder / folder, subfolder, filename, digest)
                    connection.execute(_GONE, (self._server, folder, subfolder, filename))
            if len(due) < _BATCH:
                break
        if deleted:
            logger.info("%d files of %s were deleted below %s", deleted, self._server, self._folder)
        return deleted


def _delete(folder: Path, subfolder: str, filename: str, digest: str) -> bool:
    """Delete a file below a folder, if it is what it was and no link leads there; whether it went."""
    home = folder.parent.resolve() / folder.name
    path = home / subfolder / filename
    try:
        # A link anywhere on the way, or "..", and it is another path than the one that was meant.
        if path.resolve() != path or not path.is_relative_to(home) or not path.is_file():
            return False
        if store.digest(path.read_bytes()) != digest:
            return False
        path.unlink()
    except OSError as exc:
        logger.warning("%s could not be deleted: %s", path, exc)
        return False
    return True
