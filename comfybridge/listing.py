"""``/api/jobs``: queue and history in one form (comfy_execution/jobs.py). Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STATUSES = ("pending", "in_progress", "completed", "failed")
CANCELLED = "cancelled"
"""What later versions, and the front ends made for them, call an interrupted job."""
PREVIEWABLE = frozenset({"images", "video", "audio"})
MESH_SUFFIXES = (".obj", ".fbx", ".gltf", ".glb")
END_EVENTS = ("execution_success", "execution_error", "execution_interrupted")
Job = dict[str, Any]


class BadQuery(Exception):
    """ComfyUI refuses the question, in these words."""


def page(jobs: Iterable[Job], query: Mapping[str, str], known: Sequence[str] = STATUSES) -> Job:
    """The answer to a question for some of the jobs, whose statuses are ``known``.

    Raises:
        BadQuery: the question is none.
    """
    wanted = [status.strip().lower() for status in query.get("status", "").split(",") if status.strip()] or known
    sort_by, sort_order = query.get("sort_by", "created_at").lower(), query.get("sort_order", "desc").lower()
    if unknown := [status for status in wanted if status not in known]:
        raise BadQuery(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(known)}")
    if sort_by not in ("created_at", "execution_duration"):
        raise BadQuery("sort_by must be 'created_at' or 'execution_duration'")
    if sort_order not in ("asc", "desc"):
        raise BadQuery("sort_order must be 'asc' or 'desc'")
    try:
        limit = int(query["limit"]) if "limit" in query else None
    except ValueError as exc:
        raise BadQuery("limit must be an integer") from exc
    if limit is not None and limit <= 0:
        raise BadQuery("limit must be a positive integer")
    try:
        offset = max(0, int(query.get("offset", "0")))
    except ValueError as exc:
        raise BadQuery("offset must be an integer") from exc
    found = [job for job in jobs if job["status"] in wanted]
    if workflow_id := query.get("workflow_id"):
        found = [job for job in found if job.get("workflow_id") == workflow_id]
    found.sort(key=_created if sort_by == "created_at" else _duration, reverse=sort_order == "desc")
    shown = found[offset:] if limit is None else found[offset : offset + limit]
    pagination = {
        "offset": offset,
        "limit": limit,
        "total": len(found),
        "has_more": offset + len(shown) < len(found),
    }
    return {"jobs": shown, "pagination": pagination}


def queued(item: Sequence[Any], status: str) -> Job:
    """``item``: as in ``/queue``; status ``pending`` or ``in_progress``."""
    number, prompt_id, _, extra_data, *_ = item
    return _pruned({"id": prompt_id, "status": status, "priority": number, **_origin(extra_data), "outputs_count": 0})


def finished(prompt_id: str, entry: dict[str, Any], *, is_detailed: bool) -> Job:
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
