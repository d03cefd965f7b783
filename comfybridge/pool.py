"""The servers a caller may use: which one to ask first, and what is learned of them on the way."""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, as_completed, wait
from typing import TypeVar

from comfybridge import advice
from comfybridge.advice import Fault
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, Unavailable
from comfybridge.health import Health, Standing

logger = logging.getLogger(__name__)

_PROBE_S = 2.0
"""How long several servers get to say how busy they are: a frozen one must not eat the others' time."""
_FRESH_S = 1.0

Answer = TypeVar("Answer")


class Pool:
    """One or more ComfyUI servers; their clients live as long as the pool. Safe to use from several threads.

    What is learned of the servers is kept for as long. Of a single server nothing is: there is no choice.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not clients:
            raise ValueError("a pool needs a server")
        self.clients = tuple(clients)
        self._clock = clock
        self._lock = threading.Lock()
        self._health = Health(len(clients), chance, self._tell)
        self._probes: dict[int, tuple[float, Future[int]]] = {}
        # How often each server was offered to a call since it was last asked how busy it is.
        self._offers = [0] * len(clients)

    def candidates(self, deadline: Deadline, work: str = "", *, is_followed: bool = False) -> Iterator[Client]:
        """The servers worth asking, one after the other while none takes the job: healthy ones by what they can run and
        how busy they are, then those set aside, at last those that rest.

        A single server is not asked how busy it is. ``work`` stands for the graph and its models. A call that
        ``is_followed`` to its end may be the trial of a server that was set aside.

        Raises:
            Unavailable: none of several servers answers.
        """
        if len(self.clients) == 1:
            yield self.clients[0]
            return
        awake, resting = self._asked_first()
        first: Unavailable | None = None
        has_offered = False
        for group in (awake, resting):
            loads, error = self._loads(group, deadline)
            first = first or error
            trial = self._trial(loads, work) if is_followed else None
            while loads:
                has_offered = True
                yield self.clients[self._take(loads, work, trial)]
                trial = None
        if not has_offered and first is not None:
            raise first

    def others(self, than: Client, deadline: Deadline, work: str) -> Iterator[Client]:
        """The healthy servers but one, in the same order."""
        awake, _ = self._asked_first()
        with self._lock:
            healthy = [each for each in awake if self._health.standing(each) is Standing.HEALTHY]
        loads, _ = self._loads([each for each in healthy if self.clients[each] is not than], deadline)
        while loads:
            yield self.clients[self._take(loads, work, None)]

    def ask_all(self, question: Callable[[Client], Answer], deadline: Deadline) -> Iterator[Answer]:
        """Every server's answer, as they come, those that rest included.

        Raises:
            Unavailable: after the answers, when one of the servers has not given its own in time; of several, one
                that may be alive comes before one where nobody listens.
        """
        if len(self.clients) == 1:
            yield question(self.clients[0])
            return
        asked = {_in_thread(question, client): client for client in self.clients}
        silent: Unavailable | None = None
        try:
            for future in as_completed(asked, deadline.remaining()):
                try:
                    yield future.result()
                except Unavailable as exc:
                    if silent is None or silent.is_closed:
                        silent = exc
        except TimeoutError:
            late = next(client for future, client in asked.items() if not future.done())
            raise advice.unreachable(late.base_url, Fault.SILENT) from None
        if silent is not None:
            raise silent

    # What calls have seen

    def failed_to_take(self, client: Client, work: str, error: ComfyError) -> None:
        """It did not take a job: it is out of reach, or it lacks something for this work."""
        with self._lock:
            if isinstance(error, Unavailable):
                self._unanswered(self._number(client), error)
            else:
                self._health.refused(self._number(client), work, self._clock())

    def accepted(self, client: Client, work: str, model: str) -> None:
        with self._lock:
            self._health.accepted(self._number(client), work, model)

    def succeeded(self, client: Client, work: str) -> None:
        with self._lock:
            self._health.succeeded(self._number(client), work, self._clock())

    def failed_in_node(self, client: Client, work: str, *, wish: str, node_id: str) -> None:
        """A node raised, and neither for want of memory nor because somebody interrupted it.

        ``wish`` is the same for both tries of one job.
        """
        with self._lock:
            self._health.failed_in_node(self._number(client), work, wish, node_id, self._clock())

    # How busy they are

    def _asked_first(self) -> tuple[list[int], list[int]]:
        """The servers that do not rest, and those that do; of the latter, one that has rested is asked by the way."""
        with self._lock:
            numbers = range(len(self.clients))
            resting = [each for each in numbers if self._health.standing(each) is Standing.RESTING]
            for each in resting:
                if self._health.is_rested(each, self._clock()):
                    # Nobody waits for the answer: it counts for later calls.
                    self._probe(each)
            return [each for each in numbers if each not in resting], resting

    def _loads(self, servers: Collection[int], deadline: Deadline) -> tuple[dict[int, int], Unavailable | None]:
        """How many jobs each server has that tells, and why the first of the others does not."""
        with self._lock:
            probes = {each: self._probe(each) for each in servers}
        wait(probes.values(), min(_PROBE_S, deadline.remaining()))
        loads: dict[int, int] = {}
        first: Unavailable | None = None
        for each, probe in probes.items():
            try:
                loads[each] = probe.result(timeout=0)
            except Unavailable as exc:
                first = first or exc
            except TimeoutError:
                first = first or advice.unreachable(self.clients[each].base_url, Fault.SILENT)
        return loads, first

    def _probe(self, server: int) -> Future[int]:
        """The answer of a moment ago, one that is on its way, or a new one; to be called with the lock held."""
        asked, probe = self._probes.get(server, (0.0, None))
        if probe is None or (probe.done() and self._clock() - asked >= _FRESH_S):
            probe = _in_thread(self._ask, self.clients[server])
            self._probes[server] = (self._clock(), probe)
            self._offers[server] = 0
        return probe

    def _ask(self, client: Client) -> int:
        number = self._number(client)
        try:
            remaining = client.queue_remaining(Deadline(_PROBE_S))
        except Unavailable as exc:
            with self._lock:
                self._unanswered(number, exc)
            raise
        with self._lock:
            self._health.answered(number)
        return remaining

    def _take(self, loads: dict[int, int], work: str, trial: int | None) -> int:
        """Remove the best server from ``loads``, and count that it was offered."""
        with self._lock:
            now_loads = {each: load + self._offers[each] for each, load in loads.items()}
            server = trial if trial is not None else self._health.best(now_loads, work, self._clock())
            self._offers[server] += 1
        del loads[server]
        return server

    def _trial(self, among: Collection[int], work: str) -> int | None:
        with self._lock:
            return self._health.trial(among, work, self._clock())

    def _number(self, client: Client) -> int:
        return self.clients.index(client)

    def _unanswered(self, server: int, error: Unavailable) -> None:
        if len(self.clients) > 1:
            self._health.unanswered(server, str(error), self._clock())

    def _tell(self, server: int, news: str) -> None:
        logger.info("server %s %s", self.clients[server].base_url, news)


def _in_thread(question: Callable[[Client], Answer], client: Client) -> Future[Answer]:
    """Ask in a thread that ends with the question's own deadline, however long anybody waits for it."""
    future: Future[Answer] = Future()

    def ask() -> None:
        try:
            future.set_result(question(client))
        except Exception as exc:  # noqa: BLE001  # whatever it is, it is raised where the answer is read
            future.set_exception(exc)

    threading.Thread(target=ask, name=f"ask {client.base_url}", daemon=True).start()
    return future
