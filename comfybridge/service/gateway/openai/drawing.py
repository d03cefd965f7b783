"""A wish becomes jobs of the queue; then wait for their ends, as long as somebody listens, and find what they made."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from aiohttp import web

from comfybridge import filling, library, preflight
from comfybridge.errors import InvalidInput
from comfybridge.filling import Filled, Inputs
from comfybridge.idempotency import MOST_ATTEMPTS, Key, key
from comfybridge.library import Named
from comfybridge.service.catalogue import Classes
from comfybridge.service.gateway import rows, upload
from comfybridge.service.gateway.accepting import Refused, accept
from comfybridge.service.gateway.backlog import take_turn
from comfybridge.service.gateway.callers import Caller
from comfybridge.service.gateway.openai import errors
from comfybridge.service.gateway.openai.errors import ApiError
from comfybridge.service.gateway.openai.models import Model, Models, full_name, is_default, task_of
from comfybridge.service.gateway.openai.outcomes import Ended, ended
from comfybridge.service.gateway.state import State
from comfybridge.service.supervised import DATABASE_FAULTS
from comfybridge.template import FROM_PICTURES, Template

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
_LISTENS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be drawn: ``model`` as the caller names it, ``task`` for when that leaves the choice to us."""

    model: str
    task: str
    inputs: Inputs
    user: str
    key: str
    """What a repeated request is known by; empty for none."""


def templates(state: State, caller: Caller, user: str = "") -> Sequence[Template]:
    """Those that this caller may use, of each name the one first that he gets: where all models come from."""
    offering = state.offering
    assigned = [offering.version(name, caller, user) for name in offering.held.versions]
    given = [
        library.find(each.name) if each.is_built_in else offering.graphs.get(each.full_name)
        for each in assigned
        if each is not None
    ]
    known = [each for each in (*given, *offering.graphs.values(), *library.templates()) if each is not None]
    return [each for each in known if caller.templates is None or each.base_name in caller.templates]


async def submit(state: State, caller: Caller, models: Models, asked: Asked) -> tuple[str, ...]:
    """Queue what is asked for, all of it or nothing; with a key the jobs are those of the first request.

    Raises:
        ApiError: it cannot be drawn as it was asked for.
        Busy: too much waits already, or this caller asked too often.
    """
    await state.fleet.refresh()
    known, attempt = None, 0
    named = _key(caller, asked) if asked.key else None
    if named is not None:
        known, attempt = await _known(state, caller, named)
    if known is not None:
        return known
    await take_turn(state.pool, caller)
    model, filled = await asyncio.to_thread(
        _filled, models, asked, templates(state, caller, asked.user), state.fleet.catalogues
    )
    for file in filled[0].files:
        # Where an upload of the caller's would be.
        await upload.keep(state, caller.owner, ("input", "", file.name), file.data, file.media.mime)
    prompt_ids = tuple(named.prompt_id(run, attempt) if named else str(uuid4()) for run in range(len(filled)))
    own = {"template": full_name(model.template), "runs": len(filled)}
    own |= {"user": asked.user} if asked.user else {}
    own |= {"wishes": named.wishes} if named else {}
    is_complete = False
    try:
        for prompt_id, graph in zip(prompt_ids, filled, strict=True):
            await _accept(state, caller, prompt_id, graph, own, model.definitions)
        is_complete = True
    finally:
        if not is_complete:
            await rows.delete(state.pool, caller.owner, prompt_ids, keep_s=state.keep_s)
    return prompt_ids


async def wait(
    request: web.Request, state: State, owner: str, prompt_ids: tuple[str, ...], *, seconds: float, stays: bool
) -> list[Ended] | None:
    """Wait for the jobs' ends; ``None`` when the time is over.

    When the client is gone, what still waits is taken out of the queue, unless it ``stays``.
    """
    deadline = time.monotonic() + seconds
    with state.hub.endings.heard(prompt_ids) as news:
        while True:
            news.clear()
            look_again = time.monotonic() + _LOOK_EVERY_S
            try:
                found = await ended(state.pool, owner, prompt_ids)
            except DATABASE_FAULTS as exc:
                # The jobs are safe there; it is asked again.
                logger.warning("prompts %s: the database is away: %s", ", ".join(prompt_ids), exc)
                found = None
            if found is not None:
                return found
            while not news.is_set() and (now := time.monotonic()) < min(look_again, deadline):
                try:
                    async with asyncio.timeout(min(_LISTENS_EVERY_S, look_again - now, deadline - now)):
                        await news.wait()
                except TimeoutError:
                    if not stays and _is_gone(request):
                        await rows.delete(state.pool, owner, prompt_ids, keep_s=state.keep_s)
                        raise ApiError(499, "The client is gone.", "客户端已断开连接。") from None
            if time.monotonic() >= deadline and not news.is_set():
                return None


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _filled(
    models: Models, asked: Asked, known: Sequence[Template], catalogues: Mapping[str, Classes]
) -> tuple[Model, tuple[Filled, ...]]:
    if is_default(asked.model):
        model = models.default(asked.task, asked.inputs.files, known, catalogues)
    else:
        model = models.named(asked.model, known, catalogues)
        _check_task(asked, model.template)
    inputs = replace(asked.inputs, model=model.file)
    if not model.template.roles(model.definitions)["positive"]:
        # OpenAI's clients cannot leave it out.
        inputs = replace(inputs, positive=None, negative=None)
    try:
        return model, filling.fill(model.template, inputs, model.definitions)
    except InvalidInput as exc:
        raise errors.of(exc) from exc


def _check_task(asked: Asked, template: Template) -> None:
    if not asked.inputs.files and task_of(template) in FROM_PICTURES:
        raise errors.invalid(
            f"The model '{template.name}' draws from a picture: send one to /v1/images/edits, or name another model.",
            f"模型“{template.name}”需要输入图片：请改用 /v1/images/edits，或改用其他模型。",
            param="model",
        )


async def _accept(
    state: State, caller: Caller, prompt_id: str, graph: Filled, own: Mapping[str, Any], definitions: Classes
) -> None:
    prompt = replace(graph, saves_anew=True).saved_under(prompt_id)
    # Nobody is shown previews; not making them saves a decode for every step.
    extra_data = {"preview_method": "none", "comfybridge": dict(own)}
    body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": "", "extra_data": extra_data}
    try:
        accepted = await accept(state, caller, body)
    except Refused as refusal:
        raise _refused(refusal.body, graph, definitions) from refusal
    if accepted.node_errors:
        raise _refused({"node_errors": accepted.node_errors}, graph, definitions)


def _refused(body: Mapping[str, Any], graph: Filled, definitions: Classes) -> ApiError:
    return errors.invalid(*preflight.sentences(preflight.explain(body, graph.prompt, definitions)))


def _key(caller: Caller, asked: Asked) -> Key:
    return key("openai", caller.owner, asked.key, Named(asked.model, asked.task), asked.inputs)


async def _known(state: State, caller: Caller, named: Key) -> tuple[tuple[str, ...] | None, int]:
    """The key's jobs, or ``None`` and how many attempts have failed before."""
    for attempt in range(MOST_ATTEMPTS):
        first = await rows.job(state.pool, caller.owner, named.prompt_id(0, attempt))
        if first is None:
            return None, attempt
        own = first.extra_data.get("comfybridge") or {}
        if own.get("wishes") != named.wishes:
            raise errors.invalid(
                "This Idempotency-Key was used before with other parameters: use a new key for a new picture.",
                "该 Idempotency-Key 已用于其他参数：新的图片请使用新的键。",
                code="idempotency_key_reused",
            )
        prompt_ids = tuple(named.prompt_id(run, attempt) for run in range(int(own.get("runs", 1))))
        found = await ended(state.pool, caller.owner, prompt_ids)
        if found is None or all(end.outcome == "succeeded" for end in found):
            return prompt_ids, attempt
    raise errors.invalid(
        f"{MOST_ATTEMPTS} jobs of this Idempotency-Key have failed: use a new key.",
        f"该 Idempotency-Key 已有 {MOST_ATTEMPTS} 个任务失败：请使用新的键。",
        code="idempotency_key_used_up",
    )
