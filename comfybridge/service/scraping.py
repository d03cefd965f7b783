"""The fleet's figures as Prometheus reads them: from rows, so that every gateway says the same."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from psycopg import AsyncConnection

from comfybridge.service import priorities
from comfybridge.service.claiming import LEASE_S
from comfybridge.service.masking import masked
from comfybridge.service.tallying import RAN_S, WAITED_S

_ALL = "The whole fleet's, the same at every gateway: scrape one, or take max()."
_HEALTH = ("unknown", "well", "sick", "gone")
_STATES = ("queued", "claimed", "running")
_MOST_SERVERS, _MOST_DEVICES = 300, 16

_QUEUE = "SELECT priority, state, count(*) FROM jobs WHERE state <> 'ended' GROUP BY priority, state"
_OLDEST = """
SELECT priority, extract(epoch FROM now() - min(created))::float FROM jobs
WHERE state = 'queued' AND not_before <= now() GROUP BY priority
"""
_SERVERS = """
SELECT url, mode, health, extract(epoch FROM now() - heartbeat)::float AS silent_s, stats -> 'devices' AS devices,
    (SELECT count(*) FROM jobs WHERE jobs.server = url AND state IN ('claimed', 'running')) AS jobs,
    (SELECT count(*) FROM jobs WHERE jobs.server = url AND state = 'running') AS running
FROM servers WHERE mode <> 'removed' ORDER BY registered LIMIT %s
"""
_DELIVERIES = "SELECT state, count(*) FROM deliveries WHERE state = {} GROUP BY state"
_ALERTS = "SELECT name, subject FROM alerts WHERE began IS NOT NULL"
_EVENTS = "SELECT kind, count(*) FROM events WHERE created > now() - interval '1 hour' GROUP BY kind"


def database(*, is_up: bool) -> Metric:
    return GaugeMetricFamily(
        "comfybridge_database_up",
        "Whether this gateway reaches the database; without it only its own figures are here.",
        value=float(is_up),
    )


async def read(connection: AsyncConnection) -> list[Metric]:
    """All of them, in one look at the database."""

    async def rows(query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        return await (await connection.execute(query.encode(), values)).fetchall()

    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return [
            _jobs(await rows("SELECT outcome, template, server, jobs FROM tallies")),
            *_spreads(await rows("SELECT what, label, le, jobs, seconds FROM spreads")),
            *_queue(await rows(_QUEUE), await rows(_OLDEST)),
            *_servers(await rows(_SERVERS, (_MOST_SERVERS,))),
            _deliveries([*await rows(_DELIVERIES.format("'pending'")), *await rows(_DELIVERIES.format("'failed'"))]),
            _alerts(await rows(_ALERTS)),
            _events(await rows(_EVENTS)),
        ]


def _jobs(found: Iterable[tuple[str, str, str, int]]) -> Metric:
    family = CounterMetricFamily(
        "comfybridge_jobs",
        f"Jobs that ended, by outcome, template (name@version) and the server of the last attempt. {_ALL}",
        labels=["outcome", "template", "server"],
    )
    # Two addresses may differ in their login only.
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    for outcome, template, server, jobs in found:
        sums[outcome, template, masked(server)] += jobs
    for labels, jobs in sorted(sums.items()):
        family.add_metric(labels, jobs)
    return family


def _spreads(found: Iterable[tuple[str, str, float, int, float]]) -> Iterable[Metric]:
    counts: dict[tuple[str, str], dict[float, int]] = defaultdict(dict)
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for what, label, le, jobs, seconds in found:
        counts[what, label][le] = jobs
        sums[what, label] += seconds
    waited = HistogramMetricFamily(
        "comfybridge_job_waiting_seconds", f"From acceptance to the start on a server. {_ALL}", labels=["priority"]
    )
    ran = HistogramMetricFamily(
        "comfybridge_job_run_seconds",
        f"From start to end on the server, of jobs that succeeded. {_ALL}",
        labels=["template"],
    )
    for (what, label), of in sorted(counts.items()):
        family, bounds = (waited, WAITED_S) if what == "waited" else (ran, RAN_S)
        shown = priorities.name(int(label)) if what == "waited" else label
        buckets, so_far = [], 0
        for le in sorted({*bounds, *of, float("inf")}):
            so_far += of.get(le, 0)
            buckets.append(("+Inf" if le == float("inf") else str(le), float(so_far)))
        family.add_metric([shown], buckets, sums[what, label])
    return waited, ran


def _queue(depths: Iterable[tuple[int, str, int]], oldest: Iterable[tuple[int, float]]) -> Iterable[Metric]:
    depth = GaugeMetricFamily(
        "comfybridge_queue_jobs",
        f"Jobs that have not ended: queued here, claimed (waiting in a ComfyUI), or running. {_ALL}",
        labels=["priority", "state"],
    )
    known = {(priority, state): jobs for priority, state, jobs in depths}
    waiting = GaugeMetricFamily(
        "comfybridge_queue_oldest_seconds",
        f"How long the oldest queued job has waited; 0 without one. {_ALL}",
        labels=["priority"],
    )
    waits_s = dict(oldest)
    for priority, name in enumerate(priorities.NAMES):
        waiting.add_metric([name], waits_s.get(priority, 0.0))
        for state in _STATES:
            depth.add_metric([name, state], known.get((priority, state), 0))
    return depth, waiting


def _servers(found: Iterable[tuple[str, str, str, float, Any, int, int]]) -> Iterable[Metric]:
    up = GaugeMetricFamily(
        "comfybridge_server_up", f"1 for a server that is well and whose worker is heard of. {_ALL}", labels=["server"]
    )
    health = GaugeMetricFamily(
        "comfybridge_server_health", f"1 for the present one. {_ALL}", labels=["server", "health"]
    )
    mode = GaugeMetricFamily("comfybridge_server_mode", f"1 for the present one. {_ALL}", labels=["server", "mode"])
    silent = GaugeMetricFamily(
        "comfybridge_server_heartbeat_age_seconds", f"Since its worker was heard of. {_ALL}", labels=["server"]
    )
    busy = GaugeMetricFamily("comfybridge_server_busy", f"1 while a job runs there. {_ALL}", labels=["server"])
    jobs = GaugeMetricFamily("comfybridge_server_jobs", f"Jobs that run or wait there. {_ALL}", labels=["server"])
    total, free = (
        GaugeMetricFamily(
            f"comfybridge_server_memory_{what}_bytes",
            f"Memory of a device, {what}, as ComfyUI says. {_ALL}",
            labels=["server", "device"],
        )
        for what in ("total", "free")
    )
    for url, its_mode, its_health, silent_s, devices, held, running in found:
        server = masked(url)
        up.add_metric([server], its_health == "well" and silent_s <= LEASE_S)
        for one in _HEALTH:
            health.add_metric([server, one], one == its_health)
        mode.add_metric([server, its_mode], 1)
        silent.add_metric([server], silent_s)
        busy.add_metric([server], running > 0)
        jobs.add_metric([server], held)
        for number, device in enumerate((devices or ())[:_MOST_DEVICES]):
            for family, key in ((total, "vram_total"), (free, "vram_free")):
                if isinstance(device, Mapping) and isinstance(device.get(key), int | float):
                    family.add_metric([server, str(number)], device[key])
    return up, health, mode, silent, busy, jobs, total, free


def _deliveries(found: Iterable[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(
        "comfybridge_webhook_deliveries",
        f"Webhooks that are still to be sent, or were given up. {_ALL}",
        labels=["state"],
    )
    known = dict(found)
    for state in ("pending", "failed"):
        family.add_metric([state], known.get(state, 0))
    return family


def _alerts(found: Iterable[tuple[str, str]]) -> Metric:
    family = GaugeMetricFamily(
        "comfybridge_alert",
        f"1 for each alert that --alert-webhook was told of and that is not over. {_ALL}",
        labels=["alert", "subject"],
    )
    for name, subject in found:
        family.add_metric([name, subject], 1)
    return family


def _events(found: Iterable[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(
        "comfybridge_events_last_hour",
        f"What the fleet did by itself in the last hour, such as a rollback. {_ALL}",
        labels=["kind"],
    )
    counts = {"rollback": 0, "degraded": 0} | dict(found)
    for kind, number in sorted(counts.items()):
        family.add_metric([kind], number)
    return family
