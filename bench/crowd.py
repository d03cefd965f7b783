"""Many calls at once on one plugin process."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.counting import Count
from bench.memory import Memory
from bench.plugins import CallError, Case, Plugin
from bench.relay import Relay
from bench.samples import Samples
from bench.timing import warm_up


@dataclass(slots=True)
class Crowd:
    """One side: seconds of each round and of each call, the highest memory in bytes; the requests of further rounds."""

    rounds: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    peak: int = 0
    requests: float | None = None
    requested: str = ""


@dataclass(frozen=True, slots=True)
class Crowds:
    ours: Crowd
    floor: Crowd

    @property
    def rounds(self) -> Samples:
        return Samples(self.ours.rounds, self.floor.rounds)

    @property
    def calls(self) -> Samples:
        return Samples(self.ours.calls, self.floor.calls)


def measure(case: Case, base_url: str, seeds: Iterator[int], size: int, rounds: int) -> Crowds:
    """Make ``size`` pictures at once, ``rounds`` times on each side in turn, then as often again through a relay."""
    crowds = Crowds(Crowd(), Crowd())
    with case.start() as pair:
        sides = ((pair.ours, crowds.ours), (pair.floor, crowds.floor))
        with Memory(pair.ours.daemon.pid) as ours, Memory(pair.floor.daemon.pid) as floor:
            for plugin, _ in sides:
                warm_up(plugin, base_url, seeds)
            for _ in range(rounds):
                for plugin, crowd in sides:
                    _round(plugin, base_url, seeds, size, crowd)
            crowds.ours.peak, crowds.floor.peak = ours.peak, floor.peak
        for plugin, crowd in sides:
            _count(plugin, base_url, seeds, size, rounds, crowd)
    return crowds


def _round(plugin: Plugin, base_url: str, seeds: Iterator[int], size: int, crowd: Crowd) -> None:
    together = threading.Barrier(size + 1)

    def picture(seed: int) -> None:
        together.wait()
        try:
            crowd.calls.append(plugin.picture(base_url, seed).seconds)
        except CallError as exc:
            crowd.errors.append(str(exc))

    with ThreadPoolExecutor(size) as threads:
        calls = [threads.submit(picture, next(seeds)) for _ in range(size)]
        together.wait()
        started = time.perf_counter()
        for call in calls:
            call.result()
    crowd.rounds.append(time.perf_counter() - started)


def _count(plugin: Plugin, base_url: str, seeds: Iterator[int], size: int, rounds: int, crowd: Crowd) -> None:
    counted = Crowd()
    with Relay(base_url) as relay:
        warm_up(plugin, relay.url, seeds)
        relay.take()
        for _ in range(rounds):
            _round(plugin, relay.url, seeds, size, counted)
        count = Count(relay.take(), rounds * size)
    crowd.requests, crowd.requested = count.requests, count.requested
    crowd.errors += counted.errors
