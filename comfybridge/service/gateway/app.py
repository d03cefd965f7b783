"""The routes of a gateway, bare and under ``/api``, and what happens around every request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from functools import partial

import psycopg
from aiohttp import web

from comfybridge import addresses
from comfybridge.service import webhooks
from comfybridge.service.alerting import Alerts
from comfybridge.service.database import async_pool
from comfybridge.service.fleet import Fleet
from comfybridge.service.gateway import (
    administration,
    cancelling,
    deliveries,
    editor,
    figures,
    frontpage,
    info,
    links,
    operating,
    overview,
    prompts,
    upload,
    userdata,
    versions,
    view,
    watching,
)
from comfybridge.service.gateway.access import Handler, authenticated, watch
from comfybridge.service.gateway.backlog import Backlog, Busy
from comfybridge.service.gateway.bodies import Malformed, usable
from comfybridge.service.gateway.callers import PAGE, caller
from comfybridge.service.gateway.health import READINESS, Readiness, get_health, get_ready
from comfybridge.service.gateway.hub import Hub
from comfybridge.service.gateway.keyring import Keyring
from comfybridge.service.gateway.metrics import METRICS, Metrics, get_metrics, measured
from comfybridge.service.gateway.notices import Notices
from comfybridge.service.gateway.offering import Offering
from comfybridge.service.gateway.openai import answering, handlers, tool
from comfybridge.service.gateway.openai.errors import shaped
from comfybridge.service.gateway.openai.models import Models
from comfybridge.service.gateway.sending import Sender
from comfybridge.service.gateway.state import STATE, Options, State
from comfybridge.service.store import StoreAway, open_store
from comfybridge.service.supervised import DATABASE_FAULTS

logger = logging.getLogger(__name__)

LOOPS = web.AppKey("loops", tuple[Callable[[], Coroutine[None, None, None]], ...])
"""What a gateway does all the time beside what its state does."""

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/prompt", prompts.get_prompt),
    ("POST", "/prompt", prompts.post_prompt),
    ("GET", "/queue", prompts.get_queue),
    ("POST", "/queue", prompts.post_queue),
    ("GET", "/history", prompts.get_history),
    ("POST", "/history", prompts.post_history),
    ("GET", "/history/{prompt_id}", prompts.get_history_of),
    ("POST", "/interrupt", prompts.post_interrupt),
    ("POST", "/free", prompts.post_free),
    ("GET", "/object_info", info.get_object_info),
    ("GET", "/object_info/{class_type}", info.get_object_info_of),
    ("GET", "/system_stats", info.get_system_stats),
    ("GET", "/features", info.get_features),
    ("GET", "/models", info.get_models),
    ("GET", "/models/{folder}", info.get_models_in),
    ("GET", "/embeddings", info.get_embeddings),
    ("GET", "/extensions", info.get_extensions),
    ("GET", "/view", view.get_view),
    ("POST", "/upload/image", upload.post_image),
    ("POST", "/upload/mask", upload.post_mask),
    ("GET", "/comfybridge/keys", administration.get_keys),
    ("POST", "/comfybridge/keys", administration.post_key),
    ("PATCH", "/comfybridge/keys/{name}", administration.patch_key),
    ("DELETE", "/comfybridge/keys/{name}", administration.delete_key),
    ("GET", "/userdata", userdata.get_list),
    ("GET", "/v2/userdata", userdata.get_tree),
    ("GET", "/userdata/{file}", userdata.get_file),
    ("POST", "/userdata/{file}", userdata.read_only),
    ("DELETE", "/userdata/{file}", userdata.read_only),
    ("POST", "/userdata/{file}/move/{dest}", userdata.read_only),
    ("GET", "/comfybridge/servers", operating.get_servers),
    ("POST", "/comfybridge/servers", operating.post_servers),
    ("GET", "/comfybridge/versions", versions.get_versions),
    ("POST", "/comfybridge/versions", versions.post_versions),
    ("GET", "/comfybridge/deliveries", deliveries.get_deliveries),
    ("POST", "/comfybridge/deliveries/{id}/retry", deliveries.post_retry),
    ("GET", "/comfybridge/overview", overview.get_overview),
    ("POST", "/comfybridge/cancel", cancelling.post_cancel),
    ("GET", "/comfybridge/figures", figures.get_figures),
    ("GET", "/users", editor.get_users),
    ("GET", "/settings", editor.get_settings),
    ("POST", "/settings", editor.post_settings),
    ("GET", "/settings/{id}", editor.get_setting),
    ("POST", "/settings/{id}", editor.post_setting),
    ("GET", "/i18n", editor.get_nothing),
    ("GET", "/global_subgraphs", editor.get_nothing),
    ("GET", "/global_subgraphs/{id}", editor.get_null),
    ("GET", "/workflow_templates", editor.get_nothing),
    ("GET", "/experiment/models", editor.get_model_folders),
    ("GET", "/experiment/models/{folder}", editor.get_models_of),
    ("GET", "/internal/files/{directory_type}", editor.get_files),
    ("GET", "/internal/folder_paths", editor.get_nothing),
    ("GET", "/internal/logs", editor.get_log),
    ("GET", "/internal/logs/raw", editor.get_raw_log),
    ("PATCH", "/internal/logs/subscribe", editor.subscribe),
    ("POST", "/v1/images/generations", handlers.post_generation),
    ("POST", "/v1/images/edits", handlers.post_edit),
    ("GET", "/v1/models", handlers.get_models),
    ("GET", "/v1/models/{model}", handlers.get_model),
    ("POST", "/comfybridge/images", tool.post_image),
    ("GET", "/comfybridge/images/{prompt_id}", tool.get_image),
    ("GET", "/openapi.json", tool.get_document),
)

_CONNECTIONS = 10
_CANCEL_AGAIN_S = 2.0
_FORM_BYTES = 2**20
"""What a form may have around the file in it."""


def build(
    database: str, store: str, *, keep_s: float, options: Options | None = None, alerts: Alerts | None = None
) -> web.Application:
    options = options or Options()
    limit = options.largest_upload + _FORM_BYTES
    app = web.Application(client_max_size=limit, middlewares=[measured, shaped, _guarded, authenticated])
    pool = async_pool(database, most=_CONNECTIONS, name="gateway")
    hub = Hub(database, pool)
    hub.features |= {"max_upload_size": options.largest_upload}
    app[STATE] = State(
        pool=pool,
        store=open_store(store),
        fleet=Fleet(pool),
        hub=hub,
        notices=Notices(pool),
        keep_s=keep_s,
        keyring=Keyring(pool),
        backlog=Backlog(pool, options.most_queued),
        options=options,
        offering=Offering(options.templates, options.look_every_s),
    )
    endpoint = (alerts.url, alerts.secret) if alerts is not None else ("", "")
    # Without an address of ours nobody knows where a link would lead.
    link_for = partial(_link, app[STATE]) if options.public_url else None
    sender = Sender(pool, alerts=endpoint, link_for=link_for)
    app[METRICS] = Metrics(hub, sender)
    app[READINESS] = Readiness()
    app[LOOPS] = (sender.run, partial(watching.run, pool, alerts.thresholds if alerts is not None else None))
    app[answering.MODELS] = Models()
    app[overview.CAPTIONS] = overview.Captions()
    for method, path, handler in ROUTES:
        for base in ("", "/api"):
            app.router.add_route(method, base + path, handler)
            if method == "GET":
                app.router.add_route("HEAD", base + path, handler)
    for base in ("", "/api"):
        app.router.add_get(base + "/ws", _socket)
    app.router.add_get("/", frontpage.get_root)
    app.router.add_get(PAGE + "{file}", frontpage.get_file)
    app.router.add_get("/comfybridge/ws", _watching)
    app.router.add_get("/metrics", get_metrics)
    app.router.add_get("/health", get_health)
    app.router.add_get("/ready", get_ready)
    app.router.add_get("/api/jobs", prompts.get_jobs)
    app.router.add_get("/api/jobs/{job_id}", prompts.get_job)
    app.router.add_get("/{path:.*}", _not_found)
    app.cleanup_ctx.append(_running)
    return app


async def _running(app: web.Application) -> AsyncIterator[None]:
    state = app[STATE]
    await state.pool.open()
    await state.signing.refresh(state.pool)
    await asyncio.to_thread(state.offering.first_look)
    offering = state.offering.run(state.pool, state.fleet)
    own = (state.hub.run(), state.notices.run(), watch(state), offering)
    loops = [asyncio.create_task(loop) for loop in (*own, *(begun() for begun in app[LOOPS]))]
    for task in loops:
        task.add_done_callback(_broken)
    yield
    await _ended(loops)
    await state.pool.close()


async def _ended(tasks: Collection["asyncio.Task[None]"]) -> None:
    """Cancel them until they are: before Python 3.12 ``asyncio.wait_for``, a pool's too, may lose a cancellation."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_AGAIN_S)


def _broken(task: "asyncio.Task[None]") -> None:
    """A gateway that no longer hears or tells is of no use; whoever started it starts it again."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        logger.error("the gateway broke", exc_info=fault)
        asyncio.get_running_loop().stop()


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    if addresses.is_foreign_origin(request.headers.get("Host", ""), request.headers.get("Origin", "")):
        return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    try:
        return await handler(request)
    except Malformed as exc:
        return _malformed(str(exc))
    except (psycopg.DataError, UnicodeEncodeError, RecursionError) as exc:
        # An id with a NUL in it, a graph that is a chain of thousands: nothing that can be looked up or kept.
        logger.warning("%s %s: %s", request.method, request.path, type(exc).__name__)
        return _malformed("the request has texts or numbers that cannot be kept, or is too deep")
    except Busy as exc:
        error = {"type": exc.kind, "message": str(exc), "details": "", "extra_info": {}}
        again = {"Retry-After": str(exc.again_s)}
        return web.json_response({"error": error, "node_errors": {}}, status=exc.status, headers=again)
    except web.HTTPRequestEntityTooLarge:
        largest = request.app[STATE].options.largest_upload
        error = {"type": "too_large", "message": f"This is more than the {largest / 2**20:g} MiB that are taken here."}
        return web.json_response({"error": error}, status=413)
    except DATABASE_FAULTS as exc:
        logger.warning("%s %s: the database is away: %s", request.method, request.path, exc)
        # It may be back already; the other connections of before are as dead as this one.
        await request.app[STATE].pool.check()
        return web.Response(status=503, text="The database is away.", headers={"Retry-After": "2"})
    except StoreAway as exc:
        logger.warning("%s %s: the store is away: %s", request.method, request.path, exc)
        return web.Response(status=503, text="The store is away.", headers={"Retry-After": "2"})


def _malformed(message: str) -> web.Response:
    error = {"type": "invalid_request", "message": message, "details": "", "extra_info": {}}
    return web.json_response({"error": error, "node_errors": {}}, status=400)


async def _socket(request: web.Request) -> web.StreamResponse:
    usable(request.query.get("clientId", ""))
    return await request.app[STATE].hub.handle(request, caller(request).owner)


async def _watching(request: web.Request) -> web.StreamResponse:
    """The page's socket: what changes, progress and previews, of all jobs for admins."""
    return await request.app[STATE].hub.onlookers.handle(request, caller(request))


def _link(state: State, owner: str, seconds: float) -> webhooks.Link:
    """How to make absolute links to an owner's files."""
    base = state.options.public_url.rstrip("/")
    return lambda place: base + links.signed(state, owner, place, seconds=seconds)


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(status=404, body=b"")
