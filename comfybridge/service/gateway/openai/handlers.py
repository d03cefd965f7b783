"""``/v1/images/generations``, ``/v1/images/edits`` and ``/v1/models``."""

import asyncio
import base64
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from comfybridge import filling, reencoding
from comfybridge.service.gateway import links
from comfybridge.service.gateway.callers import Caller, caller
from comfybridge.service.gateway.openai import drawing, editing, errors, outcomes, reading
from comfybridge.service.gateway.openai.drawing import Asked
from comfybridge.service.gateway.openai.models import Model, Models
from comfybridge.service.gateway.openai.outcomes import Ended
from comfybridge.service.gateway.openai.reading import Wish
from comfybridge.service.gateway.rows import File
from comfybridge.service.gateway.state import STATE, State
from comfybridge.template import Template

MODELS = web.AppKey("models", Models)

_LONGEST_KEY = 200


async def post_generation(request: web.Request) -> web.Response:
    wish = reading.wish(await json_object(request))
    asked = Asked(
        model=wish.model, task="text2image", inputs=wish.inputs, user=wish.user, key=_idempotency_key(request)
    )
    return await _answer(request, wish, asked)


async def post_edit(request: web.Request) -> web.Response:
    fields, files = await _form(request)
    wish = reading.wish(fields)
    task, given = await asyncio.to_thread(editing.files, wish.model, files)
    inputs = replace(wish.inputs, files=given)
    asked = Asked(model=wish.model, task=task, inputs=inputs, user=wish.user, key=_idempotency_key(request))
    return await _answer(request, wish, asked)


async def get_models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [_shown(model) for model in await runnable(request)]})


async def get_model(request: web.Request) -> web.Response:
    name = request.match_info["model"]
    state = request.app[STATE]
    await state.fleet.refresh()
    models, catalogues = request.app[MODELS], state.fleet.catalogues
    return web.json_response(
        _shown(await asyncio.to_thread(models.named, name, drawing.templates(caller(request)), catalogues))
    )


async def runnable(request: web.Request) -> list[Model]:
    """The models that the fleet can run."""
    state = request.app[STATE]
    await state.fleet.refresh()
    models, catalogues = request.app[MODELS], state.fleet.catalogues
    return await asyncio.to_thread(models.runnable, drawing.templates(caller(request)), catalogues)


async def json_object(request: web.Request) -> Mapping[str, Any]:
    try:
        body = await request.json()
    except ValueError as exc:
        raise errors.invalid("The body is not valid JSON.", "请求内容不是有效的 JSON。") from exc
    if not isinstance(body, dict):
        raise errors.invalid("The body must be a JSON object.", "请求内容必须是 JSON 对象。")
    return body


async def _answer(request: web.Request, wish: Wish, asked: Asked) -> web.Response:
    state, who = request.app[STATE], caller(request)
    prompt_ids = await drawing.submit(state, who, request.app[MODELS], asked)
    ends = await drawing.wait(request, state, who.owner, prompt_ids, seconds=wish.timeout_s, stays=bool(asked.key))
    if ends is None:
        raise outcomes.late(prompt_ids, wish.timeout_s)
    drawn = await outcomes.pictures(state.pool, who.owner, ends)
    body = {
        "created": int(time.time()),
        "data": [await _picture(request, state, who, wish, file) for file in drawn],
        "background": "opaque",
        "output_format": wish.format,
        # What OpenAI's answers lack: what was drawn with, to draw it again.
        "model": ends[0].template,
        "seed": seed_of(ends[0]),
        "prompt_ids": list(prompt_ids),
    }
    if asked.inputs.exact is not None:
        body["size"] = "{}x{}".format(*asked.inputs.exact)
    return web.json_response(body)


async def _picture(request: web.Request, state: State, who: Caller, wish: Wish, file: File) -> dict[str, str]:
    is_as_saved = file.mime == f"image/{wish.format}"
    if wish.as_links:
        return {"url": link(request, who.owner, file, form="" if is_as_saved else f"{wish.format};{wish.quality}")}
    try:
        data = await state.store.get_async(file.key)
    except FileNotFoundError as exc:
        raise outcomes.gone(file.filename) from exc
    if not is_as_saved:
        data = await asyncio.to_thread(reencoding.preview, data, wish.format, wish.quality, "")
    return {"b64_json": base64.b64encode(data).decode()}


def link(request: web.Request, owner: str, file: File, *, form: str = "") -> str:
    """An address that opens the picture without a key, for as long as links live; ``form`` is as in ``/view``."""
    state = request.app[STATE]
    place = (file.type, file.subfolder, file.filename)
    path = links.signed(state, owner, place, seconds=min(state.options.link_s, state.keep_s))
    return links.absolute(request, f"{path}&preview={form}" if form else path)


def seed_of(end: Ended) -> int | None:
    """The seed in a job's graph; ``None`` for one without."""
    return filling.as_is(Template(name=end.template, prompt=end.prompt)).seed


def _shown(model: Model) -> dict[str, Any]:
    template = model.template
    return {
        "id": template.name,
        "object": "model",
        # Templates have no such date.
        "created": 0,
        "owned_by": "comfybridge",
        "task": template.task,
        "title": template.title.get("en_US", template.name),
        "description": template.about.get("en_US", ""),
    }


def _idempotency_key(request: web.Request) -> str:
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > _LONGEST_KEY:
        raise errors.invalid(
            f"Idempotency-Key has {len(key)} characters, the limit is {_LONGEST_KEY}.",
            f"Idempotency-Key 有 {len(key)} 个字符，上限为 {_LONGEST_KEY}。",
        )
    return key


async def _form(request: web.Request) -> tuple[dict[str, Any], editing.Given]:
    """The texts and the files of a form, as OpenAI's clients send it."""
    try:
        form = await request.post()
    except ValueError as exc:
        raise errors.invalid("The body is no form.", "请求内容不是表单。") from exc
    fields: dict[str, Any] = {}
    given = editing.Given([], [])
    for name, value in form.items():
        if not isinstance(value, FileField):
            fields[name] = value
            continue
        with value.file:
            data = await asyncio.to_thread(value.file.read)
        plain = name.removesuffix("[]") if name.endswith("[]") else name.partition("[")[0]
        (given.masks if plain == "mask" else given.images).append(editing.picture(data, plain))
    return fields, given
