"""``/view``: a file of the caller's out of the store, as it is, or a picture in another form."""

import mimetypes
import posixpath
from email.utils import format_datetime
from http import HTTPStatus

from aiohttp import web

from comfybridge import reencoding
from comfybridge.service.gateway import links, places, rows
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.state import STATE

_FORCED_DOWNLOADS = frozenset(
    {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}
)
_ESCAPED = str.maketrans({'"': r"\"", "\\": r"\\"})
_LASTS_S = 86400
_DEAD = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "video/", "audio/")


async def get_view(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    if "filename" not in request.query:
        return web.Response(status=404)
    name, folder = places.annotated(request.query["filename"])
    if not name or name.startswith("/") or ".." in name or "\0" in name:
        return web.Response(status=400)
    folder = folder or request.query.get("type", "output")
    if folder not in places.TYPES:
        return web.Response(status=400)
    subfolder = places.inside(request.query.get("subfolder", ""))
    if subfolder is None:
        return web.Response(status=403)
    # A folder in the name is dropped, not followed.
    place = (folder, subfolder, posixpath.basename(name))
    try:
        owner = links.owner_of(state, request.query, place) if "signature" in request.query else caller(request).owner
    except links.BadLinkError as exc:
        return web.Response(status=403, text=str(exc))
    found = state.hub.recent.file(owner, place) or await rows.file(state.pool, owner, place)
    if found is None:
        return web.Response(status=404)
    try:
        data = await state.store.get_async(found.key)
    except FileNotFoundError:
        return web.Response(status=404)
    return await _answer(request, found, data)


async def _answer(request: web.Request, found: rows.File, data: bytes) -> web.StreamResponse:
    state = request.app[STATE]
    disposition = {"Content-Disposition": f'filename="{_quotable(found.filename)}"'}
    channel = request.query.get("channel", "")
    try:
        if "preview" in request.query:
            kind, quality = reencoding.preview_kind(request.query["preview"], channel)
            body = await state.draw(reencoding.preview, data, kind, quality, channel)
            if found.type == "output" and "signature" in request.query:
                # What an output's name stands for never changes.
                disposition["Cache-Control"] = f"private, max-age={_LASTS_S}"
            return web.Response(body=body, content_type=f"image/{kind}", headers=disposition)
        if channel in ("rgb", "a"):
            body = await state.draw(reencoding.channel, data, channel)
            return web.Response(body=body, content_type="image/png", headers=disposition)
    except reencoding.NoPicture:
        return web.Response(status=415)
    content_type = mimetypes.guess_type(found.filename)[0] or found.mime
    if content_type in _FORCED_DOWNLOADS:
        content_type = "application/octet-stream"
    if not content_type.startswith(_DEAD):
        # A drawing or a page of one caller's runs no scripts beside what another one is logged in to.
        disposition["Content-Security-Policy"] = "sandbox"
    headers = {
        **disposition,
        "Content-Type": content_type,
        "ETag": f'"{found.digest[:32]}"',
        "Last-Modified": format_datetime(found.created, usegmt=False),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return _part(request, data, headers)


def _quotable(filename: str) -> str:
    """The name between quotes: a node may have given it any characters, and a line's end would end the header."""
    return "".join(character if character.isprintable() else "_" for character in filename).translate(_ESCAPED)


def _part(request: web.Request, data: bytes, headers: dict[str, str]) -> web.Response:
    try:
        wanted = request.http_range
    except ValueError:
        wanted = None
    start, end, _ = wanted.indices(len(data)) if wanted is not None else (0, len(data), 1)
    if "Range" not in request.headers:
        return web.Response(body=data, headers=headers)
    if wanted is None or start >= end:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return web.Response(status=206, body=data[start:end], headers=headers)
