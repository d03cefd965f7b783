"""From a caller's wishes to pictures: choose a server and a template, then let ``jobs`` submit, wait and fetch."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from comfybridge import ceiling, choosing, collecting, enhancing, filling, jobs
from comfybridge.client import Client
from comfybridge.collecting import Outcome
from comfybridge.deadline import Deadline
from comfybridge.enhancing import Reword
from comfybridge.errors import ComfyError, InvalidInput, NoServer, Rejected, TimedOut, Unavailable
from comfybridge.fallback import Drawn, Picture
from comfybridge.filling import Filled, Inputs
from comfybridge.idempotency import MOST_ATTEMPTS, Key
from comfybridge.jobs import Job, OutputFile
from comfybridge.library import Again, Named, Source
from comfybridge.messages import Interrupted, NodeFailed
from comfybridge.pictures import AS_SAVED, Form
from comfybridge.pool import Pool
from comfybridge.template import Template
from comfybridge.tries import SecondTries
from comfybridge.watch import Event
from comfybridge.workflow import Definitions

logger = logging.getLogger(__name__)

Instead: TypeAlias = Callable[[NoServer], Iterator[Picture | Drawn]]
"""What makes the pictures where no server took the call; where it cannot, it raises what it was given, or says more."""

COMFY_ORG_KEY = "api_key_comfy_org"
"""Where in ``extra_data`` the nodes of paid services look for their key (ComfyUI's ``execution.py``)."""

_FAIR_S = 2.0
"""A server that had less time than this before the deadline is not blamed for its silence."""

# One for each key that a call is being submitted with.
_LOCKS: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_LOCKS_LOCK = threading.Lock()


def generate(
    source: Source,
    inputs: Inputs,
    pool: Pool,
    *,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    key: Key | None = None,
    keeps_on: bool = True,
    most_pixels: int | None = None,
    instead: Instead | None = None,
    form: Form = AS_SAVED,
    reword: Reword | None = None,
) -> Iterator[Event | OutputFile | Outcome | Picture | Drawn]:
    """Make pictures: events while it waits, then each picture as it is fetched, then the Outcome.

    With a ``key`` a repeated call gets the job of the first one. ``keeps_on`` says whether a job that is late goes on.
    Where no server took anything of it, the pictures of a call without one come from ``instead``. ``reword`` may change
    the words.

    A job that ran out of memory is tried once more after freeing it, and one that failed in a node once on another
    server, unless it has a ``key``: a repeated call would not find it there.

    Raises:
        ComfyError: one of its subclasses, for every end but ``succeeded``.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as listening:
        try:
            waiting = submit(
                source,
                inputs,
                pool,
                deadline=deadline,
                extra_data=extra_data,
                listening=listening,
                key=key,
                most_pixels=most_pixels,
                reword=reword,
            )
        except NoServer as exc:
            # A repeated call could have the same made, and paid, twice there.
            if instead is None or key is not None:
                raise
            yield from instead(exc)
            return
        tries = second_tries(
            source,
            inputs,
            pool,
            deadline=deadline,
            extra_data=extra_data,
            listening=listening,
            may_move=key is None,
        )
        try:
            yield from collecting.collected(waiting, deadline, started, tries, form)
        except TimedOut as exc:
            if keeps_on:
                raise
            jobs.cancel(tries.latest(waiting))
            raise jobs.taken_back(exc) from exc


def second_tries(
    source: Source,
    inputs: Inputs,
    pool: Pool,
    *,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack,
    may_move: bool,
) -> SecondTries:
    """What follows the jobs of one call; ``may_move`` where a job that failed in a node may run on another server."""
    return SecondTries(
        pool=pool,
        work=_work(source, inputs, pool),
        deadline=deadline,
        extra_data=extra_data,
        has_key=bool(extra_data.get(COMFY_ORG_KEY)),
        listening=listening,
        may_move=may_move,
    )


def submit(
    source: Source,
    inputs: Inputs,
    pool: Pool,
    *,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack | None = None,
    key: Key | None = None,
    most_pixels: int | None = None,
    reword: Reword | None = None,
) -> tuple[Job, ...]:
    """Queue the source's prompts on the first server that takes them; all of them, or none.

    ``listening`` keeps the listeners open; without it nobody listens, for jobs that are collected later. With a ``key``
    whose job waits, runs or has succeeded, that one is returned: nothing is queued, and ``reword`` is not asked.

    Raises:
        InvalidInput: the caller's values cannot be used, or ask for more than ``most_pixels``.
        Rejected: a server refused the graph, or lacks what it needs.
        NoServer: no server can be reached or used.
        Unavailable: no server took it, and one of them knows of it.
    """
    if key is None:
        return _submit(
            source, inputs, pool, deadline, extra_data, listening, lambda _run, _runs: (None, {}), most_pixels, reword
        )
    with _alone(key, deadline):
        joined, attempt = (None, 0) if key.is_new else _joined(key, pool, deadline)
        if joined is not None:
            return joined

        def named(run: int, runs: int) -> tuple[str, dict[str, Any]]:
            return key.prompt_id(run, attempt), {"wishes": key.wishes, "runs": runs}

        return _submit(source, inputs, pool, deadline, extra_data, listening, named, most_pixels, reword)


@contextlib.contextmanager
def _alone(key: Key, deadline: Deadline) -> Iterator[None]:
    """Let one call at a time look for the key's job and submit it."""
    with _LOCKS_LOCK:
        lock = _LOCKS.setdefault(key.text, threading.Lock())
    if not lock.acquire(timeout=deadline.remaining()):
        raise InvalidInput(
            "Another call with the same idempotency_key is still being submitted: try again.",
            "另一个使用相同 idempotency_key 的调用仍在提交中：请重试。",
        )
    try:
        yield
    finally:
        lock.release()


def _joined(key: Key, pool: Pool, deadline: Deadline) -> tuple[tuple[Job, ...] | None, int]:
    """The key's jobs, or ``None`` and how many attempts have failed before."""
    for attempt in range(MOST_ATTEMPTS):
        first = _recalled(key.prompt_id(0, attempt), pool, deadline)
        if first is None:
            return None, attempt
        if first.sent.get("wishes") != key.wishes:
            raise InvalidInput(
                "This idempotency_key was used before with other inputs: use a new key for a new picture.",
                "该 idempotency_key 已用于其他参数：新的图片请使用新的键。",
                prompt_id=first.prompt_id,
            )
        others = (
            _recalled(key.prompt_id(run, attempt), pool, deadline) for run in range(1, int(first.sent.get("runs", 1)))
        )
        joined = (first, *others)
        if all(job is not None and not isinstance(job.verdict, (NodeFailed, Interrupted)) for job in joined):
            return tuple(job for job in joined if job is not None), attempt
    raise InvalidInput(
        f"{MOST_ATTEMPTS} jobs of this idempotency_key have failed: use a new key.",
        f"该 idempotency_key 已有 {MOST_ATTEMPTS} 个任务失败：请使用新的键。",
    )


def _recalled(prompt_id: str, pool: Pool, deadline: Deadline) -> Job | None:
    """The job, if a server has it. One of several that nobody listens at has none any more: jobs live in memory."""
    try:
        return collecting.recall(prompt_id, pool, deadline)
    except Unavailable as exc:
        if exc.is_closed and len(pool.clients) > 1:
            return None
        raise


def _submit(
    source: Source,
    inputs: Inputs,
    pool: Pool,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack | None,
    named: Callable[[int, int], tuple[str | None, dict[str, Any]]],
    most_pixels: int | None,
    reword: Reword | None,
) -> tuple[Job, ...]:
    work = _work(source, inputs, pool)
    refusals: list[ComfyError] = []
    try:
        for client in pool.candidates(deadline, work, is_followed=listening is not None):
            had_s = deadline.remaining()
            try:
                filled, definitions = prepare(
                    client, source, inputs, deadline, extra_data, most_pixels=most_pixels, reword=reword
                )
                queued = _queue(client, filled, definitions, deadline, extra_data, listening, named)
            except (InvalidInput, Rejected, Unavailable) as exc:
                if had_s > _FAIR_S or not deadline.has_passed():
                    pool.failed_to_take(client, work, exc)
                refusals.append(exc)
                if deadline.has_passed():
                    # What is queued now would run for nobody.
                    break
            else:
                pool.accepted(client, work, filled[0].model or work)
                return queued
    except Unavailable as exc:
        refusals.append(exc)
    # What the first, best server says is what people should read.
    first = refusals[0]
    if isinstance(first, Unavailable) and all(
        isinstance(refusal, Unavailable) and not refusal.took_some for refusal in refusals
    ):
        server = first.server or ""
        raise NoServer(str(first), first.zh, server=server, refused=first.refused, is_denied=first.is_denied) from first
    raise first


def prepare(
    client: Client,
    source: Source,
    inputs: Inputs,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    *,
    most_pixels: int | None = None,
    reword: Reword | None = None,
) -> tuple[tuple[Filled, ...], Definitions]:
    """Choose the graph, bind the values and look whether this server can run it; nothing is sent to run.

    Only what it can run is written anew by ``reword``, and filled in again.
    """
    has_key = bool(extra_data.get(COMFY_ORG_KEY))
    user = str((extra_data.get("comfybridge") or {}).get("user", ""))
    for refresh in (False, True):
        try:
            filled, chosen, definitions = _filled(client, source, inputs, deadline, refresh=refresh, user=user)
            problems = choosing.problems(filled[0], definitions, has_key=has_key)
            if problems:
                raise jobs.rejected(filled[0].template, problems)
        except (InvalidInput, Rejected):
            # The lists of models are cached; one that was installed a moment ago is found on the second look.
            if refresh:
                raise
        else:
            ceiling.check(filled, most_pixels)
            if reword is not None and chosen is not None:
                filled = enhancing.fill(*chosen, definitions, reword, most_pixels)
            return filled, definitions
    raise AssertionError  # the loop returns or raises


def _filled(
    client: Client, source: Source, inputs: Inputs, deadline: Deadline, *, refresh: bool, user: str
) -> tuple[tuple[Filled, ...], tuple[Template, Inputs] | None, Definitions]:
    """The graphs, and what they were filled from; ``None`` for one that is run again as it was."""
    if not isinstance(source, Again):
        chosen, inputs_for_it, definitions = choosing.choose(
            client, source, inputs, deadline, refresh=refresh, user=user
        )
        return filling.fill(chosen, inputs_for_it, definitions), (chosen, inputs_for_it), definitions
    template = Template(name=source.name, prompt=source.saved, is_users=True)
    definitions = client.definitions(template.class_types(), deadline, refresh=refresh)
    # Under its first name ComfyUI would answer from its cache, with a file that may be gone.
    return (dataclasses.replace(filling.as_is(template), saves_anew=True),), None, definitions


def _queue(
    client: Client,
    filled: Sequence[Filled],
    definitions: Definitions,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack | None,
    named: Callable[[int, int], tuple[str | None, dict[str, Any]]],
) -> tuple[Job, ...]:
    queued: list[Job] = []
    try:
        for run, graph in enumerate(filled):
            prompt_id, sent = named(run, len(filled))
            queued.append(
                jobs.queue(client, graph, definitions, deadline, extra_data, listening, prompt_id=prompt_id, sent=sent)
            )
    except ComfyError as exc:
        jobs.cancel(queued)
        if isinstance(exc, Unavailable):
            exc.took_some = exc.took_some or bool(queued)
        raise
    return tuple(queued)


def _work(source: Source, inputs: Inputs, pool: Pool) -> str:
    """What tells the servers of a pool apart that can run a call: its graph, and the models that it names."""
    if len(pool.clients) == 1:
        return ""
    graph = (source.name, source.task) if isinstance(source, Named) else source.saved
    wanted = (graph, inputs.model, [lora.name for lora in inputs.loras], inputs.values)
    return hashlib.sha256(json.dumps(wanted, sort_keys=True, default=repr).encode()).hexdigest()
