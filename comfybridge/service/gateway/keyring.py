"""The keys as a gateway knows them: read again every second, so that one that is revoked soon opens nothing."""

import asyncio
import math
import time
from collections.abc import Iterable

from psycopg_pool import AsyncConnectionPool

from comfybridge.service.gateway.callers import ANYBODY, Caller
from comfybridge.service.keys import hashed

_FRESH_S = 1.0
_PAUSE_S = 0.1
"""So often, at most, somebody looks whether a key that nobody knows was made a moment ago."""

_VALID = "SELECT hash, owner, name, is_admin, priority, limits, templates FROM keys WHERE revoked IS NULL"
_ANY = "SELECT FROM keys LIMIT 1"


class Keyring:
    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._by_hash: dict[bytes, Caller] = {}
        self._read = -math.inf
        self._reading = asyncio.Lock()
        self.is_used = False
        """Whether keys were ever made: from then on nobody does without, also when all of them are revoked."""

    async def find(self, key: str) -> Caller | None:
        """Whose key this is, as of at most a second ago; that of one that nobody knew then, as of now."""
        now = time.monotonic()
        await self.refresh(now - _FRESH_S)
        found = self.known(key)
        if found is None and key:
            await self.refresh(now)
            found = self.known(key)
        return found

    def known(self, key: str) -> Caller | None:
        """Whose key this was when the keys were last read."""
        return self._by_hash.get(hashed(key))

    async def refresh(self, not_before: float) -> None:
        """Read the keys as they were at this time (of ``time.monotonic``) or later."""
        if self._read >= not_before:
            return
        async with self._reading:
            if self._read >= not_before:
                return
            if self.is_used:
                await asyncio.sleep(max(0.0, self._read + _PAUSE_S - time.monotonic()))
            begun = time.monotonic()
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_VALID)).fetchall()
                is_used = bool(rows) or await (await connection.execute(_ANY)).fetchone() is not None
            self._by_hash = {
                bytes(hash_): Caller(
                    owner=owner,
                    is_admin=is_admin,
                    priority=priority,
                    name=name,
                    limits=limits,
                    templates=frozenset(templates) if templates is not None else None,
                )
                for hash_, owner, name, is_admin, priority, limits, templates in rows
            }
            self._read, self.is_used = begun, is_used

    def of(self, owner: str) -> Caller | None:
        """Who this owner is now; ``None`` when nobody is that any more."""
        if not self.is_used:
            return ANYBODY if owner == ANYBODY.owner else None
        return next((one for one in self._by_hash.values() if one.owner == owner), None)

    def without_key(self, owners: Iterable[str]) -> list[str]:
        """Those of the owners who may no longer be heard."""
        valid = {one.owner for one in self._by_hash.values()} if self.is_used else {ANYBODY.owner}
        return [owner for owner in owners if owner not in valid]
