"""``/comfybridge/keys``: what ``comfybridge keys`` does, for admin keys."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TypeVar

from aiohttp import web
from psycopg import Connection

from comfybridge.service import keys
from comfybridge.service.database import durable
from comfybridge.service.gateway.bodies import object_of
from comfybridge.service.gateway.callers import admins_only, caller
from comfybridge.service.gateway.state import STATE

Done = TypeVar("Done")
Handler = Callable[[web.Request], Awaitable[web.Response]]


def _for_admins(handler: Handler) -> Handler:
    @wraps(handler)
    async def guarded(request: web.Request) -> web.Response:
        if not caller(request).is_admin:
            return admins_only()
        try:
            answer = await handler(request)
        except keys.BadValue as exc:
            return _refused(400, "bad_value", str(exc))
        except keys.Taken as exc:
            return _refused(409, "taken", f"There is a key {str(exc)!r} already.")
        await request.app[STATE].keyring.refresh(time.monotonic())
        return answer

    return guarded


@_for_admins
async def get_keys(request: web.Request) -> web.Response:
    return web.json_response([keys.facts(key) for key in await _on_database(request, keys.listed)])


@_for_admins
async def post_key(request: web.Request) -> web.Response:
    """Make a key; the answer is the only one that has it."""
    values = await object_of(request)
    name = str(values.pop("name", ""))
    made, text = await _on_database(request, lambda connection: keys.add(connection, name, values))
    return web.json_response({**keys.facts(made), "key": text}, status=201)


@_for_admins
async def patch_key(request: web.Request) -> web.Response:
    name, values = request.match_info["name"], await object_of(request)
    changed = await _on_database(request, lambda connection: keys.change(connection, name, values))
    return web.json_response(keys.facts(changed)) if changed is not None else _no_such(name)


@_for_admins
async def delete_key(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    was_there = await _on_database(request, lambda connection: keys.revoke(connection, name))
    return web.Response(status=204) if was_there else _no_such(name)


async def _on_database(request: web.Request, act: Callable[[Connection], Done]) -> Done:
    """On a thread and a connection of its own: this is done now and then."""
    url = request.app[STATE].pool.conninfo
    assert isinstance(url, str)  # noqa: S101  (as it was given)

    def run() -> Done:
        with durable(url) as connection:
            return act(connection)

    return await asyncio.to_thread(run)


def _no_such(name: str) -> web.Response:
    return _refused(404, "not_found", f"There is no key {name!r}.")


def _refused(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "message": message}}, status=status)
