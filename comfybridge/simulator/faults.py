"""What may go wrong on demand. Each fault is a value; :meth:`Simulator.inject` puts it into force."""

import fnmatch
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong ``times`` times, or until healed."""


@dataclass(frozen=True)
class NodeFailure(Fault):
    """A node raises. ``node`` is a node id or a class type."""

    node: str
    exception_type: str = "RuntimeError"
    message: str = "simulated failure"


@dataclass(frozen=True)
class OutOfMemory(Fault):
    """A sampler (or, in a graph without one, the first node) runs out of memory; ``POST /free`` cures it."""


@dataclass(frozen=True)
class NoOutput(Fault):
    """Output nodes write and report nothing; the prompt succeeds all the same."""


@dataclass(frozen=True)
class LateHistory(Fault):
    """History follows ``execution_success`` this many seconds later; 0.4 has been measured on a real server."""

    seconds: float


@dataclass(frozen=True)
class HttpFault(Fault):
    """``path`` is a shell pattern for the path without the server's prefix, with or without ``/api``."""

    path: str = "*"
    method: str = field(default="*", kw_only=True)

    def concerns(self, method: str, path: str) -> bool:
        seen = (path, path.removeprefix("/api"))
        return self.method in ("*", method) and any(fnmatch.fnmatchcase(each, self.path) for each in seen)


@dataclass(frozen=True)
class Respond(HttpFault):
    """A canned answer instead of the server's."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/plain"


@dataclass(frozen=True)
class Delay(HttpFault):
    """The request is taken up only after ``seconds``."""

    seconds: float = 1.0


@dataclass(frozen=True)
class DropConnection(HttpFault):
    """The connection is closed without an answer, before or after the request took effect."""

    after_accepting: bool = False


@dataclass(frozen=True)
class TruncateView(HttpFault):
    """``/view`` announces the whole file, sends a part of it and closes."""

    path: str = "/view"
    kept: float = 0.5


@dataclass(frozen=True)
class CutWebSockets(Fault):
    """A socket is closed abruptly after it got this many frames."""

    after_frames: int = 0


@dataclass(frozen=True)
class RefuseWebSockets(Fault):
    """The upgrade is answered with an HTTP status."""

    status: int = 403


@dataclass(frozen=True)
class SilentWebSockets(Fault):
    """A socket opens and never says a word."""


@dataclass(frozen=True)
class DuplicateEvents(Fault):
    """Every event of a prompt comes twice."""


@dataclass(frozen=True)
class ReorderEvents(Fault):
    """Events of a prompt come in swapped pairs."""


@dataclass(frozen=True)
class ForeignEvents(Fault):
    """Each event comes with one of somebody else's prompt, its end included."""


AnyFault = TypeVar("AnyFault", bound=Fault)


class Faults:
    """The faults in force; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault, times: int | None) -> None:
        """Put a fault into force; ``times=None`` until it is healed."""
        with self._lock:
            self._left.append((fault, times))

    def take(self, kind: type[AnyFault], concerns: Callable[[AnyFault], bool] = lambda _: True) -> AnyFault | None:
        """Return the oldest fault of a kind that applies, and count it as used."""
        with self._lock:
            for position, (fault, times) in enumerate(self._left):
                if not isinstance(fault, kind) or not concerns(fault):
                    continue
                if times is not None:
                    self._left[position : position + 1] = [(fault, times - 1)] if times > 1 else []
                return fault
            return None

    def has(self, kind: type[Fault]) -> bool:
        with self._lock:
            return any(isinstance(fault, kind) for fault, _ in self._left)

    def heal(self, kind: type[Fault] = Fault) -> None:
        with self._lock:
            self._left = [(fault, times) for fault, times in self._left if not isinstance(fault, kind)]
