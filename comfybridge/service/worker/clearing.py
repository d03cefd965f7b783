"""What is deleted now and then: what has expired anywhere, and what the store has of the server's own folders."""

import logging
import time

from psycopg import Connection

from comfybridge.service import sickness
from comfybridge.service.expiring import Expiry
from comfybridge.service.store import StoreAway
from comfybridge.service.worker import describing
from comfybridge.service.worker.pruning import Pruning

logger = logging.getLogger(__name__)

_UPLOADS_EVERY = 10


class Clearing:
    """Used by one thread."""

    def __init__(self, expiry: Expiry, pruning: Pruning, *, every_s: float) -> None:
        self._expiry = expiry
        self._pruning = pruning
        self._every_s = every_s
        self._next_uploads = 0.0

    def clear(self, connection: Connection, *, own_folders: bool) -> None:
        is_due = time.monotonic() >= self._next_uploads
        try:
            self._expiry.sweep(connection, uploads=is_due)
        except StoreAway as exc:
            logger.warning("what has expired could not be deleted from the store: %s", exc)
        if is_due:
            sickness.forget(connection)
            describing.forget(connection)
            self._next_uploads = time.monotonic() + self._every_s * _UPLOADS_EVERY
        if own_folders:
            self._pruning.prune(connection)
