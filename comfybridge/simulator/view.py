"""``/view``: a file as it is, or a picture re-encoded (server.py, view_image)."""

import asyncio
import mimetypes
from pathlib import Path, PurePosixPath

from aiohttp import web

from comfybridge import reencoding
from comfybridge.simulator.faults import TruncateView
from comfybridge.simulator.files import is_inside
from comfybridge.simulator.state import STATE

FORCED_DOWNLOADS = frozenset(
    {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}
)


async def get_view(request: web.Request) -> web.StreamResponse:
    if "filename" not in request.query:
        return web.Response(status=404)
    files = request.app[STATE].files
    name, folder = files.annotated(request.query["filename"])
    if not name or name.startswith("/") or ".." in name:
        return web.Response(status=400)
    folder = folder or files.folder(request.query.get("type", "output"))
    if folder is None:
        return web.Response(status=400)
    base = folder
    folder = base / request.query.get("subfolder", "")
    if not is_inside(base, folder):
        return web.Response(status=403)
    # A folder in the name is dropped, not followed.
    path = folder / PurePosixPath(name).name
    if not path.is_file():
        return web.Response(status=404)
    return await _answer(request, path)


async def _answer(request: web.Request, path: Path) -> web.StreamResponse:
    disposition = {"Content-Disposition": f'filename="{path.name}"'}
    if "preview" in request.query:
        wanted = request.query.get("channel", "")
        kind, quality = reencoding.preview_kind(request.query["preview"], wanted)
        body = await asyncio.to_thread(lambda: reencoding.preview(path.read_bytes(), kind, quality, wanted))
        return web.Response(body=body, content_type=f"image/{kind}", headers=disposition)
    channel = request.query.get("channel", "rgba")
    if channel in ("rgb", "a"):
        body = await asyncio.to_thread(lambda: reencoding.channel(path.read_bytes(), channel))
        return web.Response(body=body, content_type="image/png", headers=disposition)
    if truncated := request.app[STATE].faults.take(TruncateView):
        return await _cut_off(request, path, truncated.kept)
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if content_type in FORCED_DOWNLOADS:
        content_type = "application/octet-stream"
    return web.FileResponse(path, headers={**disposition, "Content-Type": content_type})


async def _cut_off(request: web.Request, path: Path, kept: float) -> web.StreamResponse:
    content = await asyncio.to_thread(path.read_bytes)
    response = web.StreamResponse(headers={"Content-Type": mimetypes.guess_type(path.name)[0] or ""})
    response.content_length = len(content)
    await response.prepare(request)
    await response.write(content[: int(len(content) * kept)])
    if request.transport is not None:
        request.transport.close()
    return response
