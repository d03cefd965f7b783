"""The servers as a gateway sees them: what all of them together have that are to stay, read again as they change."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from comfybridge.service import catalogue
from comfybridge.service.catalogue import Classes

_FRESH_S = 1.0

_SERVERS = """
SELECT url, mode, health, reason, worker, definitions, models, embeddings, stats, loaded,
    extract(epoch FROM now() - heartbeat)::float AS silent_s
FROM servers WHERE mode IN ('active', 'paused') ORDER BY registered
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """``definitions`` is the digest of its classes; ``None`` until its worker has asked it."""

    url: str
    mode: str
    health: str
    reason: str
    worker: str
    definitions: str | None
    models: Mapping[str, list[str]]
    embeddings: list[str]
    stats: Mapping[str, Any]
    loaded: str
    silent_s: float


@dataclass(slots=True)
class Fleet:
    pool: AsyncConnectionPool
    servers: list[Server] = field(default_factory=list)
    classes: Classes = field(default_factory=dict)
    """Those of all servers together."""
    wanted: set[tuple[str, ...]] = field(default_factory=set)
    """What is written down already of what graphs want, and of the servers that have it."""
    _known: dict[str, Classes] = field(default_factory=dict)
    _read: float = 0.0
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refresh(self) -> None:
        """Read the servers again, unless that was a moment ago."""
        async with self._reading:
            if self.servers and time.monotonic() - self._read < _FRESH_S:
                return
            async with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
                rows = await (await cursor.execute(_SERVERS)).fetchall()
                servers = [Server(**row) for row in rows]
                wanted = {server.definitions for server in servers if server.definitions}
                if wanted != set(self._known):
                    found = await cursor.execute("SELECT * FROM definitions WHERE digest = ANY (%s)", (list(wanted),))
                    known = {row["digest"]: row["classes"] for row in await found.fetchall()}
                    in_order = dict.fromkeys(server.definitions for server in servers if server.definitions in known)
                    self.classes = catalogue.united(known[digest] for digest in in_order if digest)
                    self._known = known
                    # What servers have is another thing now; nor does it grow for ever.
                    self.wanted.clear()
            self.servers, self._read = servers, time.monotonic()

    def able(self, needs: catalogue.Needs) -> list[str]:
        """The servers that have what a graph needs."""
        digests = {digest for digest, classes in self._known.items() if catalogue.offers(classes, needs)}
        return [server.url for server in self.servers if server.definitions in digests]

    @property
    def catalogues(self) -> dict[str, Classes]:
        """What single servers have, each once, by its digest: of those that take jobs, as far as there are any."""
        servers = [server for server in self.servers if server.mode == "active" and server.health != "gone"]
        digests = dict.fromkeys(server.definitions for server in servers or self.servers)
        return {digest: self._known[digest] for digest in digests if digest in self._known}

    @property
    def models(self) -> dict[str, list[str]]:
        """The model files of all servers, by folder."""
        folders: dict[str, dict[str, None]] = {}
        for server in self.servers:
            for folder, names in server.models.items():
                folders.setdefault(folder, {}).update(dict.fromkeys(names))
        return {folder: list(names) for folder, names in folders.items()}

    @property
    def embeddings(self) -> list[str]:
        return list(dict.fromkeys(name for server in self.servers for name in server.embeddings))
