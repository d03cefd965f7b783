"""What has expired: the rows first, with a note of what they leave in the store, then the bytes.

Whenever a process dies in between, no row names bytes that are gone, and none are left that nobody finds again: what a
job stored is found by its folder, and an upload is noted before its bytes are written. Between note and deletion passes
a time in which nobody can be about to name the same bytes again.
"""

import logging
from dataclasses import dataclass

from psycopg import Connection

from comfybridge.service import store
from comfybridge.service.store import Store

logger = logging.getLogger(__name__)

GRACE_S = 3600.0
"""Longer than any upload takes from its note to its row."""
_LOCK = 0x67617262
_BATCH = 500

_JOBS = """
DELETE FROM jobs WHERE prompt_id IN (
    SELECT prompt_id FROM jobs WHERE state = 'ended' AND expires < now() ORDER BY expires LIMIT %s
    FOR UPDATE SKIP LOCKED
) RETURNING prompt_id
"""
_FILES = """
DELETE FROM files WHERE (owner, type, subfolder, filename) IN (
    SELECT owner, type, subfolder, filename FROM files WHERE expires < now() ORDER BY expires LIMIT %s
    FOR UPDATE SKIP LOCKED
) RETURNING key
"""
# A job's row lasts after its end for as long: what none names, none has used for so long.
_UPLOADS = """
DELETE FROM files WHERE (owner, type, subfolder, filename) IN (
    SELECT owner, type, subfolder, filename FROM files
    WHERE expires IS NULL AND created < now() - make_interval(secs => %s) AND key NOT IN (
        SELECT used ->> 'key' FROM jobs CROSS JOIN LATERAL json_array_elements(inputs) AS used
        WHERE inputs::text <> '[]'
    )
    ORDER BY created LIMIT %s FOR UPDATE SKIP LOCKED
) RETURNING key
"""
_NOTE = """
INSERT INTO garbage (key, prompt_id) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET since = now()
"""
_GARBAGE = """
SELECT key, prompt_id FROM garbage WHERE since < now() - make_interval(secs => %s) ORDER BY since LIMIT %s
FOR UPDATE SKIP LOCKED
"""
_OPEN = """
SELECT used ->> 'key' FROM jobs CROSS JOIN LATERAL json_array_elements(inputs) AS used
WHERE inputs::text <> '[]' AND state <> 'ended' AND used ->> 'key' = ANY (%s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """``keep_s``: how long an upload may be unused."""

    store: Store
    keep_s: float
    grace_s: float = GRACE_S

    def sweep(self, connection: Connection, *, uploads: bool) -> int:
        """Do what is due, unless another process does; how many rows went. Uploads cost a look at every job."""
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if row is None or not row[0]:
            return 0
        try:
            gone = self._jobs(connection) + self._files(connection, _FILES, ())
            if uploads:
                gone += self._files(connection, _UPLOADS, (self.keep_s,))
            if gone:
                logger.info("%d jobs and files have expired", gone)
            while self._garbage(connection):
                continue
            return gone
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))

    def _jobs(self, connection: Connection) -> int:
        gone = 0
        while True:
            with connection.transaction():
                ended = connection.execute(_JOBS, (_BATCH,)).fetchall()
                notes = [(store.output_folder(prompt_id), prompt_id) for (prompt_id,) in ended]
                connection.cursor().executemany(_NOTE, notes)
            gone += len(ended)
            if len(ended) < _BATCH:
                return gone

    def _files(self, connection: Connection, query: str, values: tuple[float, ...]) -> int:
        gone = 0
        while True:
            with connection.transaction():
                keys = connection.execute(query.encode(), (*values, _BATCH)).fetchall()
                connection.cursor().executemany(_NOTE, [(key, None) for (key,) in sorted(set(keys))])
            gone += len(keys)
            if len(keys) < _BATCH:
                return gone

    def _garbage(self, connection: Connection) -> bool:
        """Delete some bytes; whether there may be more to do."""
        with connection.transaction():
            due = connection.execute(_GARBAGE, (self.grace_s, _BATCH)).fetchall()
            done = [key for key, prompt_id in due if self._cleared(connection, key, prompt_id)]
            connection.execute("DELETE FROM garbage WHERE key = ANY (%s)", (done,))
            connection.execute(
                "UPDATE garbage SET since = now() WHERE key = ANY (%s)", ([key for key, _ in due if key not in done],)
            )
        return len(due) == _BATCH

    def _cleared(self, connection: Connection, key: str, prompt_id: str | None) -> bool:
        """Delete what nothing names; whether what is left, if any, is somebody else's to delete."""
        keys = self.store.under(key) if key.endswith("/") else [key]
        if prompt_id is not None:
            # Asked after the keys: what a new job of this id stores is not among them, or the job is there.
            again = connection.execute("SELECT FROM jobs WHERE prompt_id = %s", (prompt_id,)).fetchone()
            if again is not None:
                return True
        named = {each for (each,) in connection.execute("SELECT key FROM files WHERE key = ANY (%s)", (keys,))}
        awaited = {each for (each,) in connection.execute(_OPEN, (keys,))}
        self.store.delete([each for each in keys if each not in named | awaited])
        return not awaited
