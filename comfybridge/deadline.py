"""The one deadline of a job."""

import time


class Deadline:
    """A point in monotonic time that every wait of one job is cut to."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def has_passed(self) -> bool:
        return self.remaining() <= 0
