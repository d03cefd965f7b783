"""One gateway as a process. It ends by a signal, or with whoever started it."""

import logging
import os
import signal
from dataclasses import replace

from aiohttp import web

from comfybridge.addresses import is_loopback
from comfybridge.service import keys, listening
from comfybridge.service.alerting import Alerts
from comfybridge.service.gateway.app import build
from comfybridge.service.gateway.state import Options
from comfybridge.service.migrating import migrate
from comfybridge.service.parent import end_with_parent
from comfybridge.service.store import open_store

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
    alerts: Alerts | None = None,
    with_parent: bool = False,
) -> int:
    """Serve until a signal comes.

    Raises:
        CannotListen: not on this host and port.
        NoDatabase: the database cannot be used.
        NoKeys: others reach the host, and nobody would keep them out.
        Unusable: the store cannot be used.
    """
    listening.check(host, port)
    open_store(store).check()
    migrate(database)
    keys.needed(database, host)
    options = replace(options or Options(), is_local=is_loopback(host))
    app = build(database, store, keep_s=keep_s, options=options, alerts=alerts)
    if with_parent:
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))

    def say_where(_: str) -> None:
        logger.info("the gateway listens on http://%s:%s", f"[{host}]" if ":" in host else host, port)

    web.run_app(
        app, host=host, port=port, access_log=None, print=say_where, shutdown_timeout=_GRACE_S, reuse_address=True
    )
    return 0
