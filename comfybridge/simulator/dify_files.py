"""A stand-in for the file store of Dify's API, as far as ``session.file.upload`` reaches it.

The plugin asks over stdio for a signed address, then posts the file there itself:

    plugin -> daemon   {"type": "upload_file", "request": {"filename", "mimetype"}}
    daemon -> plugin   {"url": "http://…/files/upload/for-plugin?timestamp&nonce&sign&user_id&tenant_id"}
    plugin -> API      POST, multipart/form-data, one field "file"; 201 with id, name, size, …, preview_url

and for the files that a user attached, whose signed addresses come with a tool's parameters.
"""

import hmac
import json
import mimetypes
import secrets
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

UPLOAD_PATH = "/files/upload/for-plugin"


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    filename: str
    mime_type: str
    data: bytes
    #: The address for browsers that the plugin was given; None from a store without previews.
    preview_url: str | None


class DifyFiles:
    """Signs uploads, takes them on a loopback port and keeps them in ``stored``.

    ``public_base`` is what Dify's FILES_URL says: ``https://dify.example``, ``http://api:5001`` where a deployment
    leaks its inner address, ``""`` where it is unset and links come out relative. ``None`` leaves ``preview_url`` out,
    as older hosts did. ``refuse`` answers every upload with that status.
    """

    def __init__(self, *, public_base: str | None = "https://dify.example", refuse: HTTPStatus | None = None) -> None:
        self.public_base = public_base
        self.refuse = refuse
        self.stored: list[StoredFile] = []
        self.offered: dict[str, StoredFile] = {}
        """What users attached, by the path and query of its signed address."""
        self._key = secrets.token_bytes(32)
        store = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_POST(self) -> None:
                status, answer = store._receive(self.path, self.headers, self.rfile.read(_length(self.headers)))
                self._answer(status, "application/json", json.dumps(answer).encode())

            def do_GET(self) -> None:
                file = store.offered.get(self.path)
                if file is None:
                    self._answer(HTTPStatus.FORBIDDEN, "application/json", b'{"code": "forbidden", "status": 403}')
                else:
                    self._answer(HTTPStatus.OK, file.mime_type, file.data)

            def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: the plugin's answer tells what happened."""

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

    def offer(self, data: bytes, filename: str, mime_type: str) -> dict[str, Any]:
        """Keep an attached file and tell it as the API sends it to a plugin, signed address and all."""
        file_id = str(uuid.uuid4())
        signature = {
            "timestamp": str(int(time.time())),
            "nonce": secrets.token_hex(16),
            "sign": secrets.token_urlsafe(32),
        }
        path = f"/files/{file_id}/file-preview?{urlencode(signature)}"
        self.offered[path] = StoredFile(filename=filename, mime_type=mime_type, data=data, preview_url=None)
        kind = mime_type.partition("/")[0]
        return {
            "dify_model_identity": "__dify__file__",
            "url": f"{self.url}{path}",
            "type": kind if kind in ("image", "audio", "video") else "document",
            "mime_type": mime_type,
            "filename": filename,
            "extension": PurePosixPath(filename).suffix,
            "size": len(data),
        }

    @property
    def url(self) -> str:
        """Where it listens: Dify's INTERNAL_FILES_URL."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def sign(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the reverse call ``upload_file``: an address good for this file name and mime type only."""
        query = {
            "timestamp": str(int(time.time())),
            "nonce": secrets.token_hex(16),
            "user_id": "user",
            "tenant_id": "tenant",
        }
        query["sign"] = self._signature(request["filename"], request["mimetype"], query)
        return {"url": f"{self.url}{UPLOAD_PATH}?{urlencode(query)}"}

    def _signature(self, filename: str, mime_type: str, query: Mapping[str, str]) -> str:
        signed = "|".join(
            (filename, mime_type, query["tenant_id"], query["user_id"], query["timestamp"], query["nonce"])
        )
        return urlsafe_b64encode(hmac.digest(self._key, signed.encode(), "sha256")).decode()

    def _receive(self, target: str, headers: Message, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
        if self.refuse is not None:
            return self.refuse, {"code": self.refuse.name.lower(), "message": self.refuse.phrase, "status": self.refuse}
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        filename, mime_type, data = _form_file(headers, body)
        if url.path != UPLOAD_PATH or not hmac.compare_digest(
            query.get("sign", ""), self._signature(filename, mime_type, query)
        ):
            return HTTPStatus.FORBIDDEN, {"code": "forbidden", "message": "Invalid request.", "status": 403}

        file_id = str(uuid.uuid4())
        extension = mimetypes.guess_extension(mime_type) or ".bin"
        preview_url = None
        if self.public_base is not None:
            signature = urlencode({"timestamp": query["timestamp"], "nonce": query["nonce"], "sign": query["sign"]})
            preview_url = f"{self.public_base}/files/tools/{file_id}{extension}?{signature}"
        self.stored.append(StoredFile(filename=filename, mime_type=mime_type, data=data, preview_url=preview_url))
        return HTTPStatus.CREATED, {
            "id": file_id,
            "name": filename,
            "size": len(data),
            "extension": extension,
            "mime_type": mime_type,
            "preview_url": preview_url,
        }


def _length(headers: Message) -> int:
    return int(headers.get("Content-Length", "0"))


def _form_file(headers: Message, body: bytes) -> tuple[str, str, bytes]:
    """File name, mime type and bytes of the one part of a multipart form."""
    boundary = headers.get_param("boundary")
    if not isinstance(boundary, str):
        raise TypeError("the upload is no multipart form")
    end = b"\r\n--" + boundary.encode()
    head, _, rest = body.partition(b"\r\n\r\n")
    part = message_from_string(head.partition(b"\r\n")[2].decode())
    return part.get_filename(""), part.get_content_type(), rest[: rest.rindex(end)]
