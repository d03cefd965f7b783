"""Whose turn it is: a worker takes a job under a lease, keeps it, gives it back. Each is one statement.

A lease has a fencing number, new with every owner; what an owner writes counts only while the number is still its own.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from comfybridge.service.database import ASKED, WORK, as_json, told
from comfybridge.service.priorities import AGEING_S

PLACES = 2
"""One job runs, and one waits in the server's own queue."""
LEASE_S = 15.0
"""How long a worker may be silent until its jobs move on."""
MOST_ATTEMPTS = 3
"""A job whose worker or server vanished this often is given up: it may be what kills them."""

MOST_ADOPTIONS = 5
"""A job that was taken over from a dead worker more often than this is given up."""

_AWAY_S = 600.0
"""How long a server may be away until nobody hopes for it any more."""
_UNAVOID_AFTER_S = 60.0
_GUESS_S = 5.0
"""What a turn is charged with while nobody knows how long such a graph takes."""
_WINDOW = 8
"""So many of an owner's jobs may be preferred for their model, and none that waited for so many seconds."""
_PATIENCE_S = 60.0
_LEAVE_S = 2.0
"""How long a job is left to an idle server that suits it better."""

# The priorities in the order of their oldest jobs, made younger by their rank; in each the owners by their clocks, and
# where these are equal in another order for each server, since two that claim at once do not see each other; of the
# first owner with a job that this server can run, and of whom not too many run, that job. Both lists are streamed:
# nothing but the one job is locked, and a locked one is passed over.
_CLAIM = """
WITH idle AS MATERIALIZED (
    SELECT url, loaded FROM servers
    WHERE url <> %(server)s AND mode = 'active' AND health = 'well'
        AND heartbeat > now() - make_interval(secs => %(lease_s)s)
        AND NOT EXISTS (SELECT FROM jobs AS busy WHERE busy.server = url AND busy.state IN ('claimed', 'running'))
),
mine AS (
    SELECT loaded FROM servers
    WHERE url = %(server)s AND mode = 'active' AND NOT (%(is_second)s AND EXISTS (
        SELECT FROM (VALUES (0), (1), (2)) AS ranks (priority)
        CROSS JOIN LATERAL (
            SELECT wants, avoid FROM jobs
            WHERE state = 'queued' AND priority = ranks.priority AND not_before <= now()
                AND created > now() - make_interval(secs => %(leave_s)s)
        ) AS young
        JOIN idle ON idle.url <> ALL (young.avoid) JOIN offers ON server = idle.url AND offers.wants = young.wants
    ))
),
chosen AS (
    SELECT head.prompt_id
    FROM (
        SELECT ranks.priority
        FROM mine CROSS JOIN (VALUES (0), (1), (2)) AS ranks (priority)
        CROSS JOIN LATERAL (
            SELECT created FROM jobs
            WHERE state = 'queued' AND priority = ranks.priority AND not_before <= now()
                AND wants IN (SELECT wants FROM offers WHERE server = %(server)s) AND %(server)s <> ALL (avoid)
            ORDER BY created LIMIT 1
        ) AS oldest
        ORDER BY ranks.priority * %(ageing_s)s - extract(epoch FROM clock_timestamp() - oldest.created)
        OFFSET 0
    ) AS ranked
    CROSS JOIN LATERAL (
        SELECT owner FROM turns WHERE turns.priority = ranked.priority
        ORDER BY clock, hashtextextended(owner, %(own_order)s) OFFSET 0
    ) AS turn
    CROSS JOIN LATERAL (
        SELECT prompt_id, owner FROM jobs
        WHERE prompt_id = ANY (ARRAY (
            SELECT prompt_id FROM jobs AS job
            WHERE state = 'queued' AND priority = ranked.priority AND owner = turn.owner AND not_before <= now()
                AND wants IN (SELECT wants FROM offers WHERE server = %(server)s) AND %(server)s <> ALL (avoid)
                AND NOT (job.created > now() - make_interval(secs => %(leave_s)s) AND job.wants <> (
                    SELECT loaded FROM mine
                ) AND EXISTS (
                    SELECT FROM idle JOIN offers ON offers.server = idle.url AND offers.wants = idle.loaded
                    WHERE idle.loaded = job.wants
                ))
            ORDER BY number, created LIMIT %(window)s
        )) AND state = 'queued'
        ORDER BY (wants = (SELECT loaded FROM mine) OR created < now() - make_interval(secs => %(patience_s)s)) DESC,
            number, created
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS head
    WHERE has_room(head.owner)
    LIMIT 1
),
taken AS (
    UPDATE jobs SET
        state = 'claimed', server = %(server)s, worker = %(worker)s, fence = next_fence(jobs.fence), claimed = now(),
        started = NULL, lease_until = now() + make_interval(secs => %(lease_s)s), attempts = attempts + 1,
        estimate_s = coalesce((SELECT seconds FROM durations WHERE durations.wants = jobs.wants), %(guess_s)s)
    FROM chosen WHERE jobs.prompt_id = chosen.prompt_id
    RETURNING jobs.*
),
charged AS (
    UPDATE turns SET clock = clock + taken.estimate_s FROM taken
    WHERE turns.priority = taken.priority AND turns.owner = taken.owner
),
marked AS (UPDATE servers SET loaded = taken.wants FROM taken WHERE url = %(server)s AND loaded <> taken.wants)
SELECT {columns} FROM taken
"""

_ADOPT = """
UPDATE jobs SET
    worker = %(worker)s, fence = next_fence(jobs.fence), lease_until = now() + make_interval(secs => %(lease_s)s),
    adoptions = adoptions + CASE WHEN worker = '' THEN 0 ELSE 1 END
WHERE server = %(server)s AND state IN ('claimed', 'running') AND worker <> %(worker)s
RETURNING {columns}
"""

_RENEW = """
UPDATE jobs SET
    lease_until = now() + make_interval(secs => %(lease_s)s), progress = coalesce(held.progress, jobs.progress)
FROM unnest(%(prompt_ids)s::text[], %(fences)s::bigint[], %(progress)s::json[]) AS held (prompt_id, fence, progress)
WHERE jobs.prompt_id = held.prompt_id AND jobs.fence = held.fence AND jobs.state IN ('claimed', 'running')
RETURNING jobs.prompt_id, jobs.cancel_asked IS NOT NULL
"""

# What the turn was charged with goes back; the next one is charged anew.
_RELEASE = """
WITH freed AS (
    UPDATE jobs SET
        state = 'queued', worker = NULL, server = NULL, fence = next_fence(jobs.fence), lease_until = NULL,
        started = NULL,
        attempts = attempts - CASE WHEN %(counts)s THEN 0 ELSE 1 END, progress = NULL,
        not_before = now() + make_interval(secs => %(after_s)s), returns = returns + 1,
        moves = moves + CASE WHEN %(moves)s THEN 1 ELSE 0 END,
        avoid = CASE WHEN %(forgets)s THEN '{}' ELSE avoid || %(avoid)s::text[] END
    WHERE prompt_id = %(prompt_id)s AND fence = %(fence)s AND state IN ('claimed', 'running')
    RETURNING priority, owner, estimate_s
),
given_back AS (
    UPDATE turns SET clock = clock - freed.estimate_s FROM freed
    WHERE turns.priority = freed.priority AND turns.owner = freed.owner
)
SELECT pg_notify(%(work)s, '') FROM freed
"""

_EXPIRED = """
SELECT prompt_id, fence, attempts, server FROM jobs
WHERE state IN ('claimed', 'running') AND lease_until < now()
ORDER BY lease_until LIMIT 100
"""

_HAND_OVER = """
UPDATE jobs SET worker = '' WHERE server = %s AND worker = %s AND state IN ('claimed', 'running')
"""

# Servers that would take the job now; with "patient" also those that are only away for a while.
_OTHERS = """
SELECT EXISTS (
    SELECT FROM jobs JOIN offers ON offers.wants = jobs.wants JOIN servers ON servers.url = offers.server
    WHERE jobs.prompt_id = %(prompt_id)s AND servers.url <> %(server)s AND servers.url <> ALL (jobs.avoid)
        AND CASE WHEN %(patient)s
            THEN servers.mode <> 'removed' AND servers.heartbeat > now() - make_interval(secs => %(away_s)s)
            ELSE servers.mode = 'active' AND servers.health = 'well'
                AND servers.heartbeat > now() - make_interval(secs => %(lease_s)s)
        END
)
"""

_TIMED_OUT = """
SELECT prompt_id FROM jobs WHERE server = %s AND outcome = 'timed_out' AND ended > now() - interval '1 hour'
"""

# Where the servers that a job was left to have all gone, those that it avoided are better than none.
_UNAVOID = """
UPDATE jobs SET avoid = '{}' WHERE state = 'queued' AND avoid <> '{}'
    AND not_before < now() - make_interval(secs => %(after_s)s)
    AND NOT EXISTS (
        SELECT FROM offers JOIN servers ON servers.url = offers.server
        WHERE offers.wants = jobs.wants AND servers.url <> ALL (jobs.avoid) AND servers.mode = 'active'
            AND servers.health = 'well' AND servers.heartbeat > now() - make_interval(secs => %(lease_s)s)
    )
"""

_COLUMNS = (
    "prompt_id, owner, client_id, prompt, extra_data, secrets, targets, is_partial, inputs, template, wants, priority,"
    " attempts, fence, state = 'running' AS is_running, cancel_asked IS NOT NULL AS is_cancelled, limit_s, returns,"
    " moves, adoptions, coalesce(extract(epoch FROM now() - started), 0)::float AS ran_s"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A job under a lease; ``attempts`` counts this one. ``ran_s``: how long it ran before it was taken over."""

    prompt_id: str
    owner: str
    client_id: str
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    secrets: dict[str, Any] | None
    targets: list[str]
    is_partial: bool
    inputs: list[dict[str, str]]
    template: str
    wants: str
    priority: int
    attempts: int
    fence: int
    is_running: bool
    is_cancelled: bool
    limit_s: float | None
    returns: int
    moves: int
    adoptions: int
    ran_s: float


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A job whose worker has been silent for too long."""

    prompt_id: str
    fence: int
    attempts: int
    server: str


def claim(connection: Connection, server: str, worker: str, *, is_second: bool) -> Claimed | None:
    """Take the next job that this server can run; ``None`` when there is none for it now.

    ``is_second``: it would wait behind another one, so it is left to a server that is idle.
    """
    values = {
        "server": server,
        "own_order": zlib.crc32(server.encode()),
        "worker": worker,
        "is_second": is_second,
        "lease_s": LEASE_S,
        "ageing_s": AGEING_S,
        "guess_s": _GUESS_S,
        "window": _WINDOW,
        "patience_s": _PATIENCE_S,
        "leave_s": _LEAVE_S,
    }
    with connection.cursor(row_factory=class_row(Claimed)) as cursor:
        return cursor.execute(_CLAIM.format(columns=_COLUMNS).encode(), values).fetchone()


def pass_on(connection: Connection, prompt_ids: Sequence[str]) -> None:
    """Tell every worker of jobs that one was told of and does not take, if they still wait."""
    query = "SELECT pg_notify(%s, '') WHERE EXISTS (SELECT FROM jobs WHERE prompt_id = ANY (%s) AND state = 'queued')"
    connection.execute(query, (WORK, list(prompt_ids)))


def adopt(connection: Connection, server: str, worker: str) -> list[Claimed]:
    """Take over what an earlier worker of this server held; whoever calls must be the server's only worker."""
    values = {"server": server, "worker": worker, "lease_s": LEASE_S}
    with connection.cursor(row_factory=class_row(Claimed)) as cursor:
        return cursor.execute(_ADOPT.format(columns=_COLUMNS).encode(), values).fetchall()


def renew(connection: Connection, held: Mapping[str, int], progress: Mapping[str, Any]) -> dict[str, bool]:
    """Keep jobs, by their fencing numbers; of those that are still ours, whether somebody asks for their end."""
    values = {
        "prompt_ids": list(held),
        "fences": list(held.values()),
        "progress": [as_json(progress[prompt_id]) if prompt_id in progress else None for prompt_id in held],
        "lease_s": LEASE_S,
    }
    return dict(connection.execute(_RENEW, values).fetchall())


def hand_over(connection: Connection, server: str, worker: str) -> None:
    """Leave what a worker holds to its successor, who then does not ask what it died of."""
    connection.execute(_HAND_OVER, (server, worker))


def has_others(connection: Connection, prompt_id: str, server: str, *, patient: bool = False) -> bool:
    """Whether another server would take the job now, or, ``patient``, may do so before long."""
    values = {
        "prompt_id": prompt_id,
        "server": server,
        "patient": patient,
        "away_s": _AWAY_S,
        "lease_s": LEASE_S,
    }
    row = connection.execute(_OTHERS, values).fetchone()
    return row is not None and bool(row[0])


def timed_out(connection: Connection, server: str) -> list[str]:
    """The jobs that were stopped there of late: perhaps their ComfyUI has not heard of it."""
    return [prompt_id for (prompt_id,) in connection.execute(_TIMED_OUT, (server,))]


def unavoid(connection: Connection) -> int:
    """Let jobs go to the servers that they avoided, where no other is left; how many."""
    return connection.execute(_UNAVOID, {"after_s": _UNAVOID_AFTER_S, "lease_s": LEASE_S}).rowcount


def release(
    connection: Connection,
    prompt_id: str,
    fence: int,
    *,
    counts: bool,
    after_s: float = 0.0,
    avoid: Sequence[str] = (),
    forgets: bool = False,
    moves: bool = False,
) -> bool:
    """Give a job back to the queue, for others or for later; ``counts`` if that was one of its attempts.

    ``avoid``: servers that shall not have it again; ``forgets``: those of before may. ``moves``: a node failed.
    """
    values = {
        "prompt_id": prompt_id,
        "fence": fence,
        "counts": counts,
        "after_s": after_s,
        "avoid": list(avoid),
        "forgets": forgets,
        "moves": moves,
        "work": WORK,
    }
    return connection.execute(_RELEASE, values).fetchone() is not None


def lapsed(connection: Connection) -> list[Lapsed]:
    with connection.cursor(row_factory=class_row(Lapsed)) as cursor:
        return cursor.execute(_EXPIRED).fetchall()


def ask(connection: Connection, request: Mapping[str, Any]) -> None:
    """Ask workers for something; those who do not hear it find it when they renew their leases."""
    connection.execute("SELECT pg_notify(%s, %s)", (ASKED, told(dict(request))))
