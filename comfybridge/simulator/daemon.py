"""A stand-in for Dify's plugin daemon: starts the plugin and speaks the daemon's stdio protocol to it.

Both ways go UTF-8 JSON objects, one a line. The plugin says ``heartbeat`` and ``log`` events, and ``session`` events
that belong to one call: ``stream`` (a message), ``invoke`` (a call back into Dify), ``error``, ``end``.

    with PluginDaemon("/path/to/plugin") as daemon:
        answer = daemon.call_tool("comfyui", "text2image", {"prompt": "a fox"}, credentials={"base_url": "http://…"})
        answer.files[0].data

Where it differs from Dify's: a call fails at once when the process dies, there it hangs until the 600 s are over.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from comfybridge.simulator.answer import Answer, Message, ProtocolError, merge_blobs

#: PLUGIN_RUNTIME_MAX_BUFFER_SIZE: a longer line makes the daemon kill the plugin.
MAX_LINE_BYTES = 5 * 1024 * 1024
#: How long the daemon waits for the first heartbeat.
START_TIMEOUT_S = 120.0
#: PLUGIN_MAX_EXECUTION_TIMEOUT: one call, whatever it yields in between.
CALL_TIMEOUT_S = 600.0

#: Answers a reverse call: its request in, the data of the response out, or of several that are streamed.
Reverse = Callable[[Mapping[str, Any]], Mapping[str, Any] | Iterable[Mapping[str, Any]]]


class PluginError(Exception):
    """The plugin ended a call with an error; Dify shows the message to the user and logs the traceback."""

    def __init__(self, error_type: str, message: str, traceback: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message
        self.traceback = traceback


class ReverseCallRefusedError(Exception):
    """Raised by a reverse handler: Dify says no, in these words."""


class PluginDiedError(Exception):
    """The process ended or was killed; the text holds the end of its stderr."""


@dataclass(frozen=True)
class _End:
    """Put on every session's queue when the process has ended."""

    reason: str


class PluginDaemon:
    """One plugin process; a context manager that ends it for certain.

    Calls may run at once from many threads. ``reverse`` maps the types of reverse calls (``upload_file``,
    ``moderation``, …) to handlers; a type without one is refused, as Dify does without the permission. As in Dify,
    nobody answers the reverse calls of a call that its caller has abandoned.
    """

    def __init__(
        self,
        plugin: Path | str,
        *,
        python: Path | str = sys.executable,
        env: Mapping[str, str | None] | None = None,
        reverse: Mapping[str, Reverse] | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Start nothing yet.

        ``env`` is laid over this process's environment, in which the loopback is kept from any proxy; a value of
        ``None`` takes the variable out.
        """
        self._command = [str(python), "-m", "main"]
        self._plugin = Path(plugin)
        merged: dict[str, str | None] = {
            **os.environ,
            "no_proxy": ",".join(filter(None, (os.environ.get("no_proxy"), "127.0.0.1", "localhost"))),
            "PYTHONIOENCODING": "utf-8",  # as in Dify's container; a developer's locale may be another
            "INSTALL_METHOD": "local",
            **(env or {}),
        }
        self._env = {name: value for name, value in merged.items() if value is not None}
        #: Handlers of reverse calls by type; may be changed while the plugin runs.
        self.reverse = dict(reverse or {})
        self._start_timeout_s = start_timeout_s
        self._stdout_lines: list[str] = []
        self._stderr_lines: list[str] = []
        self._sessions: dict[str, queue.SimpleQueue[dict[str, Any] | _End]] = {}
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._beating = threading.Event()
        self._ended: _End | None = None
        #: The plugin's own description of itself, its first line.
        self.manifest: dict[str, Any] = {}
        #: Seconds from the start of the process to each heartbeat.
        self.heartbeats: list[float] = []

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 (the caller names the plugin it trusts)
            self._command,
            cwd=self._plugin,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None  # noqa: S101, PT018 (asked for above)
        self._stdin = stdin
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(stdout,), name="plugin stdout"),
            threading.Thread(target=self._read_stderr, args=(stderr,), name="plugin stderr"),
        ]
        for reader in self._readers:
            reader.start()
        with contextlib.ExitStack() as not_started:
            not_started.callback(self.close)
            self._beating.wait(self._start_timeout_s)
            if self.heartbeats:
                not_started.pop_all()
                return self
            reason = self._ended.reason if self._ended else f"no heartbeat within {self._start_timeout_s:g} s"
        raise PluginDiedError(f"the plugin did not start: {reason}{self._stderr_tail()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process and wait for its end: the SDK does not leave when its stdin closes, it spins."""
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        with contextlib.suppress(BrokenPipeError):  # a request that never got through
            self._stdin.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        return "".join(self._stderr_lines)

    @property
    def transcript(self) -> str:
        """Every line the plugin has emitted so far, on stdout and then on stderr, as it came."""
        return "".join((*self._stdout_lines, *self._stderr_lines))

    def call_tool(
        self,
        provider: str,
        tool: str,
        parameters: Mapping[str, Any],
        *,
        credentials: Mapping[str, Any] | None = None,
        user_id: str = "user",
    ) -> Answer:
        """Run a tool to its end. Raises ``PluginError`` when the tool does, whatever it had sent before."""
        return Answer(tuple(self.stream_tool(provider, tool, parameters, credentials=credentials, user_id=user_id)))

    def stream_tool(
        self,
        provider: str,
        tool: str,
        parameters: Mapping[str, Any],
        *,
        credentials: Mapping[str, Any] | None = None,
        user_id: str = "user",
    ) -> Iterator[Message]:
        """Run a tool and give each message as it comes, blob chunks joined to whole files."""
        request = {
            "type": "tool",
            "action": "invoke_tool",
            "user_id": user_id,
            "provider": provider,
            "tool": tool,
            "tool_parameters": dict(parameters),
            "credentials": dict(credentials or {}),
            "credential_type": "api-key",
        }
        return merge_blobs(
            Message(item["type"], item["message"], item.get("meta") or {}) for item in self.request(request)
        )

    def validate_credentials(self, provider: str, credentials: Mapping[str, Any]) -> bool:
        """Ask what Dify asks when somebody saves the credentials; ``PluginError`` carries what it would show."""
        request = {
            "type": "tool",
            "action": "validate_tool_credentials",
            "user_id": "user",
            "provider": provider,
            "credentials": dict(credentials),
        }
        return [item["result"] for item in self.request(request)] == [True]

    def request(self, data: Mapping[str, Any], *, timeout_s: float = CALL_TIMEOUT_S) -> Iterator[dict[str, Any]]:
        """Send one request and give the data of each ``stream`` event until its ``end``.

        The seconds are for the whole call and run from the first item asked for.
        """
        session_id = str(uuid.uuid4())
        deadline = time.monotonic() + timeout_s
        inbox: queue.SimpleQueue[dict[str, Any] | _End] = queue.SimpleQueue()
        with self._lock:
            self._sessions[session_id] = inbox
            if self._ended:
                inbox.put(self._ended)
        try:
            self._send(session_id, "request", data)
            while True:
                try:
                    event = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    raise TimeoutError(f"killed by timeout: no end of the call within {timeout_s:g} s") from None
                if isinstance(event, _End):
                    raise PluginDiedError(f"{event.reason}{self._stderr_tail()}")
                body = event["data"]
                match event["type"]:
                    case "stream":
                        yield body
                    case "invoke":
                        self._answer(session_id, body)
                    case "error":
                        raise PluginError(
                            body["error_type"], body["message"], (body.get("args") or {}).get("traceback", "")
                        )
                    case "end":
                        return
                    case other:
                        raise ProtocolError(f"session event of unknown type {other!r}")
        finally:
            with self._lock:
                del self._sessions[session_id]

    def _answer(self, session_id: str, call: Mapping[str, Any]) -> None:
        def reply(event: str, message: str = "", data: Mapping[str, Any] | None = None) -> None:
            body = {"backwards_request_id": call["backwards_request_id"], "event": event, "message": message}
            self._send(session_id, "backwards_response", {**body, "data": data})

        handler = self.reverse.get(call["type"])
        if handler is None:
            reply("error", f"permission denied, you need to enable {call['type']} access in plugin manifest")
            return
        try:
            answer = handler(call["request"])
            for data in [answer] if isinstance(answer, Mapping) else answer:
                reply("response", "struct", data)
        except ReverseCallRefusedError as refused:
            reply("error", str(refused))
            return
        reply("end")

    def _send(self, session_id: str, event: str, data: Mapping[str, Any]) -> None:
        line = {
            "session_id": session_id,
            "conversation_id": None,
            "message_id": None,
            "app_id": None,
            "endpoint_id": None,
            "context": None,
            "event": event,
            "data": data,
        }
        with self._write_lock:
            try:
                self._stdin.write(json.dumps(line).encode() + b"\n")
                self._stdin.flush()
            except (BrokenPipeError, ValueError) as gone:  # ValueError: closed here, by close()
                raise PluginDiedError(f"the plugin's stdin is closed{self._stderr_tail()}") from gone

    def _read_stdout(self, stdout: IO[bytes]) -> None:
        reason = "the plugin process ended"
        with stdout:
            while raw := stdout.readline(MAX_LINE_BYTES + 1):
                if len(raw) > MAX_LINE_BYTES:
                    reason = f"killed: a line on stdout is longer than {MAX_LINE_BYTES} bytes"
                    self._process.kill()
                    break
                self._stdout_lines.append(raw.decode(errors="replace"))
                if raw.strip():
                    self._receive(raw)
        with self._lock:
            self._ended = _End(reason)
            for inbox in self._sessions.values():
                inbox.put(self._ended)
        self._beating.set()

    def _receive(self, raw: bytes) -> None:
        try:
            line = json.loads(raw)
        except ValueError:
            return  # the daemon logs a stray print as an error and goes on; the transcript has it
        match line:
            case {"event": "session", "session_id": session_id, "data": data}:
                with self._lock:
                    inbox = self._sessions.get(session_id)
                if inbox is not None:
                    inbox.put(data)
            case {"event": "heartbeat"}:
                self.heartbeats.append(time.monotonic() - self._started)
                self._beating.set()
            case {"type": "plugin"}:
                self.manifest = line

    def _read_stderr(self, stderr: IO[bytes]) -> None:
        with stderr:
            for raw in stderr:
                self._stderr_lines.append(raw.decode(errors="replace"))

    def _stderr_tail(self) -> str:
        """The last KiB, which is what the daemon keeps."""
        tail = self.stderr[-1024:].strip()
        return f"; its stderr ends with:\n{tail}" if tail else ""
