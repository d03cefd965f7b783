"""What stands before every route: who calls, and whether that one still may while a WebSocket is open."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from comfybridge.service.gateway import callers
from comfybridge.service.gateway.callers import ANYBODY
from comfybridge.service.gateway.health import in_time
from comfybridge.service.gateway.state import STATE, State
from comfybridge.service.supervised import DATABASE_FAULTS

logger = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOOK_EVERY_S = 1.0
_MAKE_ONE = "An admin makes one with `comfybridge keys add NAME`."


@web.middleware
async def authenticated(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who calls; whoever may not, gets no further."""
    if callers.is_open(request):
        return await handler(request)
    state = request.app[STATE]
    key = callers.key_of(request)
    if request.path in callers.WITHOUT_DATABASE:
        # A key can be revoked only where the database is: whoever was known stays known while it is away.
        found = await in_time(state.keyring.find(key)) or state.keyring.known(key)
    else:
        found = await state.keyring.find(key)
    if found is None and not state.keyring.is_used and state.options.is_local:
        if not callers.is_from_here(request):
            return callers.refused(f"Through a proxy, or by another name, an API key is needed. {_MAKE_ONE}")
        found = ANYBODY
    if found is None:
        why = "This API key is not known, or was revoked." if key else "An API key is needed."
        return callers.refused(f"{why} {_MAKE_ONE}", challenges=not callers.is_script(request))
    if callers.is_from_another_page(request, state.options.public_url):
        return callers.refused("Another site's page may not use the key that this browser keeps.", status=403)
    callers.let_in(request, found)
    return await handler(request)


async def watch(state: State) -> None:
    """Read keys and the secrets of links again and again; end the sockets of those whose key is no more."""
    while True:
        try:
            await state.keyring.refresh(time.monotonic())
            await state.signing.refresh(state.pool)
            state.hub.drop(state.keyring.without_key(state.hub.owners))
            state.hub.onlookers.recheck(state.keyring.of)
        except DATABASE_FAULTS as exc:
            logger.warning("keys are as they were: %s", exc)
        await asyncio.sleep(_LOOK_EVERY_S)
