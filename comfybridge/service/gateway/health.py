"""``/health`` and ``/ready``: whether this process lives, and whether jobs sent to it get done. Open to everybody."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

from aiohttp import web

from comfybridge.service.claiming import LEASE_S
from comfybridge.service.gateway.state import STATE, State
from comfybridge.service.migrating import steps
from comfybridge.service.supervised import DATABASE_FAULTS

_PATIENCE_S = 3.0
_STORE_EVERY_S = 30.0

_WELL = """
SELECT EXISTS (
    SELECT FROM servers
    WHERE mode = 'active' AND health = 'well' AND heartbeat > now() - make_interval(secs => %s))
"""

Found = TypeVar("Found")
Reason: TypeAlias = tuple[str, str, str]
_NO_DATABASE = ("database", "The database does not answer.", "数据库没有响应。")
_NO_TABLES = ("tables", "The tables of the database are of an older version.", "数据库表结构不是最新版本。")
_NO_STORE = ("store", "The store of the pictures cannot be written to.", "图片存储无法写入。")
_NO_SERVER = ("servers", "No ComfyUI server is well.", "没有状态正常的 ComfyUI 服务器。")


class Readiness:
    """The store is asked now and then only: that costs where it is paid by the request."""

    def __init__(self) -> None:
        self._looked = -_STORE_EVERY_S
        self._is_writable = False

    async def reasons(self, state: State) -> list[Reason]:
        """Why not; empty when all is well."""
        database, store = await asyncio.gather(in_time(self._database(state)), self._store(state))
        found = database if database is not None else [_NO_DATABASE]
        return found if store else [*found, _NO_STORE]

    async def _database(self, state: State) -> list[Reason]:
        async with state.pool.connection() as connection:
            done = await (await connection.execute("SELECT number FROM migrations")).fetchall()
            well = await (await connection.execute(_WELL, (LEASE_S,))).fetchone()
        has_tables = set(steps()) <= {number for (number,) in done}
        has_server = well is not None and bool(well[0])
        return [*([] if has_tables else [_NO_TABLES]), *([] if has_server else [_NO_SERVER])]

    async def _store(self, state: State) -> bool:
        if not self._is_writable or time.monotonic() - self._looked >= _STORE_EVERY_S:
            self._is_writable = bool(await in_time(state.store.is_writable()))
            self._looked = time.monotonic()
        return self._is_writable


READINESS = web.AppKey("readiness", Readiness)


async def in_time(asked: Coroutine[Any, Any, Found], patience_s: float = _PATIENCE_S) -> Found | None:
    """What was asked of the database or the store; ``None`` when it is away, or takes longer.

    What takes longer is told to end, and not waited for: psycopg first asks the server whether it may.
    """
    asking = asyncio.create_task(asked)
    asking.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        done, _ = await asyncio.wait((asking,), timeout=patience_s)
        return asking.result() if done else None
    except DATABASE_FAULTS:
        return None
    finally:
        asking.cancel()


async def get_health(_request: web.Request) -> web.Response:
    """Whoever answers has a loop that runs; a gateway whose servants broke ends by itself."""
    return web.json_response({"status": "ok"})


async def get_ready(request: web.Request) -> web.Response:
    found = await request.app[READINESS].reasons(request.app[STATE])
    reasons = [{"reason": name, "message": {"en": en, "zh": zh}} for name, en, zh in found]
    headers = {"Cache-Control": "no-store"}
    return web.json_response(
        {"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200, headers=headers
    )
