# ruff: noqa: INP001 (a module of scripts; the folder is no package)
"""A picture of each example app: its graph as Dify's editor lays it out, or an agent with its tools."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw

from scripts.drawing import ACCENT, INK, LINE, MUTED, PAPER, TILE, fit, text

WIDTH, PAD = 1200, 24
NODE = (150, 52)
LEAST_HEIGHT = 130
#: Nodes that only mark the inside of another one, and notes.
HIDDEN = ("custom-iteration-start", "custom-loop-start", "custom-note")
CONTAINERS = ("iteration", "loop")
COLOURS = {
    "tool": "#4F46E5", "start": "#2563EB", "end": "#C2410C", "answer": "#C2410C", "llm": "#7C3AED", "code": "#475569",
    "if-else": "#0E7490", "knowledge-retrieval": "#15803D", "iteration": "#0E7490", "loop": "#0E7490",
}  # fmt: skip


def pictures(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    for path in sorted(folder.glob("*.yml")):
        app = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "workflow" in app:
            yield f"app-{path.stem}", graph(app["workflow"]["graph"])
        else:
            yield f"app-{path.stem}", agent(app)


def graph(drawn: Mapping[str, Any]) -> Image.Image:
    """Nodes where the editor has them, with their titles and kinds, and the wires between them."""
    nodes = {node["id"]: node for node in drawn["nodes"] if node.get("type") not in HIDDEN}
    boxes = {name: _box(node, nodes) for name, node in nodes.items()}
    left, top = min(box[0] for box in boxes.values()), min(box[1] for box in boxes.values())
    right, bottom = max(box[2] for box in boxes.values()), max(box[3] for box in boxes.values())
    scale = min(1.0, (WIDTH - 2 * PAD) / (right - left))
    height = max(LEAST_HEIGHT, round((bottom - top) * scale) + 2 * PAD)
    picture = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(picture)
    shift_x, shift_y = (WIDTH - (right - left) * scale) / 2, (height - (bottom - top) * scale) / 2
    placed = {
        name: (
            (x0 - left) * scale + shift_x,
            (y0 - top) * scale + shift_y,
            (x1 - left) * scale + shift_x,
            (y1 - top) * scale + shift_y,
        )
        for name, (x0, y0, x1, y1) in boxes.items()
    }
    for name in sorted(placed, key=lambda each: nodes[each]["data"]["type"] not in CONTAINERS):
        _node(draw, placed[name], nodes[name]["data"])
    for edge in drawn["edges"]:
        if edge["source"] in placed and edge["target"] in placed:
            _wire(draw, placed[edge["source"]], placed[edge["target"]])
    return picture


def agent(app: Mapping[str, Any]) -> Image.Image:
    """The agent, and a line to each tool that it may call."""
    tools = [tool["tool_label"] or tool["tool_name"] for tool in app["model_config"]["agent_mode"]["tools"]]
    knowledge = (app["model_config"].get("dataset_configs") or {}).get("datasets") or {}
    others = [*tools, *(["Knowledge"] if knowledge.get("datasets") else [])]
    step = NODE[1] + 16
    height = max(LEAST_HEIGHT, len(others) * step + 2 * PAD)
    picture = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(picture)
    middle = (200, height / 2 - 34, 520, height / 2 + 34)
    _node(draw, middle, {"type": "llm", "title": app["app"]["name"], "kind": "agent"})
    for number, other in enumerate(others):
        y = PAD + number * step + (height - 2 * PAD - len(others) * step + 16) / 2
        box = (760, y, 1020, y + NODE[1])
        _node(draw, box, {"type": "tool", "title": other})
        _wire(draw, middle, box)
    return picture


def _box(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> tuple[float, float, float, float]:
    x, y = node["position"]["x"], node["position"]["y"]
    parent = nodes.get(node.get("parentId", ""))
    if parent is not None:
        x, y = x + parent["position"]["x"], y + parent["position"]["y"]
    return x, y, x + node.get("width", 244), y + node.get("height", 96)


def _node(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], data: Mapping[str, Any]) -> None:
    x0, y0, x1, y1 = box
    kind = str(data["type"])
    colour = COLOURS.get(kind, MUTED)
    draw.rounded_rectangle(box, 8, fill=TILE if kind not in CONTAINERS else "#ECFEFF", outline=LINE, width=2)
    draw.rectangle((x0 + 1, y0 + 8, x0 + 4, (y1 if kind not in CONTAINERS else y0 + 44) - 8), fill=colour)
    text(draw, (x0 + 12, y0 + 7), fit(str(data["title"]), 15, x1 - x0 - 18), 15, INK)
    what = (
        str(data.get("tool_label") or data.get("kind") or kind) if kind != "tool" else str(data.get("tool_name", kind))
    )
    text(draw, (x0 + 12, y0 + 28), fit(what, 13, x1 - x0 - 18), 13, colour)


def _wire(
    draw: ImageDraw.ImageDraw,
    source: tuple[float, float, float, float],
    target: tuple[float, float, float, float],
) -> None:
    """A curve from the right side of one to the left side of the other."""
    (x0, y0), (x3, y3) = (source[2], (source[1] + source[3]) / 2), (target[0], (target[1] + target[3]) / 2)
    reach = max(24.0, abs(x3 - x0) / 2)
    points = []
    for step in range(25):
        t = step / 24
        a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        points.append((a * x0 + b * (x0 + reach) + c * (x3 - reach) + d * x3, a * y0 + b * y0 + c * y3 + d * y3))
    draw.line(points, fill=ACCENT, width=2, joint="curve")
