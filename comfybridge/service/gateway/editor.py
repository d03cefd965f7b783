"""What ComfyUI's own front end asks for besides the API: its user, settings, translations, model library and log.

Of the servers' disks and logs nothing is told; settings are the caller's own.
"""

from typing import Any

from aiohttp import web

from comfybridge.service.database import as_json, told
from comfybridge.service.gateway import places, rows
from comfybridge.service.gateway.bodies import Malformed, json_of, object_of, usable
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.state import STATE

_NO_MODELS = frozenset({"configs", "custom_nodes"})
_LARGEST, _MOST_SETTINGS = 256 * 1024, 2000

_SETTINGS = "SELECT name, value FROM editor_settings WHERE owner = %s"
_SET = """
INSERT INTO editor_settings SELECT %(owner)s, %(name)s, %(value)s
WHERE (SELECT count(*) FROM editor_settings WHERE owner = %(owner)s) < %(most)s
ON CONFLICT (owner, name) DO UPDATE SET value = EXCLUDED.value
"""


async def get_users(_request: web.Request) -> web.Response:
    """One user for each caller, whose settings the server keeps."""
    return web.json_response({"storage": "server", "migrated": True})


async def get_settings(request: web.Request) -> web.Response:
    return web.json_response(await _settings(request))


async def get_setting(request: web.Request) -> web.Response:
    return web.json_response((await _settings(request)).get(request.match_info["id"]))


async def post_settings(request: web.Request) -> web.Response:
    await _store(request, await object_of(request))
    return web.Response()


async def post_setting(request: web.Request) -> web.Response:
    await _store(request, {usable(request.match_info["id"]): await json_of(request)})
    return web.Response()


async def get_nothing(_request: web.Request) -> web.Response:
    """Translations, blueprints and templates of custom node packs: those are not passed on."""
    return web.json_response({})


async def get_null(_request: web.Request) -> web.Response:
    return web.json_response(None)


async def get_model_folders(request: web.Request) -> web.Response:
    fleet = request.app[STATE].fleet
    await fleet.refresh()
    return web.json_response([{"name": name, "folders": []} for name in fleet.models if name not in _NO_MODELS])


async def get_models_of(request: web.Request) -> web.Response:
    fleet = request.app[STATE].fleet
    await fleet.refresh()
    names = fleet.models.get(request.match_info["folder"])
    if names is None:
        return web.Response(status=404)
    return web.json_response([{"name": name, "pathIndex": 0, "modified": 0, "created": 0, "size": 0} for name in names])


async def get_files(request: web.Request) -> web.Response:
    """The caller's files of one type, the newest first."""
    folder = request.match_info["directory_type"]
    if folder not in places.TYPES:
        return web.json_response({"error": "Invalid directory type"}, status=400)
    return web.json_response(await rows.newest(request.app[STATE].pool, caller(request).owner, folder))


async def get_log(_request: web.Request) -> web.Response:
    return web.json_response("")


async def get_raw_log(_request: web.Request) -> web.Response:
    return web.json_response({"entries": [], "size": {"cols": 80, "rows": 24}})


async def subscribe(_request: web.Request) -> web.Response:
    """A log that stays empty has no news."""
    return web.Response()


async def _settings(request: web.Request) -> dict[str, Any]:
    async with request.app[STATE].pool.connection() as connection:
        return dict(await (await connection.execute(_SETTINGS, (caller(request).owner,))).fetchall())


async def _store(request: web.Request, changes: dict[str, Any]) -> None:
    if len(told(changes)) > _LARGEST:
        raise Malformed("settings of such a size are not kept")
    async with request.app[STATE].pool.connection() as connection, connection.transaction():
        for name in sorted(changes):
            values = {"owner": caller(request).owner, "name": name, "value": as_json(changes[name])}
            await connection.execute(_SET, {**values, "most": _MOST_SETTINGS})
