"""What is measured, in what order; each part gives sections of the table."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import backlog, batches, conversion, counting, crowd, floor, memory, plugins, service, starts, timing, turns
from bench.counting import Counting, Counts
from bench.plugins import Case
from bench.samples import median
from bench.server import Server, queue_foreign, wait_until_idle
from bench.table import Aim, Row, Section, middle, spread
from bench.timing import Timings

_PROMPT = "a red fox in fresh snow, morning light, 雪地里的红狐"
_SIMULATED = {"prompt": _PROMPT, "width": 512, "height": 512}
_SMALLEST = {"prompt": _PROMPT, "template": "sd15", "width": 64, "height": 64, "steps": 1}

_STARTS = 9
_TIMES = {0.0: 200, 1.0: 20}
"""Pictures on each side, by the seconds of work that each takes."""
_CROWDS = {16: 3, 64: 3}
"""Rounds, by how many calls there are at once."""
_BUDGET_S = 40.0
"""For the pictures of one part on a server that is not ours alone."""

_ADDED, _START = Aim(1.3), Aim(1.15)
_IMPORT, _HELP = Aim(0.15, of_ratio=False), Aim(1.5)
_TWO_PICTURES = Aim(2, of_ratio=False)
_REQUESTS, _ONE_MORE_REQUEST, _NO_ERRORS = Aim(5, of_ratio=False), Aim(6, of_ratio=False), Aim(0, of_ratio=False)


@dataclass(slots=True)
class Run:
    """One run: the folder its plugins are written to, and what went wrong so far."""

    folder: Path
    errors: list[str] = field(default_factory=list)
    _seeds: Iterator[int] = field(default_factory=plugins.seeds)

    def on_simulators(self) -> Iterator[Section]:
        """Measure on simulators of our own.

        Raises:
            CallError: where a part had nothing to go on with.
        """
        yield conversion.measure()
        yield self._starts()
        yield _library()
        with Server(0.0) as server:
            case = plugins.prepare(server.url, _SIMULATED, self.folder / "floor")
            yield self._memory(case, server.url)
            yield self._big_memory(case, server.url)
        with case.start() as pair:
            for work_s, times in _TIMES.items():
                with Server(work_s) as server:
                    timings = timing.measure(pair, server.url, self._seeds, times, self.errors)
                yield _timing(f"{work_s:g} s of work", timings)
        yield from self._traffic_of_simulator(case)
        for size, rounds in _CROWDS.items():
            with Server(0.0) as server:
                yield self._crowd(case, server.url, size, rounds)
        yield batches.measure()
        yield service.measure()
        yield backlog.measure()
        yield turns.measure()

    def on(self, base_url: str) -> Iterator[Section]:
        """Measure on a server of somebody's: fewer pictures, the smallest, and nothing is queued in others' names.

        Raises:
            CallError: as above.
        """
        yield conversion.measure()
        yield self._starts()
        yield _library()
        case = plugins.prepare(base_url, _SMALLEST, self.folder / "floor")
        yield self._memory(case, base_url)
        with case.start() as pair:
            each_s = max(timing.measure(pair, base_url, self._seeds, 2, self.errors).wall.ours, default=_BUDGET_S)
            times = max(2, min(_TIMES[0.0], round(_BUDGET_S / each_s / 2)))
            yield _timing("server as it is", timing.measure(pair, base_url, self._seeds, times, self.errors))
        with case.start() as pair, ExitStack() as relays:
            counter = Counting(relays, pair, base_url, self._seeds)
            yield _traffic("Traffic per picture, first one", counter.first)
            yield _traffic("Traffic per picture, warm", counter.some_pictures(), _REQUESTS)
        for size in _CROWDS:
            if 2 * 2 * size * each_s <= _BUDGET_S:
                yield self._crowd(case, base_url, size, 1)
            else:
                note = f"left out: more than {_BUDGET_S:g} s of this server's time"
                yield Section(f"{size} calls at once", "floor", (), (note,))

    def _starts(self) -> Section:
        samples = starts.measure(floor.write_bare(self.folder / "bare"), _STARTS)
        return Section("Process start to first heartbeat", "bare", spread("start", samples, "ms", _START))

    def _memory(self, case: Case, base_url: str) -> Section:
        with case.start() as pair:
            ours, other = (memory.of_pictures(plugin, base_url, self._seeds) for plugin in (pair.ours, pair.floor))
        rows = [
            Row(label="idle after start", ours=ours.idle, other=other.idle, unit="MiB"),
            Row(label="after the first picture", ours=ours.first, other=other.first, unit="MiB"),
            Row(label=f"peak of {memory.PICTURES} pictures", ours=ours.peak, other=other.peak, unit="MiB"),
        ]
        return Section("Memory", "floor", rows)

    def _big_memory(self, case: Case, base_url: str) -> Section:
        """In processes of their own: a peak is of a whole life."""
        with case.start_ours() as plugin:
            kept = memory.of_big_pictures(plugin, base_url, self._seeds)
        with case.start_ours() as plugin:
            stripped = memory.of_big_pictures(plugin, base_url, self._seeds, keep_metadata=False)
        rows = [
            Row(label="largest picture", ours=kept.picture, other=stripped.picture, unit="MiB"),
            Row(label="idle after a small picture", ours=kept.idle, other=stripped.idle, unit="MiB"),
            Row(label="peak", ours=kept.peak, other=stripped.peak, unit="MiB"),
            Row(label="peak above idle, in pictures", ours=kept.above, other=stripped.above, aim=_TWO_PICTURES),
        ]
        title = f"Memory, {memory.BIG_PICTURES} pictures of {memory.BIG_SIDE}×{memory.BIG_SIDE} in one call"
        return Section(title, "stripped", rows, ("stripped: ours too, with keep_metadata off",))

    def _traffic_of_simulator(self, case: Case) -> Iterator[Section]:
        with Server(0.0) as server, case.start() as pair, ExitStack() as relays:
            # A server that has loaded nothing yet sends longer frames, and only to whoever comes first.
            queue_foreign(server.url, case.graph, 1)
            wait_until_idle(server.url)
            counter = Counting(relays, pair, server.url, self._seeds)
            yield _traffic("Traffic per picture, first one", counter.first)
            yield _traffic("Traffic per picture, warm, short history", counter.some_pictures(), _REQUESTS)
            counter.fill_history(case.graph)
            title = f"Traffic per picture, {counting.FINISHED_JOBS} jobs in the history"
            yield _traffic(title, counter.some_pictures(), _REQUESTS)
            title = f"The same, {counting.WAITED_S:g} s in the queue with {counting.WAITING_JOBS} others"
            yield _traffic(title, counter.after_waiting(server, case.graph), _ONE_MORE_REQUEST)

    def _crowd(self, case: Case, base_url: str, size: int, rounds: int) -> Section:
        crowds = crowd.measure(case, base_url, self._seeds, size, rounds)
        ours, other = crowds.ours, crowds.floor
        self.errors += [*ours.errors, *other.errors]
        rows = [
            middle("all of them, median of the rounds", crowds.rounds, "ms"),
            *spread("each call", crowds.calls, "ms", are_independent=False),
            Row(label="errors", ours=len(ours.errors), other=len(other.errors), aim=_NO_ERRORS),
            Row(label="HTTP requests per picture", ours=ours.requests, other=other.requests, aim=_REQUESTS),
            Row(label="peak memory", ours=ours.peak, other=other.peak, unit="MiB"),
        ]
        notes = [f"ours: {ours.requested}", f"floor: {other.requested}"]
        return Section(f"{size} calls at once", "floor", rows, notes)


def _library() -> Section:
    """The package and the command by themselves, as processes from start to end."""
    imported = starts.of_python(starts.IMPORT, ("-c", "pass"), _STARTS)
    helped = starts.of_python(starts.HELP, ("-c", "import click"), _STARTS)
    rows = [
        Row(
            label="import comfybridge, beside python -c pass",
            ours=median(imported.ours),
            other=median(imported.other),
            unit="ms",
            aim=_IMPORT,
        ),
        *spread("comfybridge --help, beside python -c 'import click'", helped, "ms", _HELP),
    ]
    return Section("Python and the command line", "bare", rows)


def _timing(title: str, timings: Timings) -> Section:
    rows = [
        *spread("added time", timings.added, "ms", _ADDED),
        *spread("wall time of a call", timings.wall, "ms"),
        middle("server's own time in it, median", timings.work, "ms"),
        middle("processor time of the plugin, mean", timings.processor, "ms"),
        middle("picture, median", timings.picture, "bytes"),
        middle("messages to Dify", timings.messages, ""),
        middle("their size without the picture", timings.said, "bytes"),
    ]
    return Section(f"One picture after the other, {title}", "floor", rows)


def _traffic(title: str, counts: Counts, aim: Aim | None = None) -> Section:
    ours, other = counts.ours, counts.floor
    rows = [
        Row(label="HTTP requests", ours=ours.requests, other=other.requests, aim=aim),
        Row(label="WebSocket handshakes", ours=ours.traffic.handshakes, other=other.traffic.handshakes),
        Row(label="sent to the server", ours=ours.sent, other=other.sent, unit="bytes"),
        Row(label="received as answers", ours=ours.received, other=other.received, unit="bytes"),
        Row(label="received as WebSocket frames", ours=ours.frames, other=other.frames, unit="bytes"),
        Row(label="received as picture", ours=ours.picture, other=other.picture, unit="bytes"),
        Row(
            label=f"largest of the answers ({ours.traffic.largest_answer.kind})",
            ours=ours.traffic.largest_answer.received,
            other=other.traffic.largest_answer.received,
            unit="bytes",
        ),
    ]
    notes = [f"ours: {ours.requested}", f"floor: {other.requested}"]
    return Section(title, "floor", rows, notes)
