"""``POST /comfybridge/cancel``: one job, or all that wait; of the caller's own, for admins of everybody's."""

from aiohttp import web

from comfybridge.service.gateway import rows
from comfybridge.service.gateway.bodies import Malformed, object_of
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.state import STATE

_OWNER = "SELECT owner FROM jobs WHERE prompt_id = %s AND (%s OR owner = %s)"
_WAITING = "SELECT DISTINCT owner FROM jobs WHERE state IN ('queued', 'claimed')"


async def post_cancel(request: web.Request) -> web.Response:
    """``{"prompt_id": …}`` or ``{"waiting": true}``. What runs ends when its server has heard of it."""
    state, who = request.app[STATE], caller(request)
    body = await object_of(request)
    if not isinstance(body.get("prompt_id"), str) and body.get("waiting") is not True:
        raise Malformed("the body names a prompt_id, or says that all that is waiting is meant")
    if body.get("waiting") is True:
        owners = [who.owner]
        if who.is_admin:
            async with state.pool.connection() as connection:
                owners = [owner for (owner,) in await (await connection.execute(_WAITING)).fetchall()]
        for owner in owners:
            await rows.delete(state.pool, owner, None, keep_s=state.keep_s)
        return web.json_response({"waiting": True})
    prompt_id = body["prompt_id"]
    async with state.pool.connection() as connection:
        row = await (await connection.execute(_OWNER, (prompt_id, who.is_admin, who.owner))).fetchone()
    if row is None:
        return web.json_response({"error": {"type": "not_found", "message": "There is no such job."}}, status=404)
    await rows.delete(state.pool, row[0], [prompt_id], keep_s=state.keep_s)
    await rows.interrupt(state.pool, row[0], prompt_id)
    return web.json_response({"prompt_id": prompt_id})
