"""Pictures one after the other, ours and the floor's in turn."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from bench.plugins import CallError, Pair, Plugin
from bench.samples import Samples
from bench.server import finished, own_work_s

_WARM_UP = 3


@dataclass(slots=True)
class Timings:
    """Of each call: seconds in all, on the server, and added by the plugin; what Dify got; the picture's bytes.

    ``processor`` is a single figure: the plugin's own seconds of processor time for one call, on average.
    """

    wall: Samples = field(default_factory=Samples)
    work: Samples = field(default_factory=Samples)
    added: Samples = field(default_factory=Samples)
    processor: Samples = field(default_factory=Samples)
    messages: Samples = field(default_factory=Samples)
    said: Samples = field(default_factory=Samples)
    picture: Samples = field(default_factory=Samples)


def warm_up(plugin: Plugin, base_url: str, seeds: Iterator[int]) -> None:
    for _ in range(_WARM_UP):
        plugin.picture(base_url, next(seeds))


def measure(pair: Pair, base_url: str, seeds: Iterator[int], times: int, errors: list[str]) -> Timings:
    """Make so many pictures on each side, with the same seeds, never one seed twice in a row: ComfyUI would reuse it.

    Raises:
        CallError: not even the warm-up worked.
    """
    for plugin in (pair.ours, pair.floor):
        warm_up(plugin, base_url, seeds)
    timings = Timings()
    before = [_processor_s(plugin) for plugin in (pair.ours, pair.floor)]
    for _ in range((times + 1) // 2):
        first, second = next(seeds), next(seeds)
        for plugin, seed in ((pair.ours, first), (pair.floor, second), (pair.floor, first), (pair.ours, second)):
            try:
                _measure(plugin, base_url, seed, timings, is_ours=plugin is pair.ours)
            except CallError as exc:
                errors.append(str(exc))
    timings.processor.ours.append((_processor_s(pair.ours) - before[0]) / max(1, len(timings.wall.ours)))
    timings.processor.other.append((_processor_s(pair.floor) - before[1]) / max(1, len(timings.wall.other)))
    return timings


def _processor_s(plugin: Plugin) -> float:
    times = psutil.Process(plugin.daemon.pid).cpu_times()
    return float(times.user + times.system)


def _measure(plugin: Plugin, base_url: str, seed: int, timings: Timings, *, is_ours: bool) -> None:
    call = plugin.picture(base_url, seed)
    work_s = own_work_s(finished(base_url, call.prompt_id))
    for samples, figure in (
        (timings.wall, call.seconds),
        (timings.work, work_s),
        (timings.added, call.seconds - work_s),
        (timings.messages, len(call.answer.messages)),
        (timings.said, call.said),
        (timings.picture, len(call.answer.files[0].data)),
    ):
        (samples.ours if is_ours else samples.other).append(figure)
