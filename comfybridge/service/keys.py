"""API keys: a name, what it may do, and the hash of a text that is shown once.

A key has 256 random bits, so a plain hash of it cannot be guessed back. One that is revoked stays on record.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import Connection, errors
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from comfybridge.addresses import is_loopback
from comfybridge.service import priorities
from comfybridge.service.webhooks import is_address

LIMITS = ("rate", "running", "queued", "pixels")
"""Requests of ``POST /prompt`` a minute, jobs that may run and that may wait at once, pixels a graph may begin with."""

_MARK = "cb_"
_BYTES = 32
_OWNER_BYTES = 8
_NAME = re.compile(r"[\w][\w.@+-]{0,63}")
_LARGEST = 2**31 - 1
_COLUMNS = "owner, name, is_admin, priority, limits, templates, webhook, created, revoked"

_ADD = f"""
INSERT INTO keys (owner, name, hash, is_admin, priority, limits, templates, webhook)
VALUES (%(owner)s, %(name)s, %(hash)s, %(is_admin)s, %(priority)s, %(limits)s, %(templates)s, %(webhook)s)
RETURNING {_COLUMNS}
"""  # noqa: S608  (a constant)
_LIST = f"SELECT {_COLUMNS} FROM keys ORDER BY revoked IS NOT NULL, name, created"  # noqa: S608
_CHANGE = f"""
UPDATE keys SET
    is_admin = %(is_admin)s, priority = %(priority)s, limits = %(limits)s, templates = %(templates)s,
    webhook = %(webhook)s
WHERE name = %(name)s AND revoked IS NULL
RETURNING {_COLUMNS}
"""  # noqa: S608
_FIND = f"SELECT {_COLUMNS} FROM keys WHERE name = %s AND revoked IS NULL FOR UPDATE"  # noqa: S608
_REVOKE = "UPDATE keys SET revoked = now() WHERE name = %s AND revoked IS NULL RETURNING name"


class BadValue(Exception):
    """A value that a key cannot have; the text says which, in English, ``zh`` in Chinese."""

    def __init__(self, english: str, zh: str) -> None:
        super().__init__(english)
        self.zh = zh


class NoKeys(Exception):
    """There is no key by which anybody could be let in."""


class Taken(Exception):
    """There is a key of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """``templates``: the names of those that it may use; ``None`` for all graphs there are."""

    owner: str
    name: str
    is_admin: bool
    priority: int
    limits: Mapping[str, int]
    templates: list[str] | None
    webhook: str
    created: datetime
    revoked: datetime | None


def hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


def add(connection: Connection, name: str, values: Mapping[str, Any]) -> tuple[Key, str]:
    """Make a key; and its text, which nobody can tell later.

    Raises:
        BadValue: of the name or of a value, as by ``checked``.
        Taken: by another key that is not revoked.
    """
    if not _NAME.fullmatch(name):
        raise BadValue(
            f"{name!r} is no name for a key: up to 64 letters, digits, '.', '_', '@', '+' and '-'.",
            f"{name!r} 不能作为密钥名称：最多 64 个字母、数字或 . _ @ + -。",
        )
    text = _MARK + secrets.token_urlsafe(_BYTES)
    blank = {"is_admin": False, "priority": priorities.NORMAL, "limits": {}, "templates": None, "webhook": ""}
    row = {**blank, **checked(values), "name": name, "hash": hashed(text), "owner": secrets.token_hex(_OWNER_BYTES)}
    try:
        with connection.cursor(row_factory=class_row(Key)) as cursor:
            made = cursor.execute(_ADD.encode(), {**row, "limits": Jsonb(_without_none(row["limits"]))}).fetchone()
    except errors.UniqueViolation as exc:
        raise Taken(name) from exc
    assert made is not None  # noqa: S101  (what was inserted is returned)
    return made, text


def listed(connection: Connection) -> list[Key]:
    """All keys, those that count first."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(_LIST.encode()).fetchall()


def change(connection: Connection, name: str, values: Mapping[str, Any]) -> Key | None:
    """Change what a key may do; ``None`` when there is none of this name.

    Raises:
        BadValue: as ``checked``.
    """
    wanted = checked(values)
    with connection.transaction(), connection.cursor(row_factory=class_row(Key)) as cursor:
        known = cursor.execute(_FIND.encode(), (name,)).fetchone()
        if known is None:
            return None
        row = {slot: getattr(known, slot) for slot in Key.__slots__} | wanted
        row["limits"] = Jsonb(_without_none({**known.limits, **wanted.get("limits", {})}))
        return cursor.execute(_CHANGE.encode(), row).fetchone()


def revoke(connection: Connection, name: str) -> bool:
    """End a key; whether there was one of this name."""
    return connection.execute(_REVOKE, (name,)).fetchone() is not None


def needed(database: str, host: str) -> None:
    """Make sure that whoever else reaches ``host`` needs a key.

    Raises:
        NoKeys: others do, and there is none.
    """
    if is_loopback(host):
        return
    with psycopg.connect(database) as connection:
        if connection.execute("SELECT FROM keys WHERE revoked IS NULL LIMIT 1").fetchone() is None:
            raise NoKeys(host)


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """What may be set of a key, as columns: ``admin``, ``priority``, the limits, ``templates``, ``webhook``.

    Raises:
        BadValue: something else, or not of its kind.
    """
    columns: dict[str, Any] = {}
    limits: dict[str, int | None] = {}
    for name, value in values.items():
        if name in LIMITS:
            limits[name] = _limit(name, value)
        elif name == "admin" and isinstance(value, bool):
            columns["is_admin"] = value
        elif name == "priority" and value in priorities.NAMES:
            columns["priority"] = priorities.number(value)
        elif name == "templates" and _are_names(value):
            columns["templates"] = sorted(set(value)) if value is not None else None
        elif name == "webhook" and isinstance(value, str) and (not value or is_address(value)):
            columns["webhook"] = value
        else:
            raise BadValue(f"{name}: this value is not possible.", f"{name}：该值无效。")
    if limits:
        columns["limits"] = limits
    return columns


def facts(key: Key) -> dict[str, Any]:
    """What may be told of a key, under the names by which it is set."""
    return {
        "name": key.name,
        "owner": key.owner,
        "admin": key.is_admin,
        "priority": priorities.name(key.priority),
        **{name: key.limits.get(name) for name in LIMITS},
        "templates": key.templates,
        "webhook": key.webhook,
        "created": key.created.isoformat(),
        "revoked": key.revoked.isoformat() if key.revoked is not None else None,
    }


def _limit(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise BadValue(f"{name}: a whole number from 1, or none.", f"{name}：应为不小于 1 的整数，或不设限制。")
    return value


def _are_names(value: Any) -> bool:
    """A list of templates, which are named without a version: a key may use all of them."""
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(one, str) and one and "@" not in one for one in value)


def _without_none(limits: Mapping[str, int | None]) -> dict[str, int]:
    return {name: value for name, value in limits.items() if value is not None}
