"""The rows of webhooks to be sent, and ``/comfybridge/deliveries``: what was sent, what was answered, once more."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from psycopg.rows import class_row, dict_row
from psycopg_pool import AsyncConnectionPool

from comfybridge.service.gateway.bodies import Malformed
from comfybridge.service.gateway.callers import caller, not_found
from comfybridge.service.gateway.state import STATE
from comfybridge.service.masking import masked

TIMEOUT_S = 15.0
_CLAIMED_S = 60.0
"""How long whoever took a delivery may be silent until another one sends it."""
_STATES = ("pending", "delivered", "failed")
_MOST_SHOWN = 1000

# Of each endpoint as many as it has room for, so that one that does not answer delays no other.
_CLAIM = """
WITH endpoints AS (
    SELECT false AS is_alert, owner, webhook AS url, webhook_secret AS secret FROM keys
    WHERE webhook <> '' AND webhook <> webhook_gone AND revoked IS NULL
    UNION ALL
    SELECT true, '', %(alert_url)s, %(alert_secret)s WHERE %(alert_url)s <> ''
),
chosen AS (
    SELECT waiting.id, endpoints.url, endpoints.secret
    FROM (SELECT * FROM endpoints ORDER BY random() OFFSET 0) AS endpoints
    LEFT JOIN unnest(%(busy_alerts)s::bool[], %(busy_owners)s::text[], %(busy_with)s::int[])
        AS busy (is_alert, owner, sending) USING (is_alert, owner)
    CROSS JOIN LATERAL (
        SELECT id FROM deliveries
        WHERE state = 'pending' AND deliveries.is_alert = endpoints.is_alert AND deliveries.owner = endpoints.owner
            AND due <= now()
        ORDER BY due LIMIT greatest(%(most_each)s - coalesce(busy.sending, 0), 0)
        FOR UPDATE SKIP LOCKED
    ) AS waiting
    LIMIT %(most)s
)
UPDATE deliveries SET attempts = attempts + 1, due = now() + make_interval(secs => %(claimed_s)s)
FROM chosen WHERE deliveries.id = chosen.id
RETURNING deliveries.id, is_alert, owner, type, facts, body, created, attempts, attempts - attempts_before AS tries,
    url, secret
"""

_SETTLE = """
UPDATE deliveries SET
    state = %(state)s, status = %(status)s, answer = %(answer)s,
    due = now() + make_interval(secs => %(pause_s)s),
    ended = CASE WHEN %(state)s = 'pending' THEN NULL ELSE clock_timestamp() END
WHERE id = %(id)s AND attempts = %(attempts)s AND state = 'pending'
"""

_GONE = "UPDATE keys SET webhook_gone = webhook WHERE owner = %s AND webhook = %s"

# Of whose key was revoked, whose webhook was taken away or said that it is gone.
_UNDELIVERABLE = """
UPDATE deliveries SET state = 'failed', ended = clock_timestamp(), answer = concat_ws(' ', nullif(answer, ''), %s::text)
WHERE state = 'pending' AND NOT is_alert AND NOT EXISTS (
    SELECT FROM keys WHERE keys.owner = deliveries.owner AND webhook <> '' AND webhook <> webhook_gone
        AND revoked IS NULL)
"""
_NOWHERE = "(The key has no webhook any more. / 密钥已没有可用的 webhook。)"

_SHOWN = """
SELECT deliveries.id::text, type, deliveries.owner, name AS key, prompt_id, state, attempts, status, answer,
    CASE WHEN state = 'pending' THEN due END AS next, deliveries.created, ended, webhook AS url
FROM deliveries LEFT JOIN keys ON keys.owner = deliveries.owner AND NOT is_alert
WHERE (%(all)s OR deliveries.owner = %(owner)s AND NOT is_alert) AND (%(state)s = '' OR state = %(state)s)
    AND (%(prompt_id)s = '' OR prompt_id = %(prompt_id)s)
ORDER BY deliveries.created DESC LIMIT %(limit)s
"""

_RETRY = """
WITH again AS (
    UPDATE deliveries SET state = 'pending', due = clock_timestamp(), attempts_before = attempts, ended = NULL
    WHERE id = %(id)s AND (%(all)s OR owner = %(owner)s AND NOT is_alert)
    RETURNING owner, is_alert
),
reopened AS (
    UPDATE keys SET webhook_gone = '' FROM again WHERE keys.owner = again.owner AND NOT again.is_alert
        AND webhook_gone <> ''
)
SELECT FROM again
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One that is ours to send now. ``attempts`` counts this one and is what its end is written under; ``tries`` are
    those since the pauses began."""

    id: UUID
    is_alert: bool
    owner: str
    type: str
    facts: Mapping[str, Any]
    body: bytes | None
    created: datetime
    attempts: int
    tries: int
    url: str
    secret: str


Endpoint = tuple[bool, str]
"""Whether it is the one for alerts, and else whose."""


async def claim(
    pool: AsyncConnectionPool, busy: Mapping[Endpoint, int], *, most: int, most_each: int, alerts: tuple[str, str]
) -> list[Delivery]:
    """Take what is due; ``alerts`` are the address and the secret of the endpoint for alerts, or empty."""
    values = {
        "alert_url": alerts[0],
        "alert_secret": alerts[1],
        "busy_alerts": [is_alert for is_alert, _ in busy],
        "busy_owners": [owner for _, owner in busy],
        "busy_with": list(busy.values()),
        "most_each": most_each,
        "most": most,
        "claimed_s": _CLAIMED_S,
    }
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Delivery)) as cursor:
        return await (await cursor.execute(_CLAIM, values)).fetchall()


async def fix(pool: AsyncConnectionPool, delivery: Delivery, body: bytes) -> bytes:
    """Write the body down, unless there is one; what every sending has."""
    query = "UPDATE deliveries SET body = coalesce(body, %s) WHERE id = %s RETURNING body"
    async with pool.connection() as connection:
        row = await (await connection.execute(query, (body, delivery.id))).fetchone()
    return bytes(row[0]) if row is not None else body


async def settle(
    pool: AsyncConnectionPool, delivery: Delivery, *, state: str, status: int | None, answer: str, pause_s: float = 0.0
) -> None:
    """Write down what became of a sending, unless another one has begun meanwhile."""
    values = {
        "id": delivery.id,
        "attempts": delivery.attempts,
        "state": state,
        "status": status,
        "answer": answer,
        "pause_s": pause_s,
    }
    async with pool.connection() as connection:
        await connection.execute(_SETTLE, values)


async def close_endpoint(pool: AsyncConnectionPool, delivery: Delivery) -> None:
    """Send nothing more to where this one went, until another address is written down."""
    async with pool.connection() as connection:
        await connection.execute(_GONE, (delivery.owner, delivery.url))


async def clear(pool: AsyncConnectionPool) -> None:
    """End what cannot be sent any more, and forget what is older than its job."""
    async with pool.connection() as connection:
        await connection.execute(_UNDELIVERABLE, (_NOWHERE,))
        await connection.execute("DELETE FROM deliveries WHERE expires < now()")


async def get_deliveries(request: web.Request) -> web.Response:
    """The caller's own, the latest first; for admins all of them, alerts too."""
    asking = caller(request)
    state = request.query.get("state", "")
    if state not in ("", *_STATES):
        raise Malformed(f"state is one of {', '.join(_STATES)}")
    try:
        limit = int(request.query.get("limit", "100"))
    except ValueError as exc:
        raise Malformed("limit is a number") from exc
    values = {
        "all": asking.is_admin,
        "owner": asking.owner,
        "state": state,
        "prompt_id": request.query.get("prompt_id", ""),
        "limit": max(1, min(limit, _MOST_SHOWN)),
    }
    pool = request.app[STATE].pool
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        found = await (await cursor.execute(_SHOWN, values)).fetchall()
    return web.json_response({"deliveries": [_shown(row, is_admin=asking.is_admin) for row in found]})


async def post_retry(request: web.Request) -> web.Response:
    """Send one once more, now: the same bytes under the same id."""
    asking = caller(request)
    try:
        wanted = UUID(request.match_info["id"])
    except ValueError:
        return not_found("There is no such delivery.")
    async with request.app[STATE].pool.connection() as connection:
        values = {"id": wanted, "all": asking.is_admin, "owner": asking.owner}
        row = await (await connection.execute(_RETRY, values)).fetchone()
    if row is None:
        return not_found("There is no such delivery.")
    return web.json_response({"id": str(wanted), "state": "pending"})


def _shown(row: Mapping[str, Any], *, is_admin: bool) -> dict[str, Any]:
    shown = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    if not is_admin:
        del shown["owner"]
    return {**shown, "url": masked(row["url"]) if row["url"] else None}
