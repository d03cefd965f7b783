"""How jobs go, on standard error: bars on a terminal, plain lines elsewhere, nothing when it shall be quiet."""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

from comfybridge.api import Event
from comfybridge.cli.language import say

_LONGEST_LABEL = 32
_PART = 0.25
"""Of the steps of a node: how often a plain line tells of them."""


class Shown(Protocol):
    """What shows how jobs go; to be closed. Safe to use from several threads."""

    def hear(self, event: Event) -> None: ...

    def finish(self, row: int) -> None:
        """A row has ended, one way or the other."""

    def note(self, line: str) -> None:
        """Print a line for people."""

    def result(self, line: str) -> None:
        """Print a line of the result, to standard output."""

    def close(self) -> None:
        """Take away what moves. More than once does no harm."""


def shown(label: Callable[[int], str], *, total: int | None, is_quiet: bool) -> Shown:
    """``label`` names a row; ``total`` is the number of rows, ``None`` where it is not known."""
    if is_quiet:
        return Quiet()
    if is_lively(sys.stderr, os.environ):
        try:
            from comfybridge.cli.bars import Bars  # noqa: PLC0415  # rich is not needed otherwise
        except ImportError:
            pass
        else:
            return Bars(label, total)
    return Lines(label if total != 1 else None)


def is_lively(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether there is a terminal that can move its cursor, with people before it."""
    return stream.isatty() and environ.get("TERM") != "dumb" and not environ.get("CI")


class Quiet:
    """Errors and results only."""

    def hear(self, event: Event) -> None:
        pass

    def finish(self, row: int) -> None:
        pass

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def result(self, line: str) -> None:
        print(line, flush=True)

    def close(self) -> None:
        pass


class Lines(Quiet):
    """A line for what changes, without control codes."""

    def __init__(self, label: Callable[[int], str] | None) -> None:
        self._label = label
        self._said: dict[int, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def hear(self, event: Event) -> None:
        row = event.row or 0
        text = spoken(event)
        key: tuple[str, ...] = (event.status, event.prompt_id)
        if event.step is not None and event.steps:
            # Not every step: a log has no room for them.
            key = (*key, str(event.node), str(int(event.step / event.steps / _PART)))
        elif event.ahead is not None:
            key = (*key, str(event.ahead))
        with self._lock:
            if self._said.get(row) == key:
                return
            self._said[row] = key
        head = f"{self._label(row)}: " if self._label is not None else ""
        print(f"{head}{text}", file=sys.stderr, flush=True)

    def finish(self, row: int) -> None:
        with self._lock:
            self._said.pop(row, None)


def spoken(event: Event) -> str:
    """What an event says, in a few words."""
    if event.status == "queued":
        if event.ahead is None:
            return say(f"queued at {event.server} as {event.prompt_id}", f"已提交到 {event.server}：{event.prompt_id}")
        if event.ahead:
            return say(f"waiting, {event.ahead} ahead", f"排队中，前面还有 {event.ahead} 个任务")
        return say("next in the queue", "即将开始")
    if event.step is None or not event.steps:
        return say("running", "运行中")
    return f"{event.node} {event.step:g}/{event.steps:g}"


def short(text: str) -> str:
    """A prompt as a label: one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1]}…"
