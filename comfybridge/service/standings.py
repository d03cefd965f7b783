"""How versions do, out of the rows of their jobs; and all that a database knows of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from comfybridge.service.judging import COUNTED, Figures
from comfybridge.service.rollout import WINDOW

EVER = datetime(2000, 1, 1, tzinfo=UTC)

_MOST = 10_000
_OUTCOMES = ", ".join(f"'{outcome}'" for outcome in COUNTED)
_COUNTED = f"template <> '' AND state = 'ended' AND outcome IN ({_OUTCOMES})"

# Each version's latest runs by the index on them: so many, and none that was sent before.
_FIGURES = f"""
SELECT full_name, count(*), count(*) FILTER (WHERE outcome = 'succeeded'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY gpu_s) FILTER (WHERE outcome = 'succeeded'),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY gpu_s) FILTER (WHERE outcome = 'succeeded')
FROM unnest(%(full_names)s::text[], %(since)s::timestamptz[], %(most)s::int[]) AS asked (full_name, since, most)
CROSS JOIN LATERAL (
    SELECT outcome, gpu_s FROM jobs
    WHERE template = full_name AND {_COUNTED} AND ended > since AND created > since
    ORDER BY ended DESC LIMIT most
) AS run
GROUP BY full_name
"""  # noqa: S608  (constants)

# From name to name, however many runs each has.
_NAMES = f"""
WITH RECURSIVE names AS (
    (SELECT template FROM jobs WHERE {_COUNTED} ORDER BY template LIMIT 1)
    UNION ALL
    SELECT (SELECT template FROM jobs WHERE {_COUNTED} AND template > names.template ORDER BY template LIMIT 1)
    FROM names WHERE template IS NOT NULL
)
SELECT template FROM names WHERE template IS NOT NULL
"""  # noqa: S608  (constants)

_ROLLOUTS = "SELECT DISTINCT ON (template) template, digest, rules, since FROM rollouts ORDER BY template, since DESC"
_ROLLED_BACK = "SELECT template, digest, version, at, reason FROM rollbacks WHERE resumed IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Of which runs figures are wanted: the latest ``most`` that were sent after ``since``."""

    full_name: str
    since: datetime = EVER
    most: int = WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A version as the database knows it: what the latest rollout gives it, and how it does."""

    template: str
    version: str
    is_stable: bool
    share: float
    keys: Sequence[str]
    rolled_back: Mapping[str, Any] | None
    figures: Figures


def statement(asked: Sequence[Asked]) -> tuple[bytes, dict[str, Any]]:
    """What ``figures_of`` reads the rows of."""
    return _FIGURES.encode(), {
        "full_names": [each.full_name for each in asked],
        "since": [each.since for each in asked],
        "most": [each.most for each in asked],
    }


def figures_of(rows: Iterable[Sequence[Any]]) -> dict[str, Figures]:
    """By full name; without those that never ran."""
    return {
        name: Figures(runs=runs, succeeded=succeeded, median_s=median_s, p95_s=p95_s)
        for name, runs, succeeded, median_s, p95_s in rows
    }


def standings(connection: Connection, *, hours: float | None = None) -> list[Standing]:
    """All versions that ran or are rolled out, by name: by their latest runs, or by those of the last ``hours``."""
    rollouts = {row[0]: row[1:] for row in connection.execute(_ROLLOUTS)}
    gone = {
        (template, version): {"at": at.isoformat(), "reason": reason}
        for template, digest, version, at, reason in connection.execute(_ROLLED_BACK)
        if template in rollouts and rollouts[template][0] == digest
    }
    known = {str(name): EVER for (name,) in connection.execute(_NAMES.encode())}
    for template, (_, rules, since) in rollouts.items():
        tried = {*rules["share"], *rules["keys"].values()}
        known |= {f"{template}@{version}": since for version in tried}
        known[f"{template}@{rules['stable']}"] = EVER
    asked = [_asked(name, since, rollouts, hours) for name, since in known.items()]
    found = figures_of(connection.execute(*statement(asked)))
    in_order = sorted(known, key=lambda name: (name.rpartition("@")[0], int(name.rpartition("@")[2])))
    return [_standing(name, rollouts, gone, found.get(name, Figures())) for name in in_order]


def _asked(full_name: str, since: datetime, rollouts: Mapping[str, Sequence[Any]], hours: float | None) -> Asked:
    if hours is not None:
        return Asked(full_name=full_name, since=datetime.now(UTC) - timedelta(hours=hours), most=_MOST)
    _, rules, _ = rollouts.get(full_name.rpartition("@")[0], (None, {}, None))
    threshold = rules.get("threshold") or {}
    return Asked(full_name=full_name, since=since, most=threshold.get("window", WINDOW))


def _standing(
    full_name: str,
    rollouts: Mapping[str, Sequence[Any]],
    gone: Mapping[tuple[str, str], Mapping[str, Any]],
    figures: Figures,
) -> Standing:
    template, _, version = full_name.rpartition("@")
    alone: dict[str, Any] = {"stable": version, "share": {}, "keys": {}}
    rules = rollouts[template][1] if template in rollouts else alone
    shares = rules["share"]
    is_stable = version == rules["stable"]
    return Standing(
        template=template,
        version=version,
        is_stable=is_stable,
        share=100 - sum(shares.values()) if is_stable else shares.get(version, 0),
        keys=[key for key, of in rules["keys"].items() if of == version],
        rolled_back=gone.get((template, version)),
        figures=figures,
    )
