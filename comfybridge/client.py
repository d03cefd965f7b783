"""Everything that is said to a ComfyUI server: its routes, over ``transport``, and one WebSocket, ``events``."""

import contextlib
import enum
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from comfybridge import advice, versioned
from comfybridge.advice import Fault
from comfybridge.connections import multipart
from comfybridge.deadline import Deadline
from comfybridge.errors import Failed, FileGone, Lost, Unavailable
from comfybridge.events import Events, Listener, NoSocketError, Tap
from comfybridge.media import InputFile
from comfybridge.messages import Output
from comfybridge.transport import Answer, NoAnswerError, TooLargeError, Transport
from comfybridge.workflow import Definitions, Prompt

logger = logging.getLogger(__name__)

Asked = TypeVar("Asked")

DEFINITIONS_FRESH_S = 300.0
"""How long a node definition (and with it the list of model files) is believed."""

_WORKFLOWS = "workflows"
_JUST_NOW_S = 1.0
_SOCKET_REST_S = 30.0
_LOOK_AFTER_S = 1.0
_LOOKS_AFTER_LOSS = 3
_AWAY_S = 30.0
"""How long a server may refuse connections while it is restarted: then it can be asked again."""
_LEAST_LOOK_S = 1.0
"""How long a look may take after the deadline: only it can tell a job that goes on from one that was never taken."""
_AGAIN_AFTER_S = 0.5
"""Until a question is asked once more that something else answered, or something too busy."""
# What a proxy answers before ComfyUI gets the request. Others, such as 500 and 504, may come after it did.
_BEFORE = (429, 502, 503)


@dataclass(frozen=True, slots=True)
class Refusal:
    """ComfyUI's 400, or the part of its 200 that says that only some outputs will run."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Queued:
    """A prompt that waits or runs: its graph, and what was sent along with it."""

    is_running: bool
    prompt: Prompt
    extra_data: Mapping[str, Any]


class Client:
    """One ComfyUI server. Safe to use from several threads.

    ``base_url`` may carry a path prefix. ``headers`` and ``query`` go with every request and with the WebSocket
    handshake; they are in no error text. Without ``verify_tls`` any certificate will do. ``tap`` is given every frame
    of the WebSocket. A client is cheap until its first request and keeps its connections until ``close``.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        *,
        query: str = "",
        verify_tls: bool = True,
        tap: Tap | None = None,
    ) -> None:
        self._tap = tap
        scheme, _, rest = base_url.partition("://")
        self.base_url = f"{scheme.lower()}://{rest}".rstrip("/")
        self._headers = dict(headers or {})
        self._query = query
        self._verify_tls = verify_tls
        self._http = Transport(self.base_url, self._headers, query=query, verify_tls=verify_tls)
        self.definitions_fetched = 0
        """How often a definition came from the server; while it stays the same, so do the definitions."""
        self._definitions: dict[str, tuple[float, Mapping[str, Any] | None]] = {}
        self._metadata: dict[str, Mapping[str, str]] = {}
        self._has_jobs_route = True
        self._events: Events | None = None
        self._no_socket_before = 0.0
        self._lock = threading.Lock()
        self._fetching = threading.Lock()

    def close(self) -> None:
        with self._lock:
            events, self._events = self._events, None
        if events is not None:
            events.close()
        self._http.close()

    # What the server is and has

    def system_stats(self, deadline: Deadline) -> Mapping[str, Any]:
        """``GET /system_stats``; Unavailable when what answers is no ComfyUI."""
        stats = once_more(lambda: self._object("/system_stats", deadline), deadline)
        system = stats.get("system")
        if not isinstance(system, dict) or "comfyui_version" not in system:
            raise advice.not_comfyui(self.base_url, "/system_stats")
        return stats

    def queue_remaining(self, deadline: Deadline) -> int:
        """How many prompts wait or run, by ``GET /prompt``; the answer has the same few bytes for any queue."""
        try:
            return int(self._object("/prompt", deadline)["exec_info"]["queue_remaining"])
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise advice.not_comfyui(self.base_url, "/prompt") from exc

    def definitions(self, class_types: Iterable[str], deadline: Deadline, *, refresh: bool = False) -> Definitions:
        """The ``object_info`` of the named classes, cached; a class that the server lacks is absent.

        ``refresh`` fetches them again, for a model that was installed a moment ago.
        """
        wanted = tuple(class_types)
        fresh_s = _JUST_NOW_S if refresh else DEFINITIONS_FRESH_S
        if not self._are_fresh(wanted, fresh_s):
            # Whoever waits for the lock finds what the one before has fetched.
            if not self._fetching.acquire(timeout=deadline.remaining()):
                raise advice.unreachable(self.base_url, Fault.SILENT)
            try:
                self._fetch([name for name in wanted if not self._are_fresh((name,), fresh_s)], deadline)
            finally:
                self._fetching.release()
        entries = {class_type: self._definitions[class_type][1] for class_type in wanted}
        return {class_type: definition for class_type, definition in entries.items() if definition is not None}

    def _fetch(self, class_types: Iterable[str], deadline: Deadline) -> None:
        for class_type in class_types:
            path = f"/object_info/{quote(class_type, safe='')}"
            answer = once_more(partial(self._object, path, deadline), deadline)
            self._definitions[class_type] = (time.monotonic(), answer.get(class_type))
            self.definitions_fetched += 1

    def _are_fresh(self, class_types: Iterable[str], fresh_s: float) -> bool:
        never = (-math.inf, None)
        oldest = min((self._definitions.get(class_type, never)[0] for class_type in class_types), default=math.inf)
        return time.monotonic() - oldest <= fresh_s

    def object_info(self, deadline: Deadline) -> Definitions:
        """All classes at once: megabytes, while which the server does nothing else. Not cached."""
        return self._object("/object_info", deadline)

    def models(self, deadline: Deadline) -> dict[str, list[str]]:
        """The model files by folder; empty where there is no such route."""
        return {
            folder: self._names(f"/models/{quote(folder, safe='')}", deadline)
            for folder in self._names("/models", deadline)
        }

    def embeddings(self, deadline: Deadline) -> list[str]:
        return self._names("/embeddings", deadline)

    def _names(self, path: str, deadline: Deadline) -> list[str]:
        answer = self._request("GET", path, deadline, accept=(403, 404, 405))
        try:
            listed = json.loads(answer.body) if answer.status == HTTPStatus.OK else []
        except ValueError as exc:
            raise advice.not_comfyui(self.base_url, path) from exc
        return [name for name in listed if isinstance(name, str)]

    def view_metadata(self, folder: str, filename: str, deadline: Deadline) -> Mapping[str, str]:
        """The metadata in a safetensors header, cached; empty when the file has none (ComfyUI answers 404) or it cannot
        be read (500), or when a proxy keeps this route shut (403).
        """
        key = f"{folder}/{filename}"
        if key not in self._metadata:
            path = f"/view_metadata/{quote(folder)}?{urlencode({'filename': filename})}"
            self._metadata[key] = self._object_if_any(path, deadline, absent=(403, 404, 500)) or {}
        return self._metadata[key]

    def workflows(self, deadline: Deadline) -> list[str]:
        """The names of the workflows that are saved on the server, folders and all, without ``.json``.

        ComfyUI keeps them as user data (``app/user_manager.py``); empty where there are none, or no such route.
        """
        path = f"/userdata?{urlencode({'dir': _WORKFLOWS, 'recurse': 'true', 'split': 'false', 'full_info': 'false'})}"
        listed = once_more(lambda: self._listed(path, deadline), deadline)
        files = [str(name).replace("\\", "/") for name in listed if isinstance(name, str)]
        return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))

    def _listed(self, path: str, deadline: Deadline) -> list[Any]:
        answer = self._request("GET", path, deadline, accept=(403, 404, 405))
        if answer.status != HTTPStatus.OK:
            return []
        try:
            listed = json.loads(answer.body)
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, list):
            raise advice.not_comfyui(self.base_url, _route(path))
        return listed

    def workflow(self, name: str, deadline: Deadline, *, user: str = "") -> dict[str, Any] | None:
        """A saved workflow as the front end wrote it; ``None`` when there is none of exactly this name.

        A server with several versions of it may give each ``user`` another one.
        """
        path = f"/userdata/{quote(f'{_WORKFLOWS}/{name}.json', safe='')}"
        if user:
            path += f"?{urlencode({versioned.USER: user})}"
        return self._object_if_any(path, deadline, absent=(400, 403, 404, 405))

    # One prompt

    def upload_image(self, file: InputFile, deadline: Deadline, *, subfolder: str = "") -> str:
        """Put a file (of any kind: the front end uses this route for all) into the server's ``input`` folder.

        Returns the name to load it by; another than asked for only if that is taken by other bytes.
        """
        fields = {"subfolder": subfolder} if subfolder else {}
        body, content_type = multipart({**fields, "image": (file.name, file.data, file.media.mime)})

        def upload() -> dict[str, Any]:
            answer = self._request("POST", "/upload/image", deadline, data=body, content_type=content_type)
            uploaded = self._parse("/upload/image", answer)
            if not isinstance(uploaded.get("name"), str):
                raise advice.not_comfyui(self.base_url, "/upload/image")
            return uploaded

        # The same bytes under the same name are stored once.
        uploaded = once_more(upload, deadline)
        folder = uploaded.get("subfolder")
        return f"{folder}/{uploaded['name']}" if folder else str(uploaded["name"])

    def queue_prompt(
        self,
        prompt: Prompt,
        *,
        prompt_id: str,
        client_id: str,
        extra_data: Mapping[str, Any],
        deadline: Deadline,
        targets: Iterable[str] | None = None,
    ) -> Refusal | None:
        """Submit a prompt; ``None`` when it was accepted whole, else what ComfyUI has against it.

        ``targets`` are the output nodes that shall run; ``None`` for all.

        Sent again only after a look that found it neither in the queue nor in the history: ComfyUI runs the same
        ``prompt_id`` twice without a word.

        Raises:
            Unavailable: nothing was accepted.
            Lost: whether it was accepted cannot be found out.
        """
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id, "extra_data": extra_data}
        if targets is not None:
            body["partial_execution_targets"] = list(targets)
        data = json.dumps(body, ensure_ascii=False).encode()
        if deadline.has_passed():
            # Nobody would wait for it.
            raise advice.unreachable(self.base_url, Fault.SILENT)
        for attempt in (1, 2):
            try:
                posted = self._request("POST", "/prompt", deadline, data=data, accept=(400,), is_repeatable=False)
                try:
                    answer = self._parse("/prompt", posted)
                except Unavailable as exc:
                    # Something between us and the server spoke in its stead, before or after it took the prompt.
                    raise _AnswerLost(exc, _Reception.MAYBE) from exc
                if posted.status == HTTPStatus.BAD_REQUEST:
                    return Refusal(answer)
                if "prompt_id" not in answer:
                    raise advice.not_comfyui(self.base_url, "/prompt")
                if answer["prompt_id"] != prompt_id:
                    error = advice.too_old(self.base_url)
                    # It runs, under a name of the server's own.
                    error.took_some = True
                    raise error
                return Refusal(answer) if answer.get("node_errors") else None
            except _AnswerLost as exc:
                if self._was_accepted(prompt_id, deadline, exc):
                    return None
                if attempt == 2:  # noqa: PLR2004
                    raise exc.error from exc
        raise AssertionError  # the loop returns or raises

    def _was_accepted(self, prompt_id: str, deadline: Deadline, lost: "_AnswerLost") -> bool:
        unanswered: Unavailable | None = None
        looking = deadline if deadline.remaining() > _LEAST_LOOK_S else Deadline(_LEAST_LOOK_S)
        looks, back_by = 0, time.monotonic() + _AWAY_S
        while looks < _LOOKS_AFTER_LOSS:
            # A moment for the server to come back, and for a prompt on its way to reach the queue.
            time.sleep(min(_LOOK_AFTER_S, deadline.remaining()))
            try:
                # In this order: a prompt moves from the queue into the history, never back.
                if self.is_queued(prompt_id, looking) or self.history(prompt_id, looking) is not None:
                    return True
                unanswered = None
            except Unavailable as exc:
                unanswered = exc
                if lost.reception is _Reception.NO:
                    raise lost.error from exc
                may_be_back = exc.refused and time.monotonic() < back_by and not deadline.has_passed()
                looks += not may_be_back
                continue
            if lost.reception is not _Reception.LATE:
                return False
            looks += 1
        raise Lost(
            f"The answer to the submission was lost, so it is unknown whether the job runs. {lost.error}",
            f"提交任务后与服务器失去联系，无法确定任务是否在运行。{lost.error.zh}",
            prompt_id=prompt_id,
            server=self.base_url,
        ) from unanswered

    def history(self, prompt_id: str, deadline: Deadline) -> Mapping[str, Any] | None:
        """The entry of ``GET /history/{prompt_id}``; ``None`` while the prompt is not finished, or is unknown."""
        entry = self._object(f"/history/{quote(prompt_id, safe='')}", deadline).get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def is_queued(self, prompt_id: str, deadline: Deadline) -> bool:
        """Whether the prompt waits or runs.

        Asks ``GET /api/jobs/{prompt_id}``, which has one size for any queue; a ComfyUI older than that route is asked
        for its whole ``GET /queue``.
        """
        if self._has_jobs_route:
            path = f"/api/jobs/{quote(prompt_id, safe='')}"
            answer = self._request("GET", path, deadline, accept=(403, 404, 405))
            if answer.status == HTTPStatus.OK:
                return self._parse(path, answer).get("status") in ("pending", "in_progress")
            if b"Job not found" in answer.body:
                return False
            self._has_jobs_route = False
        return self.queued(prompt_id, deadline) is not None

    def queued(self, prompt_id: str, deadline: Deadline) -> Queued | None:
        """The prompt as it waits or runs, by ``GET /queue``, which holds all of them; ``None`` if it does neither."""
        queue = self._object("/queue", deadline)
        for name, is_running in (("queue_running", True), ("queue_pending", False)):
            items = queue.get(name) or []
            if not isinstance(items, list) or not all(isinstance(item, list) for item in items):
                raise advice.not_comfyui(self.base_url, "/queue")
            for item in items:
                # [number, prompt_id, graph, extra_data, outputs]
                if len(item) > 3 and item[1] == prompt_id:  # noqa: PLR2004
                    return Queued(is_running, *(each if isinstance(each, dict) else {} for each in item[2:4]))
        return None

    def cancel(self, prompt_id: str, deadline: Deadline) -> None:
        """Take the prompt out of the queue, or interrupt it if it is the one that runs; nobody else's is touched."""
        self._post("/queue", {"delete": [prompt_id]}, deadline)
        if once_more(lambda: self.is_queued(prompt_id, deadline), deadline):
            # An older ComfyUI ignores the prompt_id and interrupts what runs; we have just seen that this is ours.
            self._post("/interrupt", {"prompt_id": prompt_id}, deadline)

    def free(self, deadline: Deadline, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Unload the models and free the GPU's memory, before one more try."""
        self._post("/free", {"unload_models": unload_models, "free_memory": free_memory}, deadline)

    def forget(self, prompt_id: str, deadline: Deadline) -> None:
        """Take the prompt out of the history, so that its id can be used once more."""
        self._post("/history", {"delete": [prompt_id]}, deadline)

    def view(self, output: Output, deadline: Deadline, *, largest: int | None = None, beginning: int = 0) -> bytes:
        """The bytes of one output; their length is checked, their kind is the caller's business.

        Raises:
            TooLargeError: more than ``largest``; it has the ``beginning``, so many bytes. No more were waited for.
        """
        path = f"/view?{view_query(output)}"
        accept = (HTTPStatus.NOT_FOUND,)
        answer = self._request("GET", path, deadline, accept=accept, largest=largest, beginning=beginning)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise FileGone(
                f"The file {output.filename} is no longer in ComfyUI's {output.type} folder. ComfyUI repeats what it"
                " remembers: to have it made again, change a value such as filename_prefix.",
                f"文件 {output.filename} 已不在 ComfyUI 的 {output.type} 文件夹中。ComfyUI 直接沿用了缓存："
                "要重新生成，请修改任一参数，例如 filename_prefix。",
            )
        return answer.body

    def preview(self, output: Output, wanted: str, deadline: Deadline, *, largest: int) -> bytes | None:
        """A picture as ComfyUI re-encodes it, ``webp;90`` or ``jpeg;75``; ``None`` where it cannot.

        Raises:
            TooLargeError: more than ``largest`` bytes.
        """
        path = f"/view?{view_query(output, wanted)}"
        answer = self._request("GET", path, deadline, accept=(400, 404, 500), largest=largest)
        return answer.body if answer.status == HTTPStatus.OK else None

    # Events

    @contextlib.contextmanager
    def listen(self, prompt_id: str, deadline: Deadline) -> Iterator[Listener]:
        """Receive the frames of one prompt; to be entered before the prompt is submitted, so that none is missed.

        All prompts of a client share one WebSocket. Where none can be had (a proxy without Upgrade), the listener is
        deaf and the caller has to poll.
        """
        events = self._connected(deadline)
        listener = Listener(events)
        if events is not None:
            events.subscribe(prompt_id, listener)
        try:
            yield listener
        finally:
            if events is not None:
                events.unsubscribe(prompt_id)

    def _connected(self, deadline: Deadline) -> Events | None:
        # Whoever has no time to wait for somebody else's handshake polls.
        if not self._lock.acquire(timeout=deadline.remaining()):
            return None
        try:
            if self._events is not None and self._events.is_open:
                return self._events
            if time.monotonic() < self._no_socket_before:
                return None
            self._events = Events(
                self._http.base_url,
                self._headers,
                deadline,
                query=self._query,
                verify_tls=self._verify_tls,
                tap=self._tap,
            )
        except NoSocketError as exc:
            logger.info("no WebSocket at %s (%s): polling instead", self.base_url, exc)
            # One that ran out of its caller's time says nothing about the server.
            if not deadline.has_passed():
                self._no_socket_before = time.monotonic() + _SOCKET_REST_S
            self._events = None
        finally:
            self._lock.release()
        return self._events

    # The border

    def _post(self, path: str, body: Mapping[str, Any], deadline: Deadline) -> None:
        """Post what may be said twice: to delete, to interrupt, to free."""
        data = json.dumps(body).encode()
        once_more(lambda: self._request("POST", path, deadline, data=data), deadline)

    def _object(self, path: str, deadline: Deadline, *, accept: tuple[int, ...] = ()) -> dict[str, Any]:
        return self._parse(path, self._request("GET", path, deadline, accept=accept))

    def _object_if_any(self, path: str, deadline: Deadline, *, absent: tuple[int, ...]) -> dict[str, Any] | None:
        """The object, asked for once more if need be; ``None`` for the statuses that say that there is none."""

        def ask() -> dict[str, Any] | None:
            answer = self._request("GET", path, deadline, accept=absent)
            return self._parse(path, answer) if answer.status == HTTPStatus.OK else None

        return once_more(ask, deadline)

    def _parse(self, path: str, answer: Answer) -> dict[str, Any]:
        """The JSON object that ComfyUI answers with wherever we ask; anything else is somebody else's answer."""
        try:
            parsed = json.loads(answer.body)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise advice.not_comfyui(self.base_url, _route(path))
        return parsed

    def _request(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        data: bytes | None = None,
        content_type: str = "application/json",
        accept: tuple[int, ...] = (),
        is_repeatable: bool = True,
        largest: int | None = None,
        beginning: int = 0,
    ) -> Answer:
        """Send one request; its answer is a 2xx, or one of the statuses to ``accept``.

        Raises:
            Unavailable: anything else.
            TooLargeError: only where ``largest`` is given.
            _AnswerLost: the same, for a request that has to be looked up before it may be repeated.
        """
        try:
            answer = self._http.request(
                method,
                path,
                deadline,
                data=data,
                content_type=content_type,
                is_repeatable=is_repeatable,
                largest=largest,
                beginning=beginning,
            )
        except TooLargeError as exc:
            if largest is not None:
                raise
            raise Failed(f"ComfyUI's answer to {path} is too large.", f"ComfyUI 对 {path} 的应答过大。") from exc
        except NoAnswerError as exc:
            error = advice.unreachable(self.base_url, exc.fault)
            if not is_repeatable and not error.refused:
                reception = _Reception.LATE if exc.fault is Fault.SILENT else _Reception.MAYBE
                raise _AnswerLost(error, reception) from exc
            raise error from exc
        if 200 <= answer.status < 300 or answer.status in accept:  # noqa: PLR2004
            return answer
        error = advice.bad_status(self.base_url, _route(path), answer.status, answer.location)
        if not is_repeatable and error.may_pass:
            raise _AnswerLost(error, _Reception.NO if answer.status in _BEFORE else _Reception.MAYBE)
        raise error


class _Reception(enum.Enum):
    """Whether the server received a request that got no usable answer."""

    NO = enum.auto()
    MAYBE = enum.auto()
    LATE = enum.auto()
    """It may, and may act on it at any later time: such a request is never sent again."""


class _AnswerLost(Exception):  # a state, not an error of its own
    """A POST without a usable answer."""

    def __init__(self, error: Unavailable, reception: _Reception) -> None:
        super().__init__(str(error))
        self.error = error
        self.reception = reception


def once_more(ask: Callable[[], Asked], deadline: Deadline) -> Asked:
    """Ask what may be asked twice, and again after a moment where what answered may do better then."""
    try:
        return ask()
    except Unavailable as exc:
        if not exc.may_pass or deadline.remaining() <= _AGAIN_AFTER_S:
            raise
        logger.warning("asking %s once more: %s", exc.server, exc)
    time.sleep(_AGAIN_AFTER_S)
    return ask()


def view_query(output: Output, preview: str = "") -> str:
    """The query of ``GET /view`` for one output, as ComfyUI's own front end writes it."""
    named = {"filename": output.filename, "subfolder": output.subfolder, "type": output.type}
    return urlencode({**named, "preview": preview} if preview else named)


def linked(output: Output, preview: str = "") -> str:
    """The output's own link, which stays good for other forms of it; empty without one."""
    return f"{output.link}&{urlencode({'preview': preview})}" if output.link and preview else output.link


def _route(path: str) -> str:
    return path.partition("?")[0]
