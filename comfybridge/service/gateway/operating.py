"""``/comfybridge/servers``: which there are, and taking one in, pausing, draining and removing it. For admins."""

from aiohttp import web

from comfybridge.service import changing
from comfybridge.service.gateway.bodies import Malformed, object_of
from comfybridge.service.gateway.callers import admins_only, caller, not_found
from comfybridge.service.gateway.state import STATE
from comfybridge.service.servers import ACTIONS, NotAnAddress


async def get_servers(request: web.Request) -> web.Response:
    if not caller(request).is_admin:
        return admins_only()
    return web.json_response({"servers": await changing.servers_async(request.app[STATE].pool)})


async def post_servers(request: web.Request) -> web.Response:
    """``{"action": "add" | "pause" | "drain" | "resume" | "remove", "url": …}``."""
    if not caller(request).is_admin:
        return admins_only()
    body = await object_of(request)
    action, url = body.get("action"), body.get("url")
    if action not in ACTIONS or not isinstance(url, str):
        raise Malformed(f"the action is one of {', '.join(ACTIONS)}, and the url a text")
    try:
        change = await changing.change_async(request.app[STATE].pool, action, url)
    except NotAnAddress as exc:
        raise Malformed(str(exc)) from exc
    if change is None:
        return not_found("There is no such server.")
    en, zh = change.sentences
    return web.json_response({"mode": change.mode, "message": {"en": en, "zh": zh}})
