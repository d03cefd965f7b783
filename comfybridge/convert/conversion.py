"""The whole way: tell the form, parse, load, emit, and look for circles."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfybridge.convert import packs
from comfybridge.convert.emit import Emitter
from comfybridge.convert.groups import group_of
from comfybridge.convert.load import Loader
from comfybridge.convert.saved import Saved, SavedGraph, mapping, parse, sequence
from comfybridge.convert.text import Choose
from comfybridge.errors import InvalidInput
from comfybridge.preflight import Problem
from comfybridge.workflow import Definitions, as_link

# From this version on a muted or bypassed subgraph no longer marks the nodes inside.
_MARKS_INSTANCES_ONLY = (1, 37)


@dataclass(frozen=True, slots=True)
class Conversion:
    """The prompt, and what was put right or left out on the way."""

    prompt: dict[str, dict[str, Any]]
    warnings: tuple[Problem, ...]


def convert(
    workflow: Any, definitions: Definitions, *, repair: bool = True, choose: Choose | None = None
) -> Conversion:
    """Convert parsed JSON: a saved workflow, an exported prompt, or an envelope around either.

    ``definitions`` holds the classes that ``class_types`` names, as far as the server has them. ``choose`` picks one
    of the options of ``{a|b}`` in a prompt, as ComfyUI does at random. Without ``repair`` the prompt is what the front
    end sends even where that is garbage.

    Raises:
        InvalidInput: it is no workflow, or it cannot be sent; with the place.
    """
    try:
        content = _content(workflow)
        if isinstance(content.get("nodes"), list):
            return _converted(parse(content), definitions, choose or _at_random, repair=repair)
        prompt = _prompt(content)
    except RecursionError as exc:
        raise _too_deep() from exc
    _refuse_circles(prompt)
    return Conversion(prompt, ())


def class_types(workflow: Any) -> frozenset[str]:
    """The node classes that a conversion needs the definitions of."""
    content = _content(workflow)
    if not isinstance(content.get("nodes"), list):
        return frozenset(str(node["class_type"]) for node in _prompt(content).values())
    saved = parse(content)
    found: set[str] = set()
    waiting, seen = [saved.root], {""}
    while waiting:
        graph = waiting.pop()
        for class_type in _classes(graph, saved):
            if class_type in saved.subgraphs:
                if class_type not in seen:
                    seen.add(class_type)
                    waiting.append(saved.subgraphs[class_type])
            elif not packs.is_virtual(class_type, is_known=False):
                found.add(class_type)
    return frozenset(found)


def _classes(graph: SavedGraph, saved: Saved) -> list[str]:
    found: list[str] = []
    for node in graph.nodes.values():
        group = group_of(node.type, saved.groups)
        if group is None:
            found.append(node.type)
        else:
            found += [str(mapping(entry).get("type", "")) for entry in sequence(group.get("nodes"))]
    return found


def _content(workflow: Any) -> Mapping[str, Any]:
    """Take the envelope off."""
    for _ in range(4):
        if not isinstance(workflow, Mapping):
            break
        if isinstance(workflow.get("nodes"), list) or not workflow:
            return workflow
        inner = next((workflow[name] for name in ("prompt", "output", "workflow") if _holds(workflow.get(name))), None)
        if inner is None:
            return workflow
        workflow = inner
    raise _no_workflow()


def _holds(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_type" not in value


def _prompt(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """An exported prompt as it is, less what ComfyUI adds when it writes one into a picture."""
    if not content:
        raise _empty()
    nodes = {name: node for name, node in content.items() if isinstance(node, Mapping) and "class_type" in node}
    if not nodes:
        raise _no_workflow()
    prompt: dict[str, dict[str, Any]] = {}
    for node_id, node in content.items():
        if node_id not in nodes:
            if isinstance(node, Mapping) and "inputs" in node:
                raise InvalidInput(f"Node {node_id} has no class_type.", f"节点 {node_id} 缺少 class_type。")
            continue
        if not isinstance(node["class_type"], str) or not isinstance(node.get("inputs", {}), Mapping):
            raise InvalidInput(
                f"Node {node_id} is no node: class_type must be a text and inputs an object.",
                f"节点 {node_id} 无效：class_type 应为文本，inputs 应为对象。",
            )
        prompt[node_id] = {"inputs": dict(node.get("inputs", {})), "class_type": node["class_type"]}
        if isinstance(node.get("_meta"), Mapping):
            prompt[node_id]["_meta"] = node["_meta"]
    return prompt


def _converted(saved: Saved, definitions: Definitions, choose: Choose, *, repair: bool) -> Conversion:
    if not saved.root.nodes:
        raise _empty()
    warnings: dict[tuple[str, str, str], Problem] = {}

    def warn(node_id: str, title: str, name: str, code: str, english: str, chinese: str) -> None:
        warnings[node_id, name, code] = Problem(
            node_id, title, name, code, f"Node {node_id} ({title}): {english}", f"节点 {node_id}（{title}）：{chinese}"
        )

    graphs = Loader(saved, definitions, warn, repair=repair).graphs()
    honours = repair and saved.frontend >= _MARKS_INSTANCES_ONLY
    prompt = Emitter(graphs, warn, choose, repair=repair, honours_instances=honours).prompt()
    if not prompt:
        raise _empty()
    _refuse_circles(prompt)
    return Conversion(prompt, tuple(warnings.values()))


def _refuse_circles(prompt: Mapping[str, Mapping[str, Any]]) -> None:
    finished: set[str] = set()
    for start in prompt:
        path: dict[str, None] = {}
        waiting = [start]
        while waiting:
            node_id = waiting[-1]
            if node_id in finished or node_id in path:
                waiting.pop()
                if node_id in path and next(reversed(path)) == node_id:
                    del path[node_id]
                    finished.add(node_id)
                continue
            path[node_id] = None
            links = (as_link(value) for value in prompt[node_id]["inputs"].values())
            for behind in {link.node_id for link in links if link is not None and link.node_id in prompt}:
                if behind in path:
                    names = " -> ".join([*list(path)[list(path).index(behind) :], behind])
                    raise InvalidInput(
                        f"The nodes feed each other in a circle: {names}.", f"节点连线形成环路：{names}。"
                    )
                waiting.append(behind)


def _at_random(options: Sequence[str]) -> str:
    return random.choice(options)  # noqa: S311


def _no_workflow() -> InvalidInput:
    return InvalidInput(
        "This JSON is no ComfyUI workflow: it has neither nodes nor a prompt.",
        "这段 JSON 不是 ComfyUI 工作流：既没有 nodes，也没有 prompt。",
    )


def _empty() -> InvalidInput:
    return InvalidInput("The workflow has no nodes that can be sent.", "工作流中没有可以执行的节点。")


def _too_deep() -> InvalidInput:
    return InvalidInput("The JSON is nested too deeply for a workflow.", "JSON 嵌套过深，不是有效的工作流。")
