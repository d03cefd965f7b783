"""How much waits, and who may add to it: a cap for all, and what each key is limited to."""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from comfybridge.service.gateway.callers import Caller

_FRESH_S = 1.0
_MINUTE_S = 60.0
_SHARE = 100
"""Whoever is sent away at the cap is told to come back when this part of it is done."""
_LONGEST_AGAIN_S = 300

# Of an index, and never more of it than the cap.
_COUNT = "SELECT count(*) FROM (SELECT FROM jobs WHERE state = 'queued' LIMIT %s) AS waiting"
_PACE = """
SELECT (SELECT avg(seconds) FROM durations),
    (SELECT count(*) FROM servers WHERE mode = 'active' AND health = 'well')
"""
# A bucket that holds as many as a minute gives. Unlogged, so this waits for no disk; one for the whole fleet.
_TAKE = """
INSERT INTO rates AS bucket (owner, tokens) VALUES (%(owner)s, %(rate)s - 1)
ON CONFLICT (owner) DO UPDATE SET
    tokens = least(%(rate)s, bucket.tokens + %(rate)s / 60.0 * extract(epoch FROM clock_timestamp() - bucket.at)) - 1,
    at = clock_timestamp()
WHERE least(%(rate)s, bucket.tokens + %(rate)s / 60.0 * extract(epoch FROM clock_timestamp() - bucket.at)) >= 1
RETURNING tokens
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 13))"
_WAITING = """
SELECT count(*) FROM (
    SELECT FROM jobs WHERE owner = %s AND state IN ('queued', 'claimed') LIMIT %s
) AS waiting
"""


class Busy(Exception):
    """Nothing was taken, and nothing written: the same may be asked again after a while."""

    def __init__(self, message: str, *, kind: str, status: int, again_s: float) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.again_s = max(1, min(_LONGEST_AGAIN_S, math.ceil(again_s)))


class Backlog:
    """The jobs of all callers that wait: counted every second, and in between what this gateway added."""

    def __init__(self, pool: AsyncConnectionPool, most: int) -> None:
        self._pool = pool
        self._most = most
        self._counted = 0
        self._added = 0
        self._underway = 0
        self._read = -math.inf
        self._reading = asyncio.Lock()
        self._again_s = 1.0

    async def look(self) -> None:
        """Count again, unless that was a moment ago.

        Raises:
            Busy: as many wait as may.
        """
        if time.monotonic() - self._read >= _FRESH_S:
            async with self._reading:
                if time.monotonic() - self._read >= _FRESH_S:
                    await self._count()
        if self._counted + self._added + self._underway >= self._most:
            message = f"{self._most} jobs wait already. Try again later."
            raise Busy(message, kind="queue_full", status=503, again_s=self._again_s)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count one that is being written down; for good, if that goes well."""
        self._underway += 1
        try:
            yield
            self._added += 1
        finally:
            self._underway -= 1

    async def _count(self) -> None:
        begun, known = time.monotonic(), self._added
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_COUNT, (self._most,))).fetchone()
            self._counted = row[0] if row is not None else 0
            self._added -= known
            if self._counted >= self._most:
                pace = await (await connection.execute(_PACE)).fetchone()
                seconds, servers = pace if pace is not None else (None, 0)
                self._again_s = self._most / _SHARE * (seconds or 1.0) / max(1, servers)
        self._read = begun


async def take_turn(pool: AsyncConnectionPool, caller: Caller) -> None:
    """Count one request against the key's rate.

    Raises:
        Busy: it had too many in the last minute.
    """
    rate = caller.limits.get("rate")
    if rate is None:
        return
    async with pool.connection() as connection:
        row = await (await connection.execute(_TAKE, {"owner": caller.owner, "rate": rate})).fetchone()
    if row is None:
        message = f"This key may send {rate} prompts a minute. Try again later."
        raise Busy(message, kind="rate_limited", status=429, again_s=_MINUTE_S / rate)


async def hold_place(connection: AsyncConnection, caller: Caller, most: int) -> None:
    """Make sure that a job may be queued in this transaction: others of the same key wait until it ends.

    Raises:
        Busy: as many of the key's jobs wait as may.
    """
    await connection.execute(_LOCK, (caller.owner,))
    row = await (await connection.execute(_WAITING, (caller.owner, most))).fetchone()
    if row is not None and row[0] >= most:
        pace = await (await connection.execute(_PACE)).fetchone()
        seconds, servers = pace if pace is not None else (None, 0)
        message = f"{most} jobs of this key wait already, which is as many as may. Try again later."
        again_s = (seconds or 1.0) / max(1, servers)
        raise Busy(message, kind="key_queue_full", status=429, again_s=again_s)
