"""What ended, counted: rows of ``endings`` become figures that outlive the jobs, by one process at a time.

A count is moved, never read twice: deleting the rows and adding them up is one transaction.
"""

from psycopg import AsyncConnection, errors

OTHER, NONE = "other", "none"
"""The template or server of a job when there are too many to tell apart; and of a job that has none."""
SUCCEEDED, FAILED = ("succeeded",), ("failed", "timed_out", "lost")
"""What a success rate is made of: what callers take back, and what no server would take, says nothing of the fleet."""

WAITED_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
RAN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

_MOST_LABELS = 300
"""So many templates, and so many servers, have figures of their own."""
_LONGEST_LABEL = 100
_LOCK = 0x636F6D67
_PATIENCE_MS = 2000

_ROLL = """
WITH gone AS (
    DELETE FROM endings WHERE template = ANY (%(seen)s) RETURNING *
),
named AS (
    SELECT outcome, priority, waited_s, ran_s, ended,
        CASE template WHEN '' THEN %(none)s ELSE
            CASE WHEN template = ANY (%(known)s) THEN template ELSE %(other)s END END AS template,
        CASE WHEN server IS NULL THEN %(none)s
            WHEN server = ANY (%(servers)s) THEN server ELSE %(other)s END AS server
    FROM gone
),
counted AS (
    INSERT INTO tallies SELECT outcome, template, server, count(*) FROM named GROUP BY 1, 2, 3
    ON CONFLICT (outcome, template, server) DO UPDATE SET jobs = tallies.jobs + EXCLUDED.jobs
),
measured AS (
    SELECT 'waited' AS what, priority::text AS label, waited_s AS seconds,
        (SELECT min(le) FROM unnest(%(waited_le)s::float8[]) AS le WHERE le >= waited_s) AS le
    FROM named WHERE waited_s IS NOT NULL
    UNION ALL
    SELECT 'ran', template, ran_s, (SELECT min(le) FROM unnest(%(ran_le)s::float8[]) AS le WHERE le >= ran_s)
    FROM named WHERE ran_s IS NOT NULL AND outcome = 'succeeded'
),
spread AS (
    INSERT INTO spreads
    SELECT what, label, coalesce(le, 'Infinity'), count(*), sum(greatest(seconds, 0)) FROM measured GROUP BY 1, 2, 3
    ON CONFLICT (what, label, le) DO UPDATE SET
        jobs = spreads.jobs + EXCLUDED.jobs, seconds = spreads.seconds + EXCLUDED.seconds
)
INSERT INTO minutes
SELECT date_trunc('minute', ended), template,
    count(*) FILTER (WHERE outcome = ANY (%(succeeded)s)), count(*) FILTER (WHERE outcome = ANY (%(failed)s))
FROM named WHERE outcome = ANY (%(succeeded)s || %(failed)s) GROUP BY 1, 2
ON CONFLICT (minute, template) DO UPDATE SET
    succeeded = minutes.succeeded + EXCLUDED.succeeded, failed = minutes.failed + EXCLUDED.failed
"""
_SERVERS = """
SELECT url FROM (
    SELECT server AS url, 0 AS rank FROM (SELECT DISTINCT server FROM tallies) AS told
    UNION ALL SELECT url, 1 FROM servers
) AS named GROUP BY url ORDER BY min(rank), url LIMIT %s
"""


async def roll(connection: AsyncConnection) -> bool:
    """Count what ended until now; ``False`` when another process that does is not ready after a while."""
    try:
        async with connection.transaction():
            # A crash takes the sum back together with the deletion: nothing here has to wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.execute(f"SET LOCAL lock_timeout = {_PATIENCE_MS}".encode())
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            await _count(connection)
    except errors.LockNotAvailable:
        return False
    return True


async def _count(connection: AsyncConnection) -> None:
    found = await (await connection.execute("SELECT DISTINCT template FROM endings")).fetchall()
    if not found:
        return
    told = await (await connection.execute("SELECT DISTINCT template FROM tallies")).fetchall()
    seen, had = {template for (template,) in found}, {template for (template,) in told}
    # No other names are written down with a job than those of the fleet's templates; they may become many.
    new = sorted(name for name in seen - had if len(name) <= _LONGEST_LABEL)
    servers = await (await connection.execute(_SERVERS, (_MOST_LABELS,))).fetchall()
    values = {
        "seen": list(seen),
        "known": [*had, *new[: max(_MOST_LABELS - len(had - {OTHER, NONE}), 0)]],
        "servers": [url for (url,) in servers],
        "none": NONE,
        "other": OTHER,
        "waited_le": list(WAITED_S),
        "ran_le": list(RAN_S),
        "succeeded": list(SUCCEEDED),
        "failed": list(FAILED),
    }
    await connection.execute(_ROLL, values)
    await connection.execute("DELETE FROM minutes WHERE minute < now() - interval '1 day'")
