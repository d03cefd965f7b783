"""One call on its way: followed in a thread of its own, or by whoever waits for it."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from comfybridge import jobs
from comfybridge.api.result import Result
from comfybridge.collecting import Outcome
from comfybridge.errors import ComfyError, TimedOut
from comfybridge.jobs import OutputFile
from comfybridge.messages import Progress, Started
from comfybridge.watch import Event as Step
from comfybridge.watch import Waiting
from comfybridge.workflow import title


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is heard of a call. ``status`` is ``queued`` or ``running``; ``prompt_id`` has commas between several.

    ``ahead`` is how many jobs of whomever stand before it. ``step`` of ``steps`` of the ``node`` (its title) are done.
    What is not known is ``None``. ``row`` is that of ``map``.
    """

    status: str
    prompt_id: str
    server: str
    ahead: int | None = None
    node: str | None = None
    step: float | None = None
    steps: float | None = None
    row: int | None = None


Tell: TypeAlias = Callable[[Event], None]


class Job:
    """A call that was submitted. Safe to use from several threads.

    Its end is kept: ``wait`` may be called again, and ``events`` gives all of them each time.
    """

    def __init__(
        self,
        submitted: Sequence[jobs.Job],
        steps: Iterator[Step | OutputFile | Outcome],
        listening: contextlib.ExitStack,
        *,
        latest: Callable[[], Sequence[jobs.Job]] | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._steps = steps
        self._listening = listening
        self._latest = latest or (lambda: submitted)
        self._tell = tell
        self._titles = submitted[0].filled.prompt
        self._changed = threading.Condition()
        self._result: Result | None = None
        self._error: Exception | None = None
        self.seed = submitted[0].filled.seed
        self.server = submitted[0].client.base_url
        self.template = submitted[0].filled.template.full_name
        self._events: list[Event] = []
        self._hear(self._event("queued"))

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        return tuple(job.prompt_id for job in self._latest())

    @property
    def prompt_id(self) -> str:
        """All ids with commas between them, as ``collect`` and ``cancel`` take them."""
        return ",".join(self.prompt_ids)

    @property
    def status(self) -> str:
        """``queued`` or ``running``, as far as the server has told, or the outcome."""
        with self._changed:
            if self._error is not None:
                return self._error.outcome if isinstance(self._error, ComfyError) else "failed"
            return "succeeded" if self._result is not None else self._events[-1].status

    def events(self) -> Iterator[Event]:
        """Every event from the beginning; ends with the job, however that ends."""
        for number in itertools.count():
            with self._changed:
                while number == len(self._events) and not self._has_ended:
                    self._changed.wait()
                if number == len(self._events):
                    return
                event = self._events[number]
            yield event

    def wait(self, timeout: float | None = None) -> Result:
        """The result, when it is there.

        Raises:
            TimedOut: not within so many seconds; then the job can be waited for again.
            ComfyError: one of its subclasses, for every end but success.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_ended, timeout):
                raise TimedOut(
                    f"Not finished after {timeout:g} s: the job goes on.",
                    f"{timeout:g} 秒内未完成，任务仍在继续。",
                    prompt_id=self.prompt_id,
                    server=self.server,
                )
            if self._error is not None:
                raise self._error
            assert self._result is not None  # noqa: S101  # it has ended, one way or the other
            return self._result

    def cancel(self) -> None:
        """Take it out of the queue or interrupt it, as far as its server answers; nothing if it has ended.

        ``wait`` then raises Cancelled.
        """
        if not self._has_ended:
            jobs.cancel(self._latest())

    # Inside the package

    def follow(self) -> None:
        """Follow it to its end; what it was is for ``wait`` to say."""
        files: list[OutputFile] = []
        result: Result | None = None
        error: Exception | None = None
        try:
            with self._listening:
                for step in self._steps:
                    match step:
                        case OutputFile():
                            files.append(step)
                        case Outcome():
                            result = Result.of(step, files)
                        case _:
                            self._hear(self._heard(step))
        except ComfyError as exc:
            error = exc
        except Exception as exc:  # noqa: BLE001  # whatever it is, it is raised where the result is asked for
            # A mistake of whoever is told of the events: nobody will get what the job makes.
            self.cancel()
            error = exc
        with self._changed:
            self._result, self._error = result, error
            self._changed.notify_all()

    @property
    def _has_ended(self) -> bool:
        return self._result is not None or self._error is not None

    def _heard(self, step: Step) -> Event:
        match step:
            case Waiting():
                return self._event("queued", ahead=step.ahead)
            case Started():
                return self._event("running")
            case Progress():
                return self._event(
                    "running", node=title(self._titles, step.node_id), step=step.value, steps=step.maximum
                )

    def _event(
        self,
        status: str,
        *,
        ahead: int | None = None,
        node: str | None = None,
        step: float | None = None,
        steps: float | None = None,
    ) -> Event:
        return Event(
            status=status,
            prompt_id=self.prompt_id,
            server=self.server,
            ahead=ahead,
            node=node,
            step=step,
            steps=steps,
        )

    def _hear(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()
        if self._tell is not None:
            self._tell(event)
