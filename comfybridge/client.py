"""Everything that is said to a ComfyUI server over HTTP, with keep-alive; ``events`` holds its WebSocket.

Every request has a connect and a read timeout, both cut to what is left of the caller's deadline. Foreign errors are
translated at one border, ``_request``.
"""

import contextlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3.exceptions import NameResolutionError, NewConnectionError

from comfybridge import advice
from comfybridge.advice import Fault
from comfybridge.deadline import Deadline
from comfybridge.errors import Failed, Lost, Unavailable
from comfybridge.events import Events, Listener, NoSocketError
from comfybridge.messages import Output
from comfybridge.workflow import Definitions, Prompt

logger = logging.getLogger(__name__)

CONNECT_S = 10.0
READ_S = 30.0
DEFINITIONS_FRESH_S = 300.0
"""How long a node definition (and with it the list of model files) is believed."""

_JUST_NOW_S = 1.0
_KEEP_ALIVE = 128
_MAX_OUTPUT_BYTES = 512 * 1024 * 1024
_SOCKET_REST_S = 30.0
_LOOK_AFTER_S = 1.0
_LOOKS_AFTER_LOSS = 3
# A proxy's answers; before a POST is sent again it is looked up all the same.
_RESENDABLE = (429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Refusal:
    """ComfyUI's 400, or the part of its 200 that says that only some outputs will run."""

    body: Mapping[str, Any]


class Client:
    """One ComfyUI server. Safe to use from several threads.

    ``base_url`` may carry a path prefix. ``headers`` go with every request and with the WebSocket handshake; they are
    in no error text. A client is cheap until its first request and keeps its connections until ``close``.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._http = requests.Session()
        self._http.headers.update(self._headers)
        # Read once: requests would search the environment and netrc again for every request.
        self._http.trust_env = False
        self._http.proxies.update(get_environ_proxies(self.base_url))
        self._ca_file = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
        )
        self._http.verify = self._ca_file
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=_KEEP_ALIVE))
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
        stats = self._json("GET", "/system_stats", deadline)
        if not isinstance(stats, dict) or "comfyui_version" not in (stats.get("system") or {}):
            raise advice.not_comfyui(self.base_url, "/system_stats")
        return stats

    def queue_remaining(self, deadline: Deadline) -> int:
        """How many prompts wait or run, by ``GET /prompt``; the answer has the same few bytes for any queue."""
        return int(self._json("GET", "/prompt", deadline)["exec_info"]["queue_remaining"])

    def definitions(self, class_types: Iterable[str], deadline: Deadline, *, refresh: bool = False) -> Definitions:
        """The ``object_info`` of the named classes, cached; a class that the server lacks is absent.

        ``refresh`` fetches them again, for a model that was installed a moment ago.
        """
        wanted = tuple(class_types)
        fresh_s = _JUST_NOW_S if refresh else DEFINITIONS_FRESH_S
        if not self._are_fresh(wanted, fresh_s):
            with self._fetching:
                # Whoever waited for the lock finds what the one before has fetched.
                for class_type in wanted:
                    if not self._are_fresh((class_type,), fresh_s):
                        answer = self._json("GET", f"/object_info/{quote(class_type, safe='')}", deadline)
                        self._definitions[class_type] = (time.monotonic(), answer.get(class_type))
        entries = {class_type: self._definitions[class_type][1] for class_type in wanted}
        return {class_type: definition for class_type, definition in entries.items() if definition is not None}

    def _are_fresh(self, class_types: Iterable[str], fresh_s: float) -> bool:
        never = (-math.inf, None)
        oldest = min((self._definitions.get(class_type, never)[0] for class_type in class_types), default=math.inf)
        return time.monotonic() - oldest <= fresh_s

    def view_metadata(self, folder: str, filename: str, deadline: Deadline) -> Mapping[str, str]:
        """The metadata in a safetensors header, cached; empty when the file has none (ComfyUI answers 404)."""
        key = f"{folder}/{filename}"
        if key not in self._metadata:
            path = f"/view_metadata/{quote(folder)}?{urlencode({'filename': filename})}"
            with self._request("GET", path, deadline, accept=(404,)) as response:
                answer = {} if response.status_code == requests.codes.not_found else self._parse(response)
            self._metadata[key] = answer if isinstance(answer, dict) else {}
        return self._metadata[key]

    # One prompt

    def queue_prompt(
        self, prompt: Prompt, *, prompt_id: str, client_id: str, extra_data: Mapping[str, Any], deadline: Deadline
    ) -> Refusal | None:
        """Submit a prompt; ``None`` when it was accepted whole, else what ComfyUI has against it.

        Sent again only after a look that found it neither in the queue nor in the history: ComfyUI runs the same
        ``prompt_id`` twice without a word.

        Raises:
            Unavailable: nothing was accepted.
            Lost: whether it was accepted cannot be found out.
        """
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id, "extra_data": extra_data}
        data = json.dumps(body, ensure_ascii=False).encode()
        for attempt in (1, 2):
            try:
                with self._request("POST", "/prompt", deadline, data=data, accept=(400,)) as response:
                    answer = self._parse(response)
                    if response.status_code == requests.codes.bad_request:
                        return Refusal(answer if isinstance(answer, dict) else {"error": str(answer)})
                    if not isinstance(answer, dict) or "prompt_id" not in answer:
                        raise advice.not_comfyui(self.base_url, "/prompt")
                    if answer["prompt_id"] != prompt_id:
                        raise advice.too_old(self.base_url)
                    return Refusal(answer) if answer.get("node_errors") else None
            except _AnswerLost as exc:
                if self._was_accepted(prompt_id, deadline, exc):
                    return None
                if attempt == 2:  # noqa: PLR2004
                    raise exc.error from exc
        raise AssertionError  # the loop returns or raises

    def _was_accepted(self, prompt_id: str, deadline: Deadline, lost: "_AnswerLost") -> bool:
        unanswered: Unavailable | None = None
        for _ in range(_LOOKS_AFTER_LOSS):
            # A moment for the server to come back, and for a prompt on its way to reach the queue.
            time.sleep(min(_LOOK_AFTER_S, deadline.remaining()))
            try:
                return self.history(prompt_id, deadline) is not None or self.is_queued(prompt_id, deadline)
            except Unavailable as exc:
                unanswered = exc
                if not lost.maybe_accepted:
                    break
        if not lost.maybe_accepted:
            raise lost.error from unanswered
        raise Lost(
            f"The answer to the submission was lost, so it is unknown whether the job runs. {lost.error}",
            f"提交任务后与服务器失去联系，无法确定任务是否在运行。{lost.error.zh}",
            prompt_id=prompt_id,
            server=self.base_url,
        ) from unanswered

    def history(self, prompt_id: str, deadline: Deadline) -> Mapping[str, Any] | None:
        """The entry of ``GET /history/{prompt_id}``; ``None`` while the prompt is not finished, or is unknown."""
        answer = self._json("GET", f"/history/{quote(prompt_id, safe='')}", deadline)
        entry = answer.get(prompt_id) if isinstance(answer, dict) else None
        return entry if isinstance(entry, dict) else None

    def is_queued(self, prompt_id: str, deadline: Deadline) -> bool:
        """Whether the prompt waits or runs.

        Asks ``GET /api/jobs/{prompt_id}``, which has one size for any queue; a ComfyUI older than that route is asked
        for its whole ``GET /queue``.
        """
        if self._has_jobs_route:
            path = f"/api/jobs/{quote(prompt_id, safe='')}"
            with self._request("GET", path, deadline, accept=(403, 404, 405)) as response:
                if response.ok:
                    return str(self._parse(response).get("status")) in ("pending", "in_progress")
                if b"Job not found" in response.content:
                    return False
                self._has_jobs_route = False
        queue = self._json("GET", "/queue", deadline)
        items = [*queue.get("queue_running", ()), *queue.get("queue_pending", ())]
        return any(item[1] == prompt_id for item in items)

    def cancel(self, prompt_id: str, deadline: Deadline) -> None:
        """Take the prompt out of the queue, or interrupt it if it is the one that runs; nobody else's is touched."""
        self._post("/queue", {"delete": [prompt_id]}, deadline)
        if self.is_queued(prompt_id, deadline):
            # An older ComfyUI ignores the prompt_id and interrupts what runs; we have just seen that this is ours.
            self._post("/interrupt", {"prompt_id": prompt_id}, deadline)

    def free(self, deadline: Deadline) -> None:
        """Unload the models and free the GPU's memory, before one more try."""
        self._post("/free", {"unload_models": True, "free_memory": True}, deadline)

    def view(self, output: Output, deadline: Deadline) -> bytes:
        """The bytes of one output; their length is checked, their kind is the caller's business."""
        received = bytearray()
        with self._request("GET", f"/view?{view_query(output)}", deadline, accept=(404,), stream=True) as response:
            if response.status_code == requests.codes.not_found:
                raise Failed(
                    f"The file {output.filename} is no longer in ComfyUI's {output.type} folder.",
                    f"文件 {output.filename} 已不在 ComfyUI 的 {output.type} 文件夹中。",
                )
            for chunk in response.iter_content(1 << 18):
                received += chunk
                if len(received) > _MAX_OUTPUT_BYTES:
                    raise Failed(f"The file {output.filename} is too large.", f"文件 {output.filename} 过大。")
                if deadline.has_passed():
                    raise requests.ReadTimeout("the deadline passed")
        return bytes(received)

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
        with self._lock:
            if self._events is not None and self._events.is_open:
                return self._events
            if time.monotonic() < self._no_socket_before:
                return None
            try:
                self._events = Events(self.base_url, self._headers, self._ca_file, deadline)
            except NoSocketError as exc:
                logger.info("no WebSocket at %s (%s): polling instead", self.base_url, exc)
                self._no_socket_before = time.monotonic() + _SOCKET_REST_S
                self._events = None
            return self._events

    # The border

    def _post(self, path: str, body: Mapping[str, Any], deadline: Deadline) -> None:
        try:
            with self._request("POST", path, deadline, data=json.dumps(body).encode()):
                pass
        except _AnswerLost as exc:
            raise exc.error from exc

    def _json(self, method: str, path: str, deadline: Deadline) -> Any:
        with self._request(method, path, deadline) as response:
            return self._parse(response)

    def _parse(self, response: requests.Response) -> Any:
        try:
            return response.json()
        except ValueError as exc:
            raise advice.not_comfyui(self.base_url, str(response.request.path_url).partition("?")[0]) from exc

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        data: bytes | None = None,
        accept: tuple[int, ...] = (),
        stream: bool = False,
    ) -> Iterator[requests.Response]:
        """Send one request and yield its answer: a 2xx, or one of the statuses to ``accept``.

        Raises:
            Unavailable: anything else.
            _AnswerLost: the same, for a POST that has to be looked up before it may be sent again.
        """
        try:
            with self._send(method, path, deadline, data, stream=stream) as response:
                status = response.status_code
                if not 200 <= status < 300 and status not in accept:  # noqa: PLR2004
                    location = response.headers.get("Location", "")
                    error = advice.bad_status(self.base_url, path.partition("?")[0], status, location)
                    if method == "POST" and status in _RESENDABLE:
                        raise _AnswerLost(error, maybe_accepted=status == requests.codes.gateway_timeout)
                    raise error
                yield response
        except requests.RequestException as exc:
            error = advice.unreachable(self.base_url, _fault(exc))
            if method == "POST" and not error.refused:
                raise _AnswerLost(error, maybe_accepted=True) from exc
            raise error from exc

    def _send(
        self, method: str, path: str, deadline: Deadline, data: bytes | None, *, stream: bool
    ) -> requests.Response:
        # Timeouts of zero are errors to urllib3; a moment is as good.
        left = max(0.05, deadline.remaining())
        for attempt in (1, 2):
            try:
                return self._http.request(
                    method,
                    self.base_url + path,
                    data=data,
                    headers={"Content-Type": "application/json"} if data is not None else None,
                    timeout=(min(CONNECT_S, left), min(READ_S, left)),
                    stream=stream,
                    allow_redirects=False,
                )
            except requests.ConnectionError as exc:
                # A server may close an idle keep-alive connection at any moment; a GET is simply sent again.
                if method != "GET" or attempt == 2 or _fault(exc) is not Fault.DROPPED:  # noqa: PLR2004
                    raise
        raise AssertionError  # the loop returns or raises


class _AnswerLost(Exception):  # a state, not an error of its own
    """A POST without a usable answer; ``maybe_accepted`` when the server may have taken it all the same."""

    def __init__(self, error: Unavailable, *, maybe_accepted: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.maybe_accepted = maybe_accepted


def view_query(output: Output) -> str:
    """The query of ``GET /view`` for one output, as ComfyUI's own front end writes it."""
    return urlencode({"filename": output.filename, "subfolder": output.subfolder, "type": output.type})


def _fault(exc: requests.RequestException) -> Fault:
    """Translate what requests raises; the order matters, its classes derive from each other."""
    if isinstance(exc, requests.exceptions.SSLError):
        return Fault.TLS
    if isinstance(exc, requests.exceptions.ProxyError):
        return Fault.PROXY
    if isinstance(exc, requests.ConnectTimeout):
        return Fault.NO_CONNECTION
    if isinstance(exc, requests.Timeout):
        return Fault.SILENT
    if isinstance(exc, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return Fault.MALFORMED
    cause = getattr(exc.args[0] if exc.args else None, "reason", None)
    if isinstance(cause, NameResolutionError):
        return Fault.UNKNOWN_HOST
    if isinstance(cause, NewConnectionError):
        refused = isinstance(cause.__cause__, ConnectionRefusedError)
        return Fault.REFUSED if refused else Fault.NO_CONNECTION
    return Fault.SILENT if "timed out" in str(exc) else Fault.DROPPED
