"""Many calls at once: rows read as they are needed, results as they come."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any, Generic, TypeVar

from comfybridge.api.result import Result
from comfybridge.errors import ComfyError

_LEAVE_AFTER_S = 10.0
"""How long calls that are being cancelled are waited for."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Done(Generic[Row]):
    """One row's end: a ``result`` or an ``error``. ``seconds`` are those of its call, those in the queue too."""

    index: int
    row: Row
    result: Result | None
    error: ComfyError | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Broken:
    """Something that is no row's fault: the rows cannot be read, or there is a mistake in the program."""

    error: BaseException


def each(
    rows: Iterable[Row], make: Callable[[int, Row], Result], most: int, stop: Callable[[], Any]
) -> Generator[Done[Row], None, None]:
    """Make every row, at most so many at once; in order of finishing.

    When the iterator is closed early, by an error too, no more rows are read and ``stop`` is called, which cancels.
    """
    work = _Work(enumerate(rows), make, most)
    threads = [threading.Thread(target=work.go_on, name=f"row maker {each}", daemon=True) for each in range(most)]
    try:
        for thread in threads:
            thread.start()
        yield from work.done(most)
    finally:
        work.is_over.set()
        if any(thread.is_alive() for thread in threads):
            stop()
            work.drain([thread for thread in threads if thread.is_alive()])


class _Work(Generic[Row]):
    def __init__(self, rows: Iterator[tuple[int, Row]], make: Callable[[int, Row], Result], most: int) -> None:
        self._rows = rows
        self._make = make
        self._reading = threading.Lock()
        # Bounded, so that results do not pile up for a reader who is slow.
        self._ends: Queue[Done[Row] | _Broken | None] = Queue(maxsize=most)
        self.is_over = threading.Event()

    def go_on(self) -> None:
        """Make one row after the other, in a thread."""
        try:
            while (taken := self._next()) is not None:
                index, row = taken
                started = time.monotonic()
                result, error = None, None
                try:
                    result = self._make(index, row)
                except ComfyError as exc:
                    error = exc
                self._ends.put(Done(index, row, result, error, time.monotonic() - started))
                # Or a picture stays while the next one is made.
                del result, row, taken
        except Exception as exc:  # noqa: BLE001  # whatever it is, it is raised where the results are read
            self._ends.put(_Broken(exc))
        self._ends.put(None)

    def done(self, most: int) -> Iterator[Done[Row]]:
        working = most
        while working:
            end = self._ends.get()
            match end:
                case None:
                    working -= 1
                case _Broken():
                    raise end.error
                case Done():
                    yield end
            del end

    def drain(self, threads: list[threading.Thread]) -> None:
        """Take what is still made, for nobody, until all threads have ended."""
        leave_at = time.monotonic() + _LEAVE_AFTER_S
        while any(thread.is_alive() for thread in threads) and time.monotonic() < leave_at:
            try:
                self._ends.get(timeout=0.05)
            except Empty:
                continue

    def _next(self) -> tuple[int, Row] | None:
        with self._reading:
            return None if self.is_over.is_set() else next(self._rows, None)
