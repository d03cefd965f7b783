"""The limit of a job's run: it begins when ComfyUI begins, so that nobody pays for those who were there before."""

import time

from comfybridge.deadline import Deadline
from comfybridge.errors import TimedOut

_WHILE_NOT_RUNNING_S = 3600.0


class RunTime(Deadline):
    """A deadline that passes only between ``begin`` and ``end``; else there is an hour for each request."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._is_running = False

    def begin(self, *, ran_s: float = 0.0) -> None:
        """The job runs, and has run for ``ran_s``."""
        self._end = time.monotonic() + self.seconds - ran_s
        self._is_running = True

    def end(self) -> None:
        """It runs no more; what it made may take its time."""
        self._is_running = False

    def pass_now(self) -> None:
        """Do not wait for the job any longer."""
        self._end, self._is_running = time.monotonic(), True

    def remaining(self) -> float:
        return super().remaining() if self._is_running else _WHILE_NOT_RUNNING_S


def too_long(template: str, limit_s: float) -> TimedOut:
    """The end of a job that ran for longer than it may."""
    of_en, of_zh = (f" for {template}", f"模板 {template} 的") if template else ("", "")
    return TimedOut(
        f"The job ran longer than the limit{of_en}, {limit_s:g} s, and was interrupted.",
        f"任务运行时间超过{of_zh}上限 {limit_s:g} 秒，已被中断。",
    )
