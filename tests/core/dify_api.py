"""A stand-in for the Service API of a published Dify app, as far as ``examples/call_app.py`` calls it.

It speaks the shapes of Dify's API reference: ``/v1/workflows/run``, ``/v1/chat-messages`` in both response modes,
``/v1/files/upload``, the errors' JSON, and signed addresses of tool files.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

KEY = "app-right"
CONVERSATION = "45701982-8118-4bc5-8e9b-64562b4555f2"
_IDS = {"task_id": "900bbd43-dc0b-4383-a372-aa6e6c414227", "created_at": 1705398420}
_MESSAGE = {**_IDS, "message_id": "663c5084-a254-4040-8ad3-51f2a3c1a77c", "conversation_id": CONVERSATION}
_RUN = {**_IDS, "workflow_run_id": "b85e5fc5-751b-454d-b14e-dc5f240b0a31"}


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class DifyApi:
    """One app: what it makes, or how it fails, is set by its attributes."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.files: dict[str, bytes] = {}
        """The tool files, by name without extension ``.png``."""
        self.answer = ""
        self.status = "succeeded"
        self.error: str | None = None
        self.refuses: tuple[int, str, str] | None = None
        """An HTTP status with Dify's code and message."""
        self.page: tuple[int, bytes] | None = None
        """What a gateway answers instead of Dify."""
        self.says: Sequence[bytes] | None = None
        """The lines of a stream, instead of the app's own."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.asked.append(Asked(self.path, dict(self.headers), body))
                api._post(self)

            def do_GET(self) -> None:
                api.asked.append(Asked(self.path, dict(self.headers), b""))
                name = self.path.partition("?")[0].rpartition("/")[2].removesuffix(".png")
                if name in api.files and "sign=" in self.path:
                    send(self, 200, "image/png", api.files[name])
                else:
                    send_json(self, 403, {"code": "forbidden", "message": "Invalid request.", "status": 403})

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base(self) -> str:
        return f"{self.origin}/v1"

    def address(self, name: str, sign: str = "one") -> str:
        return f"/files/tools/{name}.png?timestamp=1705398420&nonce=n&sign={sign}"

    def file(self, name: str) -> dict[str, Any]:
        return {
            "dify_model_identity": "__dify__file__",
            "id": None,
            "tenant_id": "tenant",
            "type": "image",
            "transfer_method": "tool_file",
            "remote_url": None,
            "related_id": name,
            "filename": f"{name}-of-comfyui.png",
            "extension": ".png",
            "mime_type": "image/png",
            "size": len(self.files[name]),
            "url": f"{self.origin}{self.address(name)}",
        }

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.removeprefix("/v1")
        if self.page is not None:
            send(handler, self.page[0], "text/html", self.page[1])
        elif handler.headers["Authorization"] != f"Bearer {KEY}":
            message = "Access token is invalid"
            send_json(handler, 401, {"code": "unauthorized", "message": message, "status": 401})
        elif self.refuses is not None:
            status, code, message = self.refuses
            send_json(handler, status, {"code": code, "message": message, "status": status})
        elif path == "/files/upload":
            uploaded = {"name": "photo.png", "size": 1, "extension": "png", "mime_type": "image/png"}
            send_json(handler, 201, {"id": "72fa9618-8f89-4a37-9b33-7e1178a24a67", **uploaded})
        elif self.asked[-1].json["response_mode"] == "streaming":
            stream(handler, self.says or (self._workflow_lines() if path == "/workflows/run" else self._chat_lines()))
        elif path == "/workflows/run":
            send_json(handler, 200, {**_RUN, "data": self._run()})
        else:
            send_json(handler, 200, {**_MESSAGE, "event": "message", "mode": "advanced-chat", "answer": self.answer})

    def _run(self) -> dict[str, Any]:
        outputs = {"pictures": [self.file(name) for name in self.files], "prompt": self.answer}
        told = {"id": _RUN["workflow_run_id"], "workflow_id": "w", "status": self.status, "error": self.error}
        succeeded = self.status != "failed"
        return {
            **told,
            "outputs": outputs if succeeded else None,
            "elapsed_time": 1.5,
            "total_tokens": 0,
            "total_steps": 3,
        }

    def _workflow_lines(self) -> list[bytes]:
        chunk = {"text": self.answer, "from_variable_selector": ["writer", "text"]}
        return [
            data({**_RUN, "event": "workflow_started", "data": {"id": _RUN["workflow_run_id"], "workflow_id": "w"}}),
            b"event: ping\n\n",
            data({**_RUN, "event": "text_chunk", "data": chunk}),
            data({**_RUN, "event": "workflow_finished", "data": self._run()}),
        ]

    def _chat_lines(self) -> list[bytes]:
        middle = len(self.answer) // 2
        finished = {**self._run(), "outputs": {"answer": self.answer}}
        end = {"id": _MESSAGE["message_id"], "metadata": {}, "files": [self.file(name) for name in self.files]}
        return [
            data({**_MESSAGE, "event": "workflow_started", "data": {"id": "r", "workflow_id": "w"}}),
            data({**_MESSAGE, "event": "message", "answer": self.answer[:middle]}),
            b"event: ping\n\n",
            data({**_MESSAGE, "event": "message", "answer": self.answer[middle:]}),
            data({**_MESSAGE, "event": "workflow_finished", "data": finished}),
            data({**_MESSAGE, "event": "message_end", **end}),
        ]


def data(event: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def agent_lines(api: DifyApi, name: str) -> list[bytes]:
    """What an agent streams: thoughts, a file of the tool, pieces of its answer."""
    thought = {"position": 1, "thought": "", "tool": "text2image", "tool_input": "{}", "message_files": ["f"]}
    file = {"id": "f", "type": "image", "belongs_to": "assistant", "url": api.address(name)}
    upload = {"id": "u", "type": "image", "belongs_to": "user", "url": api.address("mine")}
    return [
        data({**_MESSAGE, "event": "agent_thought", "id": "t", "observation": "", **thought}),
        data({**_MESSAGE, "event": "message_file", **upload}),
        data({**_MESSAGE, "event": "message_file", **file}),
        data({**_MESSAGE, "event": "agent_message", "id": "m", "answer": "Here "}),
        data({**_MESSAGE, "event": "agent_message", "id": "m", "answer": "it is."}),
        data({**_MESSAGE, "event": "message_end", "id": "m", "metadata": {}}),
    ]


def failure(status: int, code: str, message: str) -> bytes:
    return data({**_MESSAGE, "event": "error", "status": status, "code": code, "message": message})


def send_json(handler: BaseHTTPRequestHandler, status: int, answer: Mapping[str, Any]) -> None:
    send(handler, status, "application/json", json.dumps(answer).encode())


def send(handler: BaseHTTPRequestHandler, status: int, content_type: str, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def stream(handler: BaseHTTPRequestHandler, lines: Sequence[bytes]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    for line in lines:
        handler.wfile.write(line)
        handler.wfile.flush()
