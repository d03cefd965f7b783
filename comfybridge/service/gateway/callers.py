"""Who calls, and what that one may do. Until keys exist there is one caller, who may do everything."""

from dataclasses import dataclass

from aiohttp import web

from comfybridge.service import priorities


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """``owner`` is what jobs, files and events are filed under."""

    owner: str
    is_admin: bool
    priority: int


_ONLY_ONE = Caller(owner="", is_admin=True, priority=priorities.NORMAL)


def caller(_request: web.Request) -> Caller:
    return _ONLY_ONE
