"""What handlers ask of and do to the jobs and files of one caller; every statement is scoped by owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row
from psycopg_pool import AsyncConnectionPool

from comfybridge.service.database import ASKED, ENDED, told

_JOB = (
    "prompt_id, client_id, prompt, extra_data, targets, number, state, history, is_hidden, outcome, progress, server,"
    " priority, template, node_errors"
)
# What /api/jobs tells in a list takes neither the graph nor all that was sent with it, which may be a whole workflow.
_BRIEF = _JOB.replace(
    "prompt, extra_data",
    """'{}'::json AS prompt, json_build_object(
        'create_time', extra_data -> 'create_time', 'extra_pnginfo', json_build_object('workflow', json_build_object(
            'id', extra_data #> '{extra_pnginfo,workflow,id}'))) AS extra_data""",
)
_MOST = 10_000

# Whatever waits can be taken out at once; what a worker holds already, it finds out.
_DELETE = """
WITH gone AS (
    UPDATE jobs SET state = 'ended', outcome = 'cancelled', is_hidden = true, fence = next_fence(jobs.fence),
        lease_until = NULL, secrets = NULL, ended = clock_timestamp(),
        expires = now() + make_interval(secs => %(keep_s)s),
        reason = %(reason)s
    WHERE owner = %(owner)s AND state IN ('queued', 'claimed') AND (%(all)s OR prompt_id = ANY (%(prompt_ids)s))
    RETURNING prompt_id, client_id, priority, server, estimate_s
),
given_back AS (
    UPDATE turns SET clock = clock - unused.seconds
    FROM (SELECT priority, sum(estimate_s) AS seconds FROM gone WHERE server IS NOT NULL GROUP BY priority) AS unused
    WHERE turns.priority = unused.priority AND turns.owner = %(owner)s
)
SELECT prompt_id, client_id, server FROM gone
"""
_REMOVED = '{"en": "Removed from the queue.", "zh": "任务已从队列中移除。"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    prompt_id: str
    client_id: str
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    targets: list[str]
    number: float
    state: str
    history: Mapping[str, Any] | None
    is_hidden: bool
    outcome: str | None
    progress: Mapping[str, Any] | None
    server: str | None
    priority: int
    template: str
    node_errors: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    type: str
    subfolder: str
    filename: str
    key: str
    digest: str
    mime: str
    size: int
    created: datetime


async def job(pool: AsyncConnectionPool, owner: str, prompt_id: str) -> Job | None:
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
        query = f"SELECT {_JOB} FROM jobs WHERE prompt_id = %s AND owner = %s"  # noqa: S608  (a constant)
        return await (await cursor.execute(query.encode(), (prompt_id, owner))).fetchone()


async def ended(pool: AsyncConnectionPool, owner: str, prompt_id: str) -> tuple[Job, list[File]] | None:
    """A job, and the files that it was the first to make."""
    query = f"""
        SELECT {_JOB}, (
            SELECT coalesce(json_agg(json_build_object('type', type, 'subfolder', subfolder, 'filename', filename,
                'key', key, 'digest', digest, 'mime', mime, 'size', size, 'created', created)), '[]')
            FROM files WHERE files.prompt_id = jobs.prompt_id AND files.owner = jobs.owner
        ) AS files
        FROM jobs WHERE prompt_id = %s AND owner = %s
    """  # noqa: S608  (a constant)
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(query.encode(), (prompt_id, owner))).fetchone()
    if row is None:
        return None
    files = [File(**{**each, "created": datetime.fromisoformat(each["created"])}) for each in row.pop("files")]
    return Job(**row), files


async def queue(pool: AsyncConnectionPool, owner: str) -> tuple[list[str], list[str]]:
    """The ids of what runs and of what waits, at one moment, in the queue's order."""
    query = (
        "SELECT prompt_id, state = 'running' FROM jobs WHERE owner = %s AND state <> 'ended' ORDER BY number, created"
    )
    async with pool.connection() as connection:
        found = await (await connection.execute(query, (owner,))).fetchall()
    return [prompt_id for prompt_id, runs in found if runs], [prompt_id for prompt_id, runs in found if not runs]


async def items(pool: AsyncConnectionPool, owner: str, prompt_ids: Sequence[str]) -> list[str]:
    """Jobs as entries of ``/queue``, in JSON that nobody has read, in this order."""
    query = """
        SELECT json_build_array(number, prompt_id, prompt, extra_data, targets)::text
        FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (id, place) JOIN jobs ON prompt_id = id AND owner = %s
        ORDER BY place
    """
    async with pool.connection() as connection:
        return [item for (item,) in await (await connection.execute(query, (list(prompt_ids), owner))).fetchall()]


async def open_jobs(pool: AsyncConnectionPool, owner: str) -> list[Job]:
    """What runs and what waits, in the queue's order, in brief."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
        query = f"SELECT {_BRIEF} FROM jobs WHERE owner = %s AND state <> 'ended' ORDER BY number, created"  # noqa: S608
        return await (await cursor.execute(query.encode(), (owner,))).fetchall()


async def ended_jobs(
    pool: AsyncConnectionPool,
    owner: str,
    *,
    newest: int | None = None,
    skip: int | None = None,
    in_brief: bool = False,
) -> list[Job]:
    """The history, oldest first: so many of the ``newest``, or so many after the first few to ``skip``."""
    order = "DESC" if newest is not None and skip is None else "ASC"
    query = (
        f"SELECT {_BRIEF if in_brief else _JOB} FROM jobs"  # noqa: S608  (constants)
        " WHERE owner = %s AND state = 'ended' AND NOT is_hidden"
        f" ORDER BY ended {order} LIMIT %s OFFSET %s"
    )
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
        limit = min(_MOST, _MOST if newest is None else newest)
        found = await (await cursor.execute(query.encode(), (owner, limit, skip or 0))).fetchall()
    return found[::-1] if order == "DESC" else found


async def remaining(pool: AsyncConnectionPool, owner: str) -> int:
    async with pool.connection() as connection:
        query = "SELECT count(*) FROM jobs WHERE owner = %s AND state <> 'ended'"
        row = await (await connection.execute(query, (owner,))).fetchone()
    return int(row[0]) if row is not None else 0


async def delete(pool: AsyncConnectionPool, owner: str, prompt_ids: Sequence[str] | None, *, keep_s: float) -> None:
    """Take jobs that do not run out of the queue, or all of them."""
    values = {
        "owner": owner,
        "all": prompt_ids is None,
        "prompt_ids": list(prompt_ids or ()),
        "keep_s": keep_s,
        "reason": _REMOVED,
    }
    async with pool.connection() as connection, connection.transaction():
        gone = await (await connection.execute(_DELETE, values)).fetchall()
        for prompt_id, client_id, server in gone:
            notice = {"prompt_id": prompt_id, "owner": owner, "client_id": client_id}
            await connection.execute("SELECT pg_notify(%s, %s)", (ENDED, told(notice)))
            if server is not None:
                await _ask(connection, {"what": "look", "server": server})


async def interrupt(pool: AsyncConnectionPool, owner: str, prompt_id: str | None) -> None:
    """Ask for the end of what runs: one job, or all of the caller's."""
    query = """
        UPDATE jobs SET cancel_asked = now()
        WHERE owner = %(owner)s AND state = 'running' AND (%(prompt_id)s::text IS NULL OR prompt_id = %(prompt_id)s)
        RETURNING server
    """
    async with pool.connection() as connection, connection.transaction():
        asked = await (await connection.execute(query, {"owner": owner, "prompt_id": prompt_id})).fetchall()
        for (server,) in asked:
            await _ask(connection, {"what": "cancel", "server": server})


async def free(pool: AsyncConnectionPool, *, unload_models: bool, free_memory: bool) -> None:
    """Ask all workers to free their servers' memory."""
    async with pool.connection() as connection:
        await _ask(connection, {"what": "free", "unload_models": unload_models, "free_memory": free_memory})


async def hide(pool: AsyncConnectionPool, owner: str, prompt_ids: Sequence[str] | None) -> None:
    """Take jobs out of the history, or all of them; their outcomes stay on record."""
    query = """
        UPDATE jobs SET is_hidden = true
        WHERE owner = %(owner)s AND state = 'ended' AND (%(all)s OR prompt_id = ANY (%(prompt_ids)s))
    """
    async with pool.connection() as connection:
        values = {"owner": owner, "all": prompt_ids is None, "prompt_ids": list(prompt_ids or ())}
        await connection.execute(query, values)


async def file(pool: AsyncConnectionPool, owner: str, place: tuple[str, str, str]) -> File | None:
    """A file by type, subfolder and name."""
    query = """
        SELECT type, subfolder, filename, key, digest, mime, size, created FROM files
        WHERE owner = %s AND type = %s AND subfolder = %s AND filename = %s
    """
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(File)) as cursor:
        return await (await cursor.execute(query, (owner, *place))).fetchone()


async def inputs(pool: AsyncConnectionPool, owner: str) -> list[File]:
    """The caller's uploads that lie in no subfolder: those that ComfyUI lists."""
    query = """
        SELECT type, subfolder, filename, key, digest, mime, size, created FROM files
        WHERE owner = %s AND type = 'input' AND subfolder = '' ORDER BY filename
    """
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(File)) as cursor:
        return await (await cursor.execute(query, (owner,))).fetchall()


async def announce(pool: AsyncConnectionPool, key: str) -> None:
    """Note what is to be stored, so that it is found if nobody ever writes it down."""
    query = "INSERT INTO garbage (key) VALUES (%s) ON CONFLICT (key) DO UPDATE SET since = now()"
    async with pool.connection() as connection:
        await connection.execute(query, (key,))


async def newest(pool: AsyncConnectionPool, owner: str, folder: str) -> list[str]:
    """The names in a folder of the caller's, but not below it, the newest first."""
    query = """
        SELECT filename FROM files WHERE owner = %s AND type = %s AND subfolder = ''
        ORDER BY created DESC, filename LIMIT %s
    """
    async with pool.connection() as connection:
        return [name for (name,) in await (await connection.execute(query, (owner, folder, _MOST))).fetchall()]


async def keep(pool: AsyncConnectionPool, owner: str, kept: File) -> None:
    """Write down an announced upload; one of the same name is replaced, and its bytes are noted in turn."""
    query = """
        WITH noted AS (DELETE FROM garbage WHERE key = %(key)s),
        replaced AS (
            INSERT INTO garbage (key) SELECT key FROM files
            WHERE owner = %(owner)s AND type = %(type)s AND subfolder = %(subfolder)s AND filename = %(filename)s
                AND key <> %(key)s
            ON CONFLICT (key) DO UPDATE SET since = now()
        )
        INSERT INTO files (owner, type, subfolder, filename, key, digest, mime, size)
        VALUES (%(owner)s, %(type)s, %(subfolder)s, %(filename)s, %(key)s, %(digest)s, %(mime)s, %(size)s)
        ON CONFLICT (owner, type, subfolder, filename) DO UPDATE SET
            key = EXCLUDED.key, digest = EXCLUDED.digest, mime = EXCLUDED.mime, size = EXCLUDED.size,
            prompt_id = NULL, node_id = NULL, created = now(), expires = NULL
    """
    values = {
        "owner": owner,
        "type": kept.type,
        "subfolder": kept.subfolder,
        "filename": kept.filename,
        "key": kept.key,
        "digest": kept.digest,
        "mime": kept.mime,
        "size": kept.size,
    }
    async with pool.connection() as connection:
        await connection.execute(query, values)


async def _ask(connection: AsyncConnection, request: Mapping[str, Any]) -> None:
    await connection.execute("SELECT pg_notify(%s, %s)", (ASKED, told(dict(request))))
