"""Bars on a terminal: one for each job on its way, and one for all where they are several."""

import sys
import threading
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from comfybridge.api import Event
from comfybridge.cli.language import say
from comfybridge.cli.progress import spoken


class _Left(TimeRemainingColumn):
    """The time left; nothing where none can be told."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total and task.completed else Text("")


class Bars:
    def __init__(self, label: Callable[[int], str], total: int | None) -> None:
        self._label = label
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=34)),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            _Left(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            # They would take what goes to standard output to standard error.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._all: TaskID | None = None
        if total != 1:
            self._all = self._bars.add_task(say("All", "全部"), total=total, said="")
        self._tasks: dict[int, tuple[TaskID, str | None]] = {}
        self._lock = threading.Lock()
        self._finished = 0
        self._total = total
        self._bars.start()

    def hear(self, event: Event) -> None:
        row = event.row or 0
        with self._lock:
            if row not in self._tasks:
                self._tasks[row] = (self._bars.add_task(self._label(row), total=None, said=""), None)
            task, node = self._tasks[row]
            said = spoken(event) if event.ahead is not None or event.status == "running" else say("queued", "已提交")
            if event.step is None or not event.steps:
                self._bars.update(task, said=said)
                return
            if event.node != node:
                # The steps of another node are other steps, and take another time.
                self._bars.reset(task, total=event.steps, said=said)
                self._tasks[row] = (task, event.node)
            self._bars.update(task, completed=event.step, total=event.steps, said=said)

    def finish(self, row: int) -> None:
        with self._lock:
            task, _ = self._tasks.pop(row, (None, None))
            if task is not None:
                self._bars.remove_task(task)
            if self._all is not None:
                self._finished += 1
                said = f"{self._finished}/{self._total}" if self._total else str(self._finished)
                self._bars.update(self._all, completed=self._finished, said=said)

    def note(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def result(self, line: str) -> None:
        if sys.stdout.isatty():
            # The same terminal: above the bars.
            self._console.print(Text(line), soft_wrap=True)
        else:
            print(line, flush=True)

    def close(self) -> None:
        self._bars.stop()
