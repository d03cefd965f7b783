"""A stand-in for the host of a serverless plugin: Dify Cloud, and the marketplace's check of an installation.

Starts the plugin as they do, an HTTP server of the SDK's with ``GET /health`` and ``POST /invoke``, and reads the same
JSON lines from it as the daemon reads from stdout. Reverse calls go by HTTP to the host there; nobody answers here.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from comfybridge.simulator.answer import Answer, Message, merge_blobs
from comfybridge.simulator.daemon import PluginDiedError, PluginError

_LOOPBACK = "127.0.0.1"
_BETWEEN_TRIES_S = 0.1


class ServerlessPlugin:
    """One plugin process; a context manager that ends it for certain. Entered, ``/health`` has said OK."""

    def __init__(
        self,
        plugin: Path | str,
        *,
        python: Path | str = sys.executable,
        env: Mapping[str, str | None] | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        """Start nothing yet; ``env`` is laid over this process's environment, ``None`` takes a variable out."""
        self._command = [str(python), "-m", "main"]
        self._plugin = Path(plugin)
        self.port = _free_port()
        merged: dict[str, str | None] = {
            **os.environ,
            "no_proxy": ",".join(filter(None, (os.environ.get("no_proxy"), _LOOPBACK, "localhost"))),
            "INSTALL_METHOD": "serverless",
            "SERVERLESS_HOST": _LOOPBACK,
            "SERVERLESS_PORT": str(self.port),
            **(env or {}),
        }
        self._env = {name: value for name, value in merged.items() if value is not None}
        self._start_timeout_s = start_timeout_s
        #: Seconds until ``/health`` said OK.
        self.started_s = 0.0

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 (the caller names the plugin it trusts)
            self._command,
            cwd=self._plugin,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        while self._process.poll() is None and time.monotonic() - started < self._start_timeout_s:
            if self._is_healthy():
                self.started_s = time.monotonic() - started
                return self
            time.sleep(_BETWEEN_TRIES_S)
        reason = "it ended" if self._process.poll() is not None else f"no /health within {self._start_timeout_s:g} s"
        self.close()
        raise PluginDiedError(f"the plugin did not start in serverless mode: {reason}\n{self.said[-1024:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.seek(0)
        #: What the process wrote to stdout and stderr.
        self.said = self._output.read().decode(errors="replace")
        self._output.close()

    def call_tool(
        self, provider: str, tool: str, parameters: Mapping[str, Any], *, credentials: Mapping[str, Any]
    ) -> Answer:
        """Run a tool by one ``POST /invoke``. Raises ``PluginError`` when the tool does."""
        data = {
            "type": "tool",
            "action": "invoke_tool",
            "user_id": "user",
            "provider": provider,
            "tool": tool,
            "tool_parameters": dict(parameters),
            "credentials": dict(credentials),
            "credential_type": "api-key",
        }
        return Answer(
            tuple(
                merge_blobs(
                    Message(item["type"], item["message"], item.get("meta") or {}) for item in self.invoke(data)
                )
            )
        )

    def invoke(self, data: Mapping[str, Any], *, timeout_s: float = 120.0) -> Iterator[dict[str, Any]]:
        """Send one request and give the data of each ``stream`` event until its ``end``."""
        body = {"event": "request", "session_id": str(uuid.uuid4()), "data": dict(data)}
        connection = http.client.HTTPConnection(_LOOPBACK, self.port, timeout=timeout_s)
        try:
            connection.request("POST", "/invoke", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise PluginDiedError(f"/invoke answered with HTTP {response.status}")
            for line in response:
                if not line.strip():
                    continue
                event = json.loads(line)
                if event.get("event") != "session":
                    continue
                match event["data"]:
                    case {"type": "stream", "data": item}:
                        yield item
                    case {"type": "error", "data": error}:
                        raise PluginError(
                            error["error_type"], error["message"], (error.get("args") or {}).get("traceback", "")
                        )
                    case {"type": "end"}:
                        return
        finally:
            connection.close()

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(_LOOPBACK, self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            return response.status == http.HTTPStatus.OK and response.read() == b"OK"
        except OSError:
            return False  # not up yet
        finally:
            connection.close()


def _free_port() -> int:
    with socket.create_server((_LOOPBACK, 0)) as listening:
        port: int = listening.getsockname()[1]
    return port
