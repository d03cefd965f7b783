"""One job on one ComfyUI: bring its files, submit it or find it there, wait, keep what it made."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from comfybridge import jobs
from comfybridge.client import Client, Refusal
from comfybridge.deadline import Deadline
from comfybridge.errors import Cancelled, ComfyError, Failed, FileGone, Lost, Rejected, TimedOut, Unavailable
from comfybridge.events import Listener
from comfybridge.filling import Filled
from comfybridge.graph import InputRef, Prompt, fill
from comfybridge.jobs import Job
from comfybridge.media import InputFile, MediaType, media_type, output_type
from comfybridge.messages import Interrupted, NodeFailed, Output, Succeeded, read_history
from comfybridge.preflight import explain, sentences
from comfybridge.service import ends, store
from comfybridge.service.claiming import Claimed
from comfybridge.service.finishing import End, Kept
from comfybridge.service.store import Store
from comfybridge.service.worker.limiting import RunTime, too_long
from comfybridge.service.worker.pruning import Pruning, Uploaded
from comfybridge.template import Template

logger = logging.getLogger(__name__)

_MOST_RUNS = 2
_CANCEL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """The job is for others, or for later. ``counts``: it may have run here, so this was one of its attempts."""

    error: ComfyError
    counts: bool
    is_refused: bool = False
    """This server has something against the graph; another one may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulted:
    """A node raised; ``end`` is how the job ends if nobody else is to try."""

    end: End
    node_id: str
    is_out_of_memory: bool


@dataclass(frozen=True, slots=True)
class Run:
    job: Claimed
    client: Client
    store: Store
    pruning: Pruning
    noted: Callable[[Uploaded], None]
    """Called with each file that was brought to the server, before others may delete it."""
    queued_again: Callable[[], None]
    """Called where the job goes back into the queue of its ComfyUI, to be run once more."""

    def __call__(self, listener: Listener, deadline: RunTime, *, may_be_there: bool) -> End | Back | Faulted:
        """Run the job to its end; where it ``may_be_there`` already, it is looked for first.

        ``deadline`` is begun by whoever hears that ComfyUI began.

        Raises:
            StoreAway: to be called again when the store is back; what ComfyUI made is still there.
        """
        try:
            return self._run(listener, deadline, may_be_there=may_be_there)
        except TimedOut:
            self._cancel()
            return ends.without_comfyui(self.job.prompt_id, too_long(self.job.template, deadline.seconds))
        except Cancelled as exc:
            return ends.removed(exc)
        except Lost as exc:
            return Back(error=exc, counts=True)
        except Unavailable as exc:
            return Back(error=exc, counts=not exc.refused)
        except ComfyError as exc:
            return ends.without_comfyui(self.job.prompt_id, exc)

    def _run(self, listener: Listener, deadline: RunTime, *, may_be_there: bool) -> End | Back | Faulted:
        prompt_id = self.job.prompt_id
        is_there = may_be_there and self._is_there(deadline)
        for run in range(1, _MOST_RUNS + 1):
            if not is_there and (refusal := self._submit(listener, deadline)) is not None:
                return refusal
            known = Job(
                prompt_id=prompt_id,
                client=self.client,
                filled=self._filled(),
                # Of what somebody else submitted no frame reaches us: it may have ended before we came.
                listener=Listener(None) if is_there else listener,
            )
            is_there = False
            entry = drained(jobs.entry_of(known, deadline))
            deadline.end()
            verdict = read_history(entry)
            try:
                files = list(self._kept(known, entry, deadline))
            except FileGone:
                # ComfyUI remembered a file that somebody deleted; without its memory it makes it again.
                if run == _MOST_RUNS:
                    raise
                self._forget(deadline)
                self.queued_again()
                continue
            if isinstance(verdict, NodeFailed) and jobs.is_out_of_memory(verdict) and run < _MOST_RUNS:
                logger.info("prompt %s ran out of memory; freed, and once more", prompt_id)
                self._forget(deadline)
                self.queued_again()
                continue
            return self._end(known, entry, verdict, files)
        raise AssertionError  # the loop returns or raises

    def _end(
        self, known: Job, entry: Mapping[str, Any], verdict: Succeeded | NodeFailed | Interrupted, files: list[Kept]
    ) -> End | Faulted:
        error = None if isinstance(verdict, Succeeded) else jobs.error_of(known, verdict)
        end = End(
            outcome="succeeded" if error is None else error.outcome,
            history=ends.without_prompt(entry),
            reason=None if error is None else (str(error), error.zh),
            files=files,
            gpu_s=ends.gpu_seconds(entry),
        )
        if not isinstance(verdict, NodeFailed):
            return end
        return Faulted(end=end, node_id=verdict.node_id, is_out_of_memory=jobs.is_out_of_memory(verdict))

    def _filled(self) -> Filled:
        """The graph, unread: only its nodes' titles are asked for, when one fails."""
        prompt = self.job.prompt
        template = Template(name="workflow", prompt=prompt, is_users=True)
        return Filled(prompt=prompt, template=template, seed=None, width=None, height=None, model=None)

    def _is_there(self, deadline: Deadline) -> bool:
        # In this order: a prompt moves from the queue into the history, never back.
        prompt_id = self.job.prompt_id
        return self.client.is_queued(prompt_id, deadline) or self.client.history(prompt_id, deadline) is not None

    def _submit(self, listener: Listener, deadline: Deadline) -> Back | None:
        graph = self._with_files(deadline)
        refusal = self.client.queue_prompt(
            graph,
            prompt_id=self.job.prompt_id,
            client_id=listener.client_id,
            extra_data={**self.job.extra_data, **(self.job.secrets or {})},
            deadline=deadline,
            targets=self.job.targets if self.job.is_partial else None,
        )
        # A 200 with node_errors is as it was promised: the caller has been told which part would not run.
        if refusal is not None and refusal.body.get("error"):
            return Back(error=self._rejected(refusal, graph, deadline), counts=False, is_refused=True)
        listener.expect()
        return None

    def _rejected(self, refusal: Refusal, graph: Prompt, deadline: Deadline) -> Rejected:
        definitions = self.client.definitions({str(node["class_type"]) for node in graph.values()}, deadline)
        return Rejected(*sentences(explain(refusal.body, graph, definitions)))

    def _with_files(self, deadline: Deadline) -> Prompt:
        """The graph with the caller's files by the names that they have on this server."""
        named: dict[InputRef, str] = {}
        for wanted in self.job.inputs:
            data = self._input(wanted)
            suffix = PurePosixPath(wanted["filename"]).suffix
            found = media_type(data)
            media = MediaType(found.mime if found is not None else "application/octet-stream", suffix)
            ref = InputRef(wanted["node_id"], wanted["input"])
            file = InputFile(data, media)
            with self.pruning.undisturbed:
                named[ref] = self.client.upload_image(file, deadline, subfolder=wanted["subfolder"])
                folder, _, name = named[ref].rpartition("/")
                self.noted(Uploaded(folder, name, store.digest(data)))
        return fill(self.job.prompt, named) if named else self.job.prompt

    def _input(self, wanted: Mapping[str, str]) -> bytes:
        try:
            return self.store.get(wanted["key"])
        except FileNotFoundError as exc:
            name = wanted["filename"]
            raise Failed(f"The file {name} is no longer in the store.", f"文件 {name} 已不在存储中。") from exc

    def _kept(self, known: Job, entry: Mapping[str, Any], deadline: Deadline) -> Iterator[Kept]:
        """Bring what the job saved into the store, one file in memory at a time."""
        for number, output in enumerate(_files(entry)):
            data = jobs.patiently(known, deadline, partial(self.client.view, output, deadline))
            media = output_type(data, output.filename)
            key = store.output_key(self.job.prompt_id, self.job.fence, number)
            self.store.put(key, data)
            yield Kept(
                node_id=output.node_id,
                type=output.type,
                subfolder=output.subfolder,
                filename=output.filename,
                key=key,
                digest=store.digest(data),
                mime=media.mime if media is not None else "application/octet-stream",
                size=len(data),
            )

    def _forget(self, deadline: Deadline) -> None:
        self.client.free(deadline)
        self.client.forget(self.job.prompt_id, deadline)

    def _cancel(self) -> None:
        try:
            self.client.cancel(self.job.prompt_id, Deadline(_CANCEL_S))
        except ComfyError as exc:
            logger.warning("prompt %s could not be cancelled: %s", self.job.prompt_id, exc)


def drained(waiting: Any) -> Mapping[str, Any]:
    """Run a generator to its end for what it returns."""
    while True:
        try:
            next(waiting)
        except StopIteration as end:
            found: Mapping[str, Any] = end.value
            return found


def _files(entry: Mapping[str, Any]) -> list[Output]:
    """All files that a history entry names, of failed jobs too, each once."""
    told = {**entry, "status": {**(entry.get("status") or {}), "status_str": "success"}}
    verdict = read_history(told)
    return list(dict.fromkeys(verdict.outputs)) if isinstance(verdict, Succeeded) else []
