"""What a gateway tells the others, all that there is at once.

Not with the rows themselves: PostgreSQL lets only one notifying transaction commit at a time, and those that write wait
for the disk. Whoever misses one polls.
"""

import asyncio
import logging

from psycopg_pool import AsyncConnectionPool

from comfybridge.service.supervised import DATABASE_FAULTS

logger = logging.getLogger(__name__)

_TELL = "SELECT pg_notify(channel, payload) FROM unnest(%s::text[], %s::text[]) AS told (channel, payload)"


class Notices:
    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._waiting: list[tuple[str, str]] = []
        self._has_some = asyncio.Event()

    def tell(self, channel: str, payload: str) -> None:
        """Tell it soon."""
        self._waiting.append((channel, payload))
        self._has_some.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            several, self._waiting = self._waiting, []
            try:
                async with self._pool.connection() as connection:
                    await connection.execute(_TELL, tuple(map(list, zip(*several, strict=True))))
            except DATABASE_FAULTS as exc:
                logger.warning("%d notices are lost: %s", len(several), exc)
