"""``/upload/image`` and ``/upload/mask`` (server.py, image_upload)."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from comfybridge import reencoding
from comfybridge.simulator.files import Files, is_inside
from comfybridge.simulator.middleware import CURRENT, Malformed
from comfybridge.simulator.state import STATE

Form = Mapping[str, Any]


async def post_image(request: web.Request) -> web.Response:
    form, content = await _form(request)
    return _stored(request.app[STATE].files, form, content)


async def post_mask(request: web.Request) -> web.Response:
    """Store the original picture with the alpha channel of the mask."""
    form, content = await _form(request)
    files = request.app[STATE].files
    if content is None:
        return _stored(files, form, content)
    return _stored(files, form, content, painted=_masked(files, form, content))


async def _form(request: web.Request) -> tuple[Form, bytes | None]:
    """Read the fields; the picture's bytes are ``None`` when no file was sent."""
    try:
        form = await request.post()
    except ValueError as fault:
        raise Malformed from fault
    image = form.get("image")
    if image is not None and not isinstance(image, FileField):
        raise Malformed
    fields: dict[str, Any] = dict(form)
    for name, field in form.items():
        if isinstance(field, FileField):
            with field.file:
                fields[name] = {"filename": field.filename, "content": field.file.read()}
    CURRENT.get().body = fields
    content = None if image is None else fields["image"]["content"]
    return form, content


def _stored(files: Files, form: Form, content: bytes | None, *, painted: bytes | None = None) -> web.Response:
    """Store a file under ComfyUI's naming rules.

    painted: what is written instead of the uploaded bytes.
    """
    folder_type = str(form.get("type", "input"))
    base = files.folder(folder_type)
    if base is None:
        raise Malformed
    if content is None or not form["image"].filename:
        return web.Response(status=400)
    name, subfolder = form["image"].filename, str(form.get("subfolder", ""))
    folder = base / os.path.normpath(subfolder)
    if not is_inside(base, folder / name):
        return web.Response(status=400)
    folder.mkdir(parents=True, exist_ok=True)
    if form.get("overwrite") not in ("true", "1"):
        name = _free_name(folder, name, content)
    try:
        # ComfyUI does not write an identical file again; writing the same bytes comes to the same.
        (folder / name).write_bytes(content if painted is None else painted)
    except FileNotFoundError as fault:
        raise Malformed from fault
    return web.json_response({"name": name, "subfolder": subfolder, "type": folder_type})


def _free_name(folder: Path, wanted: str, content: bytes) -> str:
    """Name the file ``x (1).png`` and so on, unless one with the same bytes is there."""
    stem, suffix = os.path.splitext(wanted)  # noqa: PTH122  (a folder in the name is kept)
    name, number = wanted, 1
    while (folder / name).exists() and (folder / name).read_bytes() != content:
        name = f"{stem} ({number}){suffix}"
        number += 1
    return name


def _masked(files: Files, form: Form, content: bytes) -> bytes | None:
    try:
        original = json.loads(form["original_ref"])
        name, folder = files.annotated(original["filename"])
        base = folder or files.folder(original.get("type", "output"))
    except (KeyError, TypeError, ValueError) as fault:
        raise Malformed from fault
    if not name or name.startswith("/") or ".." in name or base is None:
        return None
    path = base / original.get("subfolder", "") / name
    if not is_inside(base, path) or not path.is_file():
        return None
    return reencoding.masked(path.read_bytes(), content)
