"""From live nodes to the prompt: subgraphs flattened, wires followed to the nodes that are sent."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from comfybridge.convert import packs
from comfybridge.convert.load import BYPASSED, MUTED, LiveGraph, LiveInput, LiveNode, Warn
from comfybridge.convert.text import Choose, dynamic_prompt, file_prefix
from comfybridge.convert.widgets import UNSET, Widget, as_double
from comfybridge.convert.wires import Literal, Scope, Source, Wires
from comfybridge.errors import InvalidInput

_MOST_NODES = 20_000

_FILE_WRITERS = frozenset(
    (
        *("SaveImage", "SaveVideo", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM", "SaveAudio", "SaveGLB"),
        *("CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLatent"),
    )
)
"""Classes whose ``filename_prefix`` may hold ``%…%``."""


def now() -> datetime:
    """The time that ``%date:…%`` stands for, by the local clock."""
    return datetime.now().astimezone()


class Emitter:
    """Emits the loaded graphs, the root last. ``honours_instances`` lets a muted subgraph take its inside along."""

    def __init__(
        self,
        graphs: Sequence[LiveGraph],
        warn: Warn,
        choose: Choose,
        *,
        repair: bool,
        honours_instances: bool,
    ) -> None:
        self._graphs = graphs
        self._wires = Wires(warn, repair=repair, honours_instances=honours_instances)
        self._warn = warn
        self._choose = choose
        self._repair = repair
        self._honours_instances = honours_instances
        self._now = now()

    def prompt(self) -> dict[str, dict[str, Any]]:
        for graph in self._graphs:
            self._apply_primitives(graph)
        root = Scope(self._graphs[-1])
        nodes = list(self._flat(root))
        self._refuse_unknown(nodes)
        inputs = {scope.id_of(node): self._inputs(scope, node) for scope, node in nodes if node.definition is not None}
        prompt = {
            scope.id_of(node): {
                # What a muted node would have fed is not sent.
                "inputs": {
                    name: value
                    for name, value in inputs[scope.id_of(node)].items()
                    if not isinstance(value, list) or value[0] in inputs
                },
                "class_type": node.type,
                "_meta": {"title": node.title},
            }
            for scope, node in nodes
            if node.definition is not None
        }
        plain = sorted((node_id for node_id in prompt if node_id.isdecimal()), key=int)
        return {node_id: prompt[node_id] for node_id in [*plain, *(each for each in prompt if not each.isdecimal())]}

    def _flat(self, scope: Scope) -> Iterator[tuple[Scope, LiveNode]]:
        """The nodes that are sent, those of subgraphs in place of their instances."""
        waiting: list[tuple[Scope, LiveNode]] = [(scope, node) for node in reversed(scope.graph.nodes.values())]
        self._wires.scopes[""] = scope
        while waiting:
            scope, node = waiting.pop()
            is_off = node.mode in (MUTED, BYPASSED)
            if node.graph is not None:
                inner = Scope(node.graph, scope.id_of(node), node, scope)
                self._wires.scopes[inner.path] = inner
                if is_off and not self._honours_instances:
                    self._note_inside_of(inner, node)
                if not (is_off and self._honours_instances):
                    waiting += [(inner, each) for each in reversed(node.graph.nodes.values())]
                if len(waiting) + len(self._wires.scopes) > _MOST_NODES:
                    raise InvalidInput(
                        f"The workflow has more than {_MOST_NODES} nodes.", f"工作流的节点超过 {_MOST_NODES} 个。"
                    )
            elif not node.virtual and not is_off:
                yield scope, node

    def _note_inside_of(self, inner: Scope, node: LiveNode) -> None:
        """Old front ends switch a subgraph off by switching off the nodes inside; those left on do run."""
        if any(each.mode not in (MUTED, BYPASSED) and not each.virtual for each in inner.graph.nodes.values()):
            self._warn(
                *(inner.path, node.title, "", "runs_though_off"),
                "the subgraph is switched off, but nodes inside it are not: those run, as in ComfyUI itself.",
                "该子图已关闭，但其内部节点没有关闭：它们仍会执行（与 ComfyUI 一致）。",
            )

    def _refuse_unknown(self, nodes: Sequence[tuple[Scope, LiveNode]]) -> None:
        unknown = [(scope, node) for scope, node in nodes if node.definition is None]
        needed: list[str] = []
        for scope, node in unknown:
            pack = _pack(node)
            if any(link.origin == node.id for link in scope.graph.links.values()) or any(
                each.link for each in node.inputs
            ):
                needed.append(f"{node.type} ({scope.id_of(node)}{', ' + pack if pack else ''})")
                continue
            self._warn(
                *(scope.id_of(node), node.title, "", "unknown_node"),
                f"left out: the server does not know '{node.type}', and nothing is wired to it.",
                f"已忽略：服务器没有节点类型“{node.type}”，且它没有任何连线。",
            )
        if needed:
            names = ", ".join(sorted(set(needed))[:10])
            raise InvalidInput(
                f"The server does not know these nodes of the workflow: {names}. "
                "Update ComfyUI or install their custom node packs.",
                f"服务器没有工作流中的这些节点：{names}。请更新 ComfyUI，或安装对应的自定义节点包。",
            )

    # Values

    def _inputs(self, scope: Scope, node: LiveNode) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for name, widget in node.widgets.items():
            value = self._sent(node, widget)
            if value is not UNSET:
                inputs[name] = _boxed(self._number(scope, node, widget, value))
        inputs |= node.extra
        for number, wired in enumerate(node.inputs):
            if wired.link is None:
                continue
            match self._wires.source(scope, node, number):
                case Source() as source:
                    inputs[wired.name] = [source.node_id, source.slot]
                case Literal(value):
                    if value is not UNSET:
                        own = node.widget_of(wired)
                        value = self._number(scope, node, own, value) if own is not None else value
                        inputs[wired.name] = _boxed(value)
        return inputs

    def _sent(self, node: LiveNode, widget: Widget) -> Any:
        """The widget's value as the front end hands it out for sending."""
        value, declared = widget.value, widget.declared
        if declared.type == "STRING" and isinstance(value, str):
            if declared.config.get("dynamicPrompts"):
                return dynamic_prompt(value, self._choose)
            if declared.name == "filename_prefix" and node.type in _FILE_WRITERS:
                return file_prefix(value, self._widget_value, self._now)
        if declared.config.get("image_upload") or declared.config.get("video_upload"):
            return _file(value)
        return value

    def _number(self, scope: Scope, node: LiveNode, widget: Widget, value: Any) -> Any:
        """A number as JavaScript sends it, unless only that takes it out of the server's range."""
        rounded, most = as_double(value), widget.declared.config.get("max")
        if rounded == value or not self._repair or not isinstance(most, int) or not value <= most < rounded:
            return rounded
        name = widget.declared.name
        self._warn(
            *(scope.id_of(node), node.title, name, "kept_number"),
            f"'{name}' is sent as {value}; ComfyUI's window would send {rounded}, which the server refuses.",
            f"“{name}”按 {value} 发送；ComfyUI 网页会发送服务器不接受的 {rounded}。",
        )
        return value

    def _widget_value(self, name: str, widget: str) -> Any:
        nodes = [node for graph in reversed(self._graphs) for node in graph.nodes.values()]
        named = [node for node in nodes if node.saved.properties.get("Node name for S&R", node.type) == name]
        node = (named or [node for node in nodes if node.title == name])[0]
        return node.widgets[widget].value

    def _apply_primitives(self, graph: LiveGraph) -> None:
        """Copy the values of PrimitiveNodes into the widgets that they are wired to, also behind reroutes."""
        for node in graph.nodes.values():
            for number, wired in enumerate(node.inputs):
                source = _primitive(graph, wired)
                values = source.saved.values if source is not None else None
                widget = node.widget_of(node.inputs[number])
                if widget is None or not isinstance(values, list) or not values:
                    continue
                value = values[0]
                if source is not None and source.saved.properties.get("Run widget replace on values") is True:
                    value = file_prefix(value, self._widget_value, self._now) if isinstance(value, str) else value
                widget.set(_stepped(widget, value))


def _primitive(graph: LiveGraph, wired: LiveInput) -> LiveNode | None:
    """The PrimitiveNode that an input is wired to, past reroutes."""
    seen: set[str] = set()
    link_id = wired.link
    while link_id is not None and link_id not in seen:
        seen.add(link_id)
        link = graph.links.get(link_id)
        origin = graph.nodes.get(link.origin) if link is not None else None
        if origin is None or origin.type == packs.PRIMITIVE:
            return origin
        if origin.type not in packs.PASSING or not origin.inputs:
            return None
        link_id = origin.inputs[0].link
    return None


def _stepped(widget: Widget, value: Any) -> Any:
    """A number as the widget rounds it when it is set by hand: FLOAT to the shown digits, INT to its step."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**53:
        return value
    config, kind = widget.declared.config, widget.declared.type
    step = config.get("step")
    step = step if isinstance(step, (int, float)) and step > 0 else (0.5 if kind == "FLOAT" else 1)
    low, high = (config.get(name) for name in ("min", "max"))
    if kind == "INT":
        shift = math.fmod(low, step) if isinstance(low, (int, float)) else 0
        return int(math.floor((value - shift) / step + 0.5) * step + shift)
    unit = config.get("round")
    if kind != "FLOAT" or unit is False:
        return value
    digits = min(max(0, -Decimal(repr(step)).adjusted()), 15)
    fine = value
    if isinstance(unit, (int, float)) and unit is not True and unit > 0:
        fine = math.floor(value / unit + 0.5) * unit
    rounded = float(Decimal(fine).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    rounded = max(rounded, low) if isinstance(low, (int, float)) else rounded
    return min(rounded, high) if isinstance(high, (int, float)) else rounded


def _file(value: Any) -> Any:
    """The name of an uploaded file as the loader's list has it; the first one of several."""
    if isinstance(value, list):
        return _file(value[0]) if value and not isinstance(value[0], list) else value
    if not isinstance(value, Mapping) or not isinstance(value.get("filename"), str):
        return value
    folder, kind = value.get("subfolder"), value.get("type")
    name = f"{folder}/{value['filename']}" if folder else value["filename"]
    return f"{name} [{kind}]" if kind and kind != "input" else name


def _boxed(value: Any) -> Any:
    """A list as a value, told apart from a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _pack(node: LiveNode) -> str:
    """The custom node pack that the file says the node is from."""
    for name in ("cnr_id", "aux_id"):
        pack = node.saved.properties.get(name)
        if isinstance(pack, str) and pack and pack != "comfy-core":
            return pack
    return ""
