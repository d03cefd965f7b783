"""``/userdata``: the fleet's templates, as the workflows that one ComfyUI would have saved. Read-only.

Each caller finds one file for each template, in the version that the rollout gives him.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from comfybridge import versioned
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.state import STATE
from comfybridge.service.templates import Version

_FOLDER = "workflows"


def user_of(request: web.Request) -> str:
    """On whose behalf a caller asks: what the core says, or ComfyUI's own window; empty where nobody says it."""
    return request.query.get(versioned.USER, "") or request.headers.get("Comfy-User", "")


def version_of(request: web.Request, name: str) -> Version | None:
    """What this caller gets under a name; ``None`` for a template that there is not, or that his key may not use."""
    who = caller(request)
    if who.templates is not None and name not in who.templates:
        return None
    return request.app[STATE].offering.version(name, who, user_of(request))


def versions_of(request: web.Request) -> Iterator[Version]:
    """All that this caller gets, by name."""
    for name in sorted(request.app[STATE].offering.held.versions):
        if (version := version_of(request, name)) is not None:
            yield version


async def get_list(request: web.Request) -> web.Response:
    folder = request.query.get("dir", "").strip("/")
    if not folder:
        return web.Response(status=400, text="Directory not provided")
    if ".." in folder:
        return web.Response(status=403, text="Invalid directory")
    if folder != _FOLDER:
        return web.Response(status=404, text="Directory not found")
    if _is_set(request, "full_info"):
        return web.json_response([_info(version) for version in versions_of(request)])
    names = [f"{version.name}.json" for version in versions_of(request)]
    if _is_set(request, "split"):
        return web.json_response([[name, *name.split("/")] for name in names])
    return web.json_response(names)


async def get_tree(request: web.Request) -> web.Response:
    """List files and folders by their paths (``/v2/userdata``)."""
    wanted = unquote(request.query.get("path", "")).strip("/")
    if ".." in wanted:
        return web.Response(status=400, text="Invalid path requested")
    if wanted not in ("", _FOLDER):
        return web.Response(status=404, text="Requested path not found")
    files = [
        {
            "name": f"{version.name}.json",
            "path": f"{_FOLDER}/{version.name}.json",
            "type": "file",
            "size": len(version.content),
            "modified": version.modified,
        }
        for version in versions_of(request)
    ]
    if wanted == _FOLDER:
        return web.json_response(files)
    return web.json_response([{"name": _FOLDER, "path": _FOLDER, "type": "directory"}, *files])


async def get_file(request: web.Request) -> web.Response:
    """A template by its name; for admins a version, too, to try it before its rollout."""
    folder, _, file = unquote(request.match_info["file"]).partition("/")
    name = file.removesuffix(".json")
    if folder != _FOLDER or not file.endswith(".json"):
        return web.Response(status=404)
    version = version_of(request, name)
    if version is None and caller(request).is_admin:
        version = request.app[STATE].offering.exactly(name)
    if version is None:
        return web.Response(status=404)
    # Tomorrow it may be another one.
    return web.Response(body=version.content, content_type="application/json", headers={"Cache-Control": "no-cache"})


async def read_only(_request: web.Request) -> web.Response:
    """The templates are changed where they lie."""
    return web.Response(status=403, text="Saved workflows are read-only here.")


def _info(version: Version) -> dict[str, Any]:
    return {
        "path": f"{version.name}.json",
        "size": len(version.content),
        "modified": version.modified,
        "created": version.modified,
    }


def _is_set(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"
