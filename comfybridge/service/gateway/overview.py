"""``/comfybridge/overview``: what the page at ``/`` shows, in one answer; for admins of the whole fleet.

Every look costs the same few index scans, however much waits: lists are short, and graphs are read once for each job.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from comfybridge.service import priorities, servers
from comfybridge.service.gateway import captions, links
from comfybridge.service.gateway.bodies import Malformed
from comfybridge.service.gateway.callers import Caller, caller
from comfybridge.service.gateway.state import STATE, State
from comfybridge.service.masking import masked

PAGE_SIZE = 50
_MOST_RUNNING, _MOST_RECENT, _MOST_PICTURES, _MOST_TROUBLES = 100, 60, 30, 8
_MOST_CAPTIONS, _MOST_WAITING = 2000, 200
_MOST_PROMPTS = 80
"""So many graphs are read at once; the others at the next look."""
_DIGITS = 9
_DAY_S, _HOUR_S = 86400, 3600
_SHOWN = ("image/", "video/", "audio/")
_NOT_TROUBLES = ("succeeded", "cancelled")

_COUNTS = """
SELECT queued, oldest_s, claimed, running FROM (
    SELECT count(*) AS queued, extract(epoch FROM now() - min(created))::float AS oldest_s
    FROM jobs WHERE state = 'queued' {mine}
) AS waiting CROSS JOIN (
    SELECT count(*) FILTER (WHERE state = 'claimed') AS claimed, count(*) FILTER (WHERE state = 'running') AS running
    FROM jobs WHERE state IN ('claimed', 'running') {mine}
) AS held
"""
_HELD = """
SELECT prompt_id, owner, state, template, priority, server, progress, estimate_s, cancel_asked IS NOT NULL AS is_ending,
    extract(epoch FROM now() - created)::float AS waits_s, extract(epoch FROM now() - started)::float AS runs_s
FROM jobs WHERE state IN ('claimed', 'running') {mine}
ORDER BY state = 'claimed', coalesce(started, claimed), prompt_id LIMIT %(most)s
"""
_QUEUED = """
SELECT prompt_id, owner, state, template, priority, attempts, extract(epoch FROM now() - created)::float AS waits_s
FROM jobs WHERE state = 'queued' {mine} ORDER BY {order} LIMIT %(most)s OFFSET %(offset)s
"""
# Each owner's latest by its index.
_RECENT = """
SELECT run.* FROM unnest(%(owners)s::text[]) AS of (owner) CROSS JOIN LATERAL (
    SELECT prompt_id, jobs.owner, outcome, reason, template, ended, gpu_s, server FROM jobs
    WHERE jobs.owner = of.owner AND state = 'ended' AND NOT is_hidden ORDER BY ended DESC LIMIT %(most)s
) AS run ORDER BY ended DESC LIMIT %(most)s
"""
_FILES = """
SELECT prompt_id, owner, type, subfolder, filename, mime FROM files
WHERE prompt_id = ANY (%(prompt_ids)s) AND type = 'output' ORDER BY created, filename
"""
_NAMES = "SELECT owner, name FROM keys"
_PROMPTS = "SELECT prompt_id, prompt FROM jobs WHERE prompt_id = ANY (%(prompt_ids)s)"
_MORE_OF_SERVERS = "SELECT url, reason_zh, stats -> 'devices' AS devices FROM servers"
_MINUTES = """
SELECT (extract(epoch FROM date_trunc('minute', now()) - minute) / 60)::int AS ago,
    sum(succeeded)::int AS succeeded, sum(failed)::int AS failed
FROM minutes WHERE minute > now() - interval '1 hour' GROUP BY minute
"""
_ALERTS = "SELECT name, subject, began FROM alerts WHERE began IS NOT NULL ORDER BY began DESC LIMIT 20"
_EVENTS = """
SELECT kind, data, created FROM events WHERE created > now() - interval '1 day' ORDER BY id DESC LIMIT 5
"""
_UNDELIVERED = """
SELECT count(*) AS failed FROM deliveries WHERE state = 'failed' AND ended > now() - interval '1 day'
"""

Row = dict[str, Any]


class Captions:
    """What jobs are called: their graphs never change, so each is read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, dict[str, str]]] = {}

    async def read(self, connection: AsyncConnection, prompt_ids: Sequence[str]) -> None:
        lacking = [prompt_id for prompt_id in prompt_ids if prompt_id not in self._known][:_MOST_PROMPTS]
        if not lacking:
            return
        for row in await _rows(connection, _PROMPTS, prompt_ids=lacking):
            self._known[row["prompt_id"]] = captions.text_of(row["prompt"]), captions.titles_of(row["prompt"])
        while len(self._known) > _MOST_CAPTIONS:
            del self._known[next(iter(self._known))]

    def text(self, prompt_id: str) -> str:
        return self._known.get(prompt_id, ("", {}))[0]

    def titles(self, prompt_id: str) -> dict[str, str]:
        return self._known.get(prompt_id, ("", {}))[1]


CAPTIONS = web.AppKey("captions", Captions)


async def get_overview(request: web.Request) -> web.Response:
    """What runs, waits and ended of late; of those that wait ``?limit=``, after ``?offset=``."""
    state, who = request.app[STATE], caller(request)
    offset, limit = _number(request, "offset", 0), min(_number(request, "limit", PAGE_SIZE), _MOST_WAITING)
    async with state.pool.connection() as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        body = await _read(connection, state, request.app[CAPTIONS], who, offset, limit)
    answer = web.json_response(body, headers={"Cache-Control": "no-store"})
    answer.enable_compression()
    return answer


async def _read(
    connection: AsyncConnection, state: State, known: Captions, who: Caller, offset: int, limit: int
) -> Row:
    mine = "" if who.is_admin else "AND owner = %(owner)s"
    order = "priority, created" if who.is_admin else "number, created"
    names = {row["owner"]: row["name"] for row in await _rows(connection, _NAMES)} if who.is_admin else {}
    owners = list({*names, who.owner})
    (counts,) = await _rows(connection, _COUNTS.format(mine=mine), owner=who.owner)
    held = await _rows(connection, _HELD.format(mine=mine), owner=who.owner, most=_MOST_RUNNING)
    queued = await _rows(connection, _QUEUED.format(mine=mine, order=order), owner=who.owner, most=limit, offset=offset)
    recent = await _rows(connection, _RECENT, owners=owners, most=_MOST_RECENT)
    prompt_ids = [row["prompt_id"] for row in recent]
    pictures = _pictures(state, recent, await _rows(connection, _FILES, prompt_ids=prompt_ids))
    troubles = [_trouble(row) for row in recent if row["outcome"] not in _NOT_TROUBLES][:_MOST_TROUBLES]
    shown = [*held, *queued, *pictures, *troubles]
    await known.read(connection, [row["prompt_id"] for row in shown])
    for number, row in enumerate(queued):
        row["position"] = offset + number + 1
    for row in held:
        row["titles"] = known.titles(row["prompt_id"])
        row["server"] = masked(row["server"] or "")
    for row in shown:
        row["text"] = known.text(row["prompt_id"])
        row["key"] = names.get(row.pop("owner"), "")
        if "priority" in row:
            row["priority"] = priorities.name(row["priority"])
    body: Row = {
        "caller": {"name": who.name, "is_admin": who.is_admin, "has_key": state.keyring.is_used},
        "counts": counts,
        "running": held,
        "waiting": {"offset": offset, "page": limit, "jobs": queued},
        "pictures": pictures,
        "troubles": troubles,
    }
    return body | await _of_fleet(connection, state) if who.is_admin else body


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or not text.isascii() or len(text) > _DIGITS:
        raise Malformed(f"{name} is a number")
    return int(text)


async def _of_fleet(connection: AsyncConnection, state: State) -> Row:
    """What only admins are told."""
    more = {row["url"]: row for row in await _rows(connection, _MORE_OF_SERVERS)}
    found = [
        {
            **servers.described(row),
            "reason_zh": masked(more[row["url"]]["reason_zh"]),
            "devices": [_device(device) for device in more[row["url"]]["devices"] or () if isinstance(device, dict)],
        }
        for row in await _rows(connection, servers.LIST)
    ]
    (undelivered,) = await _rows(connection, _UNDELIVERED)
    problems = [{"en": en, "zh": zh} for en, zh in state.offering.problems]
    return {
        "servers": found,
        "minutes": await _rows(connection, _MINUTES),
        "alerts": _plain(await _rows(connection, _ALERTS)),
        "events": _plain(await _rows(connection, _EVENTS)),
        "undelivered": undelivered["failed"],
        "problems": problems,
    }


def _link_s() -> float:
    """So long that links are the same for an hour, and what a browser has of them counts."""
    return _DAY_S - time.time() % _HOUR_S + 0.5


def _pictures(state: State, recent: Sequence[Row], files: Sequence[Row]) -> list[Row]:
    """The files of the latest jobs, with links that a page can show without sending its key along."""
    of_job: dict[str, list[Row]] = {}
    for file in files:
        if file["mime"].startswith(_SHOWN):
            of_job.setdefault(file["prompt_id"], []).append(file)
    found = [
        {
            "prompt_id": job["prompt_id"],
            "owner": job["owner"],
            "template": job["template"],
            "seconds": job["gpu_s"],
            "ended": job["ended"].isoformat(),
            "filename": file["filename"],
            "mime": file["mime"],
            "link": links.signed(
                state, file["owner"], (file["type"], file["subfolder"], file["filename"]), seconds=_link_s()
            ).lstrip("/"),
        }
        for job in recent
        for file in of_job.get(job["prompt_id"], ())
    ]
    return found[:_MOST_PICTURES]


def _trouble(job: Row) -> Row:
    reason = job["reason"] if isinstance(job["reason"], Mapping) else {}
    return {
        "prompt_id": job["prompt_id"],
        "owner": job["owner"],
        "template": job["template"],
        "outcome": job["outcome"],
        "server": masked(job["server"] or ""),
        "ended": job["ended"].isoformat(),
        "reason": {language: masked(str(reason.get(language, ""))) for language in ("en", "zh")},
    }


def _device(device: Mapping[str, Any]) -> Row:
    return {name: device.get(name) for name in ("name", "vram_total", "vram_free")}


def _plain(rows: Sequence[Row]) -> list[Row]:
    return [{name: of.isoformat() if isinstance(of, datetime) else of for name, of in row.items()} for row in rows]


async def _rows(connection: AsyncConnection, query: str, **values: Any) -> list[Row]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(query.encode(), values or None)).fetchall()
