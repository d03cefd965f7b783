"""From a node that is done to its client: the files into the store first, then the frame."""

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue

from psycopg_pool import ConnectionPool

from comfybridge.errors import ComfyError
from comfybridge.service.claiming import Claimed
from comfybridge.service.frames import Frame
from comfybridge.service.store import StoreAway
from comfybridge.service.worker.shelf import Shelf

logger = logging.getLogger(__name__)

_WAIT_S = 0.5


class Showing:
    """``hear`` is called by the thread that reads the socket, ``show`` is the loop of another."""

    def __init__(self, pool: ConnectionPool, tell: Callable[[Claimed, Frame], None], *, keep_s: float) -> None:
        self._pool = pool
        self._tell = tell
        self._keep_s = keep_s
        self._waiting: SimpleQueue[tuple[Shelf, Frame]] = SimpleQueue()

    def hear(self, shelf: Shelf, frame: Frame) -> None:
        """A node is done; of a job's last ones the end tells at once."""
        data = frame["data"]
        if isinstance(data.get("output"), dict) and shelf.is_worth_showing(str(data.get("node"))):
            self._waiting.put((shelf, frame))

    def show(self) -> None:
        """Show what waits; returns when nothing came for a while."""
        while True:
            try:
                shelf, frame = self._waiting.get(timeout=_WAIT_S)
            except Empty:
                return
            try:
                shown = shelf.show(frame, self._pool, keep_s=self._keep_s)
            except (ComfyError, StoreAway) as exc:
                logger.info("prompt %s: node %s is shown at the end: %s", shelf.job.prompt_id, frame["data"], exc)
                continue
            if shown is not None:
                self._tell(shelf.job, shown)
