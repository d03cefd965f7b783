"""The secrets that sign links: made once by whoever starts first, kept in the database, exchanged without a restart."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

LONGEST_S = 30 * 86400.0
"""No link lives longer; so long a secret that was replaced goes on being believed."""

_NAME = "links"
_SECRET_BYTES = 32
_SIGNATURE_BYTES = 16
"""Half of HMAC-SHA256, as RFC 2104 allows: models copy links letter by letter."""
_TAKES_OVER_S = 5.0
"""Until then every gateway has read a new secret."""

_READ = "SELECT value FROM settings WHERE name = %s"
_MAKE = "INSERT INTO settings VALUES (%s, %s) ON CONFLICT DO NOTHING"
_REPLACE = "UPDATE settings SET value = %s WHERE name = %s"


class Signing:
    """The newest secret signs, all that are not over verify."""

    def __init__(self) -> None:
        self._known: list[Mapping[str, Any]] = []

    async def refresh(self, pool: AsyncConnectionPool) -> None:
        """Read the secrets; make the first one where there is none."""
        async with pool.connection() as connection:
            row = await (await connection.execute(_READ, (_NAME,))).fetchone()
            if row is None:
                await connection.execute(_MAKE, (_NAME, Jsonb([_new(0.0)])))
                row = await (await connection.execute(_READ, (_NAME,))).fetchone()
        self._known = list(row[0]) if row is not None else []

    def sign(self, values: Sequence[Any]) -> str:
        now = time.time()
        newest = max((one for one in self._known if one["since"] <= now), key=lambda one: float(one["since"]))
        return _signature(newest, values)

    def is_ours(self, signature: str, values: Sequence[Any]) -> bool:
        given, now = signature.encode(errors="replace"), time.time()
        valid = [one for one in self._known if one["until"] is None or one["until"] > now]
        return any(hmac.compare_digest(_signature(one, values).encode(), given) for one in valid)


def rotate(connection: Connection, *, at_once: bool = False) -> None:
    """Sign with a new secret from now on; links of the old one work until they expire, unless that ends ``at_once``."""
    with connection.transaction():
        connection.execute(_MAKE, (_NAME, Jsonb([])))
        row = connection.execute(f"{_READ} FOR UPDATE".encode(), (_NAME,)).fetchone()
        now = time.time()
        fresh = _new(0.0 if at_once else now + _TAKES_OVER_S)
        old = [] if at_once or row is None else list(_leaving(row[0], now))
        connection.execute(_REPLACE, (Jsonb([fresh, *old]), _NAME))


def _leaving(known: Iterable[Mapping[str, Any]], now: float) -> Iterable[dict[str, Any]]:
    for one in known:
        until = one["until"] or now + _TAKES_OVER_S + LONGEST_S
        if until > now:
            yield {**one, "until": until}


def _new(since: float) -> dict[str, Any]:
    return {"secret": secrets.token_hex(_SECRET_BYTES), "since": since, "until": None}


def _signature(secret: Mapping[str, Any], values: Sequence[Any]) -> str:
    # As JSON, so that no two lists of values are the same text.
    text = json.dumps(list(values), ensure_ascii=True, separators=(",", ":")).encode()
    whole = hmac.new(bytes.fromhex(secret["secret"]), text, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(whole[:_SIGNATURE_BYTES]).decode().rstrip("=")
