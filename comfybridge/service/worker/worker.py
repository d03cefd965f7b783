"""The worker's threads: two that run jobs, so that one prompt waits in ComfyUI while another runs, and their servants.

Whatever a worker knows it can lose: jobs, leases and outcomes are in the database, and its successor adopts what its
ComfyUI still knows.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg

from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, Failed
from comfybridge.service import claiming, ends
from comfybridge.service.claiming import LEASE_S, MOST_ATTEMPTS, Claimed
from comfybridge.service.database import ASKED, QUEUED, single, sync_pool
from comfybridge.service.finishing import End, write_end
from comfybridge.service.store import open_store
from comfybridge.service.supervised import DATABASE_FAULTS, Supervised
from comfybridge.service.worker.describing import Description
from comfybridge.service.worker.keeping import Leases, poisoned, sweep
from comfybridge.service.worker.relay import Relay
from comfybridge.service.worker.running import Back, Run

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_RENEW_EVERY_S = LEASE_S / 5
_LOOK_EVERY_S = 5.0
_STANDBY_S = 1.0
_ASK_S = 10.0
_AGAIN_S = 0.5
_RUNNERS = 2
_FRAMES_KEPT_S = 60.0

_MODE = "UPDATE servers SET heartbeat = now(), worker = %s WHERE url = %s RETURNING mode"
_OTHERS = """
SELECT EXISTS (
    SELECT FROM offers JOIN jobs ON jobs.wants = offers.wants
    WHERE jobs.prompt_id = %s AND offers.server <> %s AND offers.server <> ALL (jobs.avoid)
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``limit_s`` bounds the time of one job on its server, waiting there included; ``keep_s`` is how long it lasts."""

    comfyui: str
    database: str
    store: str
    limit_s: float = 3600.0
    keep_s: float = 7 * 86400.0


class Worker:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._relay = Relay()
        self._client = Client(settings.comfyui, tap=self._relay.tap)
        self._url = self._client.base_url
        self._store = open_store(settings.store)
        self._pool = sync_pool(settings.database, most=6, name=self.name)
        self._leases = Leases()
        self._description = Description(self._client, self._url, self.name)
        self._threads = Supervised()
        self._place = threading.Semaphore(1)
        """The one place to wait in the ComfyUI's own queue."""
        self._work = threading.Event()
        self._upkeep = threading.Event()
        self._in_charge = threading.Event()
        self._takes_jobs = False

    def run(self) -> int:
        """Work until ``stop``; the exit status."""
        self._threads.start("charge", self._hold_charge)
        self._threads.start("listen", self._listen)
        self._threads.start("keep", self._keep)
        self._threads.start("describe", self._describe)
        self._threads.start("publish", self._publish)
        for number in range(_RUNNERS):
            self._threads.start(f"run-{number}", self._run_jobs)
        self._threads.stopping.wait()
        self._work.set()
        self._upkeep.set()
        self._threads.join(2.0)
        self._client.close()
        self._pool.close()
        return 1 if self._threads.has_failed else 0

    def stop(self) -> None:
        """End soon; jobs go on in ComfyUI, and the next worker of the server adopts them."""
        self._threads.stop()

    # Being the server's only worker

    def _hold_charge(self) -> None:
        """Hold the server's lock as long as the connection lives; whoever has it may adopt."""
        with single(self._settings.database, self.name) as connection:
            while not self._threads.stopping.is_set():
                row = connection.execute(
                    "SELECT pg_try_advisory_lock(hashtextextended(%s, 7))", (self._url,)
                ).fetchone()
                if row is not None and row[0]:
                    break
                logger.info("another worker serves %s; standing by", self._url)
                self._threads.stopping.wait(_STANDBY_S)
            self._description.register(connection)
            for job in claiming.adopt(connection, self._url, self.name):
                logger.info("prompt %s adopted", job.prompt_id)
                self._leases.take(job)
                adopted = partial(self._work_on, job, _nothing, may_be_there=True)
                self._threads.start_once(f"adopted-{job.prompt_id}", adopted)
            self._in_charge.set()
            self._upkeep.set()
            try:
                while not self._threads.stopping.wait(_POLL_S):
                    connection.execute("SELECT 1")
            finally:
                self._in_charge.clear()

    # Jobs

    def _run_jobs(self) -> None:
        with single(self._settings.database, self.name) as connection:
            while not self._threads.stopping.is_set():
                self._place.acquire()
                freed = _Once(self._place.release)
                try:
                    job = self._next(connection)
                    if job is not None:
                        self._work_on(job, freed, may_be_there=job.attempts > 1)
                finally:
                    freed()

    def _next(self, connection: psycopg.Connection[Any]) -> Claimed | None:
        while not self._threads.stopping.is_set():
            self._work.clear()
            is_ready = self._in_charge.is_set() and self._takes_jobs and self._description.is_well
            if is_ready and not self._relay.not_started:
                job = claiming.claim(connection, self._url, self.name, is_second=len(self._leases) > 0)
                if job is not None:
                    self._leases.take(job)
                    return job
            self._work.wait(_POLL_S)
        return None

    def _work_on(self, job: Claimed, on_start: Callable[[], None], *, may_be_there: bool) -> None:
        deadline = Deadline(self._settings.limit_s)
        self._relay.follow(job, on_start)
        logger.debug("prompt %s begins at %s, attempt %d", job.prompt_id, self._url, job.attempts)
        try:
            if job.is_running:
                self._relay.started(job.prompt_id)
            with self._client.listen(job.prompt_id, deadline) as listener:
                ended = Run(job, self._client, self._store)(listener, deadline, may_be_there=may_be_there)
            on_start()
            self._settle(job, ended)
        finally:
            self._relay.leave(job.prompt_id)
            self._leases.drop(job)
            # Another one may be claimed now, as first.
            self._work.set()

    def _settle(self, job: Claimed, ended: End | Back) -> None:
        """Write the end, or give the job back, as soon as the database is there; our lease may be over by then."""
        while True:
            try:
                with self._pool.connection() as connection:
                    is_ours = self._write(connection, job, ended)
                break
            except DATABASE_FAULTS as exc:
                logger.warning("prompt %s: its end cannot be written yet: %s", job.prompt_id, exc)
                if self._threads.stopping.wait(_AGAIN_S):
                    return
        if not is_ours:
            logger.warning("prompt %s is no longer ours; what it made is left", job.prompt_id)
        elif isinstance(ended, End):
            logger.info("prompt %s %s after %.2f s", job.prompt_id, ended.outcome, ended.gpu_s)

    def _write(self, connection: psycopg.Connection[Any], job: Claimed, ended: End | Back) -> bool:
        if isinstance(ended, End):
            return self._end(connection, job, ended)
        error = ended.error
        logger.warning("prompt %s goes back to the queue: %s", job.prompt_id, error)
        if ended.is_refused:
            others = connection.execute(_OTHERS, (job.prompt_id, self._url)).fetchone()
            if others is not None and others[0]:
                return claiming.release(connection, job.prompt_id, job.fence, counts=False, avoid=[self._url])
        elif job.attempts < MOST_ATTEMPTS or not ended.counts:
            after_s = ended.after_s * 2 ** (job.attempts - 1)
            return claiming.release(connection, job.prompt_id, job.fence, counts=ended.counts, after_s=after_s)
        else:
            error = Failed(*poisoned(job.attempts, str(error).rstrip("."), error.zh.rstrip("。")))
        return self._end(connection, job, ends.without_comfyui(job.prompt_id, error))

    def _end(self, connection: psycopg.Connection[Any], job: Claimed, end: End) -> bool:
        bill = write_end(connection, job.prompt_id, job.fence, end, keep_s=self._settings.keep_s)
        self._relay.leave(job.prompt_id)
        if bill is not None:
            self._relay.ended(bill)
        return bill is not None

    # What serves them

    def _listen(self) -> None:
        with single(self._settings.database, self.name) as connection:
            for channel in (QUEUED, ASKED):
                connection.execute(f"LISTEN {channel}".encode())
            self._work.set()
            while not self._threads.stopping.is_set():
                for notice in connection.notifies(timeout=_POLL_S):
                    if notice.channel == QUEUED:
                        self._work.set()
                    else:
                        self._asked(json.loads(notice.payload))

    def _asked(self, request: dict[str, Any]) -> None:
        if request.get("server") not in (None, self._url):
            return
        if request.get("what") == "free":
            try:
                self._client.free(
                    Deadline(_ASK_S),
                    unload_models=bool(request.get("unload_models")),
                    free_memory=bool(request.get("free_memory")),
                )
            except ComfyError as exc:
                logger.warning("%s could not be freed: %s", self._url, exc)
            return
        self._upkeep.set()

    def _keep(self) -> None:
        with single(self._settings.database, self.name) as connection:
            while not self._threads.stopping.is_set():
                self._upkeep.clear()
                if self._in_charge.is_set():
                    row = connection.execute(_MODE, (self.name, self._url)).fetchone()
                    takes_jobs = row is not None and row[0] == "active"
                    if takes_jobs and not self._takes_jobs:
                        self._work.set()
                    self._takes_jobs = takes_jobs
                for job in self._leases.renew(connection, self._relay.progress):
                    logger.info("prompt %s is to be stopped", job.prompt_id)
                    self._stop(job)
                if sweep(connection, keep_s=self._settings.keep_s):
                    self._work.set()
                connection.execute(
                    "DELETE FROM frames WHERE created < now() - make_interval(secs => %s)", (_FRAMES_KEPT_S,)
                )
                self._upkeep.wait(_RENEW_EVERY_S)

    def _stop(self, job: Claimed) -> None:
        try:
            self._client.cancel(job.prompt_id, Deadline(_RENEW_EVERY_S))
        except ComfyError as exc:
            logger.warning("prompt %s could not be stopped: %s", job.prompt_id, exc)

    def _describe(self) -> None:
        with single(self._settings.database, self.name) as connection:
            looked = 0.0
            while not self._threads.stopping.is_set():
                if self._in_charge.wait(_POLL_S) and time.monotonic() - looked >= self._look_every_s:
                    was_well, looked = self._description.is_well, time.monotonic()
                    self._description.look(connection)
                    if self._description.is_well and not was_well:
                        self._work.set()
                    self._find_started()
                self._threads.stopping.wait(_AGAIN_S)

    @property
    def _look_every_s(self) -> float:
        return _LOOK_EVERY_S if self._description.is_well else _POLL_S

    def _find_started(self) -> None:
        """Where no WebSocket tells, somebody has to look which prompt runs."""
        for prompt_id in self._relay.not_started:
            try:
                queued = self._client.queued(prompt_id, Deadline(_ASK_S))
            except ComfyError:
                return
            if queued is not None and queued.is_running:
                self._relay.started(prompt_id)

    def _publish(self) -> None:
        with single(self._settings.database, self.name) as connection:
            while not self._threads.stopping.is_set():
                self._relay.publish(connection)


def _nothing() -> None:
    """What an adopted job does when it starts: it holds no place of ours."""


class _Once:
    """A call that is made once, whoever calls, from any thread."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._is_done = False

    def __call__(self) -> None:
        with self._lock:
            if self._is_done:
                return
            self._is_done = True
        self._call()
