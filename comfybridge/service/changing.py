"""The servers read and changed by one statement each: for the command line, and for a gateway's handlers."""

from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from comfybridge.service import servers as values
from comfybridge.service.database import ASKED, told
from comfybridge.service.servers import MODES, Change

_URLS = "SELECT url FROM servers"


def servers(database: str) -> list[dict[str, Any]]:
    """All servers as they are told."""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        return [values.described(row) for row in connection.execute(values.LIST)]


def change(database: str, action: str, typed: str) -> Change | None:
    """Do what ``servers.ACTIONS`` names; ``None`` when there is no such server.

    Raises:
        NotAnAddress: what was typed is none.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        known = [url for (url,) in connection.execute(_URLS)]
        statement, slots = _statement(action, typed, known)
        row = connection.execute(statement, slots).fetchone()
    return _changed(action, slots["url"], row)


async def servers_async(pool: AsyncConnectionPool) -> list[dict[str, Any]]:
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return [values.described(row) async for row in await cursor.execute(values.LIST)]


async def change_async(pool: AsyncConnectionPool, action: str, typed: str) -> Change | None:
    """As ``change``."""
    async with pool.connection() as connection:
        known = [url async for (url,) in await connection.execute(_URLS)]
        statement, slots = _statement(action, typed, known)
        row = await (await connection.execute(statement, slots)).fetchone()
    return _changed(action, slots["url"], row)


def _statement(action: str, typed: str, known: list[str]) -> tuple[str, dict[str, Any]]:
    url = values.meant(typed, known) or values.normal(typed)
    slots = {"url": url, "channel": ASKED, "notice": told({"what": "look", "server": url}), "serve": values.SERVE}
    return (values.ADD, slots) if action == "add" else (values.SET_MODE, {**slots, "mode": MODES[action]})


def _changed(action: str, url: str, row: tuple[Any, ...] | None) -> Change | None:
    if row is None:
        return None
    mode, before, _, is_served, stranded = row
    return Change(action=action, url=url, mode=mode, before=before, is_served=is_served, stranded=stranded)
