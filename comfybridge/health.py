"""Which of several servers to ask first, by what became of earlier calls. Pure: the clock and the chance come in."""

import enum
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

REST_S = (1.0, 60.0)
"""The first and the longest pause of a server that does not answer or does not take jobs."""
ASIDE_S = (30.0, 1800.0)
"""The same for one whose GPU seems sick: each of its trials costs somebody a failed run."""

JUDGED_JOBS = 3
_REFUSAL_S = 60.0
"""How long a server comes last that lacked something; then it may have been installed."""
_MOST_REMEMBERED = 256

Value = TypeVar("Value")


class Standing(enum.IntEnum):
    """How a server stands; the lower, the earlier it is asked."""

    HEALTHY = 0
    ASIDE = 1
    RESTING = 2


@dataclass(slots=True)
class Pauses:
    """Pauses that grow twofold from the first to the longest, each within a fifth of its length by ``chance``."""

    first: float
    longest: float
    chance: Callable[[], float]
    count: int = 0
    until: float = 0.0

    def grow(self, now: float) -> float:
        """Begin the next pause; its length. One that begins long after the last counts as the first."""
        if now - self.until > self.longest:
            self.count = 0
        # Jitter, so that the processes of one installation do not all come at once.
        pause = min(self.first * 2.0**self.count, self.longest) * (0.8 + 0.4 * self.chance())
        self.count = min(self.count + 1, 30)
        self.until = now + pause
        return pause


def seems_sick(failures: Sequence[float], successes_elsewhere: Iterable[float]) -> bool:
    """Whether a server's last jobs all failed in nodes, at these times, while others were able to do such jobs.

    ``successes_elsewhere`` are the latest of each kind of work that failed here.
    """
    return len(failures) >= JUDGED_JOBS and any(at >= failures[0] for at in successes_elsewhere)


class Recent(Generic[Value]):
    """What was said of the kinds of work that came last."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}

    def get(self, work: str) -> Value | None:
        return self._values.get(work)

    def put(self, work: str, value: Value) -> None:
        self._values.pop(work, None)
        self._values[work] = value
        if len(self._values) > _MOST_REMEMBERED:
            del self._values[next(iter(self._values))]

    def drop(self, work: str) -> None:
        self._values.pop(work, None)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A job that failed in a node; ``wish`` is the same for both tries of one job."""

    at: float
    work: str
    wish: str
    node_id: str


@dataclass(slots=True)
class _Server:
    rest: Pauses
    aside: Pauses
    is_resting: bool = False
    is_aside: bool = False
    failures: deque[_Failure] = field(default_factory=lambda: deque(maxlen=JUDGED_JOBS))
    refused: Recent[float] = field(default_factory=Recent)
    succeeded: Recent[float] = field(default_factory=Recent)
    model: str | None = None

    @property
    def standing(self) -> Standing:
        if self.is_resting:
            return Standing.RESTING
        return Standing.ASIDE if self.is_aside else Standing.HEALTHY


class Health:
    """What is known of the servers of a pool, each by its number. Every ``now`` is a reading of one monotonic clock.

    ``work`` stands for a graph and the models it needs. ``tell`` gets a server's changes in words.
    """

    def __init__(self, servers: int, chance: Callable[[], float], tell: Callable[[int, str], None]) -> None:
        self._tell = tell
        self._servers = [_Server(Pauses(*REST_S, chance), Pauses(*ASIDE_S, chance)) for _ in range(servers)]
        self._models: Recent[str] = Recent()

    def standing(self, server: int) -> Standing:
        return self._servers[server].standing

    # Whether it answers

    def answered(self, server: int) -> None:
        """It answers a question: its rest ends. How long the next one is, only a job that it takes brings back."""
        known = self._servers[server]
        if known.is_resting:
            known.is_resting = False
            self._tell(server, "is back")

    def unanswered(self, server: int, reason: str, now: float) -> None:
        """It does not answer, or not as ComfyUI does. One that rests already rests no longer for it."""
        known = self._servers[server]
        if known.is_resting and now < known.rest.until:
            return
        known.is_resting = True
        self._tell(server, f"rests for {known.rest.grow(now):.1f} s: {reason}")

    def is_rested(self, server: int, now: float) -> bool:
        """Whether it rests and its pause is over, so that it is worth a question."""
        known = self._servers[server]
        return known.is_resting and now >= known.rest.until

    # What it can run

    def refused(self, server: int, work: str, now: float) -> None:
        """It lacks something for this work."""
        self._servers[server].refused.put(work, now)

    def accepted(self, server: int, work: str, model: str) -> None:
        """It has taken a job, with this model."""
        known = self._servers[server]
        self.answered(server)
        known.rest.count = 0
        known.refused.drop(work)
        known.model = model
        self._models.put(work, model)

    # Whether its jobs succeed

    def succeeded(self, server: int, work: str, now: float) -> None:
        """A job ended well: what failed on it before is forgiven, and what fails elsewhere is not the work's fault."""
        known = self._servers[server]
        known.succeeded.put(work, now)
        known.failures.clear()
        known.aside.count = 0
        if known.is_aside:
            known.is_aside = False
            self._tell(server, "is back: a job succeeded")
        for each in range(len(self._servers)):
            self._judge(each, now)

    def failed_in_node(self, server: int, work: str, wish: str, node_id: str, now: float) -> None:
        """A job failed in a node. Where its other try failed in the same node, it is nobody's fault but the graph's."""
        known = self._servers[server]
        for other in self._servers:
            for failure in other.failures:
                if other is not known and (failure.wish, failure.node_id) == (wish, node_id):
                    other.failures.remove(failure)
                    return
        known.failures.append(_Failure(now, work, wish, node_id))
        self._judge(server, now)

    def _judge(self, server: int, now: float) -> None:
        """Set a server aside whose last jobs all failed, where other servers are able to do such a job."""
        known = self._servers[server]
        if known.is_aside:
            return
        others = [each for each in self._servers if each is not known]
        kinds = {failure.work for failure in known.failures}
        successes = [at for other in others for work in kinds if (at := other.succeeded.get(work)) is not None]
        if seems_sick([failure.at for failure in known.failures], successes):
            known.is_aside = True
            pause = known.aside.grow(now)
            self._tell(server, f"set aside for {pause:.0f} s: its last three jobs failed in nodes")

    def trial(self, among: Collection[int], work: str, now: float) -> int | None:
        """One server that was set aside long enough to get one real job; whoever asks next gets none for a while."""
        for server in among:
            known = self._servers[server]
            is_due = known.standing is Standing.ASIDE and now >= known.aside.until
            if is_due and not self._lacks(server, work, now):
                pause = known.aside.grow(now)
                self._tell(server, f"gets one job as a trial; the next one in {pause:.0f} s")
                return server
        return None

    # The choice

    def best(self, loads: Mapping[int, int], work: str, now: float) -> int:
        """The server to ask first of those in ``loads``, which tells how many jobs wait or run on each.

        Among about equally busy ones, that is within one job of the least busy, the one that has the model loaded.
        """
        model = self._models.get(work)
        ranks = {server: (self.standing(server), self._lacks(server, work, now)) for server in loads}
        # Only with its equals in rank a server is compared by its load.
        highest = min(ranks.values())
        equals = [server for server in loads if ranks[server] == highest]
        least = min(loads[server] for server in equals)

        def order(server: int) -> tuple[bool, int, int]:
            is_warm = model is not None and self._servers[server].model == model and loads[server] <= least + 1
            return (not is_warm, loads[server], server)

        return min(equals, key=order)

    def _lacks(self, server: int, work: str, now: float) -> bool:
        refused = self._servers[server].refused.get(work)
        return refused is not None and now - refused < _REFUSAL_S
