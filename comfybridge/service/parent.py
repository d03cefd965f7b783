"""A process that ends with whoever started it."""

import logging
import os
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


def end_with_parent(end: Callable[[], None]) -> None:
    """Call ``end`` when whoever started us is gone: then nobody holds the other end of our standard input."""

    def watch() -> None:
        # Not by sys.stdin: its lock, held here, would keep the process from ending in order.
        while os.read(0, 1):
            pass
        logger.info("the parent process is gone")
        end()

    threading.Thread(target=watch, name="parent", daemon=True).start()
