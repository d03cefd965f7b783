"""Links to a caller's file that open without a key, until they expire: signed over who, which file and until when.

In which form the file is wanted (``preview``, ``channel``) is not signed: whoever may have the file may have that.
"""

import re
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from aiohttp import web

from comfybridge.service.gateway.places import Place
from comfybridge.service.gateway.state import STATE, State
from comfybridge.service.signing import LONGEST_S

_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?")
_LONGEST_NUMBER = 12


class BadLinkError(Exception):
    """A link that opens nothing, or no longer."""


def signed(state: State, owner: str, place: Place, *, seconds: float) -> str:
    """Path and query of a link to a file (type, subfolder, filename) of ``owner``'s."""
    folder, subfolder, filename = place
    expires = int(time.time() + min(seconds, LONGEST_S))
    query = {
        "filename": filename,
        "subfolder": subfolder,
        "type": folder,
        "owner": owner,
        "expires": expires,
        "signature": state.signing.sign([owner, *place, expires]),
    }
    return f"/view?{urlencode(query)}"


def owner_of(state: State, query: Mapping[str, str], place: Place) -> str:
    """Whose file a link opens.

    Raises:
        BadLinkError: it was not signed here for this file, or its time is over.
    """
    owner, expires = query.get("owner", ""), query.get("expires", "")
    if not expires.isdecimal() or not expires.isascii() or len(expires) > _LONGEST_NUMBER:
        raise BadLinkError("This link is not complete.")
    if not state.signing.is_ours(query.get("signature", ""), [owner, *place, int(expires)]):
        raise BadLinkError("This link was not made here.")
    if int(expires) <= time.time():
        raise BadLinkError("This link has expired.")
    return owner


def absolute(request: web.Request, path: str) -> str:
    """The address of a path of ours as the caller's side reaches it: below ``--public-url``, else as it was asked."""
    options = request.app[STATE].options
    if options.public_url:
        return f"{options.public_url.rstrip('/')}{path}"
    scheme = _first(request, "X-Forwarded-Proto")
    host = _first(request, "X-Forwarded-Host")
    if not _HOST.fullmatch(host):
        host = request.host
    return f"{scheme if scheme in ('http', 'https') else request.scheme}://{host}{path}"


def _first(request: web.Request, header: str) -> str:
    """What the outermost of several proxies says."""
    return request.headers.get(header, "").partition(",")[0].strip()
