"""The leases of the jobs that a worker holds, and what becomes of those whose worker is silent."""

import logging
import threading

from psycopg import Connection

from comfybridge.errors import Lost
from comfybridge.service import claiming, ends
from comfybridge.service.claiming import MOST_ATTEMPTS, Claimed
from comfybridge.service.finishing import finish

logger = logging.getLogger(__name__)


class Leases:
    """What one worker holds. Used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Claimed] = {}

    def take(self, job: Claimed) -> None:
        with self._lock:
            self._held[job.prompt_id] = job

    def drop(self, job: Claimed) -> None:
        with self._lock:
            if self._held.get(job.prompt_id) is job:
                del self._held[job.prompt_id]

    @property
    def held(self) -> list[Claimed]:
        with self._lock:
            return list(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def renew(self, connection: Connection, progress: dict[str, dict[str, object]]) -> list[Claimed]:
        """Keep what is held; the jobs that are to be stopped: no longer ours, or somebody asked for their end."""
        with self._lock:
            held = dict(self._held)
        if not held:
            return []
        kept = claiming.renew(connection, {prompt_id: job.fence for prompt_id, job in held.items()}, progress)
        return [job for prompt_id, job in held.items() if kept.get(prompt_id, True)]


def sweep(connection: Connection, *, keep_s: float) -> int:
    """Move on the jobs of silent workers, any worker's; those that were tried too often end."""
    moved = 0
    for job in claiming.lapsed(connection):
        if job.attempts < MOST_ATTEMPTS:
            moved += claiming.release(connection, job.prompt_id, job.fence, counts=True)
            about = {"prompt_id": job.prompt_id, "server": job.server}
            logger.warning("prompt %s moves on: the worker of %s is silent", job.prompt_id, job.server, extra=about)
        else:
            error = Lost(*poisoned(job.attempts, "its worker vanished", "工作进程消失"))
            end = ends.without_comfyui(job.prompt_id, error)
            moved += finish(connection, job.prompt_id, job.fence, end, keep_s=keep_s)
    return moved + claiming.unavoid(connection)


def poisoned(attempts: int, why_en: str, why_zh: str) -> tuple[str, str]:
    """What is told of a job that is given up."""
    return (
        f"Given up after {attempts} attempts, the last one because {why_en}.",
        f"尝试 {attempts} 次后放弃，最后一次的原因：{why_zh}。",
    )
