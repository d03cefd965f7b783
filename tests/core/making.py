"""Runs generations and takes apart what comes of them."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from comfybridge import generation
from comfybridge.client import Client
from comfybridge.collecting import Outcome
from comfybridge.deadline import Deadline
from comfybridge.jobs import OutputFile
from comfybridge.library import Named, Source
from comfybridge.pool import Pool
from comfybridge.template import Inputs
from comfybridge.watch import Event

Connect: TypeAlias = Callable[..., Client]


@dataclass
class Made:
    """What a generation yielded, sorted."""

    events: list[Event] = field(default_factory=list)
    files: list[OutputFile] = field(default_factory=list)
    outcome: Outcome | None = None


def generate(
    servers: Client | Sequence[Client] | Pool, *, name: str | Source = "sd15", timeout_s: float = 20, **inputs: Any
) -> Generator[Event | OutputFile | Outcome, None, None]:
    clients = [servers] if isinstance(servers, Client) else servers
    pool = clients if isinstance(clients, Pool) else Pool(clients)
    small = {"width": 64, "height": 64, "steps": 2} if isinstance(name, str) else {}
    source = Named(name) if isinstance(name, str) else name
    chosen = Inputs(**{"positive": "a fox", **small, **inputs})
    yield from generation.generate(source, chosen, pool, deadline=Deadline(timeout_s), extra_data={})


def sort(items: Iterable[Event | OutputFile | Outcome]) -> Made:
    made = Made()
    for item in items:
        match item:
            case Outcome():
                made.outcome = item
            case OutputFile():
                made.files.append(item)
            case _:
                made.events.append(item)
    return made


def make(servers: Client | Sequence[Client] | Pool, **wishes: Any) -> Made:
    return sort(generate(servers, **wishes))
