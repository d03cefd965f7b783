"""``/v1/images/generations``, ``/v1/images/edits`` and ``/v1/models``."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from comfybridge import reencoding
from comfybridge.service.gateway import bodies
from comfybridge.service.gateway.bodies import Malformed
from comfybridge.service.gateway.callers import caller
from comfybridge.service.gateway.openai import answering, drawing, editing, errors, reading
from comfybridge.service.gateway.openai.drawing import Asked
from comfybridge.service.gateway.openai.models import Model, task_of
from comfybridge.service.gateway.state import STATE

_LONGEST_KEY = 200


async def post_generation(request: web.Request) -> web.StreamResponse:
    wish = reading.wish(await json_object(request))
    asked = Asked(
        model=wish.model, task="text2image", inputs=wish.inputs, user=wish.user, key=_idempotency_key(request)
    )
    return await answering.answer(request, wish, asked, "image_generation")


async def post_edit(request: web.Request) -> web.StreamResponse:
    fields, files = await _form(request)
    wish = reading.wish(fields)
    state = request.app[STATE]
    try:
        task, given = await state.draw(
            editing.files, wish.model, files, drawing.templates(state, caller(request), wish.user)
        )
    except reencoding.NoPicture as exc:
        raise errors.invalid("A picture is broken.", "图片已损坏。", param="image") from exc
    inputs = replace(wish.inputs, files=given)
    asked = Asked(model=wish.model, task=task, inputs=inputs, user=wish.user, key=_idempotency_key(request))
    return await answering.answer(request, wish, asked, "image_edit")


async def get_models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [_shown(model) for model in await runnable(request)]})


async def get_model(request: web.Request) -> web.Response:
    name = request.match_info["model"]
    state = request.app[STATE]
    await state.fleet.refresh()
    models, catalogues = request.app[answering.MODELS], state.fleet.catalogues
    return web.json_response(
        _shown(await asyncio.to_thread(models.named, name, drawing.templates(state, caller(request)), catalogues))
    )


async def runnable(request: web.Request) -> list[Model]:
    """The models that the fleet can run."""
    state = request.app[STATE]
    await state.fleet.refresh()
    models, catalogues = request.app[answering.MODELS], state.fleet.catalogues
    return await asyncio.to_thread(models.runnable, drawing.templates(state, caller(request)), catalogues)


async def json_object(request: web.Request) -> Mapping[str, Any]:
    try:
        return await bodies.object_of(request)
    except Malformed as exc:
        raise errors.invalid(f"The request cannot be read: {exc}.", "请求内容必须是有效的 JSON 对象。") from exc


def _shown(model: Model) -> dict[str, Any]:
    template = model.template
    return {
        "id": template.base_name,
        "object": "model",
        # Templates have no such date.
        "created": 0,
        "owned_by": "comfybridge",
        "task": task_of(template),
        "title": template.title.get("en_US", template.base_name),
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
        form = await bodies.form_of(request)
    except Malformed as exc:
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
