"""``comfybridge serve`` as the processes that it is."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError

import psutil

from bench.server import get
from comfybridge.deadline import Deadline

_REPOSITORY = Path(__file__).resolve().parents[1]
_READY_S, _END_S = 60.0, 30.0


class Serving:
    """Over these servers, all of them taken in; a context manager."""

    def __init__(self, servers: Sequence[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._folder = tempfile.TemporaryDirectory(prefix="comfybridge-bench-", ignore_cleanup_errors=True)
        self._data = f"{self._folder.name}/data"
        named = [word for url in servers for word in ("--comfyui", url)]
        # Room for more than the queue's usual cap: how a long one does is what is measured.
        serve = ["serve", "--data", self._data, "--port", str(port), "--most-queued", "20000"]
        self._command = [sys.executable, "-m", "comfybridge.cli", *serve, *named]

    def __enter__(self) -> Self:
        self.start()
        deadline = Deadline(_READY_S)
        while not deadline.has_passed() and self._process.poll() is None:
            with contextlib.suppress(URLError, ConnectionError):
                if get(f"{self.url}/object_info/SaveImage"):
                    return self
            time.sleep(0.1)
        self._end()
        raise RuntimeError("the service did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self) -> None:
        with (Path(self._folder.name) / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=_REPOSITORY, stderr=log)

    def kill(self) -> None:
        """All of it at once, as a loss of power would, after which the kernel knows nothing of it either."""
        serve = psutil.Process(self._process.pid)
        killed = [serve, *serve.children(recursive=True), *self._postgres()]
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        # What was PostgreSQL's is seen off by the machine's first process, which may take its time.
        psutil.wait_procs(killed, _END_S)

    @property
    def gateway(self) -> int:
        """The gateway's process."""
        children = psutil.Process(self._process.pid).children()
        return next(child.pid for child in children if "gateway" in child.cmdline())

    def _postgres(self) -> list[psutil.Process]:
        """PostgreSQL and its processes: they are nobody's children."""
        pid = int((Path(self._data) / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(_END_S)
        self._folder.cleanup()
