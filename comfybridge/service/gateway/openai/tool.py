"""Pictures for agents, ``/comfybridge/images``, and the document that describes it: ``/openapi.json``."""

import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from comfybridge.service.gateway import links, rows
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.openai import answering, drawing, errors, handlers, outcomes, reading
from comfybridge.service.gateway.openai.document import MOST_AT_ONCE, document
from comfybridge.service.gateway.openai.drawing import Asked
from comfybridge.service.gateway.openai.errors import ApiError
from comfybridge.service.gateway.openai.outcomes import Ended
from comfybridge.service.gateway.state import STATE

_PATIENCE_S = 50.0
"""Dify waits a minute for a custom tool."""
_MOST_IDS = 10


async def get_document(request: web.Request) -> web.Response:
    address = links.absolute(request, "")
    models = await handlers.runnable(request)
    return web.json_response(document(address, models))


async def post_image(request: web.Request) -> web.Response:
    given = await handlers.json_object(request)
    if str(given.get("n") or 1).strip() not in map(str, range(1, MOST_AT_ONCE + 1)):
        raise errors.invalid(f"n must be 1 to {MOST_AT_ONCE}.", f"n 必须为 1 到 {MOST_AT_ONCE}。", param="n")
    wish = reading.wish({"timeout": _PATIENCE_S, **given})
    state, who = request.app[STATE], caller(request)
    asked = Asked(model=wish.model, task="text2image", inputs=wish.inputs, user=wish.user, key="")
    prompt_ids = await drawing.submit(state, who, request.app[answering.MODELS], asked)
    # What is asked for later must not go with the connection.
    ends = await drawing.wait(request, state, who.owner, prompt_ids, seconds=wish.timeout_s, stays=True)
    return await _answer(request, prompt_ids, ends)


async def get_image(request: web.Request) -> web.Response:
    """How far the jobs of a call are; several ids with commas between them."""
    state, who = request.app[STATE], caller(request)
    prompt_ids = tuple(filter(None, re.split(r"[\s,]+", request.match_info["prompt_id"])))[:_MOST_IDS]
    for prompt_id in prompt_ids:
        if await rows.job(state.pool, who.owner, prompt_id) is None:
            raise ApiError(
                404,
                f"There is no job {prompt_id[:60]}, or it has expired.",
                f"没有任务 {prompt_id[:60]}，或任务已过期。",
                param="prompt_id",
            )
    return await _answer(request, prompt_ids, await outcomes.ended(state.pool, who.owner, prompt_ids))


async def _answer(request: web.Request, prompt_ids: Sequence[str], ends: list[Ended] | None) -> web.Response:
    state, who = request.app[STATE], caller(request)
    prompt_id = ",".join(prompt_ids)
    if ends is None:
        jobs = [await rows.job(state.pool, who.owner, each) for each in prompt_ids]
        is_running = any(job is not None and job.state in ("running", "ended") for job in jobs)
        message = f"Not finished yet: ask get_image with prompt_id {prompt_id} in a little while."
        return web.json_response(
            {"status": "running" if is_running else "queued", "prompt_id": prompt_id, "message": message}
        )
    drawn = await outcomes.pictures(state.pool, who.owner, ends)
    addresses = [answering.link(request, file) for file in drawn]
    body: dict[str, Any] = {
        "status": "succeeded",
        "prompt_id": prompt_id,
        "markdown": "\n".join(f"![picture]({address})" for address in addresses),
        "images": addresses,
        "model": ends[0].template if ends else "",
        # As text: agents read large numbers as fractions.
        "seed": str(answering.seed_of(ends[0])) if ends else "",
    }
    return web.json_response(body)
