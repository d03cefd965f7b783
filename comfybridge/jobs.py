"""One job: submit it, wait for its end, fetch what it saved, take it back.

The WebSocket wakes, the history decides, the deadline bounds every wait.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar
from uuid import uuid4

from comfybridge import filling, preflight, workflow
from comfybridge.client import Client, linked, once_more, view_query
from comfybridge.deadline import Deadline
from comfybridge.errors import (
    Cancelled,
    ComfyError,
    Failed,
    Lost,
    NodeError,
    OutOfMemory,
    Rejected,
    TimedOut,
    Unavailable,
)
from comfybridge.events import Listener
from comfybridge.filling import Filled
from comfybridge.media import MediaType, media_type, output_type
from comfybridge.messages import (
    HistoryEntry,
    Interrupted,
    NodeFailed,
    Output,
    Started,
    Succeeded,
    read_history,
    saved,
    sent_with,
)
from comfybridge.template import Template
from comfybridge.watch import Event, Watch
from comfybridge.workflow import Definitions, Prompt

logger = logging.getLogger(__name__)

Asked = TypeVar("Asked")

_WAKE_EVERY_S = 2.0
_TAKE_BACK_S = 2.0
_FETCH_ATTEMPTS, _FETCH_PAUSE_S = 3, 0.25
_AWAY_S = 30.0
"""How long a server may refuse connections while it is restarted: what it saved is there afterwards."""
_LONGEST_CAUSE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A submitted prompt. ``verdict`` is what the history said of one that was recalled; ``None`` while there is none.

    ``sent`` is what went with the prompt for our own use: the template, and for a keyed call its wishes and runs.
    ``graph`` is the prompt as it was posted.
    """

    prompt_id: str
    client: Client
    filled: Filled
    listener: Listener
    sent: Mapping[str, Any] = field(default_factory=dict)
    graph: Prompt = field(default_factory=dict)
    verdict: HistoryEntry | None = None
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One finished file: its bytes, and a file name whose extension fits them."""

    job: Job
    output: Output
    filename: str
    mime: str
    data: bytes
    view: str | None
    """The query of ``/view`` that brings it; ``None`` where that would bring more than is handed over."""
    link: str = ""
    """What brings it to any browser, by the server's own word; empty where there is no such address."""
    notes: tuple[tuple[str, str], ...] = ()
    """What to tell of it, in English and Chinese."""


def queue(
    client: Client,
    filled: Filled,
    definitions: Definitions,
    deadline: Deadline,
    extra_data: Mapping[str, Any],
    listening: contextlib.ExitStack | None,
    *,
    prompt_id: str | None = None,
    sent: Mapping[str, Any] | None = None,
) -> Job:
    """Submit one prompt, under a new id unless one is given.

    With ``listening``, the listener that is open until that stack is closed hears its frames.

    Raises:
        Rejected: ComfyUI refuses the graph, whole or in part; nothing of it runs.
        Unavailable: the server did not take it.
        Lost: whether it did cannot be found out.
    """
    started = time.monotonic()
    prompt_id = prompt_id or str(uuid4())
    sent = {"template": filled.template.full_name, **_own(extra_data), **(sent or {})}
    graph = filled.saved_under(prompt_id)
    listener = listening.enter_context(client.listen(prompt_id, deadline)) if listening is not None else Listener(None)
    try:
        for file in filled.files:
            name = client.upload_image(file, deadline)
            if name != file.name:
                # Something else has that name there.
                graph = workflow.replace_value(graph, file.name, name)
        refusal = client.queue_prompt(
            graph,
            prompt_id=prompt_id,
            client_id=listener.client_id,
            # Previews are never shown; not making them saves a decode and some 40 kB for every step.
            extra_data={**extra_data, "preview_method": "none", "comfybridge": sent},
            deadline=deadline,
        )
        if refusal is not None:
            if not refusal.body.get("error"):
                # A 200 with node_errors: the good half would run, and nobody would learn of the other.
                _take_back(client, prompt_id, Deadline(_TAKE_BACK_S))
            problems = preflight.explain(refusal.body, filled.prompt, definitions)
            raise rejected(filled.template, problems)
    except ComfyError as exc:
        exc.about(prompt_id, client.base_url)
        if not isinstance(exc, Unavailable):
            log_end(prompt_id, exc.outcome, client.base_url, filled.template.name, started)
        raise
    listener.expect()
    logger.info("prompt %s queued at %s, template %s", prompt_id, client.base_url, filled.template.name)
    return Job(prompt_id=prompt_id, client=client, filled=filled, listener=listener, sent=sent, graph=graph)


def _own(extra_data: Mapping[str, Any]) -> Mapping[str, Any]:
    own = extra_data.get("comfybridge")
    return own if isinstance(own, Mapping) else {}


def log_end(prompt_id: str, outcome: str, server: str, template: str, started: float) -> None:
    logger.info(
        "prompt %s %s at %s, template %s, %.1f s", prompt_id, outcome, server, template, time.monotonic() - started
    )


def recall(client: Client, prompt_id: str, deadline: Deadline) -> Job | None:
    """A job that was submitted before, by whomever; ``None`` when the server knows nothing of it.

    What it was filled with is read from the history's copy of its graph, and from what is sent along with every prompt.
    """
    entry = once_more(lambda: client.history(prompt_id, deadline), deadline)
    waiting = once_more(lambda: client.queued(prompt_id, deadline), deadline) if entry is None else None
    if entry is None and waiting is None:
        # It may have ended between the two questions.
        entry = once_more(lambda: client.history(prompt_id, deadline), deadline)
        if entry is None:
            return None
    graph, extra_data = (waiting.prompt, waiting.extra_data) if waiting is not None else sent_with(entry or {})
    own = _own(extra_data)
    # Its first version is called by the name alone.
    name = str(own.get("template", "")).removesuffix("@1")
    return Job(
        prompt_id=prompt_id,
        client=client,
        filled=filling.as_is(Template(name=name or "workflow", prompt=graph, is_users=not name)),
        listener=Listener(None),
        sent=own,
        graph=graph,
        verdict=read_history(entry) if entry is not None else None,
        is_running=waiting is not None and waiting.is_running,
    )


def follow(job: Job, deadline: Deadline) -> Generator[Event, None, Succeeded]:
    """Wait for the end of one job and return what it saved."""
    try:
        return (yield from _wait(job, deadline))
    except ComfyError as exc:
        exc.about(job.prompt_id, job.client.base_url)
        raise


def _wait(job: Job, deadline: Deadline) -> Generator[Event, None, Succeeded]:
    entry = read_history((yield from entry_of(job, deadline)))
    if isinstance(entry, Succeeded):
        return _outputs(entry)
    raise error_of(job, entry)


def entry_of(job: Job, deadline: Deadline) -> Generator[Event, None, Mapping[str, Any]]:
    """Wait for the end of one job and return what the history says of it, word for word.

    Raises:
        TimedOut, Lost, Cancelled, Failed: there will be no such entry, or none in time.
    """
    watch = Watch(looked=time.monotonic())
    is_known_to_run = job.is_running
    while True:
        due = watch.due(hears=job.listener.hears)
        frame = job.listener.wait(min(_WAKE_EVERY_S, due - time.monotonic(), deadline.remaining()))
        event = watch.hear(frame, time.monotonic()) if frame is not None else None
        if watch.has_started and not is_known_to_run:
            is_known_to_run = True
            logger.info("prompt %s started at %s", job.prompt_id, job.client.base_url)
            yield Started(job.prompt_id)
        if event is not None:
            yield event
        if deadline.has_passed():
            raise _timed_out(job, deadline)
        if time.monotonic() < watch.due(hears=job.listener.hears):
            continue
        history_first = watch.look(time.monotonic())
        try:
            found = _look(job, deadline, history_first=history_first)
        except Unavailable as exc:
            logger.debug("prompt %s: no answer: %s", job.prompt_id, exc)
            if watch.is_gone(refused=exc.refused):
                raise _lost(str(exc), exc.zh) from exc
            continue
        except Failed:
            # No verdict on the job, but an answer that nobody can use: the job would go on for no one.
            cancel([job])
            raise
        if not isinstance(found, bool):
            return found
        if watch.is_nowhere(known=found):
            raise _vanished(job.listener, has_started=watch.has_started)


def _look(job: Job, deadline: Deadline, *, history_first: bool) -> Mapping[str, Any] | bool:
    """The history's entry; True while the job waits or runs, False when the server knows nothing of it."""
    if not history_first and job.client.is_queued(job.prompt_id, deadline):
        return True
    entry = job.client.history(job.prompt_id, deadline)
    if entry is not None:
        return entry
    return history_first and job.client.is_queued(job.prompt_id, deadline)


def _outputs(entry: Succeeded) -> Succeeded:
    """What the job saved, without previews."""
    if not entry.outputs and not entry.texts:
        raise Failed(
            "ComfyUI finished without an output: the workflow saved no picture.",
            "ComfyUI 已执行完毕，但没有输出：工作流没有保存任何图像。",
        )
    return Succeeded(saved(entry.outputs), entry.texts, entry.cached)


def fetch(
    job: Job, output: Output, deadline: Deadline, *, largest: int | None = None, beginning: int = 0
) -> OutputFile:
    """Fetch one file and look whether it is what its name says.

    Raises:
        FileGone: it is not there any more.
        Failed: it is something else.
        TimedOut: the deadline passed; the file can still be collected.
        Unavailable: the server does not answer any more.
        TooLargeError: it has more than ``largest`` bytes; the error has the ``beginning``.
    """

    def ask() -> tuple[bytes, MediaType | None]:
        data = job.client.view(output, deadline, largest=largest, beginning=beginning)
        return data, output_type(data, output.filename)

    data, media = patiently(job, deadline, ask)
    if media is None and deadline.remaining() > _FETCH_PAUSE_S:
        # A proxy's page, perhaps; the next answer may be the file.
        logger.warning("prompt %s: what came is no such file, fetching it once more", job.prompt_id)
        del data
        time.sleep(_FETCH_PAUSE_S)
        data, media = patiently(job, deadline, ask)
    if media is None:
        raise Failed(
            f"What ComfyUI served as {output.filename} is not a whole file of that kind ({len(data)} bytes).",
            f"ComfyUI 返回的 {output.filename} 不是完整的该类文件（{len(data)} 字节）。",
            prompt_id=job.prompt_id,
            server=job.client.base_url,
        )
    return _file(job, output, media, data)


def preview(job: Job, output: Output, deadline: Deadline, wanted: str, *, largest: int) -> OutputFile | None:
    """Fetch a picture as ComfyUI re-encodes it, ``webp;90`` or ``jpeg;75``; ``None`` where it does not.

    Raises:
        TimedOut, Unavailable, TooLargeError: as ``fetch``.
    """
    data = patiently(job, deadline, lambda: job.client.preview(output, wanted, deadline, largest=largest))
    media = media_type(data) if data is not None else None
    if data is None or media is None or media.mime != f"image/{wanted.partition(';')[0]}":
        return None
    return _file(job, output, media, data, wanted)


def _file(job: Job, output: Output, media: MediaType, data: bytes, preview: str = "") -> OutputFile:
    # The prompt_id is in the name for ComfyUI's cache's sake, and only long to people.
    stem = PurePosixPath(output.filename).stem.replace(f"_{job.prompt_id}", "")
    view, link = view_query(output, preview), linked(output, preview)
    return OutputFile(job, output, stem + media.extension, media.mime, data, view, link)


def patiently(job: Job, deadline: Deadline, ask: Callable[[], Asked]) -> Asked:
    """Ask for a file, more than once where the server does not answer.

    Raises:
        TimedOut, Unavailable, or what ``ask`` raises.
    """
    attempt, back_by = 1, time.monotonic() + _AWAY_S
    while True:
        try:
            return ask()
        except Unavailable as exc:
            if deadline.has_passed():
                raise _timed_out(job, deadline) from exc
            may_be_back = exc.refused and time.monotonic() < back_by
            if attempt >= _FETCH_ATTEMPTS and not may_be_back:
                exc.about(job.prompt_id, job.client.base_url)
                raise
            time.sleep(min(_FETCH_PAUSE_S * 2 ** min(attempt, _FETCH_ATTEMPTS), deadline.remaining()))
            attempt += 1
        except ComfyError as exc:
            exc.about(job.prompt_id, job.client.base_url)
            raise


def cancel(jobs: Sequence[Job]) -> None:
    """Take back what was queued for a call that failed, as far as the server lets us."""
    deadline = Deadline(_TAKE_BACK_S)
    # The last first: to interrupt the running one would start the next.
    for job in reversed(jobs):
        _take_back(job.client, job.prompt_id, deadline)


def _take_back(client: Client, prompt_id: str, deadline: Deadline) -> None:
    try:
        client.cancel(prompt_id, deadline)
        logger.info("prompt %s taken back at %s", prompt_id, client.base_url)
    except ComfyError as exc:
        logger.warning("prompt %s could not be cancelled: %s", prompt_id, exc)


def error_of(job: Job, entry: NodeFailed | Interrupted) -> ComfyError:
    """What a history entry says, as something to tell the caller."""
    if isinstance(entry, Interrupted):
        return Cancelled("Somebody interrupted the job in ComfyUI while it ran.", "任务在运行时被人在 ComfyUI 中中断。")
    where = workflow.title(job.filled.prompt, entry.node_id)
    # One line, since an error's lines have their meaning at Dify's edge.
    cause = " ".join(entry.exception_message.split())[:_LONGEST_CAUSE].rstrip(".") or entry.exception_type
    english, chinese = (
        f"Node {entry.node_id} ({where}) failed: {cause}",
        f"节点 {entry.node_id}（{where}）失败：{cause}",
    )
    if is_out_of_memory(entry):
        return OutOfMemory(
            f"{english}. The GPU has too little memory: use a smaller size, a lower count or a smaller model.",
            f"{chinese}。显存不足：请减小尺寸、数量，或使用更小的模型。",
        )
    return NodeError(english, chinese, node_id=entry.node_id)


def is_out_of_memory(entry: NodeFailed) -> bool:
    text = f"{entry.exception_type} {entry.exception_message}".lower()
    return any(sign in text for sign in ("outofmemory", "out of memory", "allocation on device"))


def _vanished(listener: Listener, *, has_started: bool) -> ComfyError:
    if listener.was_connected_throughout and not has_started:
        return Cancelled("Somebody removed the job from ComfyUI's queue.", "任务被人从 ComfyUI 队列中删除。")
    return _lost(
        "ComfyUI no longer knows the job: it was restarted, or somebody cleared its queue or history.",
        "ComfyUI 已没有该任务的记录：服务器可能重启过，或队列、历史被清空。",
    )


def _lost(english: str, chinese: str) -> Lost:
    return Lost(f"{english} Run it again.", f"{chinese}请重新运行。")


def _timed_out(job: Job, deadline: Deadline) -> TimedOut:
    return TimedOut(
        f"Not finished after {deadline.seconds:.0f} s. The job goes on in ComfyUI: collect it later by get_result with"
        f" prompt_id {job.prompt_id}, stop it by cancel_job, or raise timeout.",
        f"{deadline.seconds:.0f} 秒内未完成，任务仍在 ComfyUI 中继续：稍后可用 get_result（prompt_id {job.prompt_id}）"
        "取回结果，用 cancel_job 取消，或调大 timeout。",
        prompt_id=job.prompt_id,
        server=job.client.base_url,
    )


def taken_back(late: TimedOut) -> TimedOut:
    """The same end, for a job that was not left to go on."""
    return TimedOut(
        "Not finished in time, and cancelled as after_timeout says. Raise timeout, or let it go on (keep).",
        "未在规定时间内完成，已按 after_timeout 的设置取消。请调大 timeout，或设为 keep 让任务继续。",
        prompt_id=late.prompt_id,
        server=late.server,
    )


def unknown(prompt_id: str) -> Lost:
    """The error for an id that no server knows."""
    return Lost(
        f"No server knows the job {prompt_id}: it was never there, ComfyUI was restarted, or its history was cleared.",
        f"服务器上没有任务 {prompt_id}：任务不存在、ComfyUI 重启过，或历史记录已被清除。",
        prompt_id=prompt_id,
    )


def rejected(chosen: Template, problems: Sequence[preflight.Problem]) -> Rejected:
    """The error for a graph with problems; for missing model files it says where to get them."""
    english, chinese = preflight.sentences(problems)
    missing = [problem for problem in problems if problem.code == "missing_model"]
    if missing and chosen.requires:
        inputs = (chosen.prompt.get(problem.node_id, {}).get("inputs", {}).get(problem.input) for problem in missing)
        install_en, install_zh = chosen.how_to_install([str(name) for name in inputs])
        english, chinese = f"{english} {install_en}", f"{chinese}{install_zh}"
    return Rejected(english, chinese)
