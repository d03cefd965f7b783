"""Many jobs in the queue of ``comfybridge serve``: what one more costs, what the gateway holds, how it starts again."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit
from uuid import uuid4

import websocket

from bench.memory import Memory
from bench.samples import median
from bench.server import Server, get
from bench.serving import Serving
from bench.table import Aim, Row, Section

_MANY, _ENDS, _AT_ONCE = 10_000, 500, 8
_AFTER_CRASH, _WORK_S, _RUNS_S = 1000, 5.0, 60.0

_FLAT, _MOST, _SOON = Aim(1.5), Aim(200 * 2**20, of_ratio=False), Aim(3.0, of_ratio=False)


def measure() -> Section:
    rows = [*_queued(), _started_again()]
    notes = [
        f"{_MANY:,} jobs queued by one client; ours: the last {_ENDS}, first: the first {_ENDS}, one after the other"
    ]
    return Section("The service with a long queue", "first", rows, notes)


def _queued() -> Sequence[Row]:
    """Queue very many jobs that cannot run, with a socket open."""
    with ExitStack() as stack:
        comfyui = stack.enter_context(Server(0.0))
        comfyui.hold()
        service = stack.enter_context(Serving([comfyui.url]))
        memory = stack.enter_context(Memory(service.gateway))
        stack.enter_context(_listening(service.url))
        _post(service.url, 50)
        first = _post(service.url, _ENDS)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            between = (_MANY - 2 * _ENDS) // _AT_ONCE
            list(threads.map(lambda _: _post(service.url, between), range(_AT_ONCE)))
        last = _post(service.url, _ENDS)
        accepted = memory.peak
        started = time.monotonic()
        listed = len(get(f"{service.url}/queue")["queue_pending"])
        took = time.monotonic() - started
        peak = memory.peak
    return [
        Row(label="to accept one, median", ours=median(last), other=median(first), unit="ms", aim=_FLAT),
        Row(label="the gateway's memory, peak", ours=accepted, other=None, unit="MiB", aim=_MOST),
        Row(label=f"the same, after GET /queue ({listed:,} jobs)", ours=peak, other=None, unit="MiB", aim=_MOST),
        Row(label="GET /queue", ours=took, other=None, unit="s"),
    ]


@contextlib.contextmanager
def _listening(url: str) -> Iterator[None]:
    """A client that reads all that it hears."""
    socket = websocket.create_connection(f"ws{url.removeprefix('http')}/ws?clientId=bench")

    def read() -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            while socket.recv():
                pass

    thread = threading.Thread(target=read, name="listening")
    thread.start()
    try:
        yield
    finally:
        socket.abort()  # type: ignore[no-untyped-call]  # websocket-client leaves it unannotated
        thread.join()


def _started_again() -> Row:
    """From the command until a job runs, all processes killed before, and nothing left in the ComfyUIs."""
    with ExitStack() as stack:
        comfyuis = [stack.enter_context(Server(_WORK_S)) for _ in range(4)]
        for comfyui in comfyuis:
            comfyui.hold()
        service = stack.enter_context(Serving([comfyui.url for comfyui in comfyuis]))
        _post(service.url, _AFTER_CRASH)
        service.kill()
        for comfyui in comfyuis:
            _send(comfyui.url, "/queue", {"clear": True})
            comfyui.release()
        started = time.monotonic()
        service.start()
        while not any(get(f"{comfyui.url}/queue")["queue_running"] for comfyui in comfyuis):
            if time.monotonic() - started > _RUNS_S:
                raise RuntimeError("no job runs after the service was started again")
            # Whoever asks without a pause takes a processor from those who start.
            time.sleep(0.05)
        took = time.monotonic() - started
    label = f"killed with {_AFTER_CRASH:,} queued: until a job runs"
    return Row(label=label, ours=took, other=None, unit="s", aim=_SOON)


def _post(url: str, count: int) -> list[float]:
    """Queue so many pictures, one after the other; the seconds that each took."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port or 80)
    seconds = []
    for number in range(count):
        image = {"width": 64, "height": 64, "batch_size": 1, "color": number}
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": image},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
        }
        body = json.dumps({"prompt": graph, "prompt_id": str(uuid4()), "client_id": "bench"})
        started = time.monotonic()
        connection.request("POST", "/prompt", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        seconds.append(time.monotonic() - started)
        if answer.status != http.client.OK:
            raise RuntimeError(f"POST /prompt answered {answer.status}")
    connection.close()
    return seconds


def _send(url: str, path: str, body: Mapping[str, object]) -> None:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port or 80)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()
