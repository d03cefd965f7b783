"""How much memory a process holds."""

import contextlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from PIL import Image

from bench.plugins import Plugin
from bench.server import upload

PICTURES = 20
BIG_PICTURES, BIG_SIDE = 8, 2048

_GRAIN = 12

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


@dataclass(frozen=True, slots=True)
class BigFigures:
    """Bytes: of the largest picture, held when idle after small pictures, and at most during one call."""

    picture: int
    idle: int
    peak: int

    @property
    def above(self) -> float:
        """The peak above idle, in pictures."""
        return (self.peak - self.idle) / self.picture


def of_big_pictures(plugin: Plugin, base_url: str, seeds: Iterator[int], **parameters: Any) -> BigFigures:
    """Have a warm plugin hand over ``BIG_PICTURES`` of ``BIG_SIDE`` pixels in one call.

    They are of grain, since a test card packs to a tenth of what a photograph does.

    Raises:
        CallError: they did not come about.
    """
    uploaded = upload(base_url, _grain())
    graph: dict[str, Any] = {"load": {"class_type": "LoadImage", "inputs": {"image": uploaded}}}
    for number in range(BIG_PICTURES):
        inputs = {"images": ["load", 0], "filename_prefix": f"big{number}"}
        graph[f"save{number}"] = {"class_type": "SaveImage", "inputs": inputs}
    plugin.picture(base_url, next(seeds))
    with Memory(plugin.daemon.pid) as memory:
        time.sleep(_SETTLED_S)
        idle = memory.now
        answer = plugin.workflow(base_url, json.dumps(graph), **parameters)
        return BigFigures(max(len(file.data) for file in answer.files), idle, memory.peak)


def _grain() -> bytes:
    bands = [Image.effect_noise((BIG_SIDE, BIG_SIDE), _GRAIN) for _ in "RGB"]
    packed = io.BytesIO()
    Image.merge("RGB", bands).save(packed, "PNG", compress_level=1)
    return packed.getvalue()


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
