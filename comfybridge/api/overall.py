"""What the servers are and can run, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from comfybridge import overview
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import Unavailable
from comfybridge.overview import Lacking
from comfybridge.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """One server; with an ``error`` nothing else is known. ``memory`` is each device's name, free and whole GiB."""

    url: str
    version: str = ""
    memory: tuple[tuple[str, float, float], ...] = ()
    waiting: int = 0
    can_run: tuple[str, ...] = ()
    lacking: tuple[Lacking, ...] = ()
    error: Unavailable | None = None


def state(client: Client, others: Sequence[Template], deadline: Deadline) -> ServerState:
    try:
        summary = overview.summary(client, deadline)
        able, lacking = overview.templates(client, deadline, others)
    except Unavailable as exc:
        return ServerState(url=client.base_url, error=exc)
    return ServerState(
        url=client.base_url,
        version=summary.version,
        memory=summary.memory,
        waiting=summary.waiting,
        can_run=tuple(template.name for template in able),
        lacking=tuple(lacking),
    )
