"""``/upload/image`` and ``/upload/mask``: into the store, under ComfyUI's rules for names."""

import asyncio
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from comfybridge import reencoding
from comfybridge.service import store
from comfybridge.service.gateway import places, rows, uploads
from comfybridge.service.gateway.bodies import Malformed, form_of
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.state import STATE, State


@dataclass(frozen=True, slots=True)
class _Upload:
    fields: Mapping[str, Any]
    filename: str
    data: bytes


async def post_image(request: web.Request) -> web.Response:
    upload = await _read(request)
    if upload is None:
        return web.Response(status=400)
    return await _stored(request.app[STATE], caller(request).owner, upload, upload.data)


async def post_mask(request: web.Request) -> web.Response:
    """Store the original picture with the alpha channel of the mask."""
    upload = await _read(request)
    if upload is None:
        return web.Response(status=400)
    state, owner = request.app[STATE], caller(request).owner
    try:
        reference = json.loads(upload.fields["original_ref"])
        name, folder = places.annotated(reference["filename"])
        place = (folder or str(reference.get("type", "output")), str(reference.get("subfolder", "")), name)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise Malformed("original_ref names no file") from exc
    if "\0" in "".join(place):
        raise Malformed("original_ref names no file")
    original = await rows.file(state.pool, owner, place)
    if original is None:
        return web.Response(status=400)
    try:
        painted = await state.draw(reencoding.masked, await state.store.get_async(original.key), upload.data)
    except reencoding.NoPicture as exc:
        raise Malformed("the mask does not fit the picture") from exc
    return await _stored(state, owner, upload, painted)


async def _read(request: web.Request) -> _Upload | None:
    form = await form_of(request)
    image = form.get("image")
    if not isinstance(image, FileField) or not image.filename:
        return None
    with image.file:
        data = await asyncio.to_thread(image.file.read)
    # aiohttp strips the slash in front as it reads the form on a server of ComfyUI's, too.
    return _Upload(form, image.filename.lstrip("/"), data)


async def _stored(state: State, owner: str, upload: _Upload, data: bytes) -> web.Response:
    """Keep ``data`` under the upload's name, or another where that is taken by other bytes."""
    folder = str(upload.fields.get("type", "input"))
    if folder not in places.TYPES:
        raise Malformed("type is input, output or temp")
    path = places.inside(posixpath.join(str(upload.fields.get("subfolder", "")), upload.filename))
    if path is None or places.inside(str(upload.fields.get("subfolder", ""))) is None:
        return _refused(400, "bad_name", "The name leads out of the folder.")
    if not uploads.is_usable(path):
        return _refused(400, "bad_name", "The name is too long, or has characters or words that not every disk takes.")
    if len(data) > state.options.largest_upload:
        raise web.HTTPRequestEntityTooLarge(state.options.largest_upload, len(data))
    found = await asyncio.to_thread(uploads.kind_of, data)
    if found is None:
        return _refused(415, "unknown_type", "This is no whole picture, video, sound or 3D file.")
    subfolder, filename = posixpath.split(path)
    if upload.fields.get("overwrite") not in ("true", "1"):
        filename = await _free_name(state, owner, (folder, subfolder, filename), store.digest(data))
    await keep(state, owner, (folder, subfolder, filename), data, found.mime)
    return web.json_response({"name": filename, "subfolder": subfolder, "type": folder})


async def keep(state: State, owner: str, place: places.Place, data: bytes, mime: str) -> None:
    """Store a file of the caller's: noted first, so that whoever clears up neither takes it nor misses it."""
    folder, subfolder, filename = place
    digest = store.digest(data)
    kept = rows.File(
        type=folder,
        subfolder=subfolder,
        filename=filename,
        key=store.upload_key(digest),
        digest=digest,
        mime=mime,
        size=len(data),
        created=datetime.now(UTC),
    )
    await rows.announce(state.pool, kept.key)
    await state.store.put_async(kept.key, data)
    await rows.keep(state.pool, owner, kept)
    state.hub.recent.forget()


def _refused(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "message": message}}, status=status)


async def _free_name(state: State, owner: str, place: places.Place, digest: str) -> str:
    """``x (1).png`` and so on, unless one with the same bytes is there."""
    folder, subfolder, wanted = place
    stem, suffix = posixpath.splitext(wanted)
    name, number = wanted, 1
    while (found := await rows.file(state.pool, owner, (folder, subfolder, name))) and found.digest != digest:
        name = f"{stem} ({number}){suffix}"
        number += 1
    return name
