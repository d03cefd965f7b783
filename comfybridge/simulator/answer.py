"""What a tool answered, as Dify's API and its Tool node read the plugin's messages."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: What the API's merger takes for one file, and for one chunk of it.
MAX_FILE_BYTES = 30 * 1024 * 1024
MAX_CHUNK_BYTES = 8 * 1024


class ProtocolError(Exception):
    """The plugin sent what Dify would not take."""


@dataclass(frozen=True)
class Message:
    """One message of a tool. In a merged ``blob`` the ``message["blob"]`` is the file's bytes."""

    type: str
    message: Mapping[str, Any]
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class File:
    filename: str
    mime_type: str
    data: bytes


@dataclass(frozen=True)
class Answer:
    """All messages of a finished call, and what Dify's Tool node makes of them."""

    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        return "".join(m.message["text"] for m in self.messages if m.type == "text")

    @property
    def json(self) -> list[Any]:
        return [m.message["json_object"] for m in self.messages if m.type == "json"]

    @property
    def variables(self) -> dict[str, Any]:
        """Last value wins; pieces of a streamed variable are joined."""
        values: dict[str, Any] = {}
        for m in self.messages:
            if m.type != "variable":
                continue
            name, value = m.message["variable_name"], m.message["variable_value"]
            values[name] = values.get(name, "") + value if m.message["stream"] else value
        return values

    @property
    def files(self) -> list[File]:
        return [
            File(m.meta.get("filename", ""), m.meta.get("mime_type", "application/octet-stream"), m.message["blob"])
            for m in self.messages
            if m.type == "blob"
        ]


def merge_blobs(messages: Iterable[Message]) -> Iterator[Message]:
    """Join ``blob_chunk`` messages to ``blob`` messages under the limits of Dify's API."""
    parts: dict[str, bytearray] = {}
    for message in messages:
        if message.type != "blob_chunk":
            yield message
            continue
        chunk = message.message
        data = base64.b64decode(chunk["blob"])
        if len(data) > MAX_CHUNK_BYTES:
            raise ProtocolError(f"a blob chunk of {len(data)} bytes, over {MAX_CHUNK_BYTES}")
        part = parts.setdefault(chunk["id"], bytearray())
        part += data
        if len(part) > MAX_FILE_BYTES:
            raise ProtocolError("File is too large which reached the limit of 30MB")
        if chunk["end"]:
            yield Message("blob", {"blob": bytes(parts.pop(chunk["id"]))}, message.meta)
    if parts:
        raise ProtocolError(f"{len(parts)} blobs without their last chunk")
