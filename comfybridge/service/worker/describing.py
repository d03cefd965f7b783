"""What a server is and has, told to the fleet: its classes, its models, its health, and which jobs it can run."""

import contextlib
import logging
import time
from typing import Any

from psycopg import Connection, errors

from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError
from comfybridge.service import catalogue
from comfybridge.service.database import WORK, as_json

logger = logging.getLogger(__name__)

_ASK_S = 30.0
_DESCRIBE_EVERY_S = 60.0

_REGISTER = """
INSERT INTO servers (url, worker) VALUES (%(url)s, %(worker)s)
ON CONFLICT (url) DO UPDATE SET worker = EXCLUDED.worker, heartbeat = now()
"""
_DESCRIBE = """
UPDATE servers SET definitions = %(digest)s, models = %(models)s, embeddings = %(embeddings)s WHERE url = %(url)s
"""
_HEALTH = """
UPDATE servers SET health = %s, reason = %s, reason_zh = %s, stats = coalesce(%s, stats)
WHERE url = %s
"""
# Megabytes each, and a new one with every model file that somebody adds.
_FORGET = """
DELETE FROM definitions WHERE NOT EXISTS (SELECT FROM servers WHERE servers.definitions = definitions.digest)
"""
_UNKNOWN_WANTS = "SELECT digest, needs FROM wants WHERE digest <> ALL (%s)"


def forget(connection: Connection) -> None:
    """Drop what no server has any more."""
    # Where one is taken up again just now, they go another time.
    with contextlib.suppress(errors.ForeignKeyViolation):
        connection.execute(_FORGET)


class Description:
    """Used by one thread only, but for ``is_well``."""

    def __init__(self, client: Client, url: str, worker: str) -> None:
        self._client = client
        self._url = url
        self._worker = worker
        self._classes: catalogue.Classes = {}
        self._digest = ""
        self._described = 0.0
        self._judged: set[str] = set()
        self._has_said = False
        self.is_well = False
        self.remarks: dict[str, tuple[str, str]] = {}
        """What else is to be told of it, in English and Chinese, by what it is about."""
        self.comebacks = 0
        """How often the server answered after it did not, the first time included."""
        self.is_taken_in = False
        """Whether the fleet knows what this server has."""

    def register(self, connection: Connection) -> None:
        connection.execute(_REGISTER, {"url": self._url, "worker": self._worker})

    def look(self, connection: Connection, illness: tuple[str, str] | None = None) -> None:
        """Ask the server how it is, and now and then what it has. ``illness``: why it is sick though it answers."""
        try:
            stats = self._client.system_stats(Deadline(_ASK_S))
            if not self.is_well or time.monotonic() - self._described > _DESCRIBE_EVERY_S:
                self._describe(connection)
        except ComfyError as exc:
            if self.is_well or not self._has_said:
                logger.warning("%s", exc)
            self.is_well, self._has_said = False, True
            connection.execute(_HEALTH, ("gone", str(exc), exc.zh, None, self._url))
            return
        self.judge(connection)
        remarks = list(self.remarks.values())
        english, chinese = illness or (" ".join(each for each, _ in remarks), "".join(each for _, each in remarks))
        health = "well" if illness is None else "sick"
        connection.execute(_HEALTH, (health, english, chinese, as_json(stats), self._url))
        if not self.is_well:
            self.comebacks += 1
        self.is_well = self.is_taken_in = True

    def judge(self, connection: Connection) -> None:
        """Say of each thing that jobs want whether this server can give it."""
        if not self._digest:
            return
        new = connection.execute(_UNKNOWN_WANTS, (list(self._judged),)).fetchall()
        able = [wants for wants, needs in new if catalogue.offers(self._classes, needs)]
        with connection.transaction():
            for wants in able:
                connection.execute("INSERT INTO offers VALUES (%s, %s) ON CONFLICT DO NOTHING", (self._url, wants))
            if able:
                connection.execute("SELECT pg_notify(%s, '')", (WORK,))
        self._judged |= {wants for wants, _ in new}

    def _describe(self, connection: Connection) -> None:
        deadline = Deadline(_ASK_S)
        present = self._client.input_files(deadline)
        classes: Any = catalogue.without_uploads(self._client.object_info(deadline), present)
        models, embeddings = self._client.models(deadline), self._client.embeddings(deadline)
        digest = catalogue.digest(classes)
        values = {"digest": digest, "models": as_json(models), "embeddings": as_json(embeddings), "url": self._url}
        with connection.transaction():
            connection.execute(
                "INSERT INTO definitions VALUES (%s, %s) ON CONFLICT DO NOTHING", (digest, as_json(classes))
            )
            connection.execute(_DESCRIBE, values)
            if digest != self._digest:
                connection.execute("DELETE FROM offers WHERE server = %s", (self._url,))
                self._judged = set()
        self._classes, self._digest, self._described = classes, digest, time.monotonic()
        logger.info("%s has %d node classes", self._url, len(classes))
