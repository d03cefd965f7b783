"""The database's clock, read off this process's own: what a worker sees one after the other, it dates in that order."""

import time

from psycopg import Connection

_CLOSE_S = 0.1
_STEP_S = 1.0
"""So far the clocks may drift apart until ours follows: by less would change the order of what was dated before."""


class DatabaseClock:
    """``read`` is called by one thread now and then, ``at`` by any."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        self._unsure_s = 0.0

    def read(self, connection: Connection) -> None:
        asked = time.monotonic()
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float").fetchone()
        answered = time.monotonic()
        assert row is not None  # noqa: S101  (it is a constant's row)
        ahead_s, unsure_s = row[0] - (asked + answered) / 2, answered - asked
        is_better = self._unsure_s > _CLOSE_S and unsure_s < self._unsure_s
        if self._ahead_s is None or is_better or abs(ahead_s - self._ahead_s) > _STEP_S + unsure_s:
            self._ahead_s, self._unsure_s = ahead_s, unsure_s

    def at(self, moment: float) -> float | None:
        """A time of ``time.monotonic`` in seconds since 1970; ``None`` before the first reading."""
        return None if self._ahead_s is None else self._ahead_s + moment
