"""What the handlers of one gateway share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from comfybridge.service.fleet import Fleet
from comfybridge.service.gateway.backlog import Backlog
from comfybridge.service.gateway.hub import Hub
from comfybridge.service.gateway.keyring import Keyring
from comfybridge.service.gateway.notices import Notices
from comfybridge.service.gateway.offering import LOOK_EVERY_S, Offering
from comfybridge.service.limits import Limits
from comfybridge.service.signing import Signing
from comfybridge.service.store import Store

_DAY_S = 86400.0
_MOST_DRAWN = 2
"""Pictures that are changed at once: each takes the memory of a whole one, several times over."""

Drawn = TypeVar("Drawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an operator may say of a gateway.

    ``is_local``: only this machine reaches it. ``link_s`` is how long links in answers live, ``largest_upload`` is in
    bytes, ``most_queued`` counts the jobs of all callers that wait. ``templates`` is a folder, looked at every
    ``look_every_s``. ``limits`` are those of runs.
    """

    is_local: bool = True
    public_url: str = ""
    link_s: float = 7 * _DAY_S
    largest_upload: int = 100 * 2**20
    most_queued: int = 10_000
    templates: Path | None = None
    look_every_s: float = LOOK_EVERY_S
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    pool: AsyncConnectionPool
    store: Store
    fleet: Fleet
    hub: Hub
    notices: Notices
    keyring: Keyring
    backlog: Backlog
    keep_s: float
    options: Options = Options()
    signing: Signing = field(default_factory=Signing)
    offering: Offering = field(default_factory=Offering)
    _drawing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_DRAWN))

    async def draw(self, change: Callable[..., Drawn], *arguments: Any) -> Drawn:
        """Change pictures, on a thread; whoever comes while others are at it waits."""
        async with self._drawing:
            return await asyncio.to_thread(change, *arguments)


STATE = web.AppKey("state", State)
"""The state of an application; set before it starts."""
