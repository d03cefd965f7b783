"""Rows in the shapes of ComfyUI's answers. Pure."""

from collections.abc import Callable
from typing import Any

from comfybridge import listing
from comfybridge.messages import LINK
from comfybridge.service.gateway.places import Place
from comfybridge.service.gateway.rows import Job


def item(job: Job) -> list[Any]:
    """An entry of ``/queue``, and the ``prompt`` of one in ``/history``."""
    return [number(job), job.prompt_id, job.prompt, job.extra_data, job.targets]


def number(job: Job) -> float:
    """A whole one without a point, as ComfyUI counts."""
    return int(job.number) if job.number.is_integer() else job.number


def entry(job: Job) -> dict[str, Any]:
    """What ``/history`` says of an ended job."""
    return {"prompt": item(job), **(job.history or {})}


def with_links(entry: dict[str, Any], link: Callable[[Place], str]) -> dict[str, Any]:
    """An entry of ``/history`` whose files have a link each."""

    def linked(item: Any) -> Any:
        if not isinstance(item, dict) or not isinstance(item.get("filename"), str):
            return item
        place = (str(item.get("type", "output")), str(item.get("subfolder", "")), item["filename"])
        return {**item, LINK: link(place)}

    outputs = {
        node_id: {name: [linked(item) for item in of] if isinstance(of, list) else of for name, of in output.items()}
        for node_id, output in (entry.get("outputs") or {}).items()
    }
    return {**entry, "outputs": outputs}


def listed(job: Job) -> listing.Job:
    """What ``/api/jobs`` says of a job among others."""
    if job.state == "ended":
        return listing.finished(job.prompt_id, entry(job), is_detailed=False)
    return listing.queued(item(job), "in_progress" if job.state == "running" else "pending")


def detailed(job: Job) -> listing.Job:
    """What ``/api/jobs/{id}`` says."""
    return listing.finished(job.prompt_id, entry(job), is_detailed=True) if job.state == "ended" else listed(job)
