"""Turns between API keys: one with many jobs beside many with few, through ``comfybridge serve`` as clients see it."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

from bench.server import Server
from bench.serving import Serving
from bench.table import Aim, Row, Section
from comfybridge.deadline import Deadline

_SERVERS, _AT_ONCE = 4, 8
_KEYS, _JOBS_EACH, _JOBS_OF_ONE = 200, 2, 400
_ANSWER_S, _ALL_S = 60.0, 300.0
_AIM = Aim(230.0, of_ratio=False)


def measure() -> Section:
    """How many jobs began until each key had its first turn; all of them waited when the first one began."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(0.0)).url for _ in range(_SERVERS)]
        url = stack.enter_context(Serving(servers)).url
        admin = _made(url, "", "admin", is_admin=True)
        keys = {name: _made(url, admin, name) for name in ("many", *(f"few-{n}" for n in range(_KEYS)))}
        _for_all(url, admin, servers, "pause")
        # The one with many comes first, and so has nothing but its number of jobs against it.
        wanted = [("many", key) for key in [keys["many"]] * _JOBS_OF_ONE]
        wanted += [(name, key) for name, key in keys.items() if name != "many" for _ in range(_JOBS_EACH)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda each: _queue(url, each[1]), wanted[:_JOBS_OF_ONE]):
                pass
            for _ in pool.map(lambda each: _queue(url, each[1]), wanted[_JOBS_OF_ONE:]):
                pass
        _for_all(url, admin, servers, "resume")
        deadline = Deadline(_ALL_S)
        began: list[tuple[float, str]] = []
        for name, key in keys.items():
            count = _JOBS_OF_ONE if name == "many" else _JOBS_EACH
            began += [(at, name) for at in _began(url, key, count, deadline)]
    names = [name for _, name in sorted(began)]
    last = max(names.index(name) for name in keys) + 1
    row = Row(label=f"starts until each of {len(keys)} keys had its first", ours=last, other=None, aim=_AIM)
    notes = [f"one key with {_JOBS_OF_ONE} jobs, then {_KEYS} with {_JOBS_EACH} each; all wait before the first begins"]
    return Section(f"Turns between API keys over {_SERVERS} simulators", "", [row], notes)


def _made(url: str, admin: str, name: str, *, is_admin: bool = False) -> str:
    return str(_post(f"{url}/comfybridge/keys", admin, {"name": name, "admin": is_admin})["key"])


def _for_all(url: str, admin: str, servers: Sequence[str], action: str) -> None:
    for server in servers:
        _post(f"{url}/comfybridge/servers", admin, {"action": action, "url": server})


def _queue(url: str, key: str) -> None:
    image = {"width": 16, "height": 16, "batch_size": 1, "color": uuid4().int % 2**24}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "turn"}},
    }
    _post(f"{url}/prompt", key, {"prompt": graph})


def _began(url: str, key: str, least: int, deadline: Deadline) -> list[float]:
    """When the jobs of a key began, by the clock that all simulators share; once it has so many."""
    while True:
        entries = _answer(Request(f"{url}/history", headers=_headers(key)))  # noqa: S310  (our own address)
        if len(entries) >= least:
            return [_start(entry) for entry in entries.values()]
        if deadline.has_passed():
            raise RuntimeError("not all jobs came to their end")
        time.sleep(0.2)


def _start(entry: Mapping[str, Any]) -> float:
    return next(float(data["timestamp"]) for name, data in entry["status"]["messages"] if name == "execution_start")


def _post(url: str, key: str, body: Mapping[str, Any]) -> Any:
    return _answer(Request(url, json.dumps(body).encode(), _headers(key)))  # noqa: S310  (our own address)


def _answer(request: Request) -> Any:
    with urlopen(request, timeout=_ANSWER_S) as response:  # noqa: S310  (as above)
        return json.load(response)


def _headers(key: str) -> dict[str, str]:
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


if __name__ == "__main__":
    from bench.table import as_text

    print(as_text([measure()]))
