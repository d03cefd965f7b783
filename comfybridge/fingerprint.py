"""Whether two graphs are the same work: what a job adds to a graph, and what ComfyUI does to one, left aside. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from comfybridge.graph import Prompt

_JOB = re.compile(r"_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")


def fingerprint(prompt: Prompt) -> str:
    """A hash of the nodes, their classes and inputs.

    Titles do not count, nor what ComfyUI notes in nodes that it ran. It writes numbers back in the type of their input,
    so 7 is 7.0 here. The names that pictures are saved under count without the id of the job.
    """
    nodes = {
        node_id: [node.get("class_type"), _plain(without_job(node.get("inputs") or {}))]
        for node_id, node in prompt.items()
    }
    return hashlib.sha256(json.dumps(nodes, sort_keys=True, ensure_ascii=False).encode(errors="replace")).hexdigest()


def without_job(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """A node's inputs, with the name to save under as the template has it."""
    prefix = inputs.get("filename_prefix")
    return {**inputs, "filename_prefix": _JOB.sub("", prefix)} if isinstance(prefix, str) else inputs


def as_submitted(prompt: Prompt) -> dict[str, dict[str, Any]]:
    """The graph of a job as it was before it was that job's: to be run again."""
    kept = ("class_type", "inputs", "_meta")
    return {
        node_id: {
            **{name: node[name] for name in kept if name in node},
            "inputs": without_job(node.get("inputs") or {}),
        }
        for node_id, node in prompt.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
