"""One worker as a process, which imports nothing of a gateway's: four of them start together."""

import signal

from comfybridge.service import servers
from comfybridge.service.migrating import migrate
from comfybridge.service.parent import end_with_parent
from comfybridge.service.store import open_store
from comfybridge.service.worker.worker import Settings, Worker


def worker(settings: Settings, *, with_parent: bool = False) -> int:
    """Work until a signal comes; the exit status.

    Raises:
        NoDatabase: the database cannot be used.
        NotAnAddress: that of the server is none.
        Unusable: the store cannot be used.
    """
    servers.normal(settings.comfyui)
    open_store(settings.store).check()
    migrate(settings.database)
    working = Worker(settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: working.stop())
    if with_parent:
        end_with_parent(working.stop)
    return working.run()
