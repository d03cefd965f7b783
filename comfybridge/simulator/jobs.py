"""``/api/jobs``: queue and history in one form (comfy_execution/jobs.py)."""

from typing import Any

from aiohttp import web

from comfybridge.simulator.prompt_queue import Item, PromptQueue
from comfybridge.simulator.state import STATE

STATUSES = ("pending", "in_progress", "completed", "failed")
PREVIEWABLE = frozenset({"images", "video", "audio"})
MESH_SUFFIXES = (".obj", ".fbx", ".gltf", ".glb")
END_EVENTS = ("execution_success", "execution_error", "execution_interrupted")
Job = dict[str, Any]


async def get_jobs(request: web.Request) -> web.Response:
    query = request.query
    wanted = [status.strip().lower() for status in query.get("status", "").split(",") if status.strip()] or STATUSES
    sort_by, sort_order = query.get("sort_by", "created_at").lower(), query.get("sort_order", "desc").lower()
    if unknown := [status for status in wanted if status not in STATUSES]:
        return _refused(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    if sort_by not in ("created_at", "execution_duration"):
        return _refused("sort_by must be 'created_at' or 'execution_duration'")
    if sort_order not in ("asc", "desc"):
        return _refused("sort_order must be 'asc' or 'desc'")
    try:
        limit = int(query["limit"]) if "limit" in query else None
    except ValueError:
        return _refused("limit must be an integer")
    if limit is not None and limit <= 0:
        return _refused("limit must be a positive integer")
    try:
        offset = max(0, int(query.get("offset", "0")))
    except ValueError:
        return _refused("offset must be an integer")
    jobs = [job for job in _all(request.app[STATE].queue) if job["status"] in wanted]
    if workflow_id := query.get("workflow_id"):
        jobs = [job for job in jobs if job.get("workflow_id") == workflow_id]
    key = _created if sort_by == "created_at" else _duration
    jobs.sort(key=key, reverse=sort_order == "desc")
    page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
    pagination = {
        "offset": offset,
        "limit": limit,
        "total": len(jobs),
        "has_more": offset + len(page) < len(jobs),
    }
    return web.json_response({"jobs": page, "pagination": pagination})


async def get_job(request: web.Request) -> web.Response:
    job_id = request.match_info["job_id"]
    queue = request.app[STATE].queue
    if job_id in queue.history:
        return web.json_response(_finished(job_id, queue.history[job_id], is_detailed=True))
    job = next((job for job in _all(queue) if job["id"] == job_id), None)
    return web.json_response({"error": "Job not found"}, status=404) if job is None else web.json_response(job)


def _all(queue: PromptQueue) -> list[Job]:
    return [
        *(_queued(item, "in_progress") for item in queue.running.values()),
        *(_queued(item, "pending") for item in queue.pending),
        *(_finished(prompt_id, entry, is_detailed=False) for prompt_id, entry in queue.history.items()),
    ]


def _queued(item: Item, status: str) -> Job:
    number, prompt_id, _, extra_data, _, _ = item
    return _pruned({"id": prompt_id, "status": status, "priority": number, **_origin(extra_data), "outputs_count": 0})


def _finished(prompt_id: str, entry: dict[str, Any], *, is_detailed: bool) -> Job:
    number, _, prompt, extra_data, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    end: Job = next((messages[event] for event in END_EVENTS if event in messages), {})
    count, preview = _summary(entry["outputs"])
    job = _pruned(
        {
            "id": prompt_id,
            "status": "completed" if entry["status"]["status_str"] == "success" else "failed",
            "priority": number,
            **_origin(extra_data),
            "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
            "execution_end_time": end.get("timestamp"),
            "execution_error": messages.get("execution_error"),
            "outputs_count": count,
            "preview_output": preview,
        }
    )
    if is_detailed:
        job["outputs"] = entry["outputs"]
        job["execution_status"] = entry["status"]
        job["workflow"] = {"prompt": prompt, "extra_data": extra_data}
    return job


def _origin(extra_data: dict[str, Any]) -> Job:
    workflow = (extra_data.get("extra_pnginfo") or {}).get("workflow") or {}
    return {"create_time": extra_data.get("create_time"), "workflow_id": workflow.get("id")}


def _summary(outputs: dict[str, Any]) -> tuple[int, Job | None]:
    """Count the output items, and choose one to show: the first kept one, else the first there is."""
    found = [
        (media, {**item, "nodeId": node_id, "mediaType": media})
        for node_id, output in outputs.items()
        for media, items in output.items()
        if media != "animated"
        for item in items
        if isinstance(item, dict)
    ]
    shown = [item for media, item in found if _is_previewable(media, item)]
    kept = [item for item in shown if item.get("type") == "output"]
    return len(found), next(iter(kept or shown), None)


def _is_previewable(media: str, item: Job) -> bool:
    if media in PREVIEWABLE or str(item.get("format", "")).startswith(("video/", "audio/")):
        return True
    return str(item.get("filename", "")).lower().endswith(MESH_SUFFIXES)


def _created(job: Job) -> int:
    return int(job.get("create_time", 0))


def _duration(job: Job) -> int:
    start, end = job.get("execution_start_time", 0), job.get("execution_end_time", 0)
    return end - start if start and end else 0


def _pruned(job: Job) -> Job:
    return {key: value for key, value in job.items() if value is not None}


def _refused(message: str) -> web.Response:
    return web.json_response({"error": message}, status=400)
