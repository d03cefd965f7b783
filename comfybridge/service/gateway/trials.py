"""Versions on trial: the figures of their runs, and the rollback of one that falls below its threshold.

One gateway judges at a time, and what it writes it writes once: a rollback and its event are one statement.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from comfybridge.service.database import as_json
from comfybridge.service.judging import Figures, failing, slow
from comfybridge.service.rollout import WINDOW, Rollout, Sentence, Threshold
from comfybridge.service.standings import EVER, Asked, figures_of, statement
from comfybridge.service.templates import Files

logger = logging.getLogger(__name__)

_LOCK = 0x74726961

_KEEP = """
INSERT INTO folders (path, files) VALUES (%s, %s)
ON CONFLICT (path) DO UPDATE SET files = EXCLUDED.files, read = clock_timestamp()
    WHERE folders.files::text <> EXCLUDED.files::text
"""
_KEPT = "SELECT files, extract(epoch FROM read)::float FROM folders WHERE path = %s"
_BEGIN = "INSERT INTO rollouts (template, digest, rules) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_RESUME = """
WITH resumed AS (
    UPDATE rollbacks SET resumed = clock_timestamp()
    WHERE template = %(template)s AND digest = %(digest)s AND resumed IS NULL
        AND version = %(version)s
    RETURNING version
),
begun AS (
    UPDATE rollouts SET since = clock_timestamp()
    WHERE template = %(template)s AND digest = %(digest)s AND EXISTS (SELECT FROM resumed)
)
SELECT version FROM resumed
"""
_ROLL_BACK = """
WITH rolled AS (
    INSERT INTO rollbacks (template, version, digest, reason)
    VALUES (%(template)s, %(version)s, %(digest)s, %(reason)s)
    ON CONFLICT DO NOTHING RETURNING id
),
told AS (INSERT INTO events (kind, data) SELECT 'rollback', %(data)s FROM rolled)
SELECT id FROM rolled
"""
_DEGRADE = """
WITH fell AS (
    UPDATE rollouts SET degraded = clock_timestamp()
    WHERE template = %(template)s AND digest = %(digest)s AND degraded IS NULL RETURNING template
),
told AS (INSERT INTO events (kind, data) SELECT 'degraded', %(data)s FROM fell)
SELECT template FROM fell
"""
_RECOVER = "UPDATE rollouts SET degraded = NULL WHERE template = %s AND digest = %s AND degraded IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    template: str
    version: str
    at: datetime
    reason: Mapping[str, str]


async def keep_files(connection: AsyncConnection, path: str, files: Files) -> None:
    """Write down a folder as it was read, where everything in it was right."""
    await connection.execute(_KEEP, (path, as_json(files)))


async def kept_files(connection: AsyncConnection, path: str) -> tuple[Files, float] | None:
    """The folder as somebody read it last, and when; ``None`` where nobody has."""
    row = await (await connection.execute(_KEPT, (path,))).fetchone()
    return ({name: (text, modified) for name, (text, modified) in row[0].items()}, row[1]) if row is not None else None


async def begin(connection: AsyncConnection, template: str, rollout: Rollout) -> None:
    """Write a rollout down, unless somebody did; the runs of its candidates count from now on."""
    await connection.execute(_BEGIN, (template, rollout.digest, as_json(asdict(rollout))))


async def resume(connection: AsyncConnection, template: str, version: str, digest: str) -> bool:
    """Lift a rollback; whether there was one. Runs count from now on."""
    values = {"template": template, "version": version, "digest": digest}
    return await (await connection.execute(_RESUME, values)).fetchone() is not None


async def rollbacks(connection: AsyncConnection, digests: Mapping[str, str]) -> list[Rollback]:
    """Those in force for these rollouts, given by template."""
    query = """
        SELECT rollbacks.template, version, at, reason
        FROM rollbacks JOIN unnest(%s::text[], %s::text[]) AS ours (template, digest) USING (template, digest)
        WHERE resumed IS NULL ORDER BY at
    """
    async with connection.cursor(row_factory=class_row(Rollback)) as cursor:
        return await (await cursor.execute(query, (list(digests), list(digests.values())))).fetchall()


async def barred(connection: AsyncConnection, digests: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The versions that are rolled back, by template."""
    found: dict[str, set[str]] = {}
    for each in await rollbacks(connection, digests):
        found.setdefault(each.template, set()).add(each.version)
    return {template: frozenset(versions) for template, versions in found.items()}


async def figures(connection: AsyncConnection, asked: Sequence[Asked]) -> dict[str, Figures]:
    """By full name; without those that never ran."""
    return figures_of(await (await connection.execute(*statement(asked))).fetchall())


async def since(connection: AsyncConnection, digests: Mapping[str, str]) -> dict[str, datetime]:
    """From when on the runs of these rollouts' candidates count, by template."""
    query = """
        SELECT template, since
        FROM rollouts JOIN unnest(%s::text[], %s::text[]) AS ours (template, digest) USING (template, digest)
    """
    return dict(await (await connection.execute(query, (list(digests), list(digests.values())))).fetchall())


def asked(template: str, rollout: Rollout, begun: datetime, versions: Iterable[str]) -> list[Asked]:
    """What a threshold looks at: of the stable version the latest runs, of others those of this rollout."""
    most = rollout.threshold.window if rollout.threshold is not None else WINDOW
    return [
        Asked(full_name=f"{template}@{version}", since=EVER if version == rollout.stable else begun, most=most)
        for version in versions
    ]


async def events(connection: AsyncConnection) -> list[dict[str, Any]]:
    """What was told of versions of late, the latest first."""
    query = """
        SELECT kind, data, created FROM events WHERE kind IN ('rollback', 'degraded') ORDER BY id DESC LIMIT 20
    """
    rows = await (await connection.execute(query)).fetchall()
    return [{"kind": kind, "data": data, "at": created.isoformat()} for kind, data, created in rows]


async def judge(connection: AsyncConnection, rollouts: Mapping[str, Rollout]) -> bool:
    """Roll back what has fallen below its threshold; whether something was. Nothing where another gateway judges."""
    tried = {name: rollout for name, rollout in rollouts.items() if rollout.threshold is not None}
    if not tried:
        return False
    async with connection.transaction():
        row = await (await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))).fetchone()
        if row is None or not row[0]:
            return False
        digests = {name: rollout.digest for name, rollout in tried.items()}
        begun = await since(connection, digests)
        gone = await barred(connection, digests)
        wanted = [
            each
            for name, rollout in tried.items()
            if name in begun
            for each in asked(name, rollout, begun[name], (rollout.stable, *rollout.candidates))
        ]
        found = await figures(connection, wanted)
        verdicts = [
            await _judge_one(connection, name, rollout, rollout.threshold, found, gone.get(name, frozenset()))
            for name, rollout in tried.items()
            if rollout.threshold is not None
        ]
    return any(verdicts)


async def _judge_one(
    connection: AsyncConnection,
    template: str,
    rollout: Rollout,
    threshold: Threshold,
    found: Mapping[str, Figures],
    gone: Collection[str],
) -> bool:
    stable = found.get(f"{template}@{rollout.stable}", Figures())
    has_rolled = False
    for version in (each for each in rollout.candidates if each not in gone):
        mine = found.get(f"{template}@{version}", Figures())
        reason = failing(threshold, mine) or slow(threshold, mine, stable)
        if reason is not None:
            has_rolled |= await roll_back(connection, template, version, rollout, reason, mine)
    reason = failing(threshold, stable)
    values: dict[str, Any] = {"template": template, "digest": rollout.digest}
    if reason is not None:
        values["data"] = as_json(_told(template, rollout.stable, rollout, reason, stable))
        if await (await connection.execute(_DEGRADE, values)).fetchone() is not None:
            logger.error("%s@%s, the stable version: %s", template, rollout.stable, reason[0])
    elif stable.runs >= threshold.at_least:
        await connection.execute(_RECOVER, (template, rollout.digest))
    return has_rolled


async def roll_back(
    connection: AsyncConnection,
    template: str,
    version: str,
    rollout: Rollout,
    reason: Sentence,
    mine: Figures,
) -> bool:
    """Give everybody the stable version from now on; whether this was new."""
    values = {
        "template": template,
        "version": version,
        "digest": rollout.digest,
        "reason": as_json(dict(zip(("en", "zh"), reason, strict=True))),
        "data": as_json(_told(template, version, rollout, reason, mine)),
    }
    if await (await connection.execute(_ROLL_BACK, values)).fetchone() is None:
        return False
    logger.error("%s@%s is rolled back to version %s: %s", template, version, rollout.stable, reason[0])
    return True


def _told(template: str, version: str, rollout: Rollout, reason: Sentence, mine: Figures) -> dict[str, Any]:
    return {
        "template": template,
        "version": version,
        "stable": rollout.stable,
        "reason": dict(zip(("en", "zh"), reason, strict=True)),
        **asdict(mine),
        "success": mine.success,
    }
