"""The worker's threads: two that run jobs, so that one prompt waits in ComfyUI while another runs, and their servants.

Whatever a worker knows it can lose: jobs, leases and outcomes are in the database, and its successor adopts what its
ComfyUI still knows.
"""

import dataclasses
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, Failed, Unavailable
from comfybridge.health import ASIDE_S
from comfybridge.service import claiming, ends, expiring, logs, servers
from comfybridge.service.claiming import LEASE_S, MOST_ADOPTIONS, PLACES, Claimed
from comfybridge.service.database import ASKED, WORK, single, sync_pool, work_of
from comfybridge.service.expiring import Expiry
from comfybridge.service.finishing import End, write_end
from comfybridge.service.store import StoreAway, open_store
from comfybridge.service.supervised import DATABASE_FAULTS, Supervised
from comfybridge.service.worker.clearing import Clearing
from comfybridge.service.worker.describing import Description
from comfybridge.service.worker.keeping import Leases, poisoned, sweep
from comfybridge.service.worker.limiting import RunTime
from comfybridge.service.worker.obeying import GRACE_S, Stopping
from comfybridge.service.worker.pruning import AFTER_S, File, Pruning
from comfybridge.service.worker.relay import Relay
from comfybridge.service.worker.running import Back, Faulted, Run
from comfybridge.service.worker.settling import FIRST_PAUSE_S, Settling
from comfybridge.service.worker.shelf import Shelf
from comfybridge.service.worker.showing import Showing
from comfybridge.service.worker.standing import Standing
from comfybridge.service.worker.timing import DatabaseClock
from comfybridge.service.worker.warming import Warming

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_RENEW_EVERY_S = LEASE_S / 5
_LOOK_EVERY_S = 5.0
_STANDBY_S = 1.0
_ASK_S = 10.0
_AGAIN_S = 0.5
_LONGEST_TURN_S = 5.0
"""How long a job's end waits for the one before it, whose files may be large."""
_FRAMES_KEPT_S = 60.0

_MODE = "UPDATE servers SET heartbeat = now(), worker = %s WHERE url = %s RETURNING mode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``limit_s`` bounds the run of a job that has no limit of its own; ``keep_s`` is how long results last.

    ``aside_s``: the first and the longest pause of a server that seems sick. ``grace_s``: how long an interrupt may
    take. ``pause_s``: the first pause of a job that no other server takes after it was lost here. ``warm``:
    templates that are run when the server comes up. ``folder``: the
    ComfyUI's own, where files are deleted ``prune_after_s`` after a job last named them. ``sweep_s``: how often is
    looked for what has expired; its bytes go ``garbage_s`` after its rows.
    """

    comfyui: str
    database: str
    store: str
    limit_s: float = 3600.0
    keep_s: float = 7 * 86400.0
    aside_s: tuple[float, float] = ASIDE_S
    grace_s: float = GRACE_S
    warm: tuple[str, ...] = ()
    folder: Path | None = None
    prune_after_s: float = AFTER_S
    sweep_s: float = 60.0
    garbage_s: float = expiring.GRACE_S
    pause_s: float = FIRST_PAUSE_S


class Worker:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._relay = Relay()
        self._client = Client(settings.comfyui, tap=self._relay.tap)
        self._url = self._client.base_url
        self._store = open_store(settings.store)
        self._pool = sync_pool(settings.database, most=6, name=self.name)
        self._showing = Showing(self._pool, self._relay.tell, keep_s=settings.keep_s)
        self._leases = Leases()
        self._clock = DatabaseClock()
        self._description = Description(self._client, self._url, self.name)
        self._standing = Standing(self._url, settings.aside_s)
        self._settling = Settling(self._url, self._standing, self._end, pause_s=settings.pause_s)
        self._pruning = Pruning(self._url, settings.folder, settings.prune_after_s)
        expiry = Expiry(store=self._store, keep_s=settings.keep_s, grace_s=settings.garbage_s)
        self._clearing = Clearing(expiry, self._pruning, every_s=settings.sweep_s)
        self._warming = Warming(self._client, self._url, settings.warm)
        self._told_to_stop = Stopping(self._client, settings.grace_s)
        self._named: set[str] = set()
        """The jobs of which this worker alone was told."""
        self._came_second: set[str] = set()
        """The jobs that were taken to wait behind another one."""
        self._limits: dict[str, RunTime] = {}
        self._withdrawn: set[str] = set()
        """The jobs that were taken out of this server's queue since it runs nothing for now."""
        self._threads = Supervised()
        self._place = threading.Semaphore(1)
        """The one place to wait in the ComfyUI's own queue."""
        self._work = threading.Event()
        self._upkeep = threading.Event()
        self._in_charge = threading.Event()
        self._takes_jobs = False
        self._is_removed = False
        self.has_left = False
        """Whether it ended since its server was removed."""

    def run(self) -> int:
        """Work until ``stop``; the exit status."""
        self._threads.start("charge", self._hold_charge)
        self._threads.start("listen", self._listen)
        self._threads.start("keep", self._keep)
        self._threads.start("describe", self._describe)
        self._threads.start("publish", self._publish)
        self._threads.start("clear", self._clear)
        if self._warming.names:
            self._threads.start("warm", self._warm)
        self._threads.start("show", self._showing.show)
        for number in range(PLACES):
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
            self._standing.load(connection)
            for prompt_id in claiming.timed_out(connection, self._url):
                self._told_to_stop.add(prompt_id)
            for job in claiming.adopt(connection, self._url, self.name):
                logger.info("prompt %s adopted", job.prompt_id)
                self._leases.take(job)
                adopted = partial(self._work_on, job, _nothing, may_be_there=True)
                self._threads.start_once(f"adopted-{job.prompt_id}", adopted)
            self._clock.read(connection)
            self._in_charge.set()
            self._upkeep.set()
            try:
                while not self._threads.stopping.wait(_POLL_S):
                    self._clock.read(connection)
                if not self._threads.has_failed:
                    claiming.hand_over(connection, self._url, self.name)
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
            is_second = len(self._leases) > 0
            may_take = self._told_to_stop.is_over and self._standing.lets_in(is_busy=is_second)
            if is_ready and may_take and not self._relay.not_started:
                job = claiming.claim(connection, self._url, self.name, is_second=is_second)
                if job is not None:
                    self._named.discard(job.prompt_id)
                    # Last, since what is in there is kept, and run by whoever gets it from here.
                    self._standing.taken(connection)
                    self._leases.take(job)
                    if is_second:
                        self._came_second.add(job.prompt_id)
                    return job
            if self._named:
                named = list(self._named)
                self._named.difference_update(named)
                claiming.pass_on(connection, named)
            self._work.wait(_POLL_S)
        return None

    def _work_on(self, job: Claimed, on_start: Callable[[], None], *, may_be_there: bool) -> None:
        with logs.about(prompt_id=job.prompt_id, server=self._url, owner=job.owner):
            self._attempt(job, on_start, may_be_there=may_be_there)

    def _attempt(self, job: Claimed, on_start: Callable[[], None], *, may_be_there: bool) -> None:
        limit_s = job.limit_s if job.limit_s is not None else self._settings.limit_s
        deadline = RunTime(limit_s)
        ran_before = iter((job.ran_s,))

        def start() -> None:
            deadline.begin(ran_s=next(ran_before, 0.0))
            on_start()

        self._limits[job.prompt_id] = deadline
        shelf = Shelf(job, self._client, self._store)
        self._relay.follow(job, start, partial(self._showing.hear, shelf))
        logger.debug("prompt %s begins at %s, attempt %d", job.prompt_id, self._url, job.attempts)
        try:
            if job.is_running:
                self._relay.started(job.prompt_id)
            while (ended := self._ended(job, shelf, deadline, may_be_there=may_be_there)) is None:
                may_be_there = True
                if self._threads.stopping.wait(_AGAIN_S):
                    return
            ended = self._seen(job, ended)
            on_start()
            # As in ComfyUI's own history: who finds a job there finds those before it.
            self._relay.wait_for_earlier(job, _LONGEST_TURN_S)
            self._settle(job, ended)
        finally:
            self._relay.leave(job.prompt_id)
            self._limits.pop(job.prompt_id, None)
            self._leases.drop(job)
            # Another one may be claimed now, as first.
            self._work.set()

    def _ended(
        self, job: Claimed, shelf: Shelf, deadline: RunTime, *, may_be_there: bool
    ) -> End | Back | Faulted | None:
        """Run the job; ``None`` where the store was away, so that it has to be looked for once more."""
        if job.adoptions > MOST_ADOPTIONS:
            self._stop(job)
            why = poisoned(job.adoptions, "its worker ended without a word", "工作进程意外终止")
            return ends.without_comfyui(job.prompt_id, Failed(*why))
        again, noted = partial(self._relay.queued_again, job.prompt_id), partial(self._note, job)
        run = Run(job, self._client, self._store, shelf, self._pruning, noted, again)
        try:
            with self._client.listen(job.prompt_id, deadline) as listener:
                return run(listener, deadline, may_be_there=may_be_there)
        except StoreAway as exc:
            logger.warning("prompt %s: the store is away: %s", job.prompt_id, exc)
            return None

    def _note(self, job: Claimed, *files: File) -> None:
        """Write down, for later, which files lie in the server's own folders; what is missed only stays there."""
        if not self._pruning.is_on:
            return
        try:
            with self._pool.connection() as connection:
                self._pruning.note(connection, job.prompt_id, files)
        except DATABASE_FAULTS as exc:
            logger.warning("prompt %s: its files on %s stay there: %s", job.prompt_id, self._url, exc)

    def _seen(self, job: Claimed, ended: End | Back | Faulted) -> End | Back | Faulted:
        """What an end tells of the server; and one that we brought about ourselves is none."""
        is_withdrawn = job.prompt_id in self._withdrawn
        self._withdrawn.discard(job.prompt_id)
        if isinstance(ended, Back) and isinstance(ended.error, Unavailable):
            self._description.is_well = False
        if isinstance(ended, Back) and job.prompt_id in self._came_second & set(self._relay.not_started):
            # It waited: whatever the server died of, it was not this one.
            ended = dataclasses.replace(ended, counts=False)
        self._came_second.discard(job.prompt_id)
        if isinstance(ended, End) and ended.outcome == "timed_out":
            if is_withdrawn:
                return Back(error=Unavailable(*self._told_to_stop.words, server=self._url), counts=False)
            self._told_to_stop.add(job.prompt_id)
        return ended

    def _settle(self, job: Claimed, ended: End | Back | Faulted) -> None:
        """Write the end, or give the job back, as soon as the database is there; our lease may be over by then."""
        while True:
            try:
                with self._pool.connection() as connection:
                    if not isinstance(ended, Back):
                        files = ended.files if isinstance(ended, End) else ended.end.files
                        self._pruning.note(connection, job.prompt_id, files)
                    is_ours = self._settling.write(connection, job, ended)
                break
            except DATABASE_FAULTS as exc:
                logger.warning("prompt %s: its end cannot be written yet: %s", job.prompt_id, exc)
                if self._threads.stopping.wait(_AGAIN_S):
                    return
        if not is_ours:
            logger.warning("prompt %s is no longer ours; what it made is left", job.prompt_id)
        elif isinstance(ended, End):
            logger.info("prompt %s %s after %.2f s", job.prompt_id, ended.outcome, ended.gpu_s)

    def _end(self, connection: psycopg.Connection[Any], job: Claimed, end: End) -> bool:
        end = dataclasses.replace(end, ended=self._clock.at(self._relay.ended_at(job.prompt_id)))
        bill = write_end(connection, job.prompt_id, job.fence, end, keep_s=self._settings.keep_s)
        self._relay.leave(job.prompt_id)
        if bill is not None:
            self._relay.ended(bill)
        return bill is not None

    # What serves them

    def _listen(self) -> None:
        with single(self._settings.database, self.name) as connection:
            for channel in (WORK, work_of(self._url), ASKED):
                connection.execute(f"LISTEN {channel}".encode())
            self._work.set()
            while not self._threads.stopping.is_set():
                for notice in connection.notifies(timeout=_POLL_S):
                    if notice.channel == ASKED:
                        self._asked(json.loads(notice.payload))
                        continue
                    if notice.payload:
                        self._named.add(notice.payload)
                    self._work.set()

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
            # Where the database was away for all, a lapsed lease says nothing until its owner had time to renew it.
            others_are_back = time.monotonic() + LEASE_S
            while not self._threads.stopping.is_set():
                self._upkeep.clear()
                if self._in_charge.is_set():
                    row = connection.execute(_MODE, (self.name, self._url)).fetchone()
                    takes_jobs = row is not None and row[0] == "active"
                    if row is not None and row[0] == "removed":
                        self._end_if_removed()
                    else:
                        self._is_removed = False
                    if takes_jobs and not self._takes_jobs:
                        self._work.set()
                    self._takes_jobs = takes_jobs
                for job in self._leases.renew(connection, self._relay.progress):
                    logger.info("prompt %s is to be stopped", job.prompt_id, extra={"prompt_id": job.prompt_id})
                    self._stop(job)
                if time.monotonic() > others_are_back and sweep(connection, keep_s=self._settings.keep_s):
                    self._work.set()
                connection.execute(
                    "DELETE FROM frames WHERE created < now() - make_interval(secs => %s)", (_FRAMES_KEPT_S,)
                )
                self._upkeep.wait(_AGAIN_S if self._is_removed else _RENEW_EVERY_S)

    def _end_if_removed(self) -> None:
        """End when the removed server is empty, at the second look: a claim may have been under way at the first."""
        if not self._is_removed:
            self._is_removed, self._takes_jobs = True, False
        elif not self._leases:
            logger.info("%s", servers.said_at_removal(self._url)[0])
            self.has_left = True
            self._threads.stop()

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
                    self._standing.judge(connection)
                    self._description.look(connection, self._illness)
                    if self._description.is_well and not was_well:
                        self._work.set()
                    self._find_started()
                if not self._told_to_stop.is_over:
                    self._see_to_stopping()
                self._threads.stopping.wait(_AGAIN_S)

    @property
    def _look_every_s(self) -> float:
        is_as_ever = self._description.is_well and self._told_to_stop.is_over
        return _LOOK_EVERY_S if is_as_ever else _POLL_S

    @property
    def _illness(self) -> tuple[str, str] | None:
        return self._told_to_stop.illness or (self._standing.reason if self._standing.is_aside else None)

    def _see_to_stopping(self) -> None:
        """Wait for what was told to stop; where that takes too long, what waits behind it is for others."""
        if self._told_to_stop.look():
            self._work.set()
        elif self._told_to_stop.is_overdue:
            for job in self._leases.held:
                limit = self._limits.get(job.prompt_id)
                if limit is not None and job.prompt_id in self._relay.not_started:
                    self._withdrawn.add(job.prompt_id)
                    limit.pass_now()

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

    def _warm(self) -> None:
        with single(self._settings.database, self.name) as connection:
            while not self._threads.stopping.wait(_AGAIN_S):
                if (
                    self._in_charge.is_set()
                    and self._takes_jobs
                    and self._description.is_well
                    and not len(self._leases)
                ):
                    self._warming.see_to(connection, self._description)

    def _clear(self) -> None:
        with single(self._settings.database, self.name) as connection:
            while not self._threads.stopping.is_set():
                self._clearing.clear(connection, own_folders=self._in_charge.is_set())
                self._threads.stopping.wait(self._settings.sweep_s)


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
