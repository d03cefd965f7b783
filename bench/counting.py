"""What passes between a plugin and the server, seen by a relay between them; nothing is timed here."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.plugins import Pair, Plugin
from bench.relay import Relay, Traffic
from bench.server import Server, queue_foreign, wait_until_idle
from bench.timing import warm_up

FINISHED_JOBS, WAITING_JOBS = 300, 100
WAITED_S = 16.0
"""Just over the 15 s after which our plugin looks whether its job is still there."""

_PICTURES = 5


@dataclass(frozen=True, slots=True)
class Count:
    """The traffic of so many pictures."""

    traffic: Traffic
    pictures: int

    @property
    def requests(self) -> float:
        return len(self.traffic.exchanges) / self.pictures

    @property
    def requested(self) -> str:
        """The requests in words, those of one kind together."""
        kinds = Counter(exchange.kind for exchange in self.traffic.exchanges)
        return ", ".join(kind if count == self.pictures else f"{count} {kind}" for kind, count in kinds.items())

    @property
    def sent(self) -> float:
        return self.traffic.sent / self.pictures

    @property
    def received(self) -> float:
        """But for the picture itself and the frames."""
        return sum(exchange.received for exchange in self.traffic.exchanges if not exchange.is_picture) / self.pictures

    @property
    def frames(self) -> float:
        return self.traffic.socket_received / self.pictures

    @property
    def picture(self) -> float:
        return sum(exchange.received for exchange in self.traffic.exchanges if exchange.is_picture) / self.pictures


@dataclass(frozen=True, slots=True)
class Counts:
    """The same on both sides."""

    ours: Count
    floor: Count


class Counting:
    """Both plugins, each behind a relay of its own that lives until the stack is closed. ``first`` is cold."""

    def __init__(self, stack: ExitStack, pair: Pair, base_url: str, seeds: Iterator[int]) -> None:
        self._seeds = seeds
        self._base_url = base_url
        self._sides = [(plugin, stack.enter_context(Relay(base_url))) for plugin in (pair.ours, pair.floor)]
        for plugin, relay in self._sides:
            plugin.picture(relay.url, next(seeds))
        self.first = self._taken(pictures=1)
        for plugin, relay in self._sides:
            warm_up(plugin, relay.url, seeds)
        self._taken(pictures=1)

    def some_pictures(self) -> Counts:
        seeds = [next(self._seeds) for _ in range(_PICTURES)]
        for plugin, relay in self._sides:
            for seed in seeds:
                plugin.picture(relay.url, seed)
        return self._taken(_PICTURES)

    def after_waiting(self, server: Server, graph: Mapping[str, Any]) -> Counts:
        """One picture each that waits in the queue for ``WAITED_S``, before others' jobs."""
        server.hold()
        queue_foreign(self._base_url, graph, WAITING_JOBS)
        with ThreadPoolExecutor() as threads:
            try:
                calls = [threads.submit(self._picture, plugin, relay) for plugin, relay in self._sides]
                time.sleep(WAITED_S)
            finally:
                # Whatever stops the run, the threads are waited for, and they wait for their pictures.
                server.release()
            for call in calls:
                call.result()
        counts = self._taken(pictures=1)
        wait_until_idle(self._base_url)
        return counts

    def fill_history(self, graph: Mapping[str, Any]) -> None:
        queue_foreign(self._base_url, graph, FINISHED_JOBS)
        wait_until_idle(self._base_url)
        # The frames that told of them.
        self._taken(pictures=1)

    def _picture(self, plugin: Plugin, relay: Relay) -> None:
        plugin.picture(relay.url, next(self._seeds))

    def _taken(self, pictures: int) -> Counts:
        ours, floor = (Count(relay.take(), pictures) for _, relay in self._sides)
        return Counts(ours, floor)
