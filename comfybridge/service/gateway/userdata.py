"""``/userdata``: the fleet's templates, as the workflows that one ComfyUI would have saved. Read-only."""

import json
from functools import cache
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from comfybridge import library

_FOLDER = "workflows"


@cache
def _files() -> dict[str, bytes]:
    """Path -> content, as of the start."""
    return {
        f"{_FOLDER}/{template.name}.json": json.dumps(template.prompt, ensure_ascii=False).encode()
        for template in library.templates()
    }


async def get_list(request: web.Request) -> web.Response:
    folder = request.query.get("dir", "").strip("/")
    if not folder:
        return web.Response(status=400, text="Directory not provided")
    if ".." in folder:
        return web.Response(status=403, text="Invalid directory")
    if folder != _FOLDER:
        return web.Response(status=404, text="Directory not found")
    names = [path.removeprefix(f"{_FOLDER}/") for path in _files()]
    if _is_set(request, "full_info"):
        return web.json_response([_info(name) for name in names])
    if _is_set(request, "split"):
        return web.json_response([[name, *name.split("/")] for name in names])
    return web.json_response(names)


async def get_tree(request: web.Request) -> web.Response:
    """List files and folders by their paths (``/v2/userdata``)."""
    wanted = unquote(request.query.get("path", "")).strip("/")
    if ".." in wanted:
        return web.Response(status=400, text="Invalid path requested")
    files = [
        {"name": path.rpartition("/")[2], "path": path, "type": "file", "size": len(content), "modified": 0}
        for path, content in _files().items()
    ]
    if wanted == _FOLDER:
        return web.json_response(files)
    if wanted:
        return web.Response(status=404, text="Requested path not found")
    return web.json_response([{"name": _FOLDER, "path": _FOLDER, "type": "directory"}, *files])


async def get_file(request: web.Request) -> web.Response:
    content = _files().get(unquote(request.match_info["file"]))
    return web.Response(status=404) if content is None else web.Response(body=content, content_type="application/json")


async def read_only(_request: web.Request) -> web.Response:
    """The templates are changed where they lie."""
    return web.Response(status=403, text="Saved workflows are read-only here.")


def _info(name: str) -> dict[str, Any]:
    return {"path": name, "size": len(_files()[f"{_FOLDER}/{name}"]), "modified": 0, "created": 0}


def _is_set(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"
