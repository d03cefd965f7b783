"""How jobs end that no ComfyUI told the end of, and what the others' histories say. Pure."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from comfybridge.errors import ComfyError
from comfybridge.service.finishing import End, Kept


def without_comfyui(
    prompt_id: str, error: ComfyError, outputs: Mapping[str, Any] | None = None, files: Sequence[Kept] = ()
) -> End:
    """An end in ComfyUI's shape of a failed prompt, so that every client understands it.

    ``outputs`` and their ``files`` are what its client has been shown before.
    """
    now = int(time.time() * 1000)
    failure = {
        "prompt_id": prompt_id,
        "node_id": "",
        "node_type": "",
        "executed": [],
        "exception_message": f"{error}\n",
        "exception_type": f"comfybridge.{type(error).__name__}",
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
        "timestamp": now,
    }
    messages = [
        ["execution_start", {"prompt_id": prompt_id, "timestamp": now}],
        ["execution_error", failure],
    ]
    status = {"status_str": "error", "completed": False, "messages": messages}
    history = {"outputs": dict(outputs or {}), "status": status, "meta": {}}
    return End(outcome=error.outcome, history=history, reason=(str(error), error.zh), files=files)


def removed(error: ComfyError) -> End:
    """The end of a job that was taken out of the queue: ComfyUI tells nothing of such a one."""
    return End(outcome="cancelled", reason=(str(error), error.zh))


def without_prompt(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a ComfyUI's history says of a job, less the graph: that of the job's row is the caller's own."""
    return {name: entry.get(name) or {} for name in ("outputs", "status", "meta")}


def gpu_seconds(entry: Mapping[str, Any]) -> float:
    """From start to end by the server's own clock; 0 where it does not say."""
    stamps = [
        data["timestamp"]
        for _, data in (entry.get("status") or {}).get("messages") or ()
        if isinstance(data, Mapping) and isinstance(data.get("timestamp"), int | float)
    ]
    return (max(stamps) - min(stamps)) / 1000 if stamps else 0.0
