"""Group nodes, the older kind of subgraph: rewritten as a subgraph with one instance."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

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

Widgets: TypeAlias = Callable[[str], Sequence[tuple[str, int]]]
"""Class type -> its widgets in order, each with its places in ``widgets_values``."""

_PREFIXES = ("workflow>", "workflow/")


def group_of(class_type: str, groups: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The saved inside of a group node; ``None`` for any other node."""
    for prefix in _PREFIXES:
        if class_type.startswith(prefix):
            group = groups.get(class_type.removeprefix(prefix))
            return group if isinstance(group, Mapping) else None
    return None


def as_subgraph(node: SavedNode, group: Mapping[str, Any], widgets: Widgets) -> tuple[SavedGraph, SavedNode]:
    """A definition of its own for this group node, and the node as its instance.

    Ids inside are 0, 1, 2 ... The group node's values are those of the nodes inside, one after the other, without
    those of widgets that are wired.
    """
    links = {
        f"inner {number}": Link(str(row[0]), _number(row[1]), str(row[2]), _number(row[3]))
        for number, row in enumerate(sequence(group.get("links")))
        if isinstance(row, list) and len(row) > 3 and row[0] is not None and row[2] is not None  # noqa: PLR2004
    }
    wired = {(link.target, link.target_slot): link_id for link_id, link in links.items()}
    used = {(link.origin, link.origin_slot) for link in links.values()}
    used -= {
        (str(row[0]), _number(row[1]))
        for row in sequence(group.get("external"))
        if isinstance(row, list) and len(row) > 1
    }
    outer = {each.name for each in node.inputs}
    values = list(sequence(node.values))
    nodes: dict[str, SavedNode] = {}
    entries: list[Port] = []
    exits: list[Port] = []
    for number, entry in enumerate(mapping(each) for each in sequence(group.get("nodes"))):
        node_id = str(number)
        names = mapping(mapping(group.get("config")).get(node_id))
        inputs: list[SavedInput] = []
        for slot, saved in enumerate(mapping(each) for each in sequence(entry.get("inputs"))):
            link_id = wired.get((node_id, slot))
            name = _name(saved, entry, mapping(names.get("input")), entries)
            widget = mapping(saved.get("widget")).get("name")
            if link_id is None and (not isinstance(widget, str) or name in outer):
                link_id = f"in {len(entries)}"
                links[link_id] = Link(ENTRY, len(entries), node_id, slot)
                entries.append(Port(name, slot_type(saved.get("type")), (link_id,)))
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
            if (node_id, slot) not in used:
                link_id = f"out {len(exits)}"
                links[link_id] = Link(node_id, slot, EXIT, len(exits))
                name = _name(saved, entry, mapping(names.get("output")), exits)
                exits.append(Port(name, slot_type(saved.get("type")), (link_id,)))
        class_type, mode = str(entry.get("type", "")), entry.get("mode")
        own: Any = entry.get("widgets_values")
        if isinstance(node.values, list):
            taken = {each.widget or each.name for each in inputs if each.link is not None}
            own, values = _own_values(widgets(class_type), taken, own, values)
        nodes[node_id] = SavedNode(
            id=node_id,
            type=class_type,
            mode=mode if isinstance(mode, int) else 0,
            title=str(entry.get("title") or ""),
            inputs=inputs,
            outputs=[slot_type(each.get("type")) for each in outputs],
            values=own,
            properties=mapping(entry.get("properties")),
        )
    return SavedGraph(node.type, nodes, links, entries, exits), replace(node, values=None)


def _own_values(
    widgets: Sequence[tuple[str, int]], taken: Collection[str], saved: Any, values: list[Any]
) -> tuple[list[Any], list[Any]]:
    """One inner node's values out of the group's, and those that are left for the next nodes."""
    before = list(sequence(saved))
    own: list[Any] = []
    for name, count in widgets:
        kept = before[len(own) : len(own) + count] if name in taken else values[:count]
        if name not in taken:
            values = values[count:]
        own += kept + [None] * (count - len(kept))
    return own, values


def _name(slot: Mapping[str, Any], node: Mapping[str, Any], renamed: Mapping[str, Any], ports: Sequence[Port]) -> str:
    """A port is called as its author says, else as the slot inside, with the node's title when that name is taken."""
    name = str(slot.get("name", ""))
    name = str(mapping(renamed.get(name)).get("name") or name)
    taken = {port.name for port in ports}
    if name not in taken:
        return name
    longer = name = f"{node.get('title') or node.get('type')} {name}"
    number = 1
    while longer in taken:
        number += 1
        longer = f"{name} {number}"
    return longer


def _number(value: Any) -> int:
    return value if isinstance(value, int) else -1
