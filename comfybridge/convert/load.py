"""From a parsed file to live nodes: inputs matched with the server's definitions, widgets with their values."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfybridge.convert import packs
from comfybridge.convert.groups import as_subgraph, group_of
from comfybridge.convert.saved import Link, Saved, SavedGraph, SavedInput, SavedNode, key, mapping, sequence
from comfybridge.convert.widgets import (
    AUTOGROW,
    DYNAMIC_COMBO,
    Declared,
    Widget,
    declared_inputs,
    dynamic_inputs,
    fits,
    has_widget,
    make_widgets,
    places,
)
from comfybridge.errors import InvalidInput
from comfybridge.workflow import Definitions

MUTED, BYPASSED = 2, 4

Warn = Callable[[str, str, str, str, str, str], None]
"""Takes node id, title, input, code, and the sentence in English and in Chinese."""


@dataclass(slots=True)
class LiveInput:
    """An input of a live node; ``link`` is ``None`` where nothing is wired to it."""

    name: str
    type: str
    link: str | None
    widget: str | None = None


@dataclass(slots=True)
class LiveNode:
    """A node as the front end would hold it. ``graph`` is the inside of a subgraph's instance."""

    saved: SavedNode
    inputs: list[LiveInput]
    outputs: list[str]
    widgets: dict[str, Widget] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    definition: Mapping[str, Any] | None = None
    graph: "LiveGraph | None" = None
    virtual: bool = False

    @property
    def id(self) -> str:
        return self.saved.id

    @property
    def type(self) -> str:
        return self.saved.type

    @property
    def mode(self) -> int:
        return self.saved.mode

    @property
    def title(self) -> str:
        shown = mapping(self.definition).get("display_name")
        return self.saved.title or (shown if isinstance(shown, str) else "") or self.type

    def widget_of(self, wired: LiveInput) -> Widget | None:
        return self.widgets.get(wired.widget or wired.name)


@dataclass(slots=True)
class LiveGraph:
    """The root graph or one subgraph definition; all instances of a definition share it."""

    saved: SavedGraph
    nodes: dict[str, LiveNode]
    links: dict[str, Link]


class Loader:
    """Loads a file once. With ``repair`` shifted values are put right, each with a warning."""

    def __init__(self, saved: Saved, definitions: Definitions, warn: Warn, *, repair: bool) -> None:
        self._saved = saved
        self._definitions = definitions
        self._warn = warn
        self._repair = repair
        self._loaded: dict[str, LiveGraph] = {}
        self._loading: list[str] = []
        self._inputs: dict[str, list[Declared]] = {}

    def graphs(self) -> list[LiveGraph]:
        """Every graph of the file that is used, the innermost first, the root last."""
        root = self._graph(self._saved.root)
        return [*self._loaded.values(), root]

    def _subgraph(self, name: str, definition: SavedGraph) -> LiveGraph:
        if name in self._loading:
            raise InvalidInput(
                f"The subgraph '{definition.name or name}' contains itself.",
                f"子图“{definition.name or name}”包含了它自己。",
            )
        if name not in self._loaded:
            self._loading.append(name)
            self._loaded[name] = self._graph(definition)
            self._loading.pop()
        return self._loaded[name]

    def _graph(self, saved: SavedGraph) -> LiveGraph:
        nodes = {node_id: self._node(node) for node_id, node in saved.nodes.items()}
        graph = LiveGraph(saved, nodes, dict(saved.links))
        _send_everywhere(graph)
        return graph

    def _node(self, node: SavedNode) -> LiveNode:
        if node.type in self._saved.subgraphs:
            return self._instance(node, self._subgraph(node.type, self._saved.subgraphs[node.type]))
        group = group_of(node.type, self._saved.groups)
        if group is not None:
            definition, instance = as_subgraph(node, group, self._places)
            return self._instance(instance, self._subgraph(f"{node.type} {node.id}", definition))
        definition_ = self._definitions.get(node.type)
        virtual = packs.is_virtual(node.type, is_known=definition_ is not None)
        if definition_ is None or virtual:
            inputs = [LiveInput(each.name, each.type, each.link) for each in node.inputs]
            return LiveNode(node, inputs, node.outputs, virtual=virtual)
        return self._known(node, definition_)

    def _declared(self, class_type: str) -> list[Declared]:
        if class_type not in self._inputs:
            self._inputs[class_type] = declared_inputs(self._definitions.get(class_type, {}))
        return self._inputs[class_type]

    def _places(self, class_type: str) -> list[tuple[str, int]]:
        return [(each.name, places(each)) for each in self._declared(class_type) if has_widget(each, ())]

    def _known(self, node: SavedNode, definition: Mapping[str, Any]) -> LiveNode:
        declared = self._declared(node.type)
        marked = {each.widget for each in node.inputs if each.widget is not None}
        widgets, repaired = make_widgets(node.type, declared, marked, node.values, repair=self._repair)
        live = LiveNode(node, [], _outputs(node, definition), widgets, definition=definition)
        live.extra = packs.extra_values(node.type, node.values, widgets)
        live.inputs = _inputs(node, declared, widgets)
        self._note_odd_values(live)
        if repaired:
            self._warn(
                *(node.id, live.title, "", "shifted_values"),
                "ComfyUI's window would give its saved values to the wrong inputs; they were put in their places.",
                "ComfyUI 网页会把保存的参数值放错位置，已自动对齐。",
            )
        return live

    def _note_odd_values(self, live: LiveNode) -> None:
        wired = {each.name for each in live.inputs if each.link is not None}
        for name, widget in live.widgets.items():
            if name in wired or fits(widget.declared, widget.value):
                continue
            wanted, found = widget.declared.type, json.dumps(widget.value)[:60]
            self._warn(
                *(live.id, live.title, name, "odd_value"),
                f"'{name}' takes {wanted}, but the file has {found}; it was kept.",
                f"“{name}”应为 {wanted}，文件中却是 {found}；已保留原值。",
            )

    def _instance(self, node: SavedNode, graph: LiveGraph) -> LiveNode:
        live = LiveNode(node, _instance_inputs(node, graph.saved), [port.type for port in graph.saved.outputs])
        live.graph = graph
        live.virtual = True
        for port in graph.saved.inputs:
            inner = _promoted(graph, port.links)
            if inner is not None and port.name not in live.widgets:
                declared = Declared(port.name, inner.declared.type, inner.declared.config)
                shares = inner.is_text_box and not self._repair
                live.widgets[port.name] = Widget(declared, inner.value, inner if shares else None)
        self._set_promoted(live)
        return live

    def _set_promoted(self, live: LiveNode) -> None:
        values = sequence(live.saved.values)
        marked = _marked_ports(live.graph) if live.graph is not None and self._repair else []
        if len(values) == len(marked) > len(live.widgets) and "proxyWidgets" not in live.saved.properties:
            # The server lacks a widget that the file's author had; its value would shift all others.
            values = [value for name, value in zip(marked, values, strict=True) if name in live.widgets]
            self._warn(
                *(live.id, live.title, "", "shifted_values"),
                "the server lacks a widget that the subgraph shows; the values of the others were put in their places.",
                "服务器缺少该子图所显示的一个参数；其余参数值已自动对齐。",
            )
        for widget, value in zip(live.widgets.values(), values, strict=False):
            if value is not None:
                widget.set(value)
        for row, value in zip(_proxies(live.saved.properties.get("proxyWidgets")), values, strict=False):
            owner, name = row
            if owner == "-1" and value is not None and name in live.widgets:
                live.widgets[name].set(value)


def _inputs(node: SavedNode, declared: list[Declared], widgets: Mapping[str, Widget]) -> list[LiveInput]:
    """Sockets first, then widgets, then what only the file knows."""
    saved: dict[str, SavedInput] = {}
    for entry in node.inputs:
        saved.setdefault(entry.name, entry)
    expanded = list(_expanded(declared, widgets))
    sockets = [each for each in expanded if each.name not in widgets]
    found: list[LiveInput] = []
    for each in [*sockets, *(each for each in expanded if each.name in widgets)]:
        entry_ = saved.pop(each.name, None)
        flexible = each.type.startswith("COMFY_") and entry_ is not None
        found.append(
            LiveInput(
                each.name,
                entry_.type if flexible and entry_ is not None else each.type,
                entry_.link if entry_ is not None else None,
                each.name if each.name in widgets else None,
            )
        )
    groups = [
        each.name for each in declared if each.type == AUTOGROW and "prefix" in mapping(each.config.get("template"))
    ]
    rest = [LiveInput(each.name, each.type, each.link) for each in saved.values()]
    return found + _compacted(rest, declared, groups)


def _expanded(declared: list[Declared], widgets: Mapping[str, Widget]) -> list[Declared]:
    """The inputs with those that chosen dynamic options bring; growing groups exist in the file only."""
    waiting, found = list(reversed(declared)), []
    while waiting:
        each = waiting.pop()
        if each.type == AUTOGROW:
            continue
        found.append(each)
        if each.type == DYNAMIC_COMBO and each.name in widgets:
            waiting += reversed(dynamic_inputs(each, widgets[each.name].value))
    return found


def _compacted(rest: list[LiveInput], declared: list[Declared], groups: list[str]) -> list[LiveInput]:
    """Close the gaps that nothing was ever wired to in growing groups of numbered inputs."""
    for each in declared:
        if each.name not in groups:
            continue
        prefix = f"{each.name}.{each.config['template']['prefix']}"
        members = [member for member in rest if member.name.startswith(prefix) and member.link is not None]
        for number, member in enumerate(members):
            member.name = f"{prefix}{number}"
        rest = [member for member in rest if member in members or not member.name.startswith(prefix)]
    return rest


def _outputs(node: SavedNode, definition: Mapping[str, Any]) -> list[str]:
    types: list[str] = []
    for number, entry in enumerate(sequence(definition.get("output"))):
        name = "COMBO" if isinstance(entry, list) else str(entry)
        if name.startswith("COMFY_"):
            name = node.outputs[number] if number < len(node.outputs) else "*"
        types.append(name)
    return types + node.outputs[len(types) :]


def _instance_inputs(node: SavedNode, definition: SavedGraph) -> list[LiveInput]:
    """The instance's inputs in the definition's order, matched by name, else by place."""
    names = {port.name for port in definition.inputs}
    saved: dict[str, SavedInput] = {}
    for entry in node.inputs:
        saved.setdefault(entry.name, entry)
    found: list[LiveInput] = []
    for number, port in enumerate(definition.inputs):
        entry_ = saved.get(port.name)
        if entry_ is None and number < len(node.inputs) and node.inputs[number].name not in names:
            entry_ = node.inputs[number]
        found.append(LiveInput(port.name, port.type, entry_.link if entry_ is not None else None))
    return found


def _promoted(graph: LiveGraph, links: tuple[str, ...]) -> Widget | None:
    """The first widget inside that a subgraph's input is wired to."""
    for link_id in links:
        target = graph.nodes.get(graph.links[link_id].target)
        if target is None:
            continue
        for wired in target.inputs:
            if wired.link == link_id and (widget := target.widget_of(wired)) is not None:
                return widget
    return None


def _marked_ports(graph: LiveGraph) -> list[str]:
    """The subgraph's inputs that lead to something that the file marks as a widget."""
    marked = {each.link for node in graph.saved.nodes.values() for each in node.inputs if each.widget is not None}
    return [port.name for port in graph.saved.inputs if not marked.isdisjoint(port.links)]


def _proxies(value: Any) -> list[tuple[str, str]]:
    """The rows of ``proxyWidgets``: node id, "-1" for a promoted input, and the widget's name."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    rows = [row if isinstance(row, list) and len(row) > 1 else ["", ""] for row in sequence(value)]
    return [(key(row[0]) or "", str(row[1])) for row in rows]


def _send_everywhere(graph: LiveGraph) -> None:
    """Wire what the Anything Everywhere nodes get to the open inputs that they mean; the choosiest goes first."""
    senders: list[tuple[str, str, str, Link]] = []
    for node in graph.nodes.values():
        if node.type not in packs.EVERYWHERE or node.mode in (MUTED, BYPASSED):
            continue
        for number, wired in enumerate(node.inputs):
            link = graph.links.get(wired.link or "")
            origin = graph.nodes.get(link.origin) if link is not None else None
            meant = packs.receivers(node.type, node.saved.values, number)
            if link is None or origin is None or meant is None or link.origin_slot not in range(len(origin.outputs)):
                continue
            senders.append((origin.outputs[link.origin_slot], *meant, link))
    senders.sort(key=lambda sender: not (sender[1] or sender[2]))
    for node in graph.nodes.values() if senders else ():
        if node.virtual and node.graph is None:
            continue
        for number, wired in enumerate(node.inputs):
            if wired.link is not None or node.widget_of(wired) is not None:
                continue
            for sent, title, name, link in senders:
                if wired.type == sent and title in node.title and name in wired.name and link.origin != node.id:
                    wired.link = f"everywhere {node.id} {number}"
                    graph.links[wired.link] = Link(link.origin, link.origin_slot, node.id, number)
                    break
