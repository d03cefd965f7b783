"""Many jobs: repeats after lost answers, failures one after the other, and a crowd behind a bad line."""

import gc
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from PIL import Image

from comfybridge import generation
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, Lost, Unavailable
from comfybridge.filling import Inputs
from comfybridge.jobs import OutputFile
from comfybridge.library import Pasted
from comfybridge.pool import Pool
from tests.contract import graphs
from tests.contract.server import Prompt
from tests.faults.relay import Relay
from tests.faults.rules import Chance, Reset, Rule
from tests.faults.server import Server

_DEADLINE_S = 60.0
_SEED = 20
_WARM_UP = 3
_SETTLE_S = 5.0


def repeat_after_lost_answers(server: Server, number: int) -> list[str]:
    """One job for each call, although no call hears that its submission arrived; what is wrong with that."""
    server.reset()
    rule = Rule(Reset(after=True), "/prompt", "POST")
    with Relay(server.url, [rule]) as relay, _connected(relay.url) as client:
        for _ in range(number):
            _generate(client, graphs.solid())
        wrong = [] if len(set(relay.accepted)) == number else [f"{len(set(relay.accepted))} jobs for {number} calls"]
        return [*wrong, *(f"{each} ran twice" for each, times in Counter(relay.accepted).items() if times > 1)]


@dataclass(frozen=True)
class _Held:
    """What this process holds on to."""

    files: int
    threads: int
    sockets: int


def fail_often(server: Server, number: int) -> list[str]:
    """Failing jobs one after the other leave nothing open in this process; what they leave."""
    server.reset()
    name = f"faults-{graphs.unique()}.png"
    server.wire.upload(name, b"\x89PNG\r\n\x1a\n broken")
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}
    with _connected(server.url) as kept:
        _fail(kept, prompt, _WARM_UP)
        before = _held()
        for turn in range(0, number, 10):
            _fail(kept, prompt, min(9, number - turn))
            with _connected(server.url) as passing:
                _fail(passing, prompt, 1)
        # What ends in a thread of its own ends a moment later.
        end = time.monotonic() + _SETTLE_S
        while (after := _held()) != before and time.monotonic() < end:
            time.sleep(0.05)
    more = (after.files > before.files, after.threads > before.threads, after.sockets > before.sockets)
    return [f"{before} became {after}"] if any(more) else []


def crowd(server: Server, number: int, share: float) -> list[str]:
    """Parallel jobs behind a line that drops some connections all end right; what does not.

    Right is the picture; or, where the submission's fate could not be found out, to say just that.
    """
    server.reset()
    # For a test that shall be the same each time.
    dice = random.Random(_SEED)  # noqa: S311
    with Relay(server.url, [Rule(Chance(share, dice))]) as relay, _connected(relay.url) as client:
        with ThreadPoolExecutor(number) as threads:
            colors = [place * ((1 << 24) // number) for place in range(number)]
            ends = list(threads.map(lambda color: _in_crowd(client, relay, color), colors))
        running, pending = server.wire.queued()
        left = [prompt_id for prompt_id in relay.accepted if prompt_id in running + pending]
        unsure = sum(end in ("lost", "not taken") for end in ends)
        return [
            *(end for end in ends if end not in ("picture", "lost", "not taken")),
            *(f"{each} ran twice" for each, times in Counter(relay.accepted).items() if times > 1),
            *([f"{len(left)} of our jobs left in the queue"] if len(left) > ends.count("lost") else []),
            *([f"{unsure} of {number} are unsure"] if unsure > number * share else []),
        ]


def _in_crowd(client: Client, relay: Relay, color: int) -> str:
    try:
        (file,) = _generate(client, graphs.solid(color=color))
    except Lost:
        return "lost"
    except Unavailable as error:
        return "not taken" if error.prompt_id not in relay.accepted else f"taken, but: {error}"
    except ComfyError as error:
        return f"{type(error).__name__}: {error}"
    with Image.open(io.BytesIO(file.data)) as image:
        found = image.convert("RGB").getpixel((0, 0))
    return "picture" if found == tuple(color.to_bytes(3, "big")) else f"a picture of colour {found}, not {color:06x}"


def _fail(client: Client, prompt: Prompt, number: int) -> None:
    for _ in range(number):
        try:
            _generate(client, prompt)
        except ComfyError:
            continue
        raise AssertionError("a job that must fail did not")


def _held() -> _Held:
    gc.collect()
    process = psutil.Process()
    return _Held(process.num_fds(), threading.active_count(), len(process.net_connections(kind="inet")))


def _generate(client: Client, prompt: Prompt) -> list[OutputFile]:
    made = generation.generate(Pasted(prompt), Inputs(), Pool([client]), deadline=Deadline(_DEADLINE_S), extra_data={})
    return [item for item in made if isinstance(item, OutputFile)]


@contextmanager
def _connected(url: str) -> Iterator[Client]:
    client = Client(url)
    try:
        yield client
    finally:
        client.close()
