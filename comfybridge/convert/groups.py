"""Group nodes, the older kind of subgraph: rewritten as a subgraph with one instance."""

from collections.abc import Callable, Mapping
from typing import Any

from comfybridge.convert.saved import (
    ENTRY,
    EXIT,
    Link,
    Port,
    SavedGraph,
    SavedInput,
    SavedNode,
    mapping,
    sequence,
    slot_type,
)

_PREFIXES = ("workflow>", "workflow/")


def group_of(class_type: str, groups: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The saved inside of a group node; ``None`` for any other node."""
    for prefix in _PREFIXES:
        if class_type.startswith(prefix):
            group = groups.get(class_type.removeprefix(prefix))
            return group if isinstance(group, Mapping) else None
    return None


def as_subgraph(
    node: SavedNode, group: Mapping[str, Any], slot_count: Callable[[str, list[Any]], int]
) -> tuple[SavedGraph, SavedNode]:
    """A definition of its own for this group node, and the node as its instance.

    The group node's values are those of the nodes inside, one after the other; inside ids are 0, 1, 2 ...
    """
    inner = [mapping(entry) for entry in sequence(group.get("nodes"))]
    links = {
        f"inner {number}": Link(str(row[0]), _number(row[1]), str(row[2]), _number(row[3]))
        for number, row in enumerate(sequence(group.get("links")))
        if isinstance(row, list) and len(row) > 3 and row[0] is not None and row[2] is not None  # noqa: PLR2004
    }
    wired = {(link.target, link.target_slot): link_id for link_id, link in links.items()}
    used = {(link.origin, link.origin_slot) for link in links.values()}
    external = {
        (str(row[0]), row[1]) for row in sequence(group.get("external")) if isinstance(row, list) and len(row) > 1
    }
    values = list(sequence(node.values))
    nodes: dict[str, SavedNode] = {}
    entries: list[Port] = []
    exits: list[Port] = []
    for number, entry in enumerate(inner):
        node_id = str(number)
        inputs: list[SavedInput] = []
        for slot, saved in enumerate(mapping(each) for each in sequence(entry.get("inputs"))):
            link_id = wired.get((node_id, slot))
            widget = mapping(saved.get("widget")).get("name")
            if link_id is None and not isinstance(widget, str):
                link_id = f"in {len(entries)}"
                links[link_id] = Link(ENTRY, len(entries), node_id, slot)
                entries.append(Port(_name(saved, entry, entries), slot_type(saved.get("type")), (link_id,)))
            inputs.append(
                SavedInput(
                    str(saved.get("name", "")),
                    slot_type(saved.get("type")),
                    link_id,
                    widget if isinstance(widget, str) else None,
                )
            )
        outputs = [mapping(each) for each in sequence(entry.get("outputs"))]
        for slot, saved in enumerate(outputs):
            if (node_id, slot) not in used or (node_id, slot) in external:
                link_id = f"out {len(exits)}"
                links[link_id] = Link(node_id, slot, EXIT, len(exits))
                exits.append(Port(_name(saved, entry, exits), slot_type(saved.get("type")), (link_id,)))
        class_type = str(entry.get("type", ""))
        count = slot_count(class_type, values)
        mode = entry.get("mode")
        nodes[node_id] = SavedNode(
            id=node_id,
            type=class_type,
            mode=mode if isinstance(mode, int) else 0,
            title=str(entry.get("title") or ""),
            inputs=inputs,
            outputs=[slot_type(each.get("type")) for each in outputs],
            values=values[:count] if node.values is not None else entry.get("widgets_values"),
            properties=mapping(entry.get("properties")),
        )
        values = values[count:]
    instance = SavedNode(
        node.id, node.type, node.mode, node.title, node.inputs, node.outputs, None, mapping(node.properties)
    )
    return SavedGraph(node.type, nodes, links, entries, exits), instance


def _name(slot: Mapping[str, Any], node: Mapping[str, Any], ports: list[Port]) -> str:
    """A port is called as the slot inside, with the node's title before it when the name is taken."""
    name = str(slot.get("name", ""))
    taken = {port.name for port in ports}
    if name not in taken:
        return name
    name = f"{node.get('title') or node.get('type')} {name}"
    number = 1
    longer = name
    while longer in taken:
        number += 1
        longer = f"{name} {number}"
    return longer


def _number(value: Any) -> int:
    return value if isinstance(value, int) else -1
