"""``/prompt``, ``/queue``, ``/history``, ``/interrupt`` and ``/free`` (server.py)."""

import time
import uuid
from typing import Any

from aiohttp import web

from comfybridge.simulator.middleware import Malformed, json_body
from comfybridge.simulator.state import STATE
from comfybridge.validation import validate

SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")
"""Keys of ``extra_data`` that reach the nodes, but neither queue nor history (execution.py)."""
NO_PROMPT = {
    "type": "no_prompt",
    "message": "No prompt provided",
    "details": "No prompt provided",
    "extra_info": {},
}


async def get_prompt(request: web.Request) -> web.Response:
    return web.json_response(request.app[STATE].queue_info())


async def post_prompt(request: web.Request) -> web.Response:
    state = request.app[STATE]
    body = await json_body(request)
    if not isinstance(body, dict | list):
        raise Malformed
    number = _number(request, body)
    if "prompt" not in body or isinstance(body, list):
        return web.json_response({"error": NO_PROMPT, "node_errors": {}}, status=400)
    prompt_id = str(body["prompt_id"]) if "prompt_id" in body else str(uuid.uuid4())
    prompt = body["prompt"]
    try:
        verdict = validate(
            prompt,
            body.get("partial_execution_targets"),
            state.definitions,
            lambda name: state.files.input_path(name).exists(),
        )
    except TypeError as fault:
        raise Malformed from fault
    extra_data = body.get("extra_data", {})
    if not isinstance(extra_data, dict):
        raise Malformed
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    if not verdict.outputs:
        return web.json_response({"error": verdict.error, "node_errors": verdict.node_errors}, status=400)
    secrets = {key: extra_data.pop(key) for key in SECRETS if key in extra_data}
    extra_data["create_time"] = int(time.time() * 1000)
    try:
        state.queue.put((number, prompt_id, prompt, extra_data, verdict.outputs, secrets))
    except TypeError as fault:
        raise Malformed from fault
    return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})


def _number(request: web.Request, body: Any) -> float:
    """Give the prompt its place; the counter moves on for rejected prompts, too."""
    state = request.app[STATE]
    if isinstance(body, dict) and "number" in body:
        try:
            return float(body["number"])
        except (TypeError, ValueError) as fault:
            raise Malformed from fault
    number = state.number
    state.number += 1
    return -number if isinstance(body, dict) and body.get("front") else number


async def get_queue(request: web.Request) -> web.Response:
    queue = request.app[STATE].queue
    return web.json_response(
        {
            "queue_running": [item[:5] for item in queue.running.values()],
            "queue_pending": [item[:5] for item in queue.pending],
        }
    )


async def post_queue(request: web.Request) -> web.Response:
    queue = request.app[STATE].queue
    body = await _mapping(request)
    if body.get("clear"):
        queue.clear()
    try:
        for prompt_id in body.get("delete", ()):
            queue.delete(prompt_id)
    except TypeError as fault:
        # Not a list, or a heap that holds the same number and prompt_id twice.
        raise Malformed from fault
    return web.Response()


async def post_interrupt(request: web.Request) -> web.Response:
    state = request.app[STATE]
    try:
        body = await json_body(request)
    except Malformed:
        body = {}
    if not isinstance(body, dict):
        raise Malformed
    prompt_id = body.get("prompt_id")
    if not prompt_id or prompt_id in state.queue.running:
        state.worker.interrupt()
    return web.Response()


async def post_free(request: web.Request) -> web.Response:
    body = await _mapping(request)
    unload_models, free_memory = bool(body.get("unload_models")), bool(body.get("free_memory"))
    request.app[STATE].worker.free(unload_models=unload_models, free_memory=free_memory)
    return web.Response()


async def get_history(request: web.Request) -> web.Response:
    try:
        max_items = int(request.query["max_items"]) if "max_items" in request.query else None
        offset = int(request.query.get("offset", "-1"))
    except ValueError as fault:
        raise Malformed from fault
    return web.json_response(request.app[STATE].queue.page(max_items, offset))


async def get_history_of(request: web.Request) -> web.Response:
    prompt_id = request.match_info["prompt_id"]
    history = request.app[STATE].queue.history
    return web.json_response({prompt_id: history[prompt_id]} if prompt_id in history else {})


async def post_history(request: web.Request) -> web.Response:
    queue = request.app[STATE].queue
    body = await _mapping(request)
    if body.get("clear"):
        queue.history.clear()
    for prompt_id in body.get("delete", ()):
        queue.history.pop(prompt_id, None)
    return web.Response()


async def _mapping(request: web.Request) -> dict[str, Any]:
    body = await json_body(request)
    if not isinstance(body, dict):
        raise Malformed
    return body
