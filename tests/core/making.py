"""Runs generations and takes apart what comes of them."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from comfybridge import generation, library
from comfybridge.client import Client
from comfybridge.collecting import Outcome
from comfybridge.deadline import Deadline
from comfybridge.fallback import Drawn, Picture
from comfybridge.filling import Inputs
from comfybridge.jobs import OutputFile
from comfybridge.library import Named, Source
from comfybridge.pool import Pool
from comfybridge.simulator.models import FOLDERS
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
) -> Generator[Event | OutputFile | Outcome | Picture | Drawn, None, None]:
    clients = [servers] if isinstance(servers, Client) else servers
    pool = clients if isinstance(clients, Pool) else Pool(clients)
    small = {"width": 64, "height": 64, "steps": 2} if isinstance(name, str) else {}
    source = Named(name) if isinstance(name, str) else name
    chosen = Inputs(**{"positive": "a fox", **small, **inputs})
    yield from generation.generate(source, chosen, pool, deadline=Deadline(timeout_s), extra_data={})


def sort(items: Iterable[Event | OutputFile | Outcome | Picture | Drawn]) -> Made:
    made = Made()
    for item in items:
        match item:
            case Outcome():
                made.outcome = item
            case OutputFile():
                made.files.append(item)
            case Picture() | Drawn():
                raise AssertionError("no fallback was given")
            case _:
                made.events.append(item)
    return made


def make(servers: Client | Sequence[Client] | Pool, **wishes: Any) -> Made:
    return sort(generate(servers, **wishes))


LORAS = ("film_grain.safetensors", "ink_sketch.safetensors")


def catalogue() -> dict[str, list[str]]:
    """Folder -> every file that a template needs, and two LoRAs."""
    files: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
    for required in (required for each in library.templates() for required in each.requires):
        if required.file not in files[required.folder]:
            files[required.folder].append(required.file)
    files["loras"] += LORAS
    return files
