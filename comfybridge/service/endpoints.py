"""The webhook of a key: where it goes, and the secret by which whoever receives it knows us."""

import base64
import secrets
from dataclasses import dataclass, field

from psycopg import Connection
from psycopg.rows import class_row

from comfybridge.service.webhooks import PREFIX

_BYTES = 32
_COLUMNS = "webhook AS url, webhook_secret AS secret, webhook <> '' AND webhook = webhook_gone AS is_gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """``url`` is empty for a key without one; ``is_gone``: it answered that nothing is wanted there any more."""

    url: str
    secret: str = field(repr=False)
    is_gone: bool


def of_key(connection: Connection, name: str) -> Endpoint | None:
    """By the name of a key that counts; ``None`` where there is no such."""
    query = f"SELECT {_COLUMNS} FROM keys WHERE name = %s AND revoked IS NULL"  # noqa: S608  (a constant)
    with connection.cursor(row_factory=class_row(Endpoint)) as cursor:
        return cursor.execute(query.encode(), (name,)).fetchone()


def renew(connection: Connection, name: str) -> Endpoint | None:
    """Sign with another secret from now on, what is sent again too."""
    secret = PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    connection.execute("UPDATE keys SET webhook_secret = %s WHERE name = %s AND revoked IS NULL", (secret, name))
    return of_key(connection, name)
