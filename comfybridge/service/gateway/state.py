"""What the handlers of one gateway share."""

from dataclasses import dataclass, field

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from comfybridge.service.fleet import Fleet
from comfybridge.service.gateway.hub import Hub
from comfybridge.service.gateway.notices import Notices
from comfybridge.service.signing import Signing
from comfybridge.service.store import Store

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an operator may say of a gateway; ``link_s`` is how long links in answers live."""

    public_url: str = ""
    link_s: float = 7 * _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    pool: AsyncConnectionPool
    store: Store
    fleet: Fleet
    hub: Hub
    notices: Notices
    keep_s: float
    options: Options = Options()
    signing: Signing = field(default_factory=Signing)


STATE = web.AppKey("state", State)
"""The state of an application; set before it starts."""
