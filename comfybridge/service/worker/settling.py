"""What becomes of a job that is over here: its end is written, or it goes back, for others or for later."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from psycopg import Connection

from comfybridge.errors import Failed
from comfybridge.service import claiming, ends
from comfybridge.service.claiming import LEASE_S, MOST_ATTEMPTS, Claimed
from comfybridge.service.finishing import End
from comfybridge.service.worker.keeping import poisoned
from comfybridge.service.worker.running import Back, Faulted
from comfybridge.service.worker.standing import Standing

logger = logging.getLogger(__name__)

Finish: TypeAlias = Callable[[Connection[Any], Claimed, End], bool]
"""Ends a job; whether it was still ours."""

FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0
_NO_LARGER = (
    " It was tried once more after freeing the memory, and there is no server with more that could run it.",
    "已释放显存并重试一次，且没有显存更大的服务器可以运行它。",
)

# The servers that have no more memory than this one, and whether one with more would take the job.
_MEMORY = """
WITH known AS (
    SELECT url, coalesce((stats #>> '{devices,0,vram_total}')::float, 0) AS vram, mode, health, heartbeat FROM servers
),
mine AS (SELECT vram FROM known WHERE url = %(server)s)
SELECT
    array(SELECT url FROM known WHERE vram <= (SELECT vram FROM mine)),
    EXISTS (
        SELECT FROM jobs JOIN offers ON offers.wants = jobs.wants JOIN known ON known.url = offers.server
        WHERE jobs.prompt_id = %(prompt_id)s AND known.url <> ALL (jobs.avoid) AND known.vram > (SELECT vram FROM mine)
            AND known.mode = 'active' AND known.health = 'well'
            AND known.heartbeat > now() - make_interval(secs => %(lease_s)s)
    )
"""


class Settling:
    """For the jobs of one server. Every call may be made again where the database went away in it."""

    def __init__(self, server: str, standing: Standing, finish: Finish, *, pause_s: float) -> None:
        self._server = server
        self._standing = standing
        self._finish = finish
        self._pause_s = pause_s

    def write(self, connection: Connection[Any], job: Claimed, ended: End | Back | Faulted) -> bool:
        """Whether the job was still ours."""
        if isinstance(ended, Back):
            return self._back(connection, job, ended)
        if isinstance(ended, Faulted):
            return self._faulted(connection, job, ended)
        is_ours = self._finish(connection, job, ended)
        if is_ours and ended.outcome == "succeeded":
            self._standing.succeeded(connection, job)
        return is_ours

    def _faulted(self, connection: Connection[Any], job: Claimed, fault: Faulted) -> bool:
        """A node failed: once on another server, whose word is the last."""
        may_move = job.moves == 0 and job.attempts < MOST_ATTEMPTS
        if fault.is_out_of_memory:
            values = {"server": self._server, "prompt_id": job.prompt_id, "lease_s": LEASE_S}
            row = connection.execute(_MEMORY, values).fetchone()
            smaller, has_larger = row if row is not None else ([], False)
            if may_move and has_larger:
                return self._move(connection, job, smaller)
            english, chinese = fault.end.reason or ("", "")
            told = (english + _NO_LARGER[0], chinese + _NO_LARGER[1])
            return self._finish(connection, job, dataclasses.replace(fault.end, reason=told))
        self._standing.failed(connection, job, fault.node_id)
        if may_move and claiming.has_others(connection, job.prompt_id, self._server):
            return self._move(connection, job, [self._server])
        return self._finish(connection, job, fault.end)

    def _move(self, connection: Connection[Any], job: Claimed, avoid: list[str]) -> bool:
        logger.warning("prompt %s failed in a node of %s: once more elsewhere", job.prompt_id, self._server)
        return claiming.release(connection, job.prompt_id, job.fence, counts=True, avoid=avoid, moves=True)

    def _back(self, connection: Connection[Any], job: Claimed, back: Back) -> bool:
        logger.warning("prompt %s goes back to the queue: %s", job.prompt_id, back.error)
        error = back.error
        if back.is_refused:
            if claiming.has_others(connection, job.prompt_id, self._server, patient=True):
                return claiming.release(connection, job.prompt_id, job.fence, counts=False, avoid=[self._server])
        elif job.attempts < MOST_ATTEMPTS or not back.counts:
            # Others first; where there is none, this one again after a while.
            has_others = claiming.has_others(connection, job.prompt_id, self._server)
            return claiming.release(
                connection,
                job.prompt_id,
                job.fence,
                counts=back.counts,
                after_s=0.0 if has_others else min(self._pause_s * 2.0 ** min(job.returns, 30), _LONGEST_PAUSE_S),
                avoid=[self._server] if has_others else [],
                forgets=not has_others,
            )
        else:
            error = Failed(*poisoned(job.attempts, str(error).rstrip("."), error.zh.rstrip("。")))
        return self._finish(connection, job, ends.without_comfyui(job.prompt_id, error))
