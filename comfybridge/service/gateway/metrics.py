"""``/metrics``: figures of the whole fleet out of the database, the same at every gateway, and this process's own."""

import time
from collections.abc import Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from psycopg_pool import AsyncConnectionPool

from comfybridge.service import scraping, tallying
from comfybridge.service.gateway.access import Handler
from comfybridge.service.gateway.callers import admins_only, caller
from comfybridge.service.gateway.health import in_time
from comfybridge.service.gateway.hub import Hub
from comfybridge.service.gateway.sending import Sender
from comfybridge.service.gateway.state import STATE

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PATIENCE_S = 5.0
"""Together with finding out whose key it is, less than the 10 s after which Prometheus gives up."""
_OWN = "This process's own: scrape every gateway."


class Metrics:
    """Of one gateway, so that two in one process (as in tests) do not mix."""

    def __init__(self, hub: Hub, sender: Sender) -> None:
        self._sender = sender
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "comfybridge_http_requests",
            f"Requests answered, by route, method and status. {_OWN}",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "comfybridge_http_request_seconds",
            f"Time until the answer was sent, of everything but WebSockets. {_OWN}",
            ["route", "method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        sockets = Gauge("comfybridge_websockets_open", f"Open WebSockets. {_OWN}", registry=self._registry)
        sockets.set_function(lambda: hub.open_sockets)

    def count(self, request: web.Request, status: int, seconds: float) -> None:
        route, method = _route(request), request.method if request.method in _METHODS else "other"
        self._requests.labels(route, method, status).inc()
        if route != "/ws":
            self._seconds.labels(route, method).observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """What this process knows, in the form in which prometheus_client writes it."""
        for family in self._registry.collect():
            # When each series began is a series more for each, and nobody asks for it.
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
        sent = CounterMetricFamily(
            "comfybridge_webhook_sendings", f"Webhooks sent, by what came back. {_OWN}", labels=["result"]
        )
        for result, number in self._sender.results.items():
            sent.add_metric([result], number)
        yield sent


METRICS = web.AppKey("metrics", Metrics)


class _Scrape:
    """One answer: figures that are read, as prometheus_client wants its registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    began, status = time.monotonic(), 500
    try:
        response = await handler(request)
        status = response.status
    except web.HTTPException as exc:
        status = exc.status
        raise
    finally:
        request.app[METRICS].count(request, status, time.monotonic() - began)
    return response


async def get_metrics(request: web.Request) -> web.Response:
    if not caller(request).is_admin:
        return admins_only()
    metrics, pool = request.app[METRICS], request.app[STATE].pool
    # Half an answer says more than none: that of the process stays.
    fleet = await in_time(_of_the_fleet(pool), _PATIENCE_S)
    families = [*metrics.collect(), *(fleet or []), scraping.database(is_up=fleet is not None)]
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    # aiohttp wants the charset apart.
    return web.Response(body=encode(_Scrape(families)), headers={"Content-Type": content_type})


async def _of_the_fleet(pool: AsyncConnectionPool) -> list[Metric]:
    async with pool.connection() as connection:
        await tallying.roll(connection)
        return await scraping.read(connection)


def _route(request: web.Request) -> str:
    """The route as it is written down, the same for both of its forms; not what was asked for."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    if not path or path == "/{path}":
        return "other"
    return path.removeprefix("/api") if path != "/api/jobs" and not path.startswith("/api/jobs/") else path
