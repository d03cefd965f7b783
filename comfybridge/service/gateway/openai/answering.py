"""The answer to a request for pictures: all at once, or a stream that says while it waits that it does."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from aiohttp import web

from comfybridge import filling, reencoding
from comfybridge.service.gateway import links
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.openai import drawing, errors, outcomes
from comfybridge.service.gateway.openai.drawing import Asked
from comfybridge.service.gateway.openai.errors import ApiError
from comfybridge.service.gateway.openai.models import Models
from comfybridge.service.gateway.openai.outcomes import Ended
from comfybridge.service.gateway.openai.reading import Wish
from comfybridge.service.gateway.rows import File
from comfybridge.service.gateway.state import STATE
from comfybridge.service.store import StoreAway
from comfybridge.service.supervised import DATABASE_FAULTS
from comfybridge.template import Template

_Drawn: TypeAlias = tuple[Mapping[str, Any], Sequence[Mapping[str, str]]]
"""What is told of all pictures, and each of them."""

MODELS = web.AppKey("models", Models)

_STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_SIGN_OF_LIFE = b": waiting\n\n"
_ALIVE_EVERY_S = 10.0
"""So that proxies do not take the connection for a dead one."""


async def answer(request: web.Request, wish: Wish, asked: Asked, kind: str) -> web.StreamResponse:
    """Draw what is asked for; ``kind`` is what OpenAI calls the events of it."""
    state, who = request.app[STATE], caller(request)
    prompt_ids = await drawing.submit(state, who, request.app[MODELS], asked)
    if wish.stream:
        return await _streamed(request, wish, asked, prompt_ids, kind)
    facts, pictures = await _drawn(request, wish, asked, prompt_ids)
    return web.json_response({"created": int(time.time()), "data": pictures, **facts})


async def _streamed(
    request: web.Request, wish: Wish, asked: Asked, prompt_ids: tuple[str, ...], kind: str
) -> web.StreamResponse:
    """Send an event for each picture that is done; unfinished ones are not shown, which OpenAI leaves open."""
    response = web.StreamResponse(headers=_STREAM)
    await response.prepare(request)
    drawing_it = asyncio.create_task(_drawn(request, wish, asked, prompt_ids))
    try:
        while not (await asyncio.wait({drawing_it}, timeout=_ALIVE_EVERY_S))[0]:
            await response.write(_SIGN_OF_LIFE)
        for event in _events(request, drawing_it, kind):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    except ConnectionError:
        # Whoever waits for the jobs notices that as well, and takes them back.
        await asyncio.wait({drawing_it})
    return response


def _events(request: web.Request, done: "asyncio.Task[_Drawn]", kind: str) -> Iterator[dict[str, Any]]:
    try:
        facts, pictures = done.result()
    except ApiError as exc:
        yield {"type": "error", "error": errors.body(request, exc)}
    except (*DATABASE_FAULTS, StoreAway):
        away = ApiError(503, "The service is busy: try again later.", "服务繁忙，请稍后再试。")
        yield {"type": "error", "error": errors.body(request, away)}
    else:
        for each in pictures:
            yield {"type": f"{kind}.completed", "created_at": int(time.time()), "quality": "auto", **facts, **each}


async def _drawn(request: web.Request, wish: Wish, asked: Asked, prompt_ids: tuple[str, ...]) -> _Drawn:
    state, owner = request.app[STATE], caller(request).owner
    ends = await drawing.wait(request, state, owner, prompt_ids, seconds=wish.timeout_s, stays=bool(asked.key))
    if ends is None:
        raise outcomes.late(prompt_ids, wish.timeout_s)
    drawn = await outcomes.pictures(state.pool, owner, ends)
    size = {"size": "{}x{}".format(*asked.inputs.exact)} if asked.inputs.exact is not None else {}
    facts = {
        "background": "opaque",
        "output_format": wish.format,
        **size,
        # What OpenAI's answers lack: what was drawn with, to draw it again.
        "model": ends[0].template,
        "seed": seed_of(ends[0]),
        "prompt_ids": list(prompt_ids),
    }
    return facts, [await _picture(request, wish, file) for file in drawn]


async def _picture(request: web.Request, wish: Wish, file: File) -> dict[str, str]:
    is_as_saved = file.mime == f"image/{wish.format}"
    if wish.as_links:
        return {"url": link(request, file, form="" if is_as_saved else f"{wish.format};{wish.quality}")}
    try:
        data = await request.app[STATE].store.get_async(file.key)
    except FileNotFoundError as exc:
        raise outcomes.gone(file.filename) from exc
    if not is_as_saved:
        try:
            data = await request.app[STATE].draw(reencoding.preview, data, wish.format, wish.quality, "")
        except reencoding.NoPicture as exc:
            raise outcomes.gone(file.filename) from exc
    return {"b64_json": base64.b64encode(data).decode()}


def link(request: web.Request, file: File, *, form: str = "") -> str:
    """An address that opens the picture without a key, for as long as links live; ``form`` is as in ``/view``."""
    state = request.app[STATE]
    place = (file.type, file.subfolder, file.filename)
    path = links.signed(state, caller(request).owner, place, seconds=min(state.options.link_s, state.keep_s))
    return links.absolute(request, f"{path}&preview={form}" if form else path)


def seed_of(end: Ended) -> int | None:
    """The seed in a job's graph; ``None`` for one without."""
    return filling.as_is(Template(name=end.template, prompt=end.prompt)).seed
