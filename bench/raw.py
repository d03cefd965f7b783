"""The floor's one tool: a picture with as little as it takes. ``floor`` copies it into a plugin of its own.

Two kept things for all calls: HTTP connections and a WebSocket. No template, no checks, no retries, no deadlines to
speak of; what goes wrong raises. It sends Dify the messages that comfybridge sends.
"""

import functools
import http.client
import json
import threading
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import websocket
from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

_GIVE_UP_S = 120.0
_SUBMISSION: dict[str, Any] = json.loads((Path(__file__).parent / "submission.json").read_text(encoding="utf-8"))
"""What comfybridge sent for the same picture, and the facts that it told Dify about it."""


class Picture(Tool):
    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        started = time.monotonic()
        seed = int(tool_parameters["seed"])
        prompt_id, filename, data = _server(self.runtime.credentials["base_url"]).picture(seed)
        yield self.create_blob_message(data, meta={"mime_type": "image/png", "filename": filename})
        told = {"prompt_id": prompt_id, "seed": seed, "seconds": round(time.monotonic() - started, 2)}
        facts = _SUBMISSION["facts"] | told
        size = f"{facts['width']}×{facts['height']}"
        yield self.create_text_message(
            f"1 picture, {size}, seed {seed}, {facts['template']}, {facts['seconds']:.1f} s."
        )
        yield self.create_json_message(facts)
        for name, value in facts.items():
            yield self.create_variable_message(name, value)


class _Server:
    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._address, self._prefix = parts.netloc, parts.path.rstrip("/")
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._ended: dict[str, threading.Event] = {}
        self._client_id = uuid4().hex
        self._socket = websocket.create_connection(
            f"ws://{self._address}{self._prefix}/ws?clientId={self._client_id}",
            suppress_origin=True,
            skip_utf8_validation=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def picture(self, seed: int) -> tuple[str, str, bytes]:
        prompt_id = str(uuid4())
        ended = self._ended[prompt_id] = threading.Event()
        body = {
            "prompt": _seeded(seed),
            "prompt_id": prompt_id,
            "client_id": self._client_id,
            "extra_data": _SUBMISSION["extra_data"],
        }
        self._request("POST", "/prompt", json.dumps(body, ensure_ascii=False).encode())
        if not ended.wait(_GIVE_UP_S):
            raise TimeoutError(f"no end of {prompt_id} within {_GIVE_UP_S:g} s")
        del self._ended[prompt_id]
        outputs = json.loads(self._request("GET", f"/history/{prompt_id}"))[prompt_id]["outputs"]
        file = next(file for output in outputs.values() for file in output["images"])
        return prompt_id, file["filename"], self._request("GET", f"/view?{urlencode(file)}")

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = http.client.HTTPConnection(self._address, timeout=_GIVE_UP_S)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, self._prefix + path, body, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"{method} {path}: {response.status}")
        self._idle.append(connection)
        return data

    def _read(self) -> None:
        while True:
            opcode, data = self._socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_TEXT and data.startswith(b'{"type": "executing"'):
                frame = json.loads(data)["data"]
                if frame["node"] is None and (ended := self._ended.get(frame["prompt_id"])):
                    ended.set()


@functools.cache
def _server(base_url: str) -> _Server:
    return _Server(base_url)


def _seeded(seed: int) -> dict[str, Any]:
    graph: dict[str, Any] = dict(_SUBMISSION["prompt"])
    sampler = graph[_SUBMISSION["sampler"]]
    graph[_SUBMISSION["sampler"]] = sampler | {"inputs": sampler["inputs"] | {"seed": seed}}
    return graph
