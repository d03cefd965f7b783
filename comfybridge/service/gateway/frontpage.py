"""The page at ``/``: files that lie beside this module, as they are. What it shows it asks the API for."""

import hashlib
from functools import cache
from importlib import resources

from aiohttp import web

from comfybridge.service.gateway.state import STATE

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def get_root(request: web.Request) -> web.Response:
    """It says whether a key is needed, so that the page need not find out by being refused."""
    data = _files()["index.html"]
    if request.app[STATE].keyring.is_used:
        data = data.replace(b"<body>", b'<body data-key="needed">')
    return _answer(request, "index.html", data)


async def get_file(request: web.Request) -> web.Response:
    name = request.match_info["file"]
    data = _files().get(name)
    return web.Response(status=404) if data is None else _answer(request, name, data)


def _answer(request: web.Request, name: str, data: bytes) -> web.Response:
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    return web.Response(body=data, content_type=_TYPES[name.rpartition(".")[2]], charset="utf-8", headers=headers)


@cache
def _files() -> dict[str, bytes]:
    folder = resources.files(__package__).joinpath("page")
    known = (file for file in folder.iterdir() if file.name.rpartition(".")[2] in _TYPES)
    return {file.name: file.read_bytes() for file in known}
