"""``/api/jobs``: queue and history in one form."""

from aiohttp import web

from comfybridge import listing
from comfybridge.simulator.prompt_queue import PromptQueue
from comfybridge.simulator.state import STATE


async def get_jobs(request: web.Request) -> web.Response:
    try:
        return web.json_response(listing.page(_all(request.app[STATE].queue), request.query))
    except listing.BadQuery as refusal:
        return web.json_response({"error": str(refusal)}, status=400)


async def get_job(request: web.Request) -> web.Response:
    job_id = request.match_info["job_id"]
    queue = request.app[STATE].queue
    if job_id in queue.history:
        return web.json_response(listing.finished(job_id, queue.history[job_id], is_detailed=True))
    job = next((job for job in _all(queue) if job["id"] == job_id), None)
    return web.json_response({"error": "Job not found"}, status=404) if job is None else web.json_response(job)


def _all(queue: PromptQueue) -> list[listing.Job]:
    return [
        *(listing.queued(item, "in_progress") for item in queue.running.values()),
        *(listing.queued(item, "pending") for item in queue.pending),
        *(listing.finished(prompt_id, entry, is_detailed=False) for prompt_id, entry in queue.history.items()),
    ]
