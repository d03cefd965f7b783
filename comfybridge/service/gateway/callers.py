"""Who calls, and what that one may do: by the key that comes with every request.

As long as there are no keys, whoever asks from this machine is the one caller, who may do everything.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web

from comfybridge.addresses import is_loopback
from comfybridge.service import priorities

OPEN = frozenset({"/", "/health", "/ready"})
"""What is told without a key: nothing of anybody's."""
WITHOUT_DATABASE = frozenset({"/metrics"})
"""What takes a key and is answered, in part, also while the database is away."""
PAGE = "/comfybridge/page/"
"""Below it lies what the page at ``/`` consists of."""

_SIGNED = frozenset({"/view", "/api/view"})
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_OF_THIS_MACHINE = "host.docker.internal"
"""How Docker's containers call the machine that they are on."""
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="comfybridge", charset="UTF-8"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """``owner`` is what jobs, files and events are filed under, ``name`` what people call the key.

    ``limits`` are those of ``keys.LIMITS`` that are set; ``templates`` those that the key may use, ``None`` for all.
    """

    owner: str
    is_admin: bool
    priority: int
    name: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    templates: frozenset[str] | None = None


_CALLER = web.RequestKey("caller", Caller)

ANYBODY = Caller(owner="", is_admin=True, priority=priorities.NORMAL)
"""Who calls from this machine while there are no keys."""


def caller(request: web.Request) -> Caller:
    return request[_CALLER]


def is_open(request: web.Request) -> bool:
    """Whether no key is needed: ``/view`` looks at the signature of a link itself."""
    is_link = request.method in ("GET", "HEAD") and request.path in _SIGNED and "signature" in request.query
    return is_link or request.path in OPEN or request.path.startswith(PAGE)


def is_script(request: web.Request) -> bool:
    """Whether a page asks, which itself asks for a key: then the browser shall not."""
    return request.headers.get("X-Requested-With") == "XMLHttpRequest"


def let_in(request: web.Request, found: Caller) -> None:
    request[_CALLER] = found


def key_of(request: web.Request) -> str:
    """The key that comes with a request: as Bearer token, as Basic's password (or name), or as ``?token=``."""
    scheme, _, value = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        return password or name
    return request.query.get("token", "")


def is_from_here(request: web.Request) -> bool:
    """Whether a request to a loopback address was meant for it: through no proxy, and by a name of this machine.

    A page of somebody else's whose name leads to this machine (DNS rebinding) comes by that name. A proxy that does not
    tell of itself cannot be known.
    """
    asked = request.headers.get("Host", "").lower()
    host, page = urlsplit(f"//{asked}").hostname, request.headers.get("Origin")
    # "null" is what a page in a sandboxed frame says of itself, whoever's it is.
    if any(name in request.headers for name in _PROXIED) or page == "null":
        return False
    # Other sites' pages are kept from a loopback address by ComfyUI's own rule already.
    is_docker = host == _OF_THIS_MACHINE and (page is None or urlsplit(page.lower()).netloc == asked)
    return is_loopback(host) or is_docker


def is_from_another_page(request: web.Request, public_url: str) -> bool:
    """Whether a browser sends its kept password along with what another site's page asks for."""
    origin = request.headers.get("Origin")
    if origin is None or not request.headers.get("Authorization", "").lower().startswith("basic"):
        return False
    ours = (request.headers.get("Host", ""), request.headers.get("X-Forwarded-Host", ""), urlsplit(public_url).netloc)
    return urlsplit(origin.lower()).netloc not in {each.lower() for each in ours if each}


def refused(message: str, *, status: int = 401, challenges: bool = True) -> web.Response:
    kind = "unauthorized" if status == web.HTTPUnauthorized.status_code else "forbidden"
    headers = _CHALLENGE if kind == "unauthorized" and challenges else None
    return web.json_response({"error": {"type": kind, "message": message}}, status=status, headers=headers)


def not_found(message: str) -> web.Response:
    return web.json_response({"error": {"type": "not_found", "message": message}}, status=404)


def admins_only() -> web.Response:
    return refused("This is for admin keys.", status=403)
