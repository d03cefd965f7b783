"""One process: a gateway, or a worker. Each ends by a signal, or with whoever started it."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from comfybridge.addresses import is_loopback
from comfybridge.service import keys
from comfybridge.service.gateway.app import build
from comfybridge.service.gateway.state import Options
from comfybridge.service.migrating import migrate
from comfybridge.service.worker.worker import Settings, Worker

logger = logging.getLogger(__name__)

_GRACE_S = 2.0


def gateway(
    *,
    host: str,
    port: int,
    database: str,
    store: str,
    keep_s: float,
    options: Options | None = None,
    with_parent: bool = False,
) -> int:
    """Serve until a signal comes.

    Raises:
        NoKeys: others reach the host, and nobody would keep them out.
    """
    migrate(database)
    keys.needed(database, host)
    options = replace(options or Options(), is_local=is_loopback(host))
    app = build(database, store, keep_s=keep_s, options=options)
    if with_parent:
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    web.run_app(app, host=host, port=port, access_log=None, print=None, shutdown_timeout=_GRACE_S, reuse_address=True)
    return 0


def worker(settings: Settings, *, with_parent: bool = False) -> int:
    """Work until a signal comes; the exit status."""
    migrate(settings.database)
    working = Worker(settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: working.stop())
    if with_parent:
        end_with_parent(working.stop)
    return working.run()


def end_with_parent(end: Callable[[], None]) -> None:
    """Call ``end`` when whoever started us is gone: then nobody holds the other end of our standard input."""

    def watch() -> None:
        # Not by sys.stdin: its lock, held here, would keep the process from ending in order.
        while os.read(0, 1):
            pass
        logger.info("the parent process is gone")
        end()

    threading.Thread(target=watch, name="parent", daemon=True).start()
