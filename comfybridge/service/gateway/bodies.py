"""What callers send, read so that every part of the service can keep it: JSON, and forms.

A text that PostgreSQL cannot keep, or could not take apart again, is refused here, before anybody relies on it.
"""

import json
import re
from typing import Any, NoReturn

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web_request import FileField
from multidict import MultiDictProxy

from comfybridge.service.database import UNUSABLE

_DEEPEST = 200
"""Saved workflows are some 20 deep."""
_SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])|[\ud800-\udfff]")


class Malformed(Exception):
    """Nothing that can be answered: a mistake of the caller's."""


async def json_of(request: web.Request) -> Any:
    """The body, whatever its content type says, as ComfyUI reads it.

    Raises:
        Malformed: it is no JSON, too deep, or has characters or numbers that cannot be kept.
    """
    try:
        text = await request.text()
        body = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as exc:
        raise Malformed("the body is no JSON") from exc
    if _SUSPECT.search(text) or text.count("[") + text.count("{") > _DEEPEST:
        _check(body)
    return body


async def object_of(request: web.Request) -> dict[str, Any]:
    """As ``json_of``.

    Raises:
        Malformed: it is no object, either.
    """
    body = await json_of(request)
    if not isinstance(body, dict):
        raise Malformed("the body is no object")
    return body


async def form_of(request: web.Request) -> MultiDictProxy[str | bytes | bytearray | FileField]:
    """The fields and files of a form.

    Raises:
        Malformed: it is none.
    """
    try:
        return await request.post()
    except (ValueError, BadHttpMessage) as exc:
        raise Malformed("the body is no form") from exc


def usable(text: str) -> str:
    """A text out of an address, as it is.

    Raises:
        Malformed: it has characters that cannot be kept.
    """
    if UNUSABLE.search(text):
        raise Malformed("NUL and halves of characters cannot be kept")
    return text


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _check(body: Any) -> None:
    waiting = [(body, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise Malformed(f"the body is more than {_DEEPEST} levels deep")
        if isinstance(value, str):
            usable(value)
        elif isinstance(value, dict):
            waiting += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
