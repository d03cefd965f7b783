"""A service with OpenAI's Images API over real sockets, which misbehaves as told."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

KEY = "sk-fallback-0987654321"


def png(width: int = 64, height: int = 48) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(packed, "PNG")
    return packed.getvalue()


@dataclass
class ImagesService:
    """What it is asked, and how it answers."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    answer: Callable[[Mapping[str, Any]], tuple[int, bytes]] | None = None
    gives_urls: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    """What a ``silent`` answer waits for."""

    def pictures(self, body: Mapping[str, Any]) -> tuple[int, bytes]:
        made = base64.b64encode(png()).decode()
        root = self.url.removesuffix("/v1")
        one = {"url": f"{root}/made.png"} if self.gives_urls else {"b64_json": made}
        return 200, json.dumps({"created": 1, "data": [one] * body["n"]}).encode()

    def says(self, status: int, body: bytes | dict[str, Any]) -> None:
        """Answer every request so."""
        self.answer = lambda _asked: (status, body if isinstance(body, bytes) else json.dumps(body).encode())

    def is_silent(self) -> None:
        def wait(asked: Mapping[str, Any]) -> tuple[int, bytes]:
            self.released.wait(30)
            return self.pictures(asked)

        self.answer = wait


@contextmanager
def images_service() -> Iterator[ImagesService]:
    service = ImagesService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service.asked.append({"path": self.path, **body})
            service.headers.append(dict(self.headers))
            self._send(*(service.answer or service.pictures)(body), "application/json")

        def do_GET(self) -> None:
            self._send(200, png(), "image/png")

        def _send(self, status: int, body: bytes, content_type: str) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # whoever asked is gone

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        service.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
