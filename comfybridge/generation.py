"""From a caller's wishes to pictures: choose a server and a template, then let ``jobs`` submit, wait and fetch."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from comfybridge import jobs, library, preflight
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, InvalidInput, OutOfMemory, Rejected, TimedOut, Unavailable
from comfybridge.jobs import Job, OutputFile
from comfybridge.messages import Output
from comfybridge.pool import Pool
from comfybridge.template import AUTO, Filled, Inputs, Template
from comfybridge.watch import Event
from comfybridge.workflow import Definitions

logger = logging.getLogger(__name__)

_TASK = "text2image"
_METADATA_LOOKS = 30
# The last choice of each client, with what it hung on: the state of its definitions and the model that was wanted.
_CHOICES: WeakKeyDictionary[Client, tuple[tuple[int, str | None], Template, str | None]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a generation that succeeded; every other end is an exception of ``errors``.

    ``jobs`` are those that made the pictures, ``seconds`` the time since the call.
    """

    jobs: tuple[Job, ...]
    seconds: float


def generate(
    name: str, inputs: Inputs, pool: Pool, *, timeout_s: float, extra_data: Mapping[str, Any]
) -> Iterator[Event | OutputFile | Outcome]:
    """Make pictures: events while it waits, then each picture as it is fetched, then the Outcome.

    Raises:
        ComfyError: one of its subclasses, for every end but ``succeeded``.
    """
    started = time.monotonic()
    deadline = Deadline(timeout_s)
    with contextlib.ExitStack() as listening:
        waiting = list(submit(name, inputs, pool, deadline=deadline, extra_data=extra_data, listening=listening))
        done: list[Job] = []
        try:
            while waiting:
                job, outputs = yield from _finish(waiting[0], deadline, extra_data, listening)
                for output in outputs:
                    yield jobs.fetch(job, output, deadline)
                done.append(job)
                waiting.pop(0)
        except TimedOut:
            raise
        except ComfyError:
            jobs.cancel(waiting[1:])
            raise
    seconds = time.monotonic() - started
    yield Outcome(tuple(done), seconds)
    # Now that everything is handed over, since a line to Dify's daemon takes its time.
    for job in done:
        logger.info("prompt %s succeeded at %s in %.1f s", job.prompt_id, job.client.base_url, seconds)


def submit(
    name: str,
    inputs: Inputs,
    pool: Pool,
    *,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack | None = None,
) -> tuple[Job, ...]:
    """Queue the template's prompts on the first server that takes them; all of them, or none.

    ``listening`` keeps the listeners open; without it nobody listens, for jobs that are collected later.

    Raises:
        InvalidInput: the caller's values cannot be used.
        Rejected: a server refused the graph, or lacks what it needs.
        Unavailable: no server took it.
    """
    first: ComfyError | None = None
    for client in pool.candidates(deadline):
        try:
            filled, definitions = prepare(client, name, inputs, deadline)
            return _queue(client, filled, definitions, deadline, extra_data, listening)
        except (InvalidInput, Rejected, Unavailable) as exc:
            # What the first, best server says is what people should read.
            first = first or exc
    assert first is not None  # noqa: S101  # a pool has a server
    raise first


def prepare(client: Client, name: str, inputs: Inputs, deadline: Deadline) -> tuple[tuple[Filled, ...], Definitions]:
    """Choose the template, bind the values and look whether this server can run the graph; nothing is sent to run."""
    for refresh in (False, True):
        try:
            chosen, inputs_for_it, definitions = choose(client, name, inputs, deadline, refresh=refresh)
            filled = chosen.fill(inputs_for_it, definitions)
            problems = preflight.check(filled[0].prompt, definitions)
            if problems:
                raise jobs.rejected(chosen, problems)
        except (InvalidInput, Rejected):
            # The lists of models are cached; one that was installed a moment ago is found on the second look.
            if refresh:
                raise
        else:
            return filled, definitions
    raise AssertionError  # the loop returns or raises


def choose(
    client: Client, name: str, inputs: Inputs, deadline: Deadline, *, refresh: bool = False
) -> tuple[Template, Inputs, Definitions]:
    """Find the template: the named one, or for ``auto`` the first that this server has the models for.

    Where no template's own models are there, a checkpoint that fits one of them is taken: by its metadata, then by its
    name. A model that the caller names decides which templates come into question.

    Raises:
        InvalidInput: no such template, or ``auto`` found none that fits.
    """
    templates = library.choices(_TASK) if name == AUTO else (library.load(name),)
    fetched = client.definitions_fetched
    classes = frozenset().union(*(candidate.class_types() for candidate in templates))
    definitions = client.definitions(classes, deadline, refresh=refresh)
    if name != AUTO:
        return templates[0], inputs, definitions
    key, chosen, model = _CHOICES.get(client, (None, None, None))
    if chosen is None or key != (fetched, inputs.model):
        chosen, model = _first_that_runs(client, templates, inputs.model, definitions, deadline)
        # With the state from before the definitions were asked for: were they fetched since, the next call looks again.
        _CHOICES[client] = ((fetched, inputs.model), chosen, model)
    return chosen, dataclasses.replace(inputs, model=model), definitions


def _first_that_runs(
    client: Client, templates: Sequence[Template], wanted: str | None, definitions: Definitions, deadline: Deadline
) -> tuple[Template, str | None]:
    """The template, and the model file that it shall load; ``None`` for its own."""
    for candidate in templates:
        if wanted is None and preflight.can_run(candidate.prompt, definitions):
            return candidate, None
    looks = 0
    for candidate in templates:
        names = candidate.model_names(definitions)
        if wanted is not None:
            match = preflight.find_name(wanted, names).name
            if any(match == required.file for required in candidate.requires):
                return candidate, wanted
            names = [match] if match is not None else []
        for model in names:
            looks += 1
            # Reading every file's metadata on a server with hundreds of models would take longer than the picture.
            has_look = looks <= _METADATA_LOOKS and candidate.fits is not None
            metadata = client.view_metadata(candidate.model_folder, model, deadline) if has_look else {}
            if candidate.can_run(model, metadata, definitions):
                return candidate, model
    raise _no_template(templates, wanted, definitions)


def _queue(
    client: Client,
    filled: Sequence[Filled],
    definitions: Definitions,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack | None,
) -> tuple[Job, ...]:
    queued: list[Job] = []
    try:
        for graph in filled:
            queued.append(jobs.queue(client, graph, definitions, deadline, extra_data, listening))  # noqa: PERF401  # an error must find the jobs that were queued before it
    except ComfyError:
        jobs.cancel(queued)
        raise
    return tuple(queued)


def _finish(
    job: Job, deadline: Deadline, extra_data: Mapping[str, Any], listening: contextlib.ExitStack
) -> Generator[Event, None, tuple[Job, tuple[Output, ...]]]:
    """Follow the job to its outputs; after an out-of-memory, free the server's memory and try once more."""
    try:
        return job, (yield from jobs.follow(job, deadline))
    except OutOfMemory:
        second = _queue_again(job, deadline, extra_data, listening)
        if second is None:
            raise
    return second, (yield from jobs.follow(second, deadline))


def _queue_again(
    job: Job, deadline: Deadline, extra_data: Mapping[str, Any], listening: contextlib.ExitStack
) -> Job | None:
    logger.warning("prompt %s ran out of memory: freeing and trying once more", job.prompt_id)
    try:
        job.client.free(deadline)
        return jobs.queue(job.client, job.filled, {}, deadline, extra_data, listening)
    except (Unavailable, Rejected) as exc:
        logger.warning("prompt %s: no second try: %s", job.prompt_id, exc)
        return None


def _no_template(templates: Sequence[Template], model: str | None, definitions: Definitions) -> InvalidInput:
    if model is not None:
        names = sorted({name for candidate in templates for name in candidate.model_names(definitions)})
        english, chinese = preflight.not_found("the model", "模型", model, names)
        if preflight.find_name(model, names).name is not None:
            english = f"Which template fits the model '{model}' cannot be told from its metadata or its name."
            chinese = f"无法从元数据或文件名判断模型“{model}”适用的模板。"
        options = ", ".join(candidate.name for candidate in templates)
        return InvalidInput(
            f"{english[0].upper()}{english[1:]} Templates to choose from: {options}.", f"{chinese}可选模板：{options}。"
        )
    install_en, install_zh = templates[0].how_to_install()
    return InvalidInput(
        f"The server has no model that a template can run. {install_en}", f"服务器上没有可用的模型。{install_zh}"
    )
