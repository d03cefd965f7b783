"""``comfybridge serve``: everything on one machine, in processes that are started again when they die."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from comfybridge.service import DATABASE_VARIABLE, keys, listening, servers
from comfybridge.service.child import Child
from comfybridge.service.migrating import migrate
from comfybridge.service.postgres import Postgres
from comfybridge.service.store import open_store
from comfybridge.service.workers import Workers

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOOK_EVERY_S = 0.2
_GOING_S = 5.0
"""The gateway of a killed predecessor may take as long to notice and to end."""


class InUse(Exception):
    """Another ``serve`` has this data folder."""


class NoFolder(Exception):
    """The data cannot be kept there: a sentence in English and one in Chinese."""

    def __init__(self, folder: Path, exc: OSError) -> None:
        super().__init__(f"{folder} cannot be used: {exc.strerror}.")
        self.zh = f"无法使用 {folder}：{exc.strerror}。"


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it ends with this process, however that ends.

    Raises:
        InUse: another process has it.
        NoFolder: it cannot be made, or not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "serve.lock").open("a+")
    except OSError as exc:
        raise NoFolder(folder, exc) from exc
    with lock:
        try:
            if sys.platform == "win32":
                msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise InUse(str(folder)) from exc
        yield


def serve(
    folder: Path,
    comfyuis: Sequence[str],
    *,
    host: str,
    port: int,
    store: str,
    stopping: threading.Event,
    of_all: Sequence[str] = (),
    of_gateway: Sequence[str] = (),
    of_worker: Callable[[str], Sequence[str]] = lambda _: (),
) -> None:
    """Run database, gateway and a worker for each server until ``stopping`` is set.

    ``of_all``, ``of_gateway`` and ``of_worker``, of a server, are further options of the children, as they are typed.

    Raises:
        CannotListen: not on this host and port.
        CannotStart: PostgreSQL does not run on the folder.
        InUse: another process serves from this folder.
        NoFolder: it cannot be written.
        NoKeys: others reach the host, and nobody would keep them out.
        NotAnAddress: a server's address is none.
        Unusable: the store cannot be used.
    """
    given = [servers.normal(url) for url in comfyuis]
    with sole_use(folder):
        open_store(store).check()
        with Postgres(folder) as postgres:
            migrate(postgres.url)
            keys.needed(postgres.url, host)
            listening.check(host, port, patience_s=_GOING_S)
            # Not as an argument, which everybody on the machine may read: it can hold a password.
            database = {DATABASE_VARIABLE: postgres.url}
            common = ["--store", store, "--with-parent", *of_all]
            workers = Workers(database, given, lambda url: [*common, *of_worker(url)])
            address = ["--host", host, "--port", str(port)]
            gateway = Child("gateway", ["gateway", *address, *of_gateway, *common], database)
            try:
                while not stopping.is_set():
                    postgres.ensure()
                    workers.look()
                    for child in (*workers.children.values(), gateway):
                        child.look()
                    stopping.wait(_LOOK_EVERY_S)
            finally:
                workers.close()
                children = (gateway, *workers.children.values())
                for child in children:
                    child.end()
                for child in children:
                    child.join()
