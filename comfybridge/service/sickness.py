"""Failures in nodes, by server: what the fleet's workers know together of a GPU that seems sick.

A success is not written down: it forgives the failures of its server, and marks what the same job failed in elsewhere.
"""

from psycopg import Connection

from comfybridge.health import JUDGED_JOBS, seems_sick

_KEPT_S = 86400.0

_SAME_ELSEWHERE = """
UPDATE failures SET is_forgiven = true
WHERE prompt_id = %(prompt_id)s AND node_id = %(node_id)s AND server <> %(server)s RETURNING server
"""
_FAILED = """
INSERT INTO failures (prompt_id, server, wants, node_id)
VALUES (%(prompt_id)s, %(server)s, %(wants)s, %(node_id)s) ON CONFLICT DO NOTHING
"""
_SUCCEEDED = """
UPDATE failures SET is_forgiven = is_forgiven OR server = %(server)s,
    elsewhere = CASE WHEN prompt_id = %(prompt_id)s AND server <> %(server)s THEN clock_timestamp() ELSE elsewhere END
WHERE server = %(server)s OR prompt_id = %(prompt_id)s
"""
_LAST = """
SELECT extract(epoch FROM at)::float, wants FROM failures WHERE server = %s AND NOT is_forgiven
ORDER BY at DESC LIMIT %s
"""
_ELSEWHERE = """
SELECT extract(epoch FROM max(elsewhere))::float FROM failures
WHERE wants = ANY (%s) AND elsewhere IS NOT NULL GROUP BY wants
"""


def failed(connection: Connection, prompt_id: str, server: str, wants: str, node_id: str) -> None:
    """A job failed in a node; where it failed in the same one elsewhere, that is no server's fault."""
    values = {"prompt_id": prompt_id, "server": server, "wants": wants, "node_id": node_id}
    if connection.execute(_SAME_ELSEWHERE, values).fetchone() is None:
        connection.execute(_FAILED, values)


def succeeded(connection: Connection, prompt_id: str, server: str) -> None:
    connection.execute(_SUCCEEDED, {"prompt_id": prompt_id, "server": server})


def has_failures(connection: Connection, server: str) -> bool:
    return bool(connection.execute(_LAST, (server, 1)).fetchall())


def is_sick(connection: Connection, server: str) -> bool:
    last = connection.execute(_LAST, (server, JUDGED_JOBS)).fetchall()[::-1]
    if len(last) < JUDGED_JOBS:
        return False
    successes = connection.execute(_ELSEWHERE, (list({wants for _, wants in last}),)).fetchall()
    return seems_sick([at for at, _ in last], [at for (at,) in successes])


def forget(connection: Connection) -> None:
    """Drop what is too old to tell anything."""
    connection.execute("DELETE FROM failures WHERE at < now() - make_interval(secs => %s)", (_KEPT_S,))
