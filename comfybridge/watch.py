"""When to look for a job's end: frames make the next look come sooner, looks decide. Pure: the clock comes in."""

from dataclasses import dataclass
from typing import TypeAlias

from comfybridge.messages import Disconnected, Ended, Heard, Progress, QueueSize, Started

_LOOK_EVERY_S = 15.0
"""Between two looks while the WebSocket hears."""
_POLL_FIRST_S, _POLL_SLOWEST_S = 0.25, 5.0
_SOON_S = 0.05
"""Until the next look when the end was announced and the history had it not yet."""
_SETTLE_S = 0.1
"""How long an empty queue is left to mean that others' jobs are done and ours is on its way."""
_GRACE_S = 1.0
"""Between the two looks that find a prompt nowhere."""
_GONE_AFTER_S = 30.0
"""How long a server may refuse connections before its jobs count as lost: it forgets them when it restarts."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """So many prompts stand before ours in the server's queue, the running one included."""

    ahead: int


Event: TypeAlias = Waiting | Started | Progress
"""What whoever waits for a job may want to see."""


@dataclass(slots=True)
class Watch:
    """The frames and the looks of one job so far; every time is a reading of one monotonic clock, in seconds."""

    looked: float
    pause: float = _POLL_FIRST_S
    is_urgent: bool = False
    has_started: bool = False
    has_ended: bool = False
    ahead: int | None = None
    emptied: float | None = None
    refused_since: float | None = None
    nowhere_since: float | None = None

    def due(self, *, hears: bool) -> float:
        """The time of the next look, while the WebSocket does or does not hear."""
        if self.is_urgent:
            return self.looked
        relies_on_socket = hears and not self.has_ended and self.nowhere_since is None
        due = self.looked + (_LOOK_EVERY_S if relies_on_socket else self.pause)
        return due if self.emptied is None else min(due, self.emptied + _SETTLE_S)

    def hear(self, frame: Heard, now: float) -> Event | None:
        """Take in a frame; what it says to whoever waits, if anything."""
        match frame:
            case QueueSize(remaining=0):
                # Ours has left the queue, finished or removed; or it is still on its way there, by another socket.
                self.emptied = now
            case QueueSize(remaining=remaining):
                self.emptied = None
                if not self.has_started and (self.ahead is None or remaining - 1 < self.ahead):
                    self.ahead = remaining - 1
                    return Waiting(self.ahead)
            case Started():
                self.has_started = True
            case Progress():
                self.has_started = True
                return frame
            case Ended():
                self.has_ended = self.is_urgent = True
                self.pause = _SOON_S
            case Disconnected():
                self.is_urgent = True
                self.pause = _POLL_FIRST_S
        return None

    def look(self, now: float) -> bool:
        """Begin a look; whether the history is likely to have the job by now."""
        history_first = self.has_ended or self.emptied is not None
        self.looked, self.is_urgent, self.emptied = now, False, None
        return history_first

    def is_gone(self, *, refused: bool) -> bool:
        """Take in a look without an answer; whether the server has refused connections for too long."""
        self.refused_since = (self.refused_since or self.looked) if refused else None
        self._slow_down()
        return self.refused_since is not None and self.looked - self.refused_since > _GONE_AFTER_S

    def is_nowhere(self, *, known: bool) -> bool:
        """Take in a look that found the job waiting or running, or not at all; whether that was twice."""
        self.refused_since = None
        if known:
            self.nowhere_since = None
            self._slow_down()
        elif self.nowhere_since is None:
            self.nowhere_since, self.pause = self.looked, _GRACE_S
        return self.nowhere_since is not None and self.looked - self.nowhere_since >= _GRACE_S

    def _slow_down(self) -> None:
        self.pause = min(self.pause * 1.5, _POLL_SLOWEST_S)
