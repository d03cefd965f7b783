"""``comfybridge serve``: everything on one machine, in processes that are started again when they die."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfybridge.service import DATABASE_VARIABLE, keys
from comfybridge.service.migrating import migrate
from comfybridge.service.postgres import Postgres

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

_MAIN = "import sys; from comfybridge.cli import main; sys.exit(main())"
_LOOK_EVERY_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_WELL_AFTER_S = 10.0
_END_S = 5.0


class InUse(Exception):
    """Another ``serve`` has this data folder."""


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it ends with this process, however that ends.

    Raises:
        InUse: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "serve.lock").open("a+") as lock:
        try:
            if sys.platform == "win32":
                msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise InUse(str(folder)) from exc
        yield


@dataclass(slots=True)
class Child:
    """A process of ours: this program with other arguments; its standard input tells it when we are gone."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    not_before: float = field(default=0.0)

    def look(self) -> None:
        """Start it, or start it again; ever more slowly one that keeps dying."""
        now = time.monotonic()
        if self.process is not None:
            status = self.process.poll()
            if status is None:
                return
            logger.warning("%s ended with status %s", self.name, status)
            is_well = now - self.started > _WELL_AFTER_S
            self.pause_s = _FIRST_PAUSE_S if is_well else min(self.pause_s * 2, _LONGEST_PAUSE_S)
            self.not_before, self.process = now + self.pause_s, None
        if now >= self.not_before:
            command = [sys.executable, "-c", _MAIN, *self.arguments]
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603  (our own)
            self.started = now

    def end(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            self.process.terminate()

    def join(self) -> None:
        """Wait until it has ended, which is not for long."""
        if self.process is None:
            return
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(
    folder: Path,
    comfyuis: Sequence[str],
    *,
    host: str,
    port: int,
    store: str,
    stopping: threading.Event,
    of_gateway: Sequence[str] = (),
) -> None:
    """Run database, gateway and a worker for each server until ``stopping`` is set.

    ``of_gateway`` are further options of the gateway, as they are typed.

    Raises:
        InUse: another process serves from this folder.
        NoKeys: others reach the host, and nobody would keep them out.
    """
    with sole_use(folder), Postgres(folder) as postgres:
        migrate(postgres.url)
        keys.needed(postgres.url, host)
        # Not as an argument, which everybody on the machine may read: it can hold a password.
        database = {DATABASE_VARIABLE: postgres.url}
        common = ["--store", store, "--with-parent"]
        address = ["--host", host, "--port", str(port)]
        children = [Child("gateway", ["gateway", *address, *of_gateway, *common], database)]
        children += [Child(f"worker of {url}", ["worker", "--comfyui", url, *common], database) for url in comfyuis]
        try:
            while not stopping.is_set():
                postgres.ensure()
                for child in children:
                    child.look()
                stopping.wait(_LOOK_EVERY_S)
        finally:
            for child in children:
                child.end()
            for child in children:
                child.join()
