"""What the fleet is and has, as if it were one server: classes, models, system."""

import mimetypes
import sys
from pathlib import PurePath

from aiohttp import web

from comfybridge.service import catalogue
from comfybridge.service.gateway import rows
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.state import STATE


async def get_object_info(request: web.Request) -> web.Response:
    state = request.app[STATE]
    await state.fleet.refresh()
    names = await _uploads(request)
    return web.json_response(
        {class_type: catalogue.with_uploads(info, names) for class_type, info in state.fleet.classes.items()}
    )


async def get_object_info_of(request: web.Request) -> web.Response:
    state = request.app[STATE]
    await state.fleet.refresh()
    class_type = request.match_info["class_type"]
    info = state.fleet.classes.get(class_type)
    if info is None:
        return web.json_response({})
    return web.json_response({class_type: catalogue.with_uploads(info, await _uploads(request))})


async def get_models(request: web.Request) -> web.Response:
    fleet = request.app[STATE].fleet
    await fleet.refresh()
    return web.json_response(list(fleet.models))


async def get_models_in(request: web.Request) -> web.Response:
    fleet = request.app[STATE].fleet
    await fleet.refresh()
    files = fleet.models.get(request.match_info["folder"])
    return web.Response(status=404) if files is None else web.json_response(files)


async def get_embeddings(request: web.Request) -> web.Response:
    fleet = request.app[STATE].fleet
    await fleet.refresh()
    return web.json_response(fleet.embeddings)


async def get_extensions(_request: web.Request) -> web.Response:
    return web.json_response([])


async def get_features(request: web.Request) -> web.Response:
    return web.json_response(request.app[STATE].hub.features)


async def get_system_stats(request: web.Request) -> web.Response:
    """ComfyUI's own form: the version is the oldest of the fleet, the devices are those of all servers."""
    fleet = request.app[STATE].fleet
    await fleet.refresh()
    systems = [server.stats.get("system") or {} for server in fleet.servers]
    versions = [str(system["comfyui_version"]) for system in systems if "comfyui_version" in system]
    known = next((system for system in systems if system), {})
    system = {
        **{name: value for name, value in known.items() if name != "argv"},
        "os": sys.platform,
        "comfyui_version": min(versions, key=_as_numbers, default="0.0.0"),
        "python_version": known.get("python_version", sys.version),
        "argv": [],
    }
    devices = [
        {**device, "index": number}
        for number, device in enumerate(
            device for server in fleet.servers for device in server.stats.get("devices") or ()
        )
    ]
    return web.json_response({"system": system, "devices": devices})


async def _uploads(request: web.Request) -> dict[str, list[str]]:
    """The caller's files in ``input``, by kind."""
    names: dict[str, list[str]] = {}
    for file in await rows.inputs(request.app[STATE].pool, caller(request).owner):
        kind = (mimetypes.guess_type(PurePath(file.filename).name, strict=False)[0] or "").partition("/")[0]
        names.setdefault(kind, []).append(file.filename)
    return names


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
