"""What the handlers of one gateway share."""

from dataclasses import dataclass

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from comfybridge.service.fleet import Fleet
from comfybridge.service.gateway.hub import Hub
from comfybridge.service.gateway.notices import Notices
from comfybridge.service.gateway.offering import Offering
from comfybridge.service.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    pool: AsyncConnectionPool
    store: Store
    fleet: Fleet
    hub: Hub
    notices: Notices
    keep_s: float
    offering: Offering


STATE = web.AppKey("state", State)
"""The state of an application; set before it starts."""
