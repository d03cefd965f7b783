"""An app as Dify's DSL has it: nodes and the edges between them in columns and rows, and what surrounds the graph.

app = App("hello", "workflow", icon="👋", title="Hello", description="…")
app.add("start", nodes.start(nodes.line("name", "Name")))
app.add("end", nodes.end(name=("start", "name")))
app.flow("start", "end")
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

#: Older than what Dify 1.9 writes, with which every node here already was as it is now: newer hosts take it without
#: asking back, where a newer version would have to be confirmed.
DSL_VERSION = "0.4.0"

Data = Mapping[str, Any]

_WIDTH, _GAP = 244, 60
_LEFT, _TOP, _ROW = 80, 280, 200
#: Inside an iteration: the little start node, and the room around the others.
_INNER_LEFT, _INNER_TOP, _INNER_START = 128, 60, (24, 68)


@dataclass
class Node:
    data: Data
    row: float
    inside: str | None


@dataclass(frozen=True)
class Edge:
    source: str
    handle: str
    target: str


@dataclass(frozen=True)
class Drawn:
    """A node as a picture of the canvas needs it; ``x`` and ``y`` count from the canvas's corner."""

    id: str
    title: str
    type: str
    x: int
    y: int
    width: int
    height: int


@dataclass
class App:
    """One app; ``name`` is its file's. ``mode`` is workflow, or advanced-chat for what Dify calls a chatflow."""

    name: str
    mode: str
    icon: str
    title: str
    description: str
    opening: str = ""
    suggestions: tuple[str, ...] = ()
    remembers: Mapping[str, str] = field(default_factory=dict)
    """Conversation variables, all texts: name -> what for."""
    uploads: bool = False
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def add(self, name: str, data: Data, *, row: float = 0, inside: str | None = None) -> None:
        """A node; its column follows from the edges. ``inside`` is the iteration that it belongs to."""
        if name in self.nodes:
            raise ValueError(f"{self.name} has two nodes {name}")
        if data["type"] == "iteration":
            self.nodes[name] = Node({**data, "start_node_id": f"{name}start"}, row, inside)
            self.nodes[f"{name}start"] = Node({"type": "iteration-start", "title": "", "desc": ""}, 0, name)
        else:
            self.nodes[name] = Node(data, row, inside)

    def flow(self, *path: str) -> None:
        """Edges along a path; ``"ask:yes"`` leaves the node ``ask`` by its branch ``yes``."""
        for source, target in pairwise(path):
            name, _, handle = source.partition(":")
            self.edges.append(Edge(name, handle or "source", target.partition(":")[0]))

    def dsl(self) -> dict[str, Any]:
        """The whole document that Dify imports."""
        boxes = self._boxes()
        return {
            **header(self.mode, self.icon, self.title, self.description),
            "workflow": {
                "conversation_variables": [
                    {
                        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"comfybridge/examples/{self.name}/{name}")),
                        "name": name,
                        "description": use,
                        "selector": ["conversation", name],
                        "value_type": "string",
                        "value": "",
                    }
                    for name, use in self.remembers.items()
                ],
                "environment_variables": [],
                "features": features(self.opening, self.suggestions, uploads=self.uploads),
                "graph": {
                    "nodes": [self._node(name, node, boxes) for name, node in self.nodes.items()],
                    "edges": [self._edge(edge) for edge in self.edges],
                    "viewport": {"x": 0, "y": 0, "zoom": 0.8},
                },
            },
        }

    def drawn(self) -> Iterator[Drawn]:
        """The nodes where they stand on the canvas, those inside an iteration after it."""
        boxes = self._boxes()
        for name, node in self.nodes.items():
            x, y, width, height = boxes[name]
            if node.inside is not None:
                x, y = x + boxes[node.inside][0], y + boxes[node.inside][1]
            yield Drawn(name, node.data["title"], node.data["type"], x, y, width, height)

    def _node(self, name: str, node: Node, boxes: Mapping[str, tuple[int, int, int, int]]) -> dict[str, Any]:
        x, y, width, height = boxes[name]
        data: dict[str, Any] = {"desc": "", "selected": False, **node.data}
        placed: dict[str, Any] = {"id": name, "type": "custom", "position": {"x": x, "y": y}}
        left, top = (0, 0) if node.inside is None else boxes[node.inside][:2]
        placed["positionAbsolute"] = {"x": left + x, "y": top + y}
        if node.inside is not None:
            data |= {"isInIteration": True, "isInLoop": False, "iteration_id": node.inside}
            placed |= {"parentId": node.inside, "extent": "parent", "zIndex": 1002}
        match data["type"]:
            case "iteration":
                data |= {"width": width, "height": height}
                placed["zIndex"] = 1
            case "iteration-start":
                placed |= {"type": "custom-iteration-start", "draggable": False, "selectable": False}
        sides = {"sourcePosition": "right", "targetPosition": "left"}
        return {**placed, "width": width, "height": height, **sides, "selected": False, "data": data}

    def _edge(self, edge: Edge) -> dict[str, Any]:
        inside = self.nodes[edge.target].inside
        data = {
            "isInIteration": inside is not None,
            "isInLoop": False,
            "sourceType": self.nodes[edge.source].data["type"],
            "targetType": self.nodes[edge.target].data["type"],
        }
        return {
            "id": f"{edge.source}-{edge.handle}-{edge.target}-target",
            "type": "custom",
            "source": edge.source,
            "sourceHandle": edge.handle,
            "target": edge.target,
            "targetHandle": "target",
            "zIndex": 0 if inside is None else 1002,
            "data": data if inside is None else {**data, "iteration_id": inside},
        }

    def _boxes(self) -> dict[str, tuple[int, int, int, int]]:
        """x, y, width and height of every node; of those inside an iteration, x and y count from its corner."""
        boxes: dict[str, tuple[int, int, int, int]] = {}
        for container in [name for name, node in self.nodes.items() if node.data["type"] == "iteration"]:
            inner = [name for name, node in self.nodes.items() if node.inside == container]
            columns = self._columns(inner)
            for name in inner:
                if self.nodes[name].data["type"] == "iteration-start":
                    boxes[name] = (*_INNER_START, 44, 48)
                else:
                    x = _INNER_LEFT + (columns[name] - 1) * (_WIDTH + _GAP)
                    y = _INNER_TOP + round(self.nodes[name].row * _ROW)
                    boxes[name] = (x, y, _WIDTH, _height(self.nodes[name].data))
            width = max(boxes[name][0] + boxes[name][2] for name in inner) + _GAP // 2
            height = max(boxes[name][1] + boxes[name][3] for name in inner) + _GAP // 2
            boxes[container] = (0, 0, width, height)

        outer = [name for name, node in self.nodes.items() if node.inside is None]
        columns = self._columns(outer)
        widths = [
            max((boxes.get(name, (0, 0, _WIDTH, 0))[2] for name in outer if columns[name] == column), default=0)
            for column in range(max(columns.values()) + 1)
        ]
        lefts = [_LEFT, *accumulate((width + _GAP for width in widths), initial=_LEFT)][1:]
        for name in outer:
            _, _, width, height = boxes.get(name, (0, 0, _WIDTH, _height(self.nodes[name].data)))
            boxes[name] = (lefts[columns[name]], _TOP + round(self.nodes[name].row * _ROW), width, height)
        return boxes

    def _columns(self, names: list[str]) -> dict[str, int]:
        """The length of the longest path to each node."""
        columns = dict.fromkeys(names, 0)
        for _ in names:
            for edge in self.edges:
                if edge.source in columns and edge.target in columns:
                    columns[edge.target] = max(columns[edge.target], columns[edge.source] + 1)
        if max(columns.values(), default=0) >= len(names):
            raise ValueError(f"{self.name} goes round in a circle")
        return columns


def _height(data: Data) -> int:
    """About as tall as Dify draws it: a line for each setting, a few for each branch."""
    match data["type"]:
        case "tool":
            return 58 + 26 * len(data["tool_configurations"]) + (36 if "error_strategy" in data else 0)
        case "question-classifier":
            return 90 + 74 * len(data["classes"])
        case "if-else":
            return 78 + 48 * len(data["cases"])
        case "start":
            return 58 + 26 * len(data["variables"])
        case "end":
            return 58 + 26 * len(data["outputs"])
        case "code":
            return 54
        case _:
            return 96


def header(mode: str, icon: str, title: str, description: str) -> dict[str, Any]:
    """What all documents begin with."""
    return {
        "version": DSL_VERSION,
        "kind": "app",
        "app": {
            "name": title,
            "mode": mode,
            "description": description,
            "icon": icon,
            "icon_type": "emoji",
            "icon_background": "#E4FBCC",
            "use_icon_as_answer_icon": False,
        },
        "dependencies": [],
    }


def features(opening: str, suggestions: tuple[str, ...], *, uploads: bool) -> dict[str, Any]:
    off = {"enabled": False}
    ways = ["local_file", "remote_url"]
    return {
        "opening_statement": opening,
        "suggested_questions": list(suggestions),
        "suggested_questions_after_answer": off,
        "file_upload": {
            "enabled": uploads,
            "allowed_file_types": ["image"],
            "allowed_file_extensions": [],
            "allowed_file_upload_methods": ways,
            "number_limits": 1,
            "image": {"enabled": uploads, "number_limits": 1, "transfer_methods": ways},
        },
        "retriever_resource": {"enabled": True},
        "sensitive_word_avoidance": off,
        "speech_to_text": off,
        "text_to_speech": {"enabled": False, "language": "", "voice": ""},
    }
