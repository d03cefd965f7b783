"""Second tries of a call's jobs: after an out-of-memory, or for a file that is gone, on the same server; after a node's
failure on another.
"""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfybridge import choosing, jobs
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, NodeError, OutOfMemory, Rejected, Unavailable
from comfybridge.filling import Filled
from comfybridge.jobs import Job
from comfybridge.pool import Pool

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class SecondTries:
    """One second try for each job of a call, and one for a file that is gone; the pool learns of every end.

    ``work`` is what the pool knows the graph by; ``has_key`` whether a key for paid nodes goes along. Only a call that
    ``may_move`` is tried on another server.
    """

    pool: Pool
    work: str
    deadline: Deadline
    extra_data: Mapping[str, Any]
    has_key: bool
    listening: contextlib.ExitStack
    may_move: bool
    _started: float = field(default_factory=time.monotonic, init=False)
    # By the prompt_id of the first try.
    _second: dict[str, Job] = field(default_factory=dict, init=False)

    def again(self, job: Job, error: OutOfMemory | NodeError) -> Job | None:
        if isinstance(error, NodeError):
            self.ended(job, error)
            second = self._elsewhere(job) if self.may_move else None
        else:
            second = self._with_free_memory(job)
        if second is not None:
            self._second[job.prompt_id] = second
        return second

    def latest(self, submitted: Sequence[Job]) -> list[Job]:
        """The jobs as they stand now: the last try in the place of the first."""
        return [self._last(job) for job in submitted]

    def _last(self, job: Job) -> Job:
        while job.prompt_id in self._second:
            job = self._second[job.prompt_id]
        return job

    def anew(self, job: Job, filled: Filled) -> Job | None:
        second = self._queued_once_more(job, filled)
        if second is not None:
            self._second[job.prompt_id] = second
        return second

    def ended(self, job: Job, error: NodeError | None) -> None:
        if error is None:
            self.pool.succeeded(job.client, self.work)
            return
        wish = next((first for first, second in self._second.items() if second is job), job.prompt_id)
        self.pool.failed_in_node(job.client, self.work, wish=wish, node_id=error.node_id)

    def _with_free_memory(self, job: Job) -> Job | None:
        logger.warning("prompt %s ran out of memory: freeing and trying once more", job.prompt_id)
        try:
            job.client.free(self.deadline)
        except Unavailable as exc:
            logger.warning("prompt %s: no second try: %s", job.prompt_id, exc)
            return None
        return self._queued_once_more(job, job.filled)

    def _queued_once_more(self, job: Job, filled: Filled) -> Job | None:
        """On the same server."""
        try:
            return jobs.queue(job.client, filled, {}, self.deadline, self.extra_data, self.listening)
        except (Unavailable, Rejected) as exc:
            logger.warning("prompt %s: no second try: %s", job.prompt_id, exc)
            return None

    def _elsewhere(self, job: Job) -> Job | None:
        if self.deadline.remaining() < time.monotonic() - self._started:
            # A second try that cannot end in time would only hide why the first failed.
            return None
        for client in self.pool.others(job.client, self.deadline, self.work):
            try:
                definitions = client.definitions(job.filled.template.class_types(), self.deadline)
                if choosing.problems(job.filled, definitions, has_key=self.has_key):
                    continue
                second = jobs.queue(client, job.filled, definitions, self.deadline, self.extra_data, self.listening)
            except (Unavailable, Rejected) as exc:
                logger.warning("prompt %s: no second try at %s: %s", job.prompt_id, client.base_url, exc)
                if not self.deadline.has_passed():
                    self.pool.failed_to_take(client, self.work, exc)
                continue
            except ComfyError as exc:
                # It may run there: a third try could make the picture twice.
                logger.warning("prompt %s: no second try: %s", job.prompt_id, exc)
                return None
            logger.warning("prompt %s failed in a node: once more at %s", job.prompt_id, client.base_url)
            self.pool.accepted(client, self.work, job.filled.model or self.work)
            return second
        return None
