"""ComfyUI's WebSocket: it only wakes whoever waits for a prompt; the history decides."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import TypeAlias
from uuid import uuid4

import websocket

from comfybridge.connections import NoAnswerError, socket_to
from comfybridge.deadline import Deadline
from comfybridge.frames import BINARY, CLOSE, PING, TEXT, BrokenFrameError, Frames
from comfybridge.messages import Disconnected, Heard, Progress, QueueSize, read_frame

logger = logging.getLogger(__name__)
# The library logs every lost connection as an error with a traceback; we cope with it and say so ourselves.
logging.getLogger("websocket").setLevel(logging.CRITICAL)

_CONNECT_S, _LEAST_S = 5.0, 0.05
_IDLE_S = 300.0
_AT_ONCE = 16384
_PROGRESS = b'{"type": "progress"'
# How frames begin that tell nobody anything. progress_state repeats, for all nodes, what progress says of one; of what
# begins or ends a node nothing is told, only that none is left, which is also the end of a success.
_NO_NEWS = (
    b'{"type": "progress_state"',
    b'{"type": "executing", "data": {"node": "',
    b'{"type": "executed"',
    b'{"type": "execution_cached"',
    b'{"type": "execution_success"',
)
_PING_EVERY_S = 15.0
_DEAF_AFTER_S = 3.0


Tap: TypeAlias = Callable[[bytes, bool], None]
"""Called with every frame as it came, and whether it is binary, on the thread that reads them: it has to be quick."""


class NoSocketError(Exception):
    """No WebSocket connection came about; the text names the cause without the address or any header."""


class Listener:
    """The frames of one prompt, as they come."""

    def __init__(self, events: "Events | None") -> None:
        self._events = events
        self._frames: SimpleQueue[Heard] = SimpleQueue()
        self._since = self._submitted = time.monotonic()
        self.client_id = events.client_id if events is not None else uuid4().hex
        """Never empty: without one, ComfyUI forgets the outputs of a cached run."""
        self.wants_progress = True
        """Whether anybody is told of each step; to hear of none spares a thread's waking for each."""
        self._heard_of_jobs = False

    def put(self, frame: Heard) -> None:
        if self.wants_progress or not self._is_progress(frame):
            self._frames.put(frame)

    def _is_progress(self, frame: Heard) -> bool:
        """Whether a frame says nothing of the job's end. Of a queue that is whether there are any jobs."""
        if not isinstance(frame, QueueSize):
            return isinstance(frame, Progress)
        had_jobs, self._heard_of_jobs = self._heard_of_jobs, frame.remaining > 0
        return had_jobs and frame.remaining > 0

    def wait(self, seconds: float) -> Heard | None:
        """The next frame, or ``None`` when none came within so many seconds."""
        try:
            return self._frames.get(timeout=max(0.0, seconds))
        except Empty:
            return None

    def expect(self) -> None:
        """Say that the prompt was accepted just now: a socket that hears brings a ``status`` frame for it."""
        self._submitted = time.monotonic()

    @property
    def hears(self) -> bool:
        """Whether the WebSocket can be relied on. One that stays silent after a submission is given up."""
        if self._events is None or not self._events.is_open:
            return False
        if self._events.last_frame >= self._since or time.monotonic() - self._submitted < _DEAF_AFTER_S:
            return True
        logger.info("WebSocket %s is deaf: polling instead", self.client_id)
        self._events.close()
        return False

    @property
    def was_connected_throughout(self) -> bool:
        """Whether one socket lived from before the submission until now, so that the server cannot have restarted."""
        return self._events is not None and self._events.is_open


class Events:
    """One WebSocket connection, shared by all prompts of a client, read by a thread of its own.

    Closed by ``close``, by the server, when a ping stays without an answer, or after some minutes without a prompt.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        *,
        query: str = "",
        verify_tls: bool = True,
        tap: Tap | None = None,
    ) -> None:
        self._tap = tap
        # A fresh client_id for every connection: when an old connection with the same id ends, ComfyUI's server.py
        # forgets the newcomer too.
        self.client_id = uuid4().hex
        self.last_frame = 0.0
        self._listeners: dict[str, Listener] = {}
        scheme, address = base_url.split("://", 1)
        asked = "&".join(filter(None, (f"clientId={self.client_id}", query)))
        opening = Deadline(max(_LEAST_S, min(_CONNECT_S, deadline.remaining())))
        try:
            # Connected by us: of proxies and certificates the library has a mind of its own.
            connected = socket_to(base_url, opening, verify_tls=verify_tls)
            connected.settimeout(max(_LEAST_S, opening.remaining()))
            self._socket = websocket.create_connection(
                f"{'wss' if scheme == 'https' else 'ws'}://{address}/ws?{asked}",
                socket=connected,
                header=[f"{name}: {value}" for name, value in headers.items()],
                # Behind a proxy that rewrites Host, ComfyUI's origin check (server.py) would answer 403.
                suppress_origin=True,
                # Or the headers would go to whoever the redirect names.
                redirect_limit=0,
                skip_utf8_validation=True,
                enable_multithread=True,
            )
            if tap is not None:
                # Then previews say whose they are.
                flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
                self._socket.send(json.dumps(flags))
        except NoAnswerError as exc:
            raise NoSocketError(exc.fault.name) from exc
        except (websocket.WebSocketException, OSError, ValueError) as exc:
            raise NoSocketError(type(exc).__name__) from exc
        self._socket.settimeout(_PING_EVERY_S)
        self._idle_since = time.monotonic()
        self.is_open = True
        threading.Thread(target=self._read, name=f"comfyui-events-{self.client_id[:8]}", daemon=True).start()

    def subscribe(self, prompt_id: str, listener: Listener) -> None:
        self._listeners[prompt_id] = listener

    def unsubscribe(self, prompt_id: str) -> None:
        self._listeners.pop(prompt_id, None)
        self._idle_since = time.monotonic()

    def close(self) -> None:
        self.is_open = False
        # Wakes the reading thread, which closes the socket.
        self._socket.abort()  # type: ignore[no-untyped-call]  # websocket-client leaves it unannotated

    def _read(self) -> None:
        try:
            self._read_frames()
        except (websocket.WebSocketException, BrokenFrameError, OSError) as exc:
            logger.debug("WebSocket %s ended: %s", self.client_id, type(exc).__name__)
        finally:
            self.is_open = False
            for listener in list(self._listeners.values()):
                listener.put(Disconnected())
            self._socket.shutdown()  # type: ignore[no-untyped-call]  # websocket-client leaves it unannotated

    def _read_frames(self) -> None:
        awaiting_pong, frames, socket = False, Frames(), self._socket.sock
        assert socket is not None  # noqa: S101  # it is connected
        while self.is_open:
            try:
                arrived = websocket.recv(socket, _AT_ONCE)
            except websocket.WebSocketTimeoutException:
                is_idle = not self._listeners and time.monotonic() - self._idle_since > _IDLE_S
                if awaiting_pong or is_idle:
                    return
                self._socket.ping()
                awaiting_pong = True
                continue
            awaiting_pong = False
            for opcode, data in frames.feed(arrived):
                self.last_frame = time.monotonic()
                if opcode == CLOSE:
                    return
                if opcode == PING:
                    self._socket.pong(data)
                if self._tap is not None and opcode in (TEXT, BINARY):
                    self._tap(data, opcode == BINARY)
                # Binary frames are previews.
                if opcode == TEXT and not self._is_idle(data):
                    self._hand_on(data)

    def _is_idle(self, data: bytes) -> bool:
        """Whether nobody would hear anything new."""
        if data.startswith(_NO_NEWS):
            return True
        return data.startswith(_PROGRESS) and not any(
            listener.wants_progress and prompt_id.encode() in data
            for prompt_id, listener in list(self._listeners.items())
        )

    def _hand_on(self, data: bytes) -> None:
        frame = read_frame(data)
        if isinstance(frame, QueueSize):
            for listener in list(self._listeners.values()):
                listener.put(frame)
        elif frame is not None:
            # Broadcasts bring other clients' progress too: nobody listens to their prompts here.
            mine = self._listeners.get(frame.prompt_id)
            if mine is not None:
                mine.put(frame)
