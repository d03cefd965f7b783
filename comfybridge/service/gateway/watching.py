"""What one gateway at a time does for the fleet now and then: count what ended, and look what is amiss."""

import asyncio
import logging

from psycopg_pool import AsyncConnectionPool

from comfybridge.service import alerting, tallying
from comfybridge.service.alerting import Thresholds
from comfybridge.service.supervised import DATABASE_FAULTS

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0


async def run(pool: AsyncConnectionPool, thresholds: Thresholds | None) -> None:
    """Watch until cancelled; without ``thresholds`` nobody wants to be told of anything."""
    while True:
        try:
            async with pool.connection() as connection:
                await tallying.roll(connection)
                if thresholds is not None:
                    await alerting.look(connection, thresholds)
        except DATABASE_FAULTS as exc:
            logger.warning("counting waits for the database: %s", exc)
        await asyncio.sleep(_LOOK_EVERY_S)
