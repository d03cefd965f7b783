"""How processes reach the database, and the channels on which they wake each other.

A notification only wakes, or shows progress: everything that matters is in a row, and is polled for as well.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Json
from psycopg_pool import AsyncConnectionPool, ConnectionPool

WORK = "comfybridge_work"
"""There may be something for any worker to claim; what is for one server's worker comes on ``work_of`` it."""
QUEUED = "comfybridge_queued"
"""A job came into the queue: ``{"prompt_id", "owner", "client_id"}``."""
STARTED = "comfybridge_started"
"""A job left the queue of its ComfyUI: ``{"prompt_id", "owner", "client_id"}``."""
ENDED = "comfybridge_ended"
"""A job has its outcome, or is out of the caller's queue: as STARTED."""
FRAMES = "comfybridge_frames"
"""Frames of a running job on their way to its client: see ``service.frames``."""
ASKED = "comfybridge_asked"
"""A worker is asked for something: ``{"what": "cancel" | "free" | "look", …}``."""

LARGEST_NOTIFICATION = 7900
"""In bytes; PostgreSQL takes 8000."""

CONNECT_S = 10

# Statements are few and known: none is planned anew, which takes longer than to run it; and none may read a whole index
# or table, which look short to a planner that last counted them before ten thousand jobs came.
_PLANNING = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off"
# Whoever is frozen in the middle of a transaction, or cut off, holds up nobody for ever: those who wait give up and
# come again, and the database ends the transaction.
_PATIENCE = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s"
_POOLED = {"autocommit": True, "options": f"{_PLANNING} {_PATIENCE}"}


def work_of(server: str) -> str:
    """The channel on which a server's worker is told the ``prompt_id`` of a job that it can begin at once."""
    return f"{WORK}_{hashlib.sha256(server.encode()).hexdigest()[:16]}"


class NoDatabase(Exception):
    """It cannot be used at the start: a sentence in English and one in Chinese."""

    def __init__(self, exc: psycopg.Error) -> None:
        why = str(exc).strip().partition("\n")[0]
        super().__init__(f"the database cannot be used: {why}.")
        self.zh = f"无法使用数据库：{why}。"


def sync_pool(url: str, *, most: int, name: str) -> ConnectionPool:
    return ConnectionPool(url, min_size=1, max_size=most, name=name, timeout=CONNECT_S, open=True, kwargs=_POOLED)


def async_pool(url: str, *, most: int, name: str) -> AsyncConnectionPool:
    """To be opened on its event loop."""
    return AsyncConnectionPool(url, min_size=1, max_size=most, name=name, timeout=CONNECT_S, open=False, kwargs=_POOLED)


def single(url: str, name: str) -> psycopg.Connection:
    """A connection of one's own whose statements need not be durable: notifications, leases, heartbeats."""
    options = f"{_PLANNING} {_PATIENCE} -c synchronous_commit=off"
    return psycopg.connect(url, autocommit=True, application_name=name, connect_timeout=CONNECT_S, options=options)


def durable(url: str) -> psycopg.Connection:
    """A connection for what an operator does, now and then."""
    return psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S)


UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that no text in PostgreSQL can have."""
_PERHAPS_UNUSABLE = re.compile(r"\\u(0000|d[89a-f])")
_INSTEAD = "\ufffd"


def told(payload: Any) -> str:
    return UNUSABLE.sub(_INSTEAD, json.dumps(payload, ensure_ascii=False, separators=(",", ":")))


def as_json(value: Any) -> Json:
    """JSON that PostgreSQL takes, and can take apart: what nodes tell may have any characters and numbers."""
    return Json(value, dumps=_dumped)


def _dumped(value: Any) -> str:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_cleaned(value))
    return json.dumps(_cleaned(value)) if _PERHAPS_UNUSABLE.search(text) else text


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return UNUSABLE.sub(_INSTEAD, value)
    if isinstance(value, Mapping):
        return {UNUSABLE.sub(_INSTEAD, str(name)): _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
