"""What real servers said, and graphs as ComfyUI exported them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"

FRAMES: dict[str, list[dict[str, Any]]] = json.loads((_DATA / "frames.json").read_text(encoding="utf-8"))
"""Recording -> the text frames of its sockets, in order, as ``{"conn", "text"}``."""
HISTORIES: dict[str, dict[str, Any]] = json.loads((_DATA / "histories.json").read_text(encoding="utf-8"))
"""Entries of ``GET /history/{prompt_id}``."""
REFUSALS: list[dict[str, Any]] = json.loads((_DATA / "refusals.json").read_text(encoding="utf-8"))
"""Graphs that ComfyUI refused, whole or in part, and what it answered: ``{"label", "status", "prompt", "body"}``."""


def graph(name: str) -> dict[str, dict[str, Any]]:
    """Load an API-format graph, anew for every test."""
    loaded: dict[str, dict[str, Any]] = json.loads((_DATA / "graphs" / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def refusal(label: str) -> dict[str, Any]:
    return next(refused for refused in REFUSALS if refused["label"] == label)


@dataclass(frozen=True)
class Traced:
    """A graph of ComfyUI's own templates and what its inputs mean, as a person reads it; texts are shortened.

    ``roles`` maps roles to ``node_id.input``, ``follows`` likewise to what keeps its proportion to them, ``notes`` are
    the roles about which something is to be said.
    """

    roles: dict[str, list[str]]
    outputs: dict[str, str]
    notes: list[str]
    missing: list[str]
    follows: dict[str, list[str]]
    prompt: dict[str, dict[str, Any]]


TRACED = sorted(path.stem for path in (_DATA / "traced").glob("*.json"))
TRACED_DEFINITIONS: dict[str, dict[str, Any]] = json.loads(
    (_DATA / "traced_definitions.json").read_text(encoding="utf-8")
)
"""What tracing needs of the node definitions: outputs, uploads and paid services."""


def traced(name: str) -> Traced:
    return Traced(**json.loads((_DATA / "traced" / f"{name}.json").read_text(encoding="utf-8")))
