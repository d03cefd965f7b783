"""From a caller's wishes to pictures: choose a server and a template, then let ``jobs`` submit, wait and fetch."""

import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from comfybridge import choosing, jobs, preflight
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, FileGone, InvalidInput, OutOfMemory, Rejected, TimedOut, Unavailable
from comfybridge.jobs import Job, OutputFile
from comfybridge.library import Source
from comfybridge.media import InputFile, MediaType
from comfybridge.messages import Succeeded
from comfybridge.pool import Pool
from comfybridge.template import Filled, Inputs
from comfybridge.watch import Event
from comfybridge.workflow import Definitions

logger = logging.getLogger(__name__)

COMFY_ORG_KEY = "api_key_comfy_org"
"""Where in ``extra_data`` the nodes of paid services look for their key (ComfyUI's ``execution.py``)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a generation that succeeded; every other end is an exception of ``errors``.

    ``jobs`` are those that made the files, ``seconds`` the time since the call, ``texts`` what nodes showed as text.
    """

    jobs: tuple[Job, ...]
    seconds: float
    texts: tuple[str, ...] = ()


def generate(
    source: Source, inputs: Inputs, pool: Pool, *, deadline: Deadline, extra_data: Mapping[str, Any]
) -> Iterator[Event | OutputFile | Outcome]:
    """Make pictures: events while it waits, then each picture as it is fetched, then the Outcome.

    Raises:
        ComfyError: one of its subclasses, for every end but ``succeeded``.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as listening:
        waiting = list(submit(source, inputs, pool, deadline=deadline, extra_data=extra_data, listening=listening))
        done: list[Job] = []
        texts: tuple[str, ...] = ()
        try:
            while waiting:
                job, done_by_it = yield from _finish(waiting[0], deadline, extra_data, listening)
                texts += done_by_it.texts
                done.append((yield from _fetch(job, done_by_it, deadline, extra_data, listening)))
                waiting.pop(0)
        except TimedOut:
            raise
        except ComfyError:
            jobs.cancel(waiting[1:])
            raise
    seconds = time.monotonic() - started
    yield Outcome(tuple(done), seconds, texts)
    # Now that everything is handed over, since a line to Dify's daemon takes its time.
    for job in done:
        logger.info("prompt %s succeeded at %s in %.1f s", job.prompt_id, job.client.base_url, seconds)


def submit(
    source: Source,
    inputs: Inputs,
    pool: Pool,
    *,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack | None = None,
) -> tuple[Job, ...]:
    """Queue the source's prompts on the first server that takes them; all of them, or none.

    ``listening`` keeps the listeners open; without it nobody listens, for jobs that are collected later.

    Raises:
        InvalidInput: the caller's values cannot be used.
        Rejected: a server refused the graph, or lacks what it needs.
        Unavailable: no server took it.
    """
    first: ComfyError | None = None
    for client in pool.candidates(deadline):
        try:
            filled, definitions = prepare(client, source, inputs, deadline, extra_data)
            return _queue(client, filled, definitions, deadline, extra_data, listening)
        except (InvalidInput, Rejected, Unavailable) as exc:
            # What the first, best server says is what people should read.
            first = first or exc
    assert first is not None  # noqa: S101  # a pool has a server
    raise first


def prepare(
    client: Client, source: Source, inputs: Inputs, deadline: Deadline, extra_data: Mapping[str, Any]
) -> tuple[tuple[Filled, ...], Definitions]:
    """Choose the graph, bind the values and look whether this server can run it; nothing is sent to run."""
    has_key = bool(extra_data.get(COMFY_ORG_KEY))
    for refresh in (False, True):
        try:
            chosen, inputs_for_it, definitions = choosing.choose(client, source, inputs, deadline, refresh=refresh)
            filled = chosen.fill(inputs_for_it, definitions)
            problems = _problems(filled[0], definitions, has_key=has_key)
            if problems:
                raise jobs.rejected(chosen, problems)
        except (InvalidInput, Rejected):
            # The lists of models are cached; one that was installed a moment ago is found on the second look.
            if refresh:
                raise
        else:
            return filled, definitions
    raise AssertionError  # the loop returns or raises


def earlier_picture(name: str, pool: Pool, deadline: Deadline) -> InputFile:
    """A picture that an earlier job made: the first one of ``prompt_id``, the third one of ``prompt_id#3``.

    Waits for a job that still runs. Of several ids with commas between them, the pictures count on.

    Raises:
        InvalidInput: no server knows the job, or it made no such picture.
        ComfyError: the job ended in another way than success.
    """
    ids, _, number = name.partition("#")
    wanted = int(number) if number.isdecimal() and int(number) else 1
    seen = 0
    for prompt_id in filter(None, re.split(r"[\s,]+", ids)):
        job = recall(prompt_id, pool, deadline)
        if job is None:
            raise InvalidInput(
                f"from_prompt_id: no server knows a job {prompt_id}; its history may have been cleared.",
                f"from_prompt_id：服务器上没有任务 {prompt_id}，历史记录可能已被清除。",
            )
        for output in _ended(jobs.follow(job, deadline)).outputs:
            file = jobs.fetch(job, output, deadline)
            seen += file.mime.startswith("image/")
            if seen == wanted:
                return InputFile(file.data, MediaType(file.mime, PurePosixPath(file.filename).suffix), file.filename)
    raise InvalidInput(
        f"from_prompt_id: the job made {seen} picture{'' if seen == 1 else 's'}, not {wanted}.",
        f"from_prompt_id：该任务共有 {seen} 张图片，没有第 {wanted} 张。",
    )


def recall(prompt_id: str, pool: Pool, deadline: Deadline) -> Job | None:
    """The job of this id on whichever server has it, nobody listening; ``None`` when none has.

    Raises:
        Unavailable: a server that may have it does not answer, and no other has it.
    """
    silent: Unavailable | None = None
    for client in pool.clients:
        try:
            if (job := jobs.recall(client, prompt_id, deadline)) is not None:
                return job
        except Unavailable as exc:
            silent = exc
    if silent is not None:
        raise silent
    return None


def _ended(following: Generator[Event, None, Succeeded]) -> Succeeded:
    """The end of a job, whatever happens on the way there."""
    while True:
        try:
            next(following)
        except StopIteration as end:
            done: Succeeded = end.value
            return done


def _problems(filled: Filled, definitions: Definitions, *, has_key: bool) -> list[preflight.Problem]:
    """What keeps the graph from running, but for the files that are uploaded with it."""
    coming = {file.name for file in filled.files}
    return [
        problem
        for problem in preflight.check(filled.prompt, definitions, has_key=has_key)
        if problem.code not in preflight.INPUT_FILE
        or filled.prompt[problem.node_id]["inputs"][problem.input] not in coming
    ]


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
) -> Generator[Event, None, tuple[Job, Succeeded]]:
    """Follow the job to its outputs; after an out-of-memory, free the server's memory and try once more."""
    try:
        return job, (yield from jobs.follow(job, deadline))
    except OutOfMemory:
        logger.warning("prompt %s ran out of memory: freeing and trying once more", job.prompt_id)
        second = _queue_again(job, job.filled, deadline, extra_data, listening, frees=True)
        if second is None:
            raise
    return second, (yield from jobs.follow(second, deadline))


def _fetch(
    job: Job,
    done: Succeeded,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack,
) -> Generator[Event | OutputFile, None, Job]:
    """Yield the files; where ComfyUI named one from its cache that is gone, have the rest saved once more."""
    fetched = 0
    for output in done.outputs:
        try:
            yield jobs.fetch(job, output, deadline)
            fetched += 1
        except FileGone:
            anew = dataclasses.replace(job.filled, saves_anew=True)
            if output.node_id not in done.cached or anew.saved_under("") == job.filled.saved_under(""):
                raise
            logger.info("prompt %s: %s is gone, saving it anew", job.prompt_id, output.filename)
            second = _queue_again(job, anew, deadline, extra_data, listening)
            if second is None:
                raise
            break
    else:
        return job
    saved = yield from jobs.follow(second, deadline)
    for output in saved.outputs[fetched:]:
        yield jobs.fetch(second, output, deadline)
    return second


def _queue_again(
    job: Job,
    filled: Filled,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack,
    *,
    frees: bool = False,
) -> Job | None:
    try:
        if frees:
            job.client.free(deadline)
        return jobs.queue(job.client, filled, {}, deadline, extra_data, listening)
    except (Unavailable, Rejected) as exc:
        logger.warning("prompt %s: no second try: %s", job.prompt_id, exc)
        return None
