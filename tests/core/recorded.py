"""What real servers said, and graphs as ComfyUI exported them."""

import json
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
