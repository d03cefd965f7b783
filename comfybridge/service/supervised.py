"""Threads that must not die unseen: one that raises ends the process, and whoever started it starts it again."""

import logging
import threading
from collections.abc import Callable

import psycopg
from psycopg_pool import PoolTimeout

logger = logging.getLogger(__name__)

DATABASE_FAULTS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
)
"""The database is away, or gave us up, and will be back."""

_AGAIN_S = 0.5


class Supervised:
    """Loops on threads of their own, until ``stop`` or until one of them breaks."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.has_failed = False
        self._threads: list[threading.Thread] = []

    def start(self, name: str, loop: Callable[[], None]) -> None:
        """Run a loop; after a fault of the database again, since that will be back."""
        thread = threading.Thread(target=self._run, args=(name, loop), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def start_once(self, name: str, call: Callable[[], None]) -> None:
        """Do something that ends; what it raises is a fault as well."""
        threading.Thread(target=self._run, args=(name, call), kwargs={"once": True}, name=name, daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()

    def join(self, seconds: float) -> None:
        for thread in self._threads:
            thread.join(seconds)

    def _run(self, name: str, loop: Callable[[], None], *, once: bool = False) -> None:
        try:
            while not self.stopping.is_set():
                try:
                    loop()
                    if once:
                        return
                except DATABASE_FAULTS as exc:
                    logger.warning("%s: the database is away: %s", name, exc)
                    self.stopping.wait(_AGAIN_S)
        except BaseException:  # whatever it is, the process must not go on without this loop
            logger.exception("%s broke; the process ends", name)
            self.has_failed = True
            self.stopping.set()
            raise
