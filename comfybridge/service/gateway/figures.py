"""``/comfybridge/figures``: how each version of each template does, over a time of the caller's choice. For admins."""

import asyncio
from typing import Any

from aiohttp import web

from comfybridge.service import standings
from comfybridge.service.database import durable
from comfybridge.service.gateway.bodies import Malformed
from comfybridge.service.gateway.callers import admins_only, caller
from comfybridge.service.gateway.state import STATE
from comfybridge.service.standings import Standing

_MOST_HOURS = 24.0 * 365


async def get_figures(request: web.Request) -> web.Response:
    """Of the last ``?hours=``; without, of the latest runs of each, as its threshold sees it."""
    if not caller(request).is_admin:
        return admins_only()
    try:
        hours = float(request.query["hours"]) if "hours" in request.query else None
    except ValueError as exc:
        raise Malformed("hours is a number") from exc
    if hours is not None and not 0 < hours <= _MOST_HOURS:
        raise Malformed("hours is more than 0, and no more than a year")
    url = request.app[STATE].pool.conninfo
    assert isinstance(url, str)  # noqa: S101  (as it was given)

    def read() -> list[Standing]:
        with durable(url) as connection:
            return standings.standings(connection, hours=hours)

    return web.json_response({"versions": [_shown(one) for one in await asyncio.to_thread(read)]})


def _shown(one: Standing) -> dict[str, Any]:
    found = one.figures
    return {
        "template": one.template,
        "version": one.version,
        "is_stable": one.is_stable,
        "share": one.share,
        "keys": list(one.keys),
        "rolled_back": one.rolled_back,
        "runs": found.runs,
        "success": found.success,
        "median_s": found.median_s,
        "p95_s": found.p95_s,
    }
