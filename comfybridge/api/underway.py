"""The jobs that one caller has on the way, to be stopped together."""

import threading

from comfybridge.api.job import Job
from comfybridge.errors import Cancelled


class Underway:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        # In the order of their submission.
        self._jobs: dict[Job, None] = {}
        self._has_stopped = False
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises Cancelled when nothing more shall begin."""
        if self._has_stopped:
            raise Cancelled("Not begun: the others were stopped.", "未开始：其余任务已停止。")

    def add(self, job: Job) -> None:
        """Count a job in; one that comes after the stop is cancelled at once."""
        with self._lock:
            self._jobs[job] = None
            is_late = self._has_stopped
        if is_late:
            job.cancel()

    def remove(self, job: Job) -> None:
        with self._lock:
            self._jobs.pop(job, None)

    def stop(self) -> None:
        """Cancel all of them, those to come included."""
        with self._lock:
            self._has_stopped = True
            jobs = list(self._jobs)
        # The last first: to interrupt the running one would start the next.
        for job in reversed(jobs):
            job.cancel()
