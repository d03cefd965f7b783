"""Wires, followed from an input to the node that is sent: through subgraphs, reroutes and bypassed nodes."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from comfybridge.convert import packs
from comfybridge.convert.load import BYPASSED, MUTED, LiveGraph, LiveInput, LiveNode, Warn
from comfybridge.convert.saved import ENTRY, Link
from comfybridge.errors import InvalidInput


class Source(NamedTuple):
    """An output of a node that is sent."""

    node_id: str
    slot: int


class Literal(NamedTuple):
    """The value of a widget that was moved to a subgraph's instance."""

    value: Any


GONE = Source("", -1)
"""An output of a muted node: the input is not sent at all."""


@dataclass(slots=True, eq=False)
class Scope:
    """One instance of a graph; the root's path is empty and it has no ``node``."""

    graph: LiveGraph
    path: str = ""
    node: LiveNode | None = None
    parent: "Scope | None" = None

    def id_of(self, node: LiveNode) -> str:
        return f"{self.path}:{node.id}" if self.path else node.id


class Wires:
    """Follows wires between ``scopes``, all instances by path. With ``repair`` a broken wire is a warning."""

    def __init__(self, warn: Warn, *, repair: bool, honours_instances: bool) -> None:
        self.scopes: dict[str, Scope] = {}
        self._warn = warn
        self._repair = repair
        self._honours_instances = honours_instances

    def source(self, scope: Scope, node: LiveNode, number: int) -> Source | Literal | None:
        """Follow a wire to the node that is sent; ``None`` for a dead end, where a widget's own value stands.

        On its way out of subgraphs a wire passes the widgets of their instances: the outermost one stands at the end.
        """
        wanted = node.inputs[number].type
        start = (scope, node, node.inputs[number])
        seen: set[tuple[str, str, int]] = set()
        shown: Literal | None = None
        while True:
            place = (scope.path, node.id, number)
            if place in seen:
                raise _circle(scope.id_of(start[1]), start[1].title, start[2].name)
            seen.add(place)
            link_id = node.inputs[number].link
            if link_id is None:
                return shown
            link = scope.graph.links.get(link_id)
            if link is None:
                link = self._relinked(start, scope, node, number)
                if link is None:
                    return shown
            if link.origin == ENTRY:
                outer = scope.node
                if outer is None or scope.parent is None or link.origin_slot not in range(len(outer.inputs)):
                    self._lost(start, f"input {link.origin_slot} of a subgraph")
                    return shown
                scope, node, number = scope.parent, outer, link.origin_slot
                widget = node.widgets.get(node.inputs[number].name)
                shown = Literal(widget.value) if widget is not None else shown
                continue
            step = self._behind(start, scope, (link.origin, link.origin_slot), wanted)
            if step is None or isinstance(step, Source):
                return step or shown
            before = node
            scope, node, number = step
            if node.mode == BYPASSED and node is not before and not _passes(node):
                wanted = node.inputs[number].type

    def _behind(
        self, start: tuple[Scope, LiveNode, LiveInput], scope: Scope, output: tuple[str, int], wanted: str
    ) -> Source | tuple[Scope, LiveNode, int] | None:
        """What an output stands for: a node that is sent, an input to go on from, or nothing."""
        node_id, slot = output
        while True:
            if node_id == ENTRY:
                if scope.node is None or scope.parent is None or slot not in range(len(scope.node.inputs)):
                    return None
                return scope.parent, scope.node, slot
            origin = scope.graph.nodes.get(node_id)
            if origin is None:
                self._lost(start, f"node {node_id}")
                return None
            if origin.mode == BYPASSED:
                number = _bypassed_input(origin, slot, wanted)
                return None if number is None else (scope, origin, number)
            if origin.graph is not None:
                if origin.mode == MUTED and self._honours_instances:
                    return GONE
                scope = self.scopes[scope.id_of(origin)]
                port = origin.graph.saved.outputs[slot] if 0 <= slot < len(origin.graph.saved.outputs) else None
                if port is None or not port.links:
                    return None
                inside = origin.graph.links[port.links[0]]
                node_id, slot = inside.origin, inside.origin_slot
                continue
            if origin.mode == MUTED:
                return GONE
            if not origin.virtual:
                return Source(scope.id_of(origin), slot)
            if origin.type in packs.GETTERS:
                return _setter(scope, origin)
            return (scope, origin, 0) if _passes(origin) and origin.inputs else None

    def _relinked(
        self, start: tuple[Scope, LiveNode, LiveInput], scope: Scope, node: LiveNode, number: int
    ) -> Link | None:
        """A wire whose number is wrong in the node, found by its end in the links table."""
        name = node.inputs[number].name
        slots = [slot for slot, each in enumerate(node.saved.inputs) if each.name == name]
        for link in scope.graph.links.values() if self._repair else ():
            if link.target == node.id and link.target_slot in slots:
                self._warn(
                    *(scope.id_of(node), node.title, name, "wrong_link"),
                    f"'{name}' names a link that does not exist; the links table has the right one.",
                    f"“{name}”引用的连线不存在，已按连线表修复。",
                )
                return link
        self._lost(start, f"link {node.inputs[number].link}")
        return None

    def _lost(self, start: tuple[Scope, LiveNode, LiveInput], what: str) -> None:
        scope, node, wired = start
        node_id = scope.id_of(node)
        english = f"'{wired.name}' is wired to {what}, which is not in the workflow."
        chinese = f"“{wired.name}”连接的对象（{what}）不在工作流中。"
        if not self._repair:
            raise InvalidInput(
                f"Node {node_id} ({node.title}): {english}", f"节点 {node_id}（{node.title}）：{chinese}"
            )
        self._warn(node_id, node.title, wired.name, "dangling_link", english, chinese)


def _passes(node: LiveNode) -> bool:
    return node.virtual and (node.type in packs.PASSING or node.type in packs.SETTERS)


def _setter(scope: Scope, getter: LiveNode) -> tuple[Scope, LiveNode, int] | None:
    """The input of the setter that a getter names, in its own graph or one around it."""
    name = packs.wire_name(getter.saved.values)
    around: Scope | None = scope
    while around is not None:
        for node in around.graph.nodes.values():
            if node.type in packs.SETTERS and node.inputs and packs.wire_name(node.saved.values) == name:
                return around, node, 0
        around = around.parent
    return None


def _bypassed_input(node: LiveNode, slot: int, wanted: str) -> int | None:
    """The input that a bypassed node passes on in place of its output."""
    inputs = node.inputs
    if wanted == "*":
        return (slot if slot < len(inputs) else 0) if inputs else None
    made = node.outputs[slot] if 0 <= slot < len(node.outputs) else "*"
    if 0 <= slot < len(inputs) and _fits(inputs[slot].type, made) and _fits(inputs[slot].type, wanted):
        return slot
    for fits in (lambda type_: type_ == wanted, lambda type_: _fits(type_, wanted)):
        for number, each in enumerate(inputs):
            if fits(each.type):
                return number
    return None


def _fits(one: str, other: str) -> bool:
    """Whether two slot types may be wired; a type may be a list with commas."""
    if one == other or "*" in (one, other):
        return True
    return not set(one.lower().split(",")).isdisjoint(other.lower().split(","))


def _circle(node_id: str, title: str, name: str) -> InvalidInput:
    return InvalidInput(
        f"Node {node_id} ({title}): the wire of '{name}' runs in a circle.",
        f"节点 {node_id}（{title}）：“{name}”的连线形成环路。",
    )
