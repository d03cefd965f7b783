"""How much memory a process holds."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bench.plugins import Plugin

PICTURES = 20

_LOOK_EVERY_S = 0.05
_SETTLED_S = 1.0


class Memory:
    """Resident memory of one process in bytes, looked at all the time; a context manager."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._status = Path(f"/proc/{pid}/status")
        self._stopping = threading.Event()
        self._highest = 0
        self._thread = threading.Thread(target=self._look, name="memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def now(self) -> int:
        size: int = self._process.memory_info().rss
        return size

    @property
    def peak(self) -> int:
        """Since the process started: as the kernel kept it, where it does; else the highest look."""
        if not self._status.exists():
            return self._highest
        kept = re.search(r"^VmHWM:\s+(\d+) kB", self._status.read_text(), re.MULTILINE)
        return max(self._highest, int(kept[1]) * 1024 if kept else 0)

    def _look(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            while not self._stopping.wait(_LOOK_EVERY_S):
                self._highest = max(self._highest, self.now)


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes, in the life of one process."""

    idle: int
    first: int
    peak: int


def of_pictures(plugin: Plugin, base_url: str, seeds: Iterator[int]) -> Figures:
    """Look at a plugin that was just started, and have it make some pictures.

    Raises:
        CallError: one of them did not come about.
    """
    with Memory(plugin.daemon.pid) as memory:
        time.sleep(_SETTLED_S)
        idle = memory.now
        plugin.picture(base_url, next(seeds))
        first = memory.now
        for _ in range(PICTURES - 1):
            plugin.picture(base_url, next(seeds))
        return Figures(idle, first, memory.peak)
