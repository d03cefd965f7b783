"""Secrets that every call of the suite carries, and the search for them in all that it leaves behind."""

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.server import Server

HEADERS = {"Authorization": "Bearer sk-faults-7d1e", "X-Gate": "g4te-faults-52c0"}
QUERY = "token=t0ken-faults-91ab"
EXTRA_DATA = {"api_key_comfy_org": "comfyui-faults-e3f8"}
_SECRETS = ("sk-faults-7d1e", "g4te-faults-52c0", "t0ken-faults-91ab", "comfyui-faults-e3f8")
LOGGER = logging.getLogger("comfybridge")


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the core logs from now on, of all levels that its logger is set to."""
    handler = _Lines()
    LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        LOGGER.removeHandler(handler)


def shown(lines: list[str], error: BaseException | None, server: Server, prompt_ids: list[str]) -> Iterator[str]:
    """Which secrets are in the log, in the error with its causes, or in what the server shows of the jobs."""
    places = {"the log": "\n".join(lines)}
    if error is not None:
        zh = getattr(error, "zh", "")
        places["the error"] = "".join([zh, *traceback.format_exception(error)])
    if server.pid is not None:
        queue = server.wire.get("/queue").text
        places["the history"] = queue + json.dumps([server.wire.history(each) for each in prompt_ids])
    yield from (f"{place} shows {secret}" for place, text in places.items() for secret in _SECRETS if secret in text)
