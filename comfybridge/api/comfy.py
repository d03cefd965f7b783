"""``Comfy``: pictures from one or more ComfyUI servers, as a function."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from comfybridge import choosing, collecting, generation, idempotency, inspection, library, preflight, reading
from comfybridge.api import given, overall, rows, wishes
from comfybridge.api.given import Given, Workflow
from comfybridge.api.job import Job, Tell
from comfybridge.api.overall import ServerState
from comfybridge.api.result import Result
from comfybridge.api.rows import Done
from comfybridge.api.underway import Underway
from comfybridge.api.variations import varied
from comfybridge.api.wishes import Wish, Wishes
from comfybridge.deadline import Deadline
from comfybridge.filling import Inputs
from comfybridge.fingerprint import as_submitted
from comfybridge.library import Again
from comfybridge.parameters import Limits
from comfybridge.pool import Pool
from comfybridge.preflight import Problem
from comfybridge.template import Template
from comfybridge.workflow import Definitions, Prompt

Row = TypeVar("Row")

_ASK_S = 60.0


class Comfy:
    """Makes pictures on the servers that ``connect`` took into use. Safe to use from several threads."""

    def __init__(
        self,
        pool: Pool,
        *,
        limits: Limits,
        templates: tuple[Template, ...],
        max_pixels: int | None,
        extra_data: Mapping[str, Any],
        timeout_s: float,
    ) -> None:
        self._pool = pool
        self._limits = limits
        self._others = templates
        self._max_pixels = max_pixels
        self._extra_data = extra_data
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections; jobs that are on their way go on in ComfyUI."""
        for client in self._pool.clients:
            client.close()

    # Making

    def generate(self, prompt: str, *, on_event: Tell | None = None, **wishes: Unpack[Wishes]) -> Result:
        """Make pictures, or whatever the template makes, and wait for them.

        prompt: what to show, in a language that the template's model reads.
        template: a name, see ``templates()``; ``auto`` takes the first that the server has the models for: one that
            redraws where ``images`` are given, that paints anew what is white in ``masks``, that makes a video of so
            many ``seconds``.
        width, height, size: pixels, or a shape (``16:9``), or a platform's name (``xiaohongshu``), which is exact.
        seed: a number; without one it is random, and ``Result.seed`` tells it.
        loras: ``detail:0.8, lineart``, or pairs of name and strength.
        count: so many pictures, each different.
        images, masks: paths, bytes, http addresses, the ``prompt_id`` of an earlier job, or files of a Result.
        denoise: how far it may go from the picture that was given, 0 to 1.
        values: further inputs of the template by name.
        format: ``original``, ``webp`` or ``jpeg``; ``keep_metadata=False`` takes out what is written in pictures.
        timeout: seconds; the job goes on after them and can be had by ``collect``.
        key: a call that is repeated with the same key gets the job of the first one.
        on_event: is told how it goes, in this thread.

        Interrupted by Ctrl-C, it cancels its job.

        Raises:
            ComfyError: one of its subclasses, for every end but success.
        """
        return self._made(self._wish({"prompt": prompt, **wishes}), on_event)

    def submit(self, prompt: str, **wishes: Unpack[Wishes]) -> Job:
        """As ``generate``, but without the wait: a thread follows the job.

        Raises:
            InvalidInput, Rejected, Unavailable: nothing was submitted.
        """
        job = self._submitted(self._wish({"prompt": prompt, **wishes}), None)
        threading.Thread(target=job.follow, name=f"follow {job.prompt_id}", daemon=True).start()
        return job

    def map(
        self,
        rows: Iterable[str | Mapping[str, Any]],
        *,
        jobs: int = 4,
        on_event: Tell | None = None,
        keys_are_new: bool = False,
    ) -> Generator[Done[Any], None, None]:
        """Make many, ``jobs`` at once for each server, and give each as it finishes.

        rows: prompts, or mappings of ``generate``'s keywords, or of ``run``'s with a ``workflow``; read as they are
            needed, so that there may be any number.
        on_event: is told how it goes, with ``Event.row``, in threads of ours.
        keys_are_new: nothing was ever submitted under the rows' keys, so that no server is asked for it.

        A row that fails has an ``error`` and stops no other. To close the iterator early cancels what is on its way.
        """

        def make(index: int, row: str | Mapping[str, Any], underway: Underway) -> Result:
            wish = self._wish({"prompt": row} if isinstance(row, str) else row)
            return self._made(dataclasses.replace(wish, is_new=keys_are_new), _of_row(on_event, index), underway)

        return self._each(rows, make, jobs)

    def run(
        self,
        workflow: Workflow,
        *,
        files: Given | Iterable[Given] = (),
        timeout: float | None = None,
        on_event: Tell | None = None,
        **values: Any,
    ) -> Result:
        """Run any workflow: a path, JSON, a picture by ComfyUI, or the name of a template or of a saved one.

        values: ``prompt``, ``negative_prompt``, ``seed``, and everything that ``inspect`` shows, by its name.
        files: what it shall load.

        Raises:
            ComfyError: one of its subclasses, for every end but success.
        """
        return self._made(self._wish({**values, "workflow": workflow, "files": files, "timeout": timeout}), on_event)

    def again(
        self, graph: Prompt, *, name: str = "workflow", timeout: float | None = None, on_event: Tell | None = None
    ) -> Result:
        """Send the graph of an earlier job once more, as ``Result.prompts`` or the metadata of its picture has it.

        Raises:
            ComfyError: one of its subclasses, for every end but success; Rejected where the server has changed since.
        """
        source = Again(as_submitted(graph), name)
        return self._made(Wish(source=source, inputs=Inputs(), timeout_s=timeout or self._timeout_s), on_event)

    def variations(
        self, prompt: str, of: int | Sequence[str | Mapping[str, Any]], *, on_event: Tell | None = None, **same: Any
    ) -> list[Result]:
        """Several of one prompt, in order: so many seeds, or one for each phrase that is added, or for each mapping.

        ``same`` are ``generate``'s keywords for all; phrases and mappings share one seed, so that they can be compared.

        Raises:
            ComfyError: what became of the first that failed, after the others have ended.
        """
        made: dict[int, Result] = {}
        errors = {}
        for done in self.map(varied(prompt, of, same), on_event=on_event):
            if done.result is not None:
                made[done.index] = done.result
            else:
                errors[done.index] = done.error
        if errors and (error := errors[min(errors)]) is not None:
            raise error
        return [made[index] for index in sorted(made)]

    # Jobs that were submitted before

    def collect(self, prompt_id: str, *, timeout: float | None = None, on_event: Tell | None = None) -> Result:
        """The result of a job that was submitted before, by whomever; waits for it where it has not ended.

        Raises:
            Lost: no server knows it.
            ComfyError: one of its subclasses, for every other end but success.
        """
        ids = reading.prompt_ids({"prompt_id": prompt_id})
        deadline = Deadline(timeout or self._timeout_s)
        submitted = [collecting.known(each, self._pool, deadline) for each in ids]
        steps = collecting.collected(submitted, deadline, time.monotonic(), None)
        job = Job(submitted, steps, contextlib.ExitStack(), tell=on_event)
        job.follow()
        return job.wait()

    def cancel(self, prompt_id: str) -> str:
        """Take a job out of the queue, or interrupt it. Gives ``cancelled``, or how it had ended before.

        Raises:
            Lost: no server knows it.
            Unavailable: its server does not answer.
        """
        ids = reading.prompt_ids({"prompt_id": prompt_id})
        return collecting.ended(collecting.cancel(ids, self._pool, deadline=Deadline(_ASK_S)))

    # What there is

    def templates(self) -> tuple[Template, ...]:
        """All templates: those that come with this package, and your own."""
        return (*library.templates(), *self._others)

    def servers(self) -> list[ServerState]:
        """What each server is, has and can run; with its ``error`` where it does not answer."""
        with ThreadPoolExecutor(len(self._pool.clients)) as threads:
            return list(
                threads.map(lambda client: overall.state(client, self._others, Deadline(_ASK_S)), self._pool.clients)
            )

    def inspect(self, workflow: Workflow) -> dict[str, Any]:
        """The named inputs of a workflow with their values, its outputs, and what could not be found."""
        template, definitions = self._chosen(workflow)
        return inspection.as_values(template.prompt, template.roles(definitions))

    def check(self, workflow: Workflow) -> list[Problem]:
        """What keeps a workflow from running on the server; of several servers, on the one that is asked first."""
        template, definitions = self._chosen(workflow)
        repaired = preflight.repair(template.prompt, definitions)
        return preflight.check(repaired.prompt, definitions, has_key=bool(self._extra_data))

    def convert(self, workflow: Workflow) -> Prompt:
        """The prompt in API format that ComfyUI's own window would send."""
        return self._chosen(workflow)[0].prompt

    # Inside the package

    def _each(
        self, rows_: Iterable[Row], make: Callable[[int, Row, Underway], Result], most: int
    ) -> Generator[Done[Row], None, None]:
        underway = Underway()
        at_once = max(1, most) * len(self._pool.clients)
        return rows.each(rows_, lambda index, row: make(index, row, underway), at_once, underway.stop)

    def _wish(self, values: Mapping[str, Any]) -> Wish:
        if values.get("workflow") not in (None, ""):
            source = given.source(values["workflow"], self._others)
            return wishes.of_workflow(source, values, self._limits, timeout_s=self._timeout_s)
        return wishes.of_keywords(values, self._limits, others=self._others, timeout_s=self._timeout_s)

    def _made(self, wish: Wish, tell: Tell | None, underway: Underway | None = None) -> Result:
        underway = underway or Underway()
        underway.check()
        job = self._submitted(wish, tell, is_unseen=tell is None)
        underway.add(job)
        try:
            job.follow()
        except BaseException:  # Ctrl-C too: nobody will ask for the job
            job.cancel()
            raise
        finally:
            underway.remove(job)
        return job.wait()

    def _submitted(self, wish: Wish, tell: Tell | None, *, is_unseen: bool = False) -> Job:
        deadline = Deadline(wish.timeout_s)
        files = given.files(wish.images, wish.masks, self._pool, deadline)
        inputs = dataclasses.replace(wish.inputs, files=files)
        key = idempotency.key(None, None, wish.key, wish.source, inputs, is_new=wish.is_new) if wish.key else None
        with contextlib.ExitStack() as opened:
            submitted = generation.submit(
                wish.source,
                inputs,
                self._pool,
                deadline=deadline,
                extra_data=self._extra_data,
                listening=opened,
                key=key,
                most_pixels=self._max_pixels,
            )
            listening = opened.pop_all()
        for each in submitted:
            each.listener.wants_progress = not is_unseen
        tries = generation.second_tries(
            wish.source,
            inputs,
            self._pool,
            deadline=deadline,
            extra_data=self._extra_data,
            listening=listening,
            may_move=key is None,
        )
        steps = collecting.collected(submitted, deadline, time.monotonic(), tries, wish.form)
        return Job(submitted, steps, listening, latest=lambda: tries.latest(submitted), tell=tell)

    def _chosen(self, workflow: Workflow) -> tuple[Template, Definitions]:
        deadline = Deadline(_ASK_S)
        client = next(iter(self._pool.candidates(deadline)))
        template, _, definitions = choosing.choose(client, given.source(workflow, self._others), Inputs(), deadline)
        return template, definitions


def _of_row(tell: Tell | None, index: int) -> Tell | None:
    return (lambda event: tell(dataclasses.replace(event, row=index))) if tell is not None else None
