"""``/prompt``, ``/queue``, ``/history``, ``/interrupt``, ``/free`` and ``/api/jobs``."""

from typing import Any

from aiohttp import web

from comfybridge import listing
from comfybridge.messages import ASK_FOR_LINKS
from comfybridge.service.gateway import links, places, rows, shapes
from comfybridge.service.gateway.accepting import Refused, accept
from comfybridge.service.gateway.backlog import take_turn
from comfybridge.service.gateway.bodies import Malformed, json_of, object_of
from comfybridge.service.gateway.callers import admins_only, caller
from comfybridge.service.gateway.state import STATE

_AT_ONCE = 100
"""Entries of the queue that are held in memory."""
_FARTHEST = 2**31 - 1


async def get_prompt(request: web.Request) -> web.Response:
    remaining = await rows.remaining(request.app[STATE].pool, caller(request).owner)
    return web.json_response({"exec_info": {"queue_remaining": remaining}})


async def post_prompt(request: web.Request) -> web.Response:
    await take_turn(request.app[STATE].pool, caller(request))
    try:
        accepted = await accept(request.app[STATE], caller(request), await json_of(request))
    except Refused as refusal:
        return web.json_response(refusal.body, status=400)
    number = int(accepted.number) if accepted.number.is_integer() else accepted.number
    return web.json_response({"prompt_id": accepted.prompt_id, "number": number, "node_errors": accepted.node_errors})


async def get_queue(request: web.Request) -> web.StreamResponse:
    """Answer with all graphs that wait, which may be many: a few at a time are read and sent."""
    pool, owner = request.app[STATE].pool, caller(request).owner
    running, pending = await rows.queue(pool, owner)
    answer = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    await answer.prepare(request)
    if request.method == "HEAD":
        return answer
    for opening, prompt_ids in (('{"queue_running": [', running), ('], "queue_pending": [', pending)):
        await answer.write(opening.encode())
        for at in range(0, len(prompt_ids), _AT_ONCE):
            items = await rows.items(pool, owner, prompt_ids[at : at + _AT_ONCE])
            await answer.write(((", " if at else "") + ", ".join(items)).encode())
    await answer.write(b"]}")
    return answer


async def post_queue(request: web.Request) -> web.Response:
    state, owner = request.app[STATE], caller(request).owner
    body = await object_of(request)
    if body.get("clear"):
        await rows.delete(state.pool, owner, None, keep_s=state.keep_s)
    if prompt_ids := _ids(body):
        await rows.delete(state.pool, owner, prompt_ids, keep_s=state.keep_s)
    return web.Response()


async def post_interrupt(request: web.Request) -> web.Response:
    try:
        body = await object_of(request)
    except Malformed:
        body = {}
    prompt_id = body.get("prompt_id")
    await rows.interrupt(request.app[STATE].pool, caller(request).owner, str(prompt_id) if prompt_id else None)
    return web.Response()


async def post_free(request: web.Request) -> web.Response:
    if not caller(request).is_admin:
        return admins_only()
    body = await object_of(request)
    await rows.free(
        request.app[STATE].pool,
        unload_models=bool(body.get("unload_models")),
        free_memory=bool(body.get("free_memory")),
    )
    return web.Response()


async def get_history(request: web.Request) -> web.Response:
    try:
        newest = int(request.query["max_items"]) if "max_items" in request.query else None
        offset = min(int(request.query.get("offset", "-1")), _FARTHEST)
    except ValueError as exc:
        raise Malformed("max_items and offset are numbers") from exc
    owner = caller(request).owner
    if newest is not None and newest <= 0:
        return web.json_response({})
    jobs = await rows.ended_jobs(request.app[STATE].pool, owner, newest=newest, skip=offset if offset >= 0 else None)
    return web.json_response({job.prompt_id: _entry(request, job) for job in jobs})


async def get_history_of(request: web.Request) -> web.Response:
    state, owner, prompt_id = request.app[STATE], caller(request).owner, request.match_info["prompt_id"]
    job = state.hub.recent.job(owner, prompt_id) or await rows.job(state.pool, owner, prompt_id)
    if job is None or job.state != "ended" or job.is_hidden:
        return web.json_response({})
    return web.json_response({job.prompt_id: _entry(request, job)})


def _entry(request: web.Request, job: rows.Job) -> dict[str, Any]:
    """What ComfyUI tells; and links to the files, new ones each time, for who asks for them."""
    entry = shapes.entry(job)
    if any(request.headers.get(name) != value for name, value in ASK_FOR_LINKS.items()):
        return entry
    state, owner = request.app[STATE], caller(request).owner

    def link(place: places.Place) -> str:
        return links.absolute(request, links.signed(state, owner, place, seconds=state.options.link_s))

    return shapes.with_links(entry, link)


async def post_history(request: web.Request) -> web.Response:
    state, owner = request.app[STATE], caller(request).owner
    body = await object_of(request)
    if body.get("clear"):
        await rows.hide(state.pool, owner, None)
    if prompt_ids := _ids(body):
        await rows.hide(state.pool, owner, prompt_ids)
    state.hub.recent.forget()
    return web.Response()


async def get_jobs(request: web.Request) -> web.Response:
    pool, owner = request.app[STATE].pool, caller(request).owner
    jobs = [*await rows.open_jobs(pool, owner), *await rows.ended_jobs(pool, owner, in_brief=True)]
    # Who asks for them by name is of a later version than the others.
    is_later = listing.CANCELLED in request.query.get("status", "").lower()
    listed = map(shapes.listed_later if is_later else shapes.listed, jobs)
    known = (*listing.STATUSES, *((listing.CANCELLED,) if is_later else ()))
    try:
        return web.json_response(listing.page(listed, request.query, known))
    except listing.BadQuery as refusal:
        return web.json_response({"error": str(refusal)}, status=400)


async def get_job(request: web.Request) -> web.Response:
    job = await rows.job(request.app[STATE].pool, caller(request).owner, request.match_info["job_id"])
    if job is None or (job.state == "ended" and job.is_hidden):
        return web.json_response({"error": "Job not found"}, status=404)
    return web.json_response(shapes.detailed(job))


def _ids(body: dict[str, Any]) -> list[str]:
    wanted = body.get("delete", [])
    if not isinstance(wanted, list):
        raise Malformed("delete is a list of ids")
    return [str(prompt_id) for prompt_id in wanted]
