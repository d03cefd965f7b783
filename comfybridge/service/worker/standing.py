"""Whether a server is set aside, since its jobs fail where others' succeed: then it gets one now and then, for trial.

What is decided is in the database as well, so that a restart of the worker changes nothing.
"""

import logging
import random
import threading
import time

from psycopg import Connection

from comfybridge.health import ASIDE_S, Pauses
from comfybridge.service import sickness
from comfybridge.service.claiming import Claimed

logger = logging.getLogger(__name__)

_LOAD = """
SELECT health = 'sick' AND aside_until IS NOT NULL,
    coalesce(extract(epoch FROM aside_until - now()), 0)::float, trials
FROM servers WHERE url = %s
"""
_ASIDE = """
UPDATE servers SET health = 'sick', reason = %(reason)s, reason_zh = %(reason_zh)s, trials = %(trials)s,
    aside_until = now() + make_interval(secs => %(pause_s)s)
WHERE url = %(server)s
"""
_BACK = "UPDATE servers SET health = 'well', reason = '', reason_zh = '', trials = 0, aside_until = NULL WHERE url = %s"


class Standing:
    """Used from several threads, with any connection."""

    def __init__(self, server: str, aside_s: tuple[float, float] = ASIDE_S) -> None:
        self._server = server
        self._pauses = Pauses(*aside_s, random.random)
        self._lock = threading.Lock()
        self._has_failures = False
        self.is_aside = False

    def load(self, connection: Connection) -> None:
        """Go on where an earlier worker of the server ended."""
        row = connection.execute(_LOAD, (self._server,)).fetchone()
        with self._lock:
            self._has_failures = sickness.has_failures(connection, self._server)
            if row is not None and row[0]:
                self.is_aside = True
                self._pauses.until, self._pauses.count = time.monotonic() + row[1], row[2]

    @property
    def reason(self) -> tuple[str, str]:
        """Why it is set aside, in English and Chinese."""
        pause_s = max(0.0, self._pauses.until - time.monotonic())
        why = "Set aside: its last three jobs failed in nodes, and such jobs succeed on other servers."
        why_zh = "已暂停使用：最近三个任务都在节点中失败，而同类任务在其他服务器上成功。"
        return f"{why} It gets one job as a trial in {pause_s:.0f} s.", f"{why_zh}{pause_s:.0f} 秒后用一个任务试运行。"

    def lets_in(self, *, is_busy: bool) -> bool:
        """Whether it may take a job now; of one that is set aside, whether a trial is due."""
        return not self.is_aside or (not is_busy and time.monotonic() >= self._pauses.until)

    def taken(self, connection: Connection) -> None:
        """It took a job; one that is set aside gets no other one for a while."""
        if self.is_aside:
            with self._lock:
                self._put_aside(connection, "gets one job as a trial")

    def failed(self, connection: Connection, job: Claimed, node_id: str) -> None:
        """A job failed in a node, and not for want of memory."""
        sickness.failed(connection, job.prompt_id, self._server, job.wants, node_id)
        self._has_failures = True
        self.judge(connection)

    def succeeded(self, connection: Connection, job: Claimed) -> None:
        """A job ended well here: what failed before is forgiven."""
        with self._lock:
            if self._has_failures or job.moves:
                sickness.succeeded(connection, job.prompt_id, self._server)
                self._has_failures = False
            if self.is_aside:
                self.is_aside, self._pauses.count = False, 0
                connection.execute(_BACK, (self._server,))
                logger.info("server %s is back: a job succeeded", self._server)

    def judge(self, connection: Connection) -> None:
        """Set it aside, if that is what the failures say by now: others' successes come later."""
        with self._lock:
            if self._has_failures and not self.is_aside and sickness.is_sick(connection, self._server):
                self.is_aside = True
                self._put_aside(connection, "is set aside: its last three jobs failed in nodes")

    def _put_aside(self, connection: Connection, news: str) -> None:
        pause_s = self._pauses.grow(time.monotonic())
        reason, reason_zh = self.reason
        values = {
            "server": self._server,
            "reason": reason,
            "reason_zh": reason_zh,
            "trials": self._pauses.count,
            "pause_s": pause_s,
        }
        connection.execute(_ASIDE, values)
        logger.warning("server %s %s; the next trial in %.0f s", self._server, news, pause_s)
