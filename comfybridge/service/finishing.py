"""How a job ends: its outcome, its history and its files in one transaction; then its bill and the news.

While the disk writes nobody may hold what others wait for: the row in which all jobs of an owner are billed, and the
place of whoever notifies, of which PostgreSQL has one. So ``telling`` comes after it; who misses the news polls.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from psycopg import Connection

from comfybridge.service.database import as_json
from comfybridge.service.outputs import Place, named_anew
from comfybridge.service.telling import Bill, ended, tell

_LOCK = """
SELECT owner, client_id, priority, wants, estimate_s FROM jobs
WHERE prompt_id = %s AND fence = %s AND state IN ('claimed', 'running') FOR UPDATE
"""

# One round trip. Where a name is taken by another file the job does not end: then each file's name is sought.
_END = """
WITH ours AS (
    SELECT owner, client_id, priority, wants, estimate_s FROM jobs
    WHERE prompt_id = %(prompt_id)s AND fence = %(fence)s AND state IN ('claimed', 'running') FOR UPDATE
),
placed AS (
    INSERT INTO files (owner, type, subfolder, filename, key, digest, mime, size, node_id, prompt_id, expires)
    SELECT ours.owner, kept.*, %(prompt_id)s, now() + make_interval(secs => %(keep_s)s)
    FROM ours, json_to_recordset(%(files)s) AS kept (
        type text, subfolder text, filename text, key text, digest text, mime text, size bigint, node_id text)
    ON CONFLICT (owner, type, subfolder, filename) DO UPDATE SET expires = greatest(files.expires, EXCLUDED.expires)
        WHERE files.digest = EXCLUDED.digest
    RETURNING filename
),
done AS (
    UPDATE jobs SET
        state = 'ended', outcome = %(outcome)s, reason = %(reason)s, history = %(history)s, is_hidden = %(is_hidden)s,
        gpu_s = %(gpu_s)s, expires = now() + make_interval(secs => %(keep_s)s),
        -- The order of the history is that in which ComfyUI ended them, not that in which they are written down.
        ended = CASE WHEN %(ended)s::float IS NULL THEN clock_timestamp()
            ELSE greatest(to_timestamp(%(ended)s::float), claimed) END,
        started = coalesce(started, clock_timestamp() - make_interval(secs => %(ran_s)s::float)),
        lease_until = NULL, secrets = NULL, progress = NULL
    FROM ours
    WHERE prompt_id = %(prompt_id)s AND (SELECT count(*) FROM placed) = %(count)s
    RETURNING prompt_id
)
SELECT owner, client_id, priority, wants, estimate_s, EXISTS (SELECT FROM done) FROM ours
"""

_PLACE = """
INSERT INTO files (owner, type, subfolder, filename, key, digest, mime, size, prompt_id, node_id, expires)
VALUES (%(owner)s, %(type)s, %(subfolder)s, %(filename)s, %(key)s, %(digest)s, %(mime)s, %(size)s, %(prompt_id)s,
    %(node_id)s, now() + make_interval(secs => %(keep_s)s))
ON CONFLICT (owner, type, subfolder, filename) DO UPDATE SET expires = greatest(files.expires, EXCLUDED.expires)
    WHERE files.digest = EXCLUDED.digest
RETURNING filename
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file of a job that lies in the store under ``key``; named as its ComfyUI named it."""

    node_id: str
    type: str
    subfolder: str
    filename: str
    key: str
    digest: str
    mime: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """``history`` is what ComfyUI tells of the job, without the prompt; ``None`` where it would tell nothing.

    ``reason`` is a sentence in English and one in Chinese, for everything but a success. ``ended``: when its ComfyUI
    ended it, in seconds since 1970; ``None`` for now.
    """

    outcome: str
    history: Mapping[str, Any] | None = None
    reason: tuple[str, str] | None = None
    files: Sequence[Kept] = ()
    gpu_s: float = 0.0
    ended: float | None = None


def finish(connection: Connection, prompt_id: str, fence: int, end: End, *, keep_s: float) -> bool:
    """End a job, unless it is no longer ours, and tell of it; whether it was."""
    bill = write_end(connection, prompt_id, fence, end, keep_s=keep_s)
    if bill is not None:
        tell(connection, [ended(bill)], bill=bill)
    return bill is not None


def write_end(connection: Connection, prompt_id: str, fence: int, end: End, *, keep_s: float) -> Bill | None:
    """End a job; what is to be told of that, or ``None`` when it is no longer ours."""
    files = {(file.type, file.subfolder, file.filename): file for file in end.files}
    # In one order for all, so that no two wait for each other.
    in_order = [files[place] for place in sorted(files)]
    row = _ended(connection, prompt_id, fence, end, in_order, keep_s=keep_s)
    if row is None:
        return None
    if not row[-1]:
        with connection.transaction():
            locked = connection.execute(_LOCK, (prompt_id, fence)).fetchone()
            if locked is None:
                return None
            renamed = _placed(connection, locked[0], prompt_id, in_order, keep_s=keep_s)
            history = _named_anew(end.history, renamed) if end.history is not None else None
            _ended(connection, prompt_id, fence, replace(end, history=history), (), keep_s=keep_s)
    owner, client_id, priority, wants, estimate_s, _ = row
    return Bill(
        prompt_id=prompt_id,
        owner=owner,
        client_id=client_id,
        priority=priority,
        wants=wants,
        estimate_s=estimate_s,
        gpu_s=end.gpu_s,
        succeeded=end.outcome == "succeeded",
    )


def _ended(
    connection: Connection, prompt_id: str, fence: int, end: End, files: Sequence[Kept], *, keep_s: float
) -> tuple[Any, ...] | None:
    """The job's row, and whether it ended; ``None`` when it is no longer ours."""
    values = {
        "prompt_id": prompt_id,
        "fence": fence,
        "files": as_json([asdict(file) for file in files]),
        "count": len(files),
        "outcome": end.outcome,
        "reason": as_json(dict(zip(("en", "zh"), end.reason, strict=True))) if end.reason else None,
        "history": as_json(end.history) if end.history is not None else None,
        "is_hidden": end.history is None,
        "gpu_s": end.gpu_s,
        "ended": end.ended,
        # Whoever was faster than the news of his start has run nevertheless.
        "ran_s": end.gpu_s if end.gpu_s or end.outcome == "succeeded" else None,
        "keep_s": keep_s,
    }
    return connection.execute(_END, values).fetchone()


def place(
    connection: Connection, prompt_id: str, fence: int, files: Sequence[Kept], *, keep_s: float
) -> dict[Place, str] | None:
    """Give files their names before the job's end, which finds them again; ``None`` when the job is no longer ours."""
    with connection.transaction():
        row = connection.execute(_LOCK, (prompt_id, fence)).fetchone()
        return _placed(connection, row[0], prompt_id, files, keep_s=keep_s) if row is not None else None


def _placed(
    connection: Connection, owner: str, prompt_id: str, files: Sequence[Kept], *, keep_s: float
) -> dict[Place, str]:
    # In one order for all, so that no two wait for each other.
    in_order = sorted(files, key=lambda file: (file.type, file.subfolder, file.filename))
    return {
        (file.type, file.subfolder, file.filename): _place(connection, owner, prompt_id, file, keep_s=keep_s)
        for file in in_order
    }


def _place(connection: Connection, owner: str, prompt_id: str, file: Kept, *, keep_s: float) -> str:
    """Give a file its name among the owner's: its own, unless an earlier job has another file of that name."""
    for filename in names(file.filename, prompt_id):
        named = replace(file, filename=filename)
        values = {slot: getattr(named, slot) for slot in Kept.__slots__}
        values |= {"owner": owner, "prompt_id": prompt_id, "keep_s": keep_s}
        if connection.execute(_PLACE, values).fetchone() is not None:
            return filename
    raise AssertionError  # there is no end of names


def names(filename: str, prompt_id: str) -> Iterator[str]:
    """The names that a file may get, the best one first."""
    yield filename
    path = PurePosixPath(filename)
    mark = "".join(character for character in prompt_id if character.isalnum() and character.isascii())
    yield f"{path.stem}{mark[:8]}_{path.suffix}"
    for number in itertools.count(1):
        yield f"{path.stem}{mark[:32]}_{number}_{path.suffix}"


def _named_anew(history: Mapping[str, Any], renamed: Mapping[Place, str]) -> dict[str, Any]:
    """The history with the files' new names in its outputs."""
    told = {
        node_id: named_anew(output, renamed)
        for node_id, output in (history.get("outputs") or {}).items()
        if isinstance(output, Mapping)
    }
    return {**history, "outputs": told}
