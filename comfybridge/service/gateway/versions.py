"""``/comfybridge/versions``: which versions there are, who gets them, how they do, and what was rolled back."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from psycopg import AsyncConnection

from comfybridge.service.gateway import trials
from comfybridge.service.gateway.bodies import Malformed, object_of
from comfybridge.service.gateway.callers import admins_only, caller, not_found
from comfybridge.service.gateway.offering import Offering
from comfybridge.service.gateway.state import STATE
from comfybridge.service.gateway.trials import Rollback
from comfybridge.service.gateway.userdata import versions_of
from comfybridge.service.judging import Figures
from comfybridge.service.rollout import WINDOW, Sentence
from comfybridge.service.standings import Asked
from comfybridge.service.templates import Templates

_DAY = timedelta(days=1)
_MOST_A_DAY = 10_000
_BY_HAND = ("An admin took it back.", "由管理员手动回滚。")


async def get_versions(request: web.Request) -> web.Response:
    """Everything for admins; for others what they get themselves."""
    state, who = request.app[STATE], caller(request)
    offering = state.offering
    if not who.is_admin:
        got = [{"name": each.name, "version": each.number} for each in versions_of(request)]
        return web.json_response({"templates": got})
    async with state.pool.connection() as connection:
        body = await _all(connection, offering)
    return web.json_response(body)


async def post_versions(request: web.Request) -> web.Response:
    """``resume`` what was rolled back, or ``rollback`` by hand."""
    state = request.app[STATE]
    if not caller(request).is_admin:
        return admins_only()
    template, version, action = await _wanted(request)
    offering = state.offering
    rollout = offering.held.rollouts.get(template)
    if rollout is None or version not in rollout.candidates:
        return _not_found(f"{template}@{version} is not on trial by rollout.yaml.")
    async with state.pool.connection() as connection:
        if action == "resume":
            is_done = await trials.resume(connection, template, version, rollout.digest)
        else:
            is_done = await trials.roll_back(connection, template, version, rollout, _BY_HAND, Figures())
        await offering.read_barred(connection)
    if not is_done:
        what = "is not rolled back" if action == "resume" else "is rolled back already"
        return _not_found(f"{template}@{version} {what}.")
    return web.json_response({"template": template, "version": version, "action": action})


async def _wanted(request: web.Request) -> tuple[str, str, str]:
    body = await object_of(request)
    if body.get("action") not in ("resume", "rollback"):
        raise Malformed("action is resume or rollback, beside template and version")
    return str(body.get("template", "")), str(body.get("version", "")), str(body["action"])


def _not_found(message: str) -> web.Response:
    return not_found(message)


async def _all(connection: AsyncConnection, offering: Offering) -> dict[str, Any]:
    held = offering.held
    digests = held.digests
    begun = await trials.since(connection, digests)
    gone = {(each.template, each.version): each for each in await trials.rollbacks(connection, digests)}
    asked: list[Asked] = []
    for name, of in held.versions.items():
        rollout = held.rollouts.get(name)
        if rollout is not None and name in begun:
            asked += trials.asked(name, rollout, begun[name], of)
        else:
            asked += [Asked(full_name=version.full_name, most=WINDOW) for version in of.values()]
    latest = await trials.figures(connection, asked)
    yesterday = datetime.now(UTC) - _DAY
    day = await trials.figures(
        connection, [Asked(full_name=each.full_name, since=yesterday, most=_MOST_A_DAY) for each in asked]
    )
    return {
        "folder": {
            "path": str(offering.folder) if offering.folder is not None else None,
            "read": offering.read_at,
            "problems": _sentences(offering.problems),
        },
        "templates": [_template(offering, held, name, latest, day, gone) for name in sorted(held.versions)],
        "events": await trials.events(connection),
    }


def _template(
    offering: Offering,
    held: Templates,
    name: str,
    latest: dict[str, Figures],
    day: dict[str, Figures],
    gone: dict[tuple[str, str], Rollback],
) -> dict[str, Any]:
    rollout, stable = held.rollouts.get(name), held.stable(name)
    share = dict(rollout.share) if rollout is not None else {}
    limits = rollout.threshold if rollout is not None else None
    versions: list[dict[str, Any]] = []
    for number, version in sorted(held.versions[name].items(), key=lambda item: int(item[0])):
        rolled = gone.get((name, number))
        versions.append(
            {
                "version": number,
                "is_stable": number == stable,
                "is_built_in": version.is_built_in,
                "share": 100 - sum(share.values()) if number == stable else share.get(number, 0),
                "keys": [key for key, of in rollout.keys.items() if of == number] if rollout is not None else [],
                "lacking": _sentences(offering.lacking.get(version.full_name, [])),
                "rolled_back": {"at": rolled.at.isoformat(), "reason": dict(rolled.reason)} if rolled else None,
                "latest": _figures(latest.get(version.full_name)),
                "day": _figures(day.get(version.full_name)),
            }
        )
    threshold = None
    if limits is not None:
        threshold = {name: getattr(limits, name) for name in ("success", "seconds", "window", "at_least")}
    return {"name": name, "stable": stable, "threshold": threshold, "versions": versions}


def _figures(found: Figures | None) -> dict[str, Any]:
    found = found or Figures()
    return {
        "runs": found.runs,
        "succeeded": found.succeeded,
        "success": found.success,
        "median_s": found.median_s,
        "p95_s": found.p95_s,
    }


def _sentences(several: list[Sentence]) -> list[dict[str, str]]:
    return [{"en": english, "zh": chinese} for english, chinese in several]
