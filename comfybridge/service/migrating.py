"""The database's tables: numbered steps, each applied once, in order, by whoever comes first."""

import re
from importlib import resources

import psycopg
from psycopg.errors import InsufficientPrivilege

from comfybridge.service.database import CONNECT_S, NoDatabase

_LOCK = 0x636F6D66
_NAME = re.compile(r"(\d{4})_\w+\.sql")


def steps() -> dict[int, str]:
    """The SQL of each step by its number."""
    folder = resources.files("comfybridge.service").joinpath("migrations")
    found = {int(match[1]): entry for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name))}
    return {number: found[number].read_text(encoding="utf-8") for number in sorted(found)}


def migrate(url: str) -> int:
    """Bring the tables up to date; the number of steps that were applied.

    Raises:
        NoDatabase: it cannot be reached, or does not let us.
    """
    try:
        connection = psycopg.connect(url, connect_timeout=CONNECT_S)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as exc:  # the latter: what is no address
        raise NoDatabase(exc) from exc
    try:
        return _migrate(connection)
    except InsufficientPrivilege as exc:
        raise NoDatabase(exc) from exc


def _migrate(connection: psycopg.Connection) -> int:
    with connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (number int PRIMARY KEY, at timestamptz NOT NULL)")
        done = {number for (number,) in connection.execute("SELECT number FROM migrations")}
        missing = {number: sql for number, sql in steps().items() if number not in done}
        for number, sql in missing.items():
            connection.execute(sql.encode())
            connection.execute("INSERT INTO migrations VALUES (%s, now())", (number,))
    return len(missing)
