"""``comfybridge serve`` over four simulators beside the same client straight at them; every part is a process."""

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.samples import Samples, median, p95
from bench.server import Server
from bench.serving import Serving
from bench.table import Aim, Row, Section
from comfybridge import filling, jobs
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.template import Template

_REPOSITORY = Path(__file__).resolve().parents[1]
_SERVERS, _AT_ONCE = 4, 16
_WARM, _JOBS, _PACED = 150, 600, 300
_ROUNDS = 2
_FEW, _MANY, _WORK_S, _EACH = 1, 8, 1.0, 16
_JOB_S = 60.0

_TWICE = Aim(2.0)
_SEVEN_POINT_SIX = Aim(_MANY / 7.6)
_ADDED = Aim(0.030, of_ratio=False)


@dataclass(frozen=True, slots=True)
class Figures:
    """One client: jobs each second, and the seconds of each from its submission to the bytes of its picture."""

    rate: float
    seconds: Sequence[float]


def measure() -> Section:
    """Jobs per second with many at once, then how long each takes at half the service's rate."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(0.0)).url for _ in range(_SERVERS)]
        gateway = [stack.enter_context(Serving(servers)).url]
        for urls in (gateway, servers):
            _run(urls, _WARM)
        full = Samples()
        for _ in range(_ROUNDS):
            full.ours.append(1 / _run(gateway, _JOBS).rate)
            full.other.append(1 / _run(servers, _JOBS).rate)
        half = 0.5 / (median(full.ours) or 1)
        paced = Samples(list(_run(gateway, _PACED, half).seconds), list(_run(servers, _PACED, half).seconds))
    ours, other = p95(paced.ours) or 0.0, p95(paced.other) or 0.0
    rows = [
        Row(label="time per job", ours=median(full.ours), other=median(full.other), unit="ms", aim=_TWICE),
        Row(label="one job, median", ours=median(paced.ours), other=median(paced.other), unit="ms"),
        Row(label="one job, 95th percentile", ours=ours, other=other, unit="ms"),
        Row(label="added to the 95th percentile", ours=ours - other, other=None, unit="ms", aim=_ADDED),
    ]
    few, many = (_each(count) for count in (_FEW, _MANY))
    label = f"a server's time per job of {_WORK_S:g} s, {_MANY} servers beside {_FEW}"
    rows.append(Row(label=label, ours=many, other=few, unit="ms", aim=_SEVEN_POINT_SIX))
    notes = [
        f"time per job: {_AT_ONCE} at once, {_JOBS} jobs; one job: at {half:.0f} a second, half of the most",
        "client, simulators, gateway, workers and PostgreSQL share this machine's processors",
    ]
    return Section(f"The service over {_SERVERS} simulators with 0 s of work", "direct", rows, notes)


def _each(count: int) -> float:
    """The seconds of a server that each job takes, with so many servers behind the service."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(_WORK_S)).url for _ in range(count)]
        gateway = stack.enter_context(Serving(servers)).url
        # When the last of these begins, all servers are there.
        _run([gateway], 3 * count, at_once=3 * count)
        return count / _run([gateway], _EACH * count, at_once=3 * count).rate


def _run(urls: Sequence[str], count: int, rate: float = 0.0, *, at_once: int = _AT_ONCE) -> Figures:
    command = [sys.executable, "-m", "bench.service", "--jobs", str(count), "--rate", str(rate)]
    command += ["--at-once", str(at_once), *urls]
    ran = subprocess.run(command, cwd=_REPOSITORY, check=True, capture_output=True, text=True)
    return Figures(**json.loads(ran.stdout))


def _client(urls: Sequence[str], count: int, rate: float, at_once: int) -> Figures:
    """Make so many pictures, all servers in turn: as many at once as allowed, or so many each second."""
    clients = [Client(url) for url in urls]
    numbers = iter(range(count))
    chance = random.Random(0)  # noqa: S311  # nothing secret
    lock = threading.Lock()
    seconds: list[float] = []
    started = due = time.monotonic()

    def work() -> None:
        nonlocal due
        while True:
            with lock:
                number = next(numbers, None)
                if number is None:
                    return
                due += chance.expovariate(rate) if rate else 0.0
                begins = due
            time.sleep(max(0.0, begins - time.monotonic()))
            # Whoever comes late because all are busy has waited, too.
            begins = begins if rate else time.monotonic()
            _picture(clients[number % len(clients)])
            seconds.append(time.monotonic() - begins)

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - started
    for client in clients:
        client.close()
    if len(seconds) != count:
        raise RuntimeError(f"only {len(seconds)} of {count} jobs came to their end")
    return Figures(count / took, seconds)


def _picture(client: Client) -> None:
    """One picture of a color that no other has, as the plugin makes one: submitted, awaited, fetched."""
    color = uuid4().int % 2**24
    image = {"width": 64, "height": 64, "batch_size": 1, "color": color}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
    }
    deadline = Deadline(_JOB_S)
    filled = filling.as_is(Template(name="bench", prompt=graph))
    with ExitStack() as listening:
        job = jobs.queue(client, filled, {}, deadline, {}, listening)
        waiting = jobs.follow(job, deadline)
        while True:
            try:
                next(waiting)
            except StopIteration as end:
                (output,) = end.value.outputs
                break
    jobs.fetch(job, output, deadline)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="*")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--at-once", type=int, default=_AT_ONCE)
    options = parser.parse_args()
    if options.urls:
        figures = _client(options.urls, options.jobs, options.rate, options.at_once)
        print(json.dumps({"rate": figures.rate, "seconds": figures.seconds}))
    else:
        from bench.table import as_text

        print(as_text([measure()]))
