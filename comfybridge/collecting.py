"""From submitted jobs to their files: follow them one after the other, find earlier ones, cancel them."""

import dataclasses
import logging
import re
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from comfybridge import fetching, jobs
from comfybridge.deadline import Deadline
from comfybridge.errors import (
    Cancelled,
    ComfyError,
    FileGone,
    InvalidInput,
    NodeError,
    OutOfMemory,
    TimedOut,
    Unavailable,
)
from comfybridge.filling import Filled
from comfybridge.jobs import Job, OutputFile
from comfybridge.media import InputFile, MediaType
from comfybridge.messages import Interrupted, NodeFailed, Succeeded
from comfybridge.pictures import AS_SAVED, Form
from comfybridge.pool import Pool
from comfybridge.watch import Event

logger = logging.getLogger(__name__)

_RECALL_S = 10.0
"""How long several servers are waited for to say whether a job is theirs, when none has said yes."""


class Tries(Protocol):
    """What a call does about the ends of its jobs."""

    def again(self, job: Job, error: OutOfMemory | NodeError) -> Job | None:
        """A second try of a job that failed, submitted; ``None`` when there shall be none."""

    def anew(self, job: Job, filled: Filled) -> Job | None:
        """A job whose file is gone, submitted to the same server to be saved once more; ``None`` if it cannot be."""

    def ended(self, job: Job, error: NodeError | None) -> None:
        """A job succeeded, or a second try failed in a node."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a generation that succeeded; every other end is an exception of ``errors``.

    ``jobs`` are those that made the files, ``seconds`` the time since the call, ``texts`` what nodes showed as text.
    """

    jobs: tuple[Job, ...]
    seconds: float
    texts: tuple[str, ...] = ()


def collected(
    submitted: Sequence[Job], deadline: Deadline, started: float, tries: Tries | None, form: Form = AS_SAVED
) -> Iterator[Event | OutputFile | Outcome]:
    """Follow jobs one after the other to their files.

    ``tries`` may submit a job once more that failed, or whose file is gone. Jobs of earlier calls have none, and stay
    when one of them fails.

    Raises:
        ComfyError: one of its subclasses, for every end but ``succeeded``.
    """
    waiting = list(submitted)
    done: list[Job] = []
    texts: tuple[str, ...] = ()
    try:
        while waiting:
            job, done_by_it = yield from _finish(waiting[0], deadline, tries)
            texts += done_by_it.texts
            done.append((yield from _fetched(job, done_by_it, deadline, tries, form)))
            waiting.pop(0)
    except ComfyError as exc:
        for job in done:
            _log(job, job.prompt_id, "succeeded", started)
        # That somebody's look at an earlier job took too long changes nothing for the job.
        if tries is not None or not isinstance(exc, TimedOut):
            _log(waiting[0], exc.prompt_id, exc.outcome, started, exc.server)
        if tries is not None and not isinstance(exc, TimedOut):
            jobs.cancel(waiting[1:])
        raise
    seconds = time.monotonic() - started
    yield Outcome(tuple(done), seconds, texts)
    # Now that everything is handed over, since a line to Dify's daemon takes its time.
    for job in done:
        _log(job, job.prompt_id, "succeeded", started)


def _log(job: Job, prompt_id: str | None, outcome: str, started: float, server: str | None = None) -> None:
    name = job.filled.template.name
    jobs.log_end(prompt_id or job.prompt_id, outcome, server or job.client.base_url, name, started)


def collect(
    prompt_ids: Sequence[str], pool: Pool, *, deadline: Deadline, form: Form = AS_SAVED
) -> Iterator[Event | OutputFile | Outcome]:
    """What ``generate`` yields, for jobs that were submitted before.

    Raises:
        Lost: no server knows one of them.
        ComfyError: one of its subclasses, for every other end but ``succeeded``.
    """
    started = time.monotonic()
    yield from collected([known(each, pool, deadline) for each in prompt_ids], deadline, started, None, form)


def cancel(prompt_ids: Sequence[str], pool: Pool, *, deadline: Deadline) -> list[tuple[Job, bool]]:
    """Take jobs out of the queue, or interrupt them; each with whether there was something to stop.

    Raises:
        Lost: no server knows one of them; then none is cancelled.
        Unavailable: a server does not answer.
    """
    started = time.monotonic()
    jobs_ = [known(prompt_id, pool, deadline) for prompt_id in prompt_ids]
    for job in reversed(jobs_):
        if job.verdict is None:
            job.client.cancel(job.prompt_id, deadline)
            _log(job, job.prompt_id, "cancelled", started)
    return [(job, job.verdict is None) for job in jobs_]


def ended(stopped: Sequence[tuple[Job, bool]]) -> str:
    """The outcome of jobs that were to be cancelled: ``cancelled`` when one of them was stopped, else as they ended."""
    if any(was_stopped for _, was_stopped in stopped):
        return "cancelled"
    verdicts = [job.verdict for job, _ in stopped]
    if any(isinstance(verdict, NodeFailed) for verdict in verdicts):
        return "failed"
    return "cancelled" if any(isinstance(verdict, Interrupted) for verdict in verdicts) else "succeeded"


def standing(prompt_ids: Sequence[str], pool: Pool, deadline: Deadline) -> str | None:
    """``running`` or ``queued``: how the first of the jobs that has not ended stands; ``None`` when all have."""
    for prompt_id in prompt_ids:
        job = recall(prompt_id, pool, deadline)
        if job is not None and job.verdict is None:
            return "running" if job.is_running else "queued"
    return None


def known(prompt_id: str, pool: Pool, deadline: Deadline) -> Job:
    """Raises Lost when no server knows the job."""
    job = recall(prompt_id, pool, deadline)
    if job is None:
        raise jobs.unknown(prompt_id)
    return job


def earlier_picture(name: str, pool: Pool, deadline: Deadline) -> InputFile:
    """A picture that an earlier job made: the first one of ``prompt_id``, the third one of ``prompt_id#3``.

    Waits for a job that still runs. Of several ids with commas between them, the pictures count on.

    Raises:
        InvalidInput: no server knows the job, or it made no such picture.
        ComfyError: the job ended in another way than success.
    """
    ids, mark, number = name.partition("#")
    wanted = int(number) if number.strip().isdecimal() else 1 - len(mark)
    if wanted < 1:
        raise InvalidInput(
            "from_prompt_id: '#' is followed by a number from 1, which counts the job's pictures.",
            "from_prompt_id：“#”后面应是图片的序号，从 1 开始。",
        )
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
    if len(pool.clients) > 1:
        deadline = Deadline(min(_RECALL_S, deadline.remaining()))
    try:
        answers = pool.ask_all(lambda client: jobs.recall(client, prompt_id, deadline), deadline)
        return next((job for job in answers if job is not None), None)
    except Unavailable as exc:
        if len(pool.clients) == 1:
            raise
        raise Unavailable(
            f"The job {prompt_id} is on no server that answers, but may be on one that does not. {exc}",
            f"能应答的服务器上没有任务 {prompt_id}，但它可能在没有应答的服务器上。{exc.zh}",
            server=exc.server or "",
            is_closed=exc.is_closed,
            is_denied=exc.is_denied,
        ) from exc


def _finish(job: Job, deadline: Deadline, tries: Tries | None) -> Generator[Event, None, tuple[Job, Succeeded]]:
    """Follow the job to its outputs, or its second try."""
    if tries is None:
        return job, (yield from jobs.follow(job, deadline))
    try:
        done = yield from jobs.follow(job, deadline)
    except (OutOfMemory, NodeError) as exc:
        second = tries.again(job, exc)
        if second is None:
            raise
        first = exc
    else:
        tries.ended(job, None)
        return job, done
    try:
        done = yield from jobs.follow(second, deadline)
    except (Cancelled, TimedOut):
        raise
    except ComfyError as exc:
        if isinstance(exc, NodeError):
            tries.ended(second, exc)
        if isinstance(first, NodeError):
            # Two servers failed: what people should read is why the first did.
            raise first from exc
        raise
    tries.ended(second, None)
    return second, done


def _fetched(
    job: Job, done: Succeeded, deadline: Deadline, tries: Tries | None, form: Form
) -> Generator[Event | OutputFile, None, Job]:
    """Yield the files; where ComfyUI named one from its cache that is gone, have the rest saved once more."""
    fetched = 0
    for output in done.outputs:
        try:
            yield fetching.fetch(job, output, deadline, form)
            fetched += 1
        except FileGone:
            anew = dataclasses.replace(job.filled, saves_anew=True)
            can_differ = anew.saved_under("") != job.filled.saved_under("")
            second = None
            if tries is not None and can_differ and output.node_id in done.cached:
                logger.info("prompt %s: %s is gone, saving it anew", job.prompt_id, output.filename)
                second = tries.anew(job, anew)
            if second is None:
                raise
            break
    else:
        return job
    saved = yield from jobs.follow(second, deadline)
    for output in saved.outputs[fetched:]:
        yield fetching.fetch(second, output, deadline, form)
    return second


def _ended(following: Generator[Event, None, Succeeded]) -> Succeeded:
    """The end of a job, whatever happens on the way there."""
    while True:
        try:
            next(following)
        except StopIteration as end:
            done: Succeeded = end.value
            return done
