"""``/userdata``: the editor's files, saved workflows above all (app/user_manager.py).

One user, ``default``, as long as a server is not started with ``--multi-user``: the header ``comfy-user`` is ignored.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from comfybridge.simulator.files import Files, is_inside
from comfybridge.simulator.middleware import Malformed
from comfybridge.simulator.state import STATE

BAD_NAME = 'Invalid filename. Please avoid special characters like :\\/*?"<>|'


def store(files: Files, workflows: Mapping[str, object]) -> None:
    """Save workflows, in the editor's own format, under their names; ``.json`` is added where it is missing.

    Raises:
        ValueError: a name leads out of the folder.
    """
    for name, workflow in workflows.items():
        path = _resolved(files, f"workflows/{name}" if name.endswith(".json") else f"workflows/{name}.json")
        if path is None:
            raise ValueError(f"no name for a workflow: {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(workflow, ensure_ascii=False), encoding="utf-8")


async def get_list(request: web.Request) -> web.Response:
    folder = request.query.get("dir", "")
    if not folder:
        return web.Response(status=400, text="Directory not provided")
    files = request.app[STATE].files
    path = _resolved(files, folder)
    if path is None:
        return web.Response(status=403, text="Invalid directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return web.Response(status=404, text="Directory not found")
    entries = list(_visible(path, is_deep=_is_set(request, "recurse")))
    if _is_set(request, "full_info"):
        return web.json_response([_info(entry, path) for entry in entries])
    names = [entry.relative_to(path).as_posix() for entry in entries]
    if _is_set(request, "split"):
        return web.json_response([[name, *name.split("/")] for name in names])
    return web.json_response(names)


async def get_tree(request: web.Request) -> web.Response:
    """List files and folders, however deep, by their paths from the user's own folder (``/v2/userdata``)."""
    files = request.app[STATE].files
    wanted = unquote(request.query.get("path", ""))
    path = _resolved(files, wanted) if wanted else files.user
    if path is None:
        return web.Response(status=400, text="Invalid path requested")
    if not path.exists():
        if path == files.user:
            return web.json_response([])
        return web.Response(status=404, text="Requested path not found")
    if not path.is_dir():
        return web.Response(status=400, text="Requested path is not a directory")
    entries = [_entry(entry, files.user) for entry in path.rglob("*")]
    entries.sort(key=lambda entry: (entry["type"] != "directory", entry["name"].lower()))
    return web.json_response(entries)


async def get_file(request: web.Request) -> web.StreamResponse:
    path = _named(request)
    if isinstance(path, web.Response):
        return path
    return web.FileResponse(path) if path.exists() else web.Response(status=404)


async def post_file(request: web.Request) -> web.Response:
    path = _named(request)
    if isinstance(path, web.Response):
        return path
    if _would_overwrite(request, path):
        return web.Response(status=409, text="File already exists")
    try:
        path.write_bytes(await request.read())
    except OSError:
        return web.Response(status=400, reason=BAD_NAME)
    return _stored(request, path)


async def delete_file(request: web.Request) -> web.Response:
    path = _named(request)
    if isinstance(path, web.Response):
        return path
    if not path.exists():
        return web.Response(status=404)
    try:
        path.unlink()
    except OSError as fault:
        raise Malformed from fault
    return web.Response(status=204)


async def move_file(request: web.Request) -> web.Response:
    source = _named(request)
    if isinstance(source, web.Response):
        return source
    if not source.exists():
        return web.Response(status=404)
    target = _named(request, "dest")
    if isinstance(target, web.Response):
        return target
    if _would_overwrite(request, target):
        return web.Response(status=409, text="File already exists")
    try:
        shutil.move(source, target)
    except OSError as fault:
        raise Malformed from fault
    return _stored(request, target)


def _named(request: web.Request, part: str = "file") -> Path | web.Response:
    """Find the path that the address names, and make the folder it is in, even for reading as ComfyUI does."""
    path = _resolved(request.app[STATE].files, request.match_info[part])
    if path is None:
        return web.Response(status=403)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise Malformed from fault
    return path


def _resolved(files: Files, name: str) -> Path | None:
    if "%" in name:
        name = unquote(name)
    if "\0" in name:
        raise Malformed
    path = Path(os.path.abspath(files.user / name))  # noqa: PTH100  (lexical as in ComfyUI)
    return path if is_inside(files.user, path) else None


def _visible(folder: Path, *, is_deep: bool) -> Iterator[Path]:
    """Give the files as glob does: nothing hidden, and nothing in a hidden folder."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield entry
        elif is_deep:
            yield from _visible(entry, is_deep=True)


def _entry(path: Path, base: Path) -> dict[str, Any]:
    kind = "directory" if path.is_dir() else "file"
    entry: dict[str, Any] = {"name": path.name, "path": path.relative_to(base).as_posix(), "type": kind}
    if kind == "file":
        stat = path.stat()
        entry |= {"size": stat.st_size, "modified": stat.st_mtime}
    return entry


def _info(path: Path, base: Path) -> dict[str, Any]:
    stat = path.stat()
    return {
        "path": os.path.relpath(path, base).replace(os.sep, "/"),
        "size": stat.st_size,
        "modified": stat.st_mtime,
        "created": stat.st_ctime,
    }


def _stored(request: web.Request, path: Path) -> web.Response:
    base = request.app[STATE].files.user
    if _is_set(request, "full_info"):
        return web.json_response(_info(path, base))
    return web.json_response(os.path.relpath(path, base))


def _would_overwrite(request: web.Request, path: Path) -> bool:
    return request.query.get("overwrite") == "false" and path.exists()


def _is_set(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"
