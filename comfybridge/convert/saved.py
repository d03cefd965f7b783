"""A saved workflow, parsed once: nodes, links and subgraphs in one shape, whichever front end wrote the file."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from comfybridge.errors import InvalidInput

# What an input or output node of a subgraph is called in its links.
ENTRY, EXIT = "-10", "-20"

_NEWEST_SCHEMA = 1

_RENAMED = {
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
    "Load3DAnimation": "Load3D",
    "Preview3DAnimation": "Preview3D",
}


class Link(NamedTuple):
    """A wire of the links table."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(slots=True)
class SavedInput:
    """An input of a node as the file has it; ``widget`` is the widget it stands for, if any."""

    name: str
    type: str
    link: str | None
    widget: str | None


@dataclass(slots=True)
class SavedNode:
    """A node as the file has it; ``values`` are its ``widgets_values``, a list, a dict or nothing."""

    id: str
    type: str
    mode: int
    title: str
    inputs: list[SavedInput]
    outputs: list[str]
    values: Any
    properties: Mapping[str, Any]


class Port(NamedTuple):
    """An input or output of a subgraph, and the links inside that begin or end there."""

    name: str
    type: str
    links: tuple[str, ...]


@dataclass(slots=True)
class SavedGraph:
    """The root graph or a subgraph's definition."""

    name: str
    nodes: dict[str, SavedNode]
    links: dict[str, Link]
    inputs: Sequence[Port] = ()
    outputs: Sequence[Port] = ()


@dataclass(slots=True)
class Saved:
    """A whole file. ``frontend`` is the version that saved it, empty where the file does not say."""

    root: SavedGraph
    subgraphs: dict[str, SavedGraph]
    groups: Mapping[str, Any] = field(default_factory=dict)
    frontend: tuple[int, ...] = ()

    def graphs(self) -> Iterator[SavedGraph]:
        yield self.root
        yield from self.subgraphs.values()


def parse(workflow: Mapping[str, Any]) -> Saved:
    """Parse the UI format of any schema version; what cannot be read is an InvalidInput with its place."""
    version = workflow.get("version")
    if isinstance(version, (int, float)) and version > _NEWEST_SCHEMA:
        raise InvalidInput(
            f"The workflow has schema version {version}; the newest one that is understood is {_NEWEST_SCHEMA}. "
            "Save it with an older ComfyUI, or use Export (API).",
            f"工作流的格式版本为 {version}，目前最高支持 {_NEWEST_SCHEMA}。请用旧版 ComfyUI 保存，或使用“导出 (API)”。",
        )
    extra = mapping(workflow.get("extra"))
    subgraphs: dict[str, SavedGraph] = {}
    for number, entry in enumerate(sequence(mapping(workflow.get("definitions")).get("subgraphs"))):
        if not isinstance(entry, Mapping) or key(entry.get("id")) is None:
            continue
        subgraphs[str(key(entry.get("id")))] = _graph(entry, f"definitions.subgraphs[{number}].")
    groups = mapping(extra.get("groupNodes"))
    return Saved(_graph(workflow, ""), subgraphs, groups, _numbers(extra.get("frontendVersion")))


def key(value: Any) -> str | None:
    """An id as a dict key; files write the same id as 5, as 5.0 and as "5"."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return str(int(value)) if value == value and abs(value) < 2**63 and value == int(value) else str(value)  # noqa: PLR0124


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _graph(entry: Mapping[str, Any], place: str) -> SavedGraph:
    nodes: dict[str, SavedNode] = {}
    if not isinstance(entry.get("nodes"), list):
        raise InvalidInput(
            f"The workflow's {place}nodes is no list.", f"工作流的 {place}nodes 不是列表，不是 ComfyUI 工作流。"
        )
    for number, node in enumerate(entry["nodes"]):
        parsed = _node(node, f"{place}nodes[{number}]")
        nodes.setdefault(parsed.id, parsed)
    table = entry.get("links")
    links = dict(_links(table.values() if isinstance(table, Mapping) else sequence(table)))
    return SavedGraph(
        str(entry.get("name") or ""),
        nodes,
        links,
        _ports(
            entry.get("inputs"), [(link.origin, link.origin_slot, link_id) for link_id, link in links.items()], ENTRY
        ),
        _ports(
            entry.get("outputs"), [(link.target, link.target_slot, link_id) for link_id, link in links.items()], EXIT
        ),
    )


def _node(node: Any, place: str) -> SavedNode:
    node_id = key(node.get("id")) if isinstance(node, Mapping) else None
    if node_id is None or not isinstance(node.get("type"), str):
        raise InvalidInput(
            f"The workflow's {place} is no node: it needs an id and a type.",
            f"工作流的 {place} 不是节点：缺少 id 或 type。",
        )
    mode = node.get("mode")
    return SavedNode(
        id=node_id,
        type=_RENAMED.get(node["type"], node["type"]),
        mode=mode if isinstance(mode, int) else 0,
        title=node["title"] if isinstance(node.get("title"), str) else "",
        inputs=[_input(entry) for entry in sequence(node.get("inputs")) if isinstance(entry, Mapping)],
        outputs=[slot_type(mapping(entry).get("type")) for entry in sequence(node.get("outputs"))],
        values=node.get("widgets_values"),
        properties=mapping(node.get("properties")),
    )


def _input(entry: Mapping[str, Any]) -> SavedInput:
    widget = mapping(entry.get("widget")).get("name")
    return SavedInput(
        name=str(entry.get("name", "")),
        type=slot_type(entry.get("type")),
        link=key(entry.get("link")),
        widget=widget if isinstance(widget, str) else None,
    )


def slot_type(value: Any) -> str:
    """A slot's type; a list of options is a COMBO, and what is not named fits everything."""
    if isinstance(value, list):
        return "COMBO"
    return value if isinstance(value, str) and value else "*"


def _links(table: Iterable[Any]) -> Iterator[tuple[str, Link]]:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    for entry in table:
        fields = [entry.get(name) for name in names] if isinstance(entry, Mapping) else list(sequence(entry)[:5])
        if len(fields) < len(names):
            continue
        link_id, origin, target = key(fields[0]), key(fields[1]), key(fields[3])
        if link_id is not None and origin is not None and target is not None:
            yield link_id, Link(origin, _index(fields[2]), target, _index(fields[4]))


def _index(value: Any) -> int:
    number = key(value)
    return int(number) if number is not None and re.fullmatch(r"\d{1,6}", number) else -1


def _ports(entries: Any, ends: Sequence[tuple[str, int, str]], node_id: str) -> list[Port]:
    ports: list[Port] = []
    for number, entry in enumerate(sequence(entries)):
        port = mapping(entry)
        named = tuple(link for value in sequence(port.get("linkIds")) if (link := key(value)) is not None)
        found = tuple(link for end, slot, link in ends if end == node_id and slot == number)
        kept = tuple(link for link in named if link in found)
        ports.append(Port(str(port.get("name", "")), slot_type(port.get("type")), kept or found))
    return ports


def _numbers(version: Any) -> tuple[int, ...]:
    found = re.match(r"(\d{1,6})\.(\d{1,6})", version) if isinstance(version, str) else None
    return tuple(int(part) for part in found.groups()) if found else ()
