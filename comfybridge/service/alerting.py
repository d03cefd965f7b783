"""What is amiss with the fleet, told once as it begins and once as it ends. One gateway at a time looks.

Rows of ``alerts`` are what is amiss now; a change of them and the message about it are one transaction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from comfybridge.service.claiming import LEASE_S
from comfybridge.service.database import as_json
from comfybridge.service.masking import masked

_LOCK = 0x636F6D68
_LAST = "7 days"
"""How long messages about alerts are kept."""

_SERVERS = """
SELECT url, health, reason, extract(epoch FROM now() - heartbeat)::float FROM servers WHERE mode = 'active'
"""
_WAITS_S = """
SELECT coalesce(extract(epoch FROM now() - min(created)), 0)::float FROM jobs
WHERE state = 'queued' AND not_before <= now()
"""
_RATES = """
SELECT template, sum(succeeded)::int, sum(succeeded + failed)::int FROM minutes
WHERE minute > now() - make_interval(secs => %s) GROUP BY template ORDER BY template
"""
_SEND = """
INSERT INTO deliveries (is_alert, type, facts, expires) VALUES (true, %s, %s, now() + %s::interval)
"""
# Those that are too old for anybody to care are marked as well: somebody asked for alerts only now.
_EVENTS = """
WITH new AS (UPDATE events SET told = clock_timestamp() WHERE told IS NULL RETURNING id, kind, data, created)
INSERT INTO deliveries (is_alert, type, facts, expires)
SELECT true, 'event.' || kind, data, now() + %s::interval FROM new WHERE created > now() - interval '1 day' ORDER BY id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """``server_s``: how long a server must be sick or gone. ``backlog_s``: how long the oldest job may wait.
    ``success``: the least share of successes over the last ``window_s``, of at least so many jobs."""

    server_s: float = 60.0
    backlog_s: float = 300.0
    success: float = 0.9
    window_s: float = 900.0
    at_least: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Where a gateway tells of alerts, and how that is signed."""

    url: str
    secret: str = field(repr=False)
    thresholds: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is amiss now; told of when it has lasted for ``hold_s``."""

    name: str
    subject: str
    en: str
    zh: str
    hold_s: float = 0.0
    value: float | None = None
    threshold: float | None = None


async def look(connection: AsyncConnection, thresholds: Thresholds) -> bool:
    """Compare what is amiss with what was, and write down what to tell; ``False`` when another one does just now."""
    async with connection.transaction():
        row = await (await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))).fetchone()
        if row is None or not row[0]:
            return False
        amiss = {(found.name, found.subject): found for found in await _amiss(connection, thresholds)}
        query = "SELECT name, subject, began, extract(epoch FROM now() - seen)::float, seen FROM alerts"
        for name, subject, began, held_s, seen in await (await connection.execute(query)).fetchall():
            condition = amiss.pop((name, subject), None)
            if condition is None:
                await connection.execute("DELETE FROM alerts WHERE name = %s AND subject = %s", (name, subject))
                if began is not None:
                    await _tell(connection, "alert.ended", _over(name, subject, seen))
            elif began is None and held_s >= condition.hold_s:
                await _begin(connection, condition, seen)
        for condition in amiss.values():
            query = "INSERT INTO alerts (name, subject) VALUES (%s, %s) RETURNING seen"
            row = await (await connection.execute(query, (condition.name, condition.subject))).fetchone()
            if row is not None and condition.hold_s <= 0:
                await _begin(connection, condition, row[0])
        await connection.execute(_EVENTS, (_LAST,))
    return True


async def _amiss(connection: AsyncConnection, thresholds: Thresholds) -> Iterable[Condition]:
    servers = await (await connection.execute(_SERVERS)).fetchall()
    waits = await (await connection.execute(_WAITS_S)).fetchone()
    rates = await (await connection.execute(_RATES, (thresholds.window_s,))).fetchall()
    found = [of_server(*server, hold_s=thresholds.server_s) for server in servers]
    found.append(of_backlog(waits[0] if waits is not None else 0.0, thresholds.backlog_s))
    found += [of_rate(template, good, ended, thresholds) for template, good, ended in rates]
    return [condition for condition in found if condition is not None]


def of_server(url: str, health: str, reason: str, silent_s: float, *, hold_s: float) -> Condition | None:
    shown, why = masked(url), f" {masked(reason)}" if reason else ""
    if health == "sick":
        en, zh = f"The server {shown} is sick.{why}", f"服务器 {shown} 状态异常。{why}"
        return Condition(name="server_sick", subject=shown, en=en, zh=zh, hold_s=hold_s)
    if silent_s > LEASE_S:
        en, zh = f"The worker of {shown} is silent.", f"服务器 {shown} 的工作进程没有响应。"
        return Condition(name="server_gone", subject=shown, en=en, zh=zh, hold_s=hold_s)
    if health == "gone":
        en, zh = f"The server {shown} does not answer.{why}", f"服务器 {shown} 没有响应。{why}"
        return Condition(name="server_gone", subject=shown, en=en, zh=zh, hold_s=hold_s)
    return None


def of_backlog(waits_s: float, most_s: float) -> Condition | None:
    if waits_s <= most_s:
        return None
    en = f"The oldest job has been waiting for {waits_s:.0f} s; {most_s:.0f} s are the most that was wanted."
    zh = f"最早的任务已等待 {waits_s:.0f} 秒，超过设定的 {most_s:.0f} 秒。"
    return Condition(name="backlog", subject="queue", en=en, zh=zh, value=waits_s, threshold=most_s)


def of_rate(template: str, succeeded: int, ended: int, thresholds: Thresholds) -> Condition | None:
    if ended < thresholds.at_least or succeeded >= ended * thresholds.success:
        return None
    share = succeeded / ended
    minutes = thresholds.window_s / 60
    en = f"Of {ended} jobs with {template} in the last {minutes:.0f} minutes {share:.0%} succeeded."
    zh = f"最近 {minutes:.0f} 分钟内 {template} 的 {ended} 个任务中，{share:.0%} 成功。"
    return Condition(
        name="success_rate", subject=template, en=en, zh=zh, value=round(share, 4), threshold=thresholds.success
    )


async def _begin(connection: AsyncConnection, condition: Condition, since: datetime) -> None:
    query = "UPDATE alerts SET began = clock_timestamp() WHERE name = %s AND subject = %s"
    await connection.execute(query, (condition.name, condition.subject))
    figures = {"value": condition.value, "threshold": condition.threshold}
    told = {
        "alert": condition.name,
        "subject": condition.subject,
        "since": since.isoformat(),
        "message": {"en": condition.en, "zh": condition.zh},
        **{name: figure for name, figure in figures.items() if figure is not None},
    }
    await _tell(connection, "alert.began", told)


def _over(name: str, subject: str, since: datetime) -> dict[str, Any]:
    message = {"en": f"Over: {name} of {subject}.", "zh": f"已恢复：{subject} 的 {name}。"}
    return {"alert": name, "subject": subject, "since": since.isoformat(), "message": message}


async def _tell(connection: AsyncConnection, event: str, data: Mapping[str, Any]) -> None:
    await connection.execute(_SEND, (event, as_json(data), _LAST))
