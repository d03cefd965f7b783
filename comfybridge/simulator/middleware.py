"""What happens around every request: the record of it, the key, faults on demand, ComfyUI's origin rule."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

from aiohttp import web

from comfybridge import addresses
from comfybridge.simulator.faults import Delay, DropConnection, Respond
from comfybridge.simulator.state import STATE, State
from comfybridge.simulator.traffic import Received

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
CURRENT: ContextVar[Received] = ContextVar("current")
"""The record of the request being answered; an upload adds its fields to it."""


class Malformed(Exception):
    """ComfyUI's handler would raise on this request, and aiohttp would answer 500."""


@web.middleware
async def simulated(request: web.Request, handler: Handler) -> web.StreamResponse:
    state = request.app[STATE]
    path = request.path.removeprefix(state.options.prefix)
    received = Received(request.method, path, dict(request.query), request.headers.copy())
    received.body = await _body(request)
    CURRENT.set(received)
    state.received.append(received)
    state.on_change()
    try:
        return await _answer(request, handler, state, path)
    except Malformed:
        return trouble()
    finally:
        state.on_change()


async def _answer(request: web.Request, handler: Handler, state: State, path: str) -> web.StreamResponse:
    key = state.options.api_key
    if key is not None and request.headers.get("Authorization") != f"Bearer {key}":
        return web.Response(status=401, text="Unauthorized")
    method = request.method
    if delay := state.faults.take(Delay, lambda fault: fault.concerns(method, path)):
        await asyncio.sleep(delay.seconds)
    if canned := state.faults.take(Respond, lambda fault: fault.concerns(method, path)):
        return web.Response(status=canned.status, body=canned.body, content_type=canned.content_type)
    drop = state.faults.take(DropConnection, lambda fault: fault.concerns(method, path))
    if drop and not drop.after_accepting:
        return _dropped(request)
    if addresses.is_foreign_origin(request.headers.get("Host", ""), request.headers.get("Origin", "")):
        return web.Response(status=403)
    if method == "OPTIONS":
        return web.Response()
    answer = await handler(request)
    return _dropped(request) if drop else answer


def _dropped(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def trouble() -> web.Response:
    """Answer as aiohttp does when a handler raised."""
    response = web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")
    response.force_close()
    return response


async def _body(request: web.Request) -> Any:
    """Read the body for the record; aiohttp keeps it for the handler. An upload is read by its handler alone."""
    if request.content_type == "multipart/form-data" or not request.can_read_body:
        return None
    raw = await request.read()
    try:
        return json.loads(raw)
    except ValueError:
        return raw


async def json_body(request: web.Request) -> Any:
    """Parse the body, whatever its content type says, as ComfyUI does."""
    try:
        return await request.json()
    except ValueError as fault:
        raise Malformed from fault
