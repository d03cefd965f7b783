"""The workers of ``serve``: one for each server of its command line or taken in by command, less the removed ones."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from comfybridge.service import DATABASE_VARIABLE, servers
from comfybridge.service.child import Child
from comfybridge.service.database import single
from comfybridge.service.supervised import DATABASE_FAULTS

if TYPE_CHECKING:
    from psycopg import Connection

logger = logging.getLogger(__name__)

_READ_EVERY_S = 1.0

# Left out of the command line: the next start knows nothing more of it. What it still held moves on.
_FORGET = "DELETE FROM servers WHERE NOT is_added AND mode <> 'removed' AND url <> ALL (%s) RETURNING url"
_MODES = """
SELECT url, mode, is_added,
    EXISTS (SELECT FROM jobs WHERE server = url AND state IN ('claimed', 'running')) AS is_busy
FROM servers
"""


class Workers:
    """``children`` by the servers' addresses; to be asked to ``look`` often."""

    def __init__(
        self, environment: Mapping[str, str], given: Sequence[str], options_of: Callable[[str], Sequence[str]]
    ) -> None:
        self._environment = environment
        self._given = given
        self._options_of = options_of
        self._connection: Connection | None = None
        self._read_next = 0.0
        self._is_new = True
        self.children: dict[str, Child] = {}

    def look(self) -> None:
        """Read which servers there are, now and then, and have a child for each."""
        now = time.monotonic()
        # One that ended in order did so since its server is removed, which is to be known before it is started again.
        if now < self._read_next and not any(child.has_ended_well for child in self.children.values()):
            return
        self._read_next = now + _READ_EVERY_S
        try:
            found = self._modes()
        except DATABASE_FAULTS as exc:
            logger.warning("the servers cannot be read: %s", exc)
            self.close()
            return
        removed = {url for url, (mode, _, _) in found.items() if mode == "removed"}
        # Of a removed one the worker is needed until it is empty.
        busy = {url for url, (_, _, is_busy) in found.items() if is_busy}
        added = [url for url, (_, is_added, _) in found.items() if is_added]
        for url in dict.fromkeys([*self._given, *added]):
            if url not in self.children and (url not in removed or url in busy):
                arguments = ["worker", "--comfyui", url, *self._options_of(url)]
                self.children[url] = Child(f"worker of {servers.shown(url)}", arguments, self._environment)
        for url in removed.intersection(self.children):
            if self.children[url].has_ended_well:
                del self.children[url]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _modes(self) -> dict[str, tuple[str, bool, bool]]:
        if self._connection is None:
            self._connection = single(self._environment[DATABASE_VARIABLE], servers.SERVE)
        if self._is_new:
            for (url,) in self._connection.execute(_FORGET, (list(self._given),)).fetchall():
                logger.info("%s is no longer on the command line", servers.shown(url))
            for url, mode, *_ in self._connection.execute(_MODES).fetchall():
                if mode == "removed" and url in self._given:
                    logger.warning("%s", servers.said_at_removal(url)[0])
            self._is_new = False
        return {url: (mode, is_added, is_busy) for url, mode, is_added, is_busy in self._connection.execute(_MODES)}
