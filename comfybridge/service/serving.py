"""One gateway as a process. It ends by a signal, or with whoever started it."""

import os
import signal
from dataclasses import replace

from aiohttp import web

from comfybridge.addresses import is_loopback
from comfybridge.service import keys
from comfybridge.service.alerting import Alerts
from comfybridge.service.gateway.app import build
from comfybridge.service.gateway.state import Options
from comfybridge.service.migrating import migrate
from comfybridge.service.parent import end_with_parent
from comfybridge.service.store import open_store

_GRACE_S = 2.0


def gateway(
    *,
    host: str,
    port: int,
    database: str,
    store: str,
    keep_s: float,
    options: Options | None = None,
    alerts: Alerts | None = None,
    with_parent: bool = False,
) -> int:
    """Serve until a signal comes.

    Raises:
        NoKeys: others reach the host, and nobody would keep them out.
        Unusable: the store cannot be used.
    """
    open_store(store).check()
    migrate(database)
    keys.needed(database, host)
    options = replace(options or Options(), is_local=is_loopback(host))
    app = build(database, store, keep_s=keep_s, options=options, alerts=alerts)
    if with_parent:
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    web.run_app(app, host=host, port=port, access_log=None, print=None, shutdown_timeout=_GRACE_S, reuse_address=True)
    return 0
