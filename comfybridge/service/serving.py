"""One gateway as a process. It ends by a signal, or with whoever started it."""

import os
import signal

from aiohttp import web

from comfybridge.service.gateway.app import build
from comfybridge.service.migrating import migrate
from comfybridge.service.parent import end_with_parent

_GRACE_S = 2.0


def gateway(*, host: str, port: int, database: str, store: str, keep_s: float, with_parent: bool = False) -> int:
    """Serve until a signal comes."""
    migrate(database)
    app = build(database, store, keep_s=keep_s)
    if with_parent:
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    web.run_app(app, host=host, port=port, access_log=None, print=None, shutdown_timeout=_GRACE_S, reuse_address=True)
    return 0
