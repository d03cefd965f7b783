"""Standard Webhooks: what is told of an event, how it is signed, when it is sent again. Pure."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from comfybridge.service.masking import masked

Place: TypeAlias = tuple[str, str, str]
"""type, subfolder, filename."""
Link: TypeAlias = Callable[[Place], str]

PREFIX = "whsec_"
PAUSES_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Before the second attempt and each one after that, as Standard Webhooks recommends: 3 days in all."""
JITTER = 0.2
_LONGEST_PAUSE_S = 86400.0
_SHORTEST_SECRET, _LONGEST_SECRET = 24, 64
"""Bytes."""


def key_of(secret: str) -> bytes:
    """The bytes of ``whsec_…``.

    Raises:
        ValueError: it is none, or none of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as exc:
        raise ValueError("not in Base64") from exc
    if not secret.startswith(PREFIX) or not _SHORTEST_SECRET <= len(key) <= _LONGEST_SECRET:
        raise ValueError(f"not {PREFIX} and {_SHORTEST_SECRET} to {_LONGEST_SECRET} bytes in Base64")
    return key


def headers(secret: str, message_id: str, sent: datetime, body: bytes) -> dict[str, str]:
    """What goes with one sending; the id and the body are the same in each."""
    stamp = str(int(sent.timestamp()))
    signature = hmac.digest(key_of(secret), f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def pause_s(attempts: int, chance: float, asked_s: float = 0.0) -> float | None:
    """How long to wait after so many attempts in vain; ``None`` when there were enough.

    ``chance`` is between 0 and 1, so that not all come back at once; ``asked_s`` is what the receiver asked for.
    """
    if attempts > len(PAUSES_S):
        return None
    usual = PAUSES_S[attempts - 1] * (1 + JITTER * (2 * chance - 1))
    return max(usual, min(asked_s, _LONGEST_PAUSE_S))


def is_address(url: str) -> bool:
    """Whether a webhook may be there. Which host is the operator's own choice: only admins write it down."""
    try:
        parts = urlsplit(url)
        return url.isprintable() and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def body(event: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": event, "timestamp": stamp, "data": data}, ensure_ascii=False).encode()


def of_job(facts: Mapping[str, Any], link: Link | None) -> dict[str, Any]:
    """What is told of a job; ``link`` makes addresses that open without a key."""
    outputs = [
        {"node_id": node_id, **file, **({"url": link(_place(file))} if link is not None else {})}
        for node_id, output in (facts.get("outputs") or {}).items()
        for file in _files(output)
    ]
    told = {name: facts.get(name) for name in ("prompt_id", "outcome", "reason", "template", "seconds")}
    server = masked(facts["server"]) if facts.get("server") else None
    return {**told, "server": server, "outputs": list({_place(file): file for file in outputs}.values())}


def _files(value: Any) -> Iterator[dict[str, str]]:
    """The files that a node's output names, at any depth."""
    if isinstance(value, Mapping):
        if isinstance(value.get("filename"), str):
            yield {
                "filename": value["filename"],
                "subfolder": str(value.get("subfolder", "")),
                "type": str(value.get("type", "output")),
            }
        else:
            for part in value.values():
                yield from _files(part)
    elif isinstance(value, list):
        for part in value:
            yield from _files(part)


def _place(file: Mapping[str, str]) -> Place:
    return file["type"], file["subfolder"], file["filename"]
