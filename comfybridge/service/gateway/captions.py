"""What people know a job by: the text that it paints, and the names of its nodes. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from comfybridge.graph import as_link

_LONGEST = 300
_TEXTS = ("text", "prompt", "positive", "positive_prompt", "string", "value", "text_g", "clip_l", "t5xxl", "tags")
_MOST_NODES = 400


def text_of(prompt: Mapping[str, Any]) -> str:
    """The positive text, cut; empty where none is found."""
    nodes = {node_id: node for node_id, node in prompt.items() if isinstance(node, Mapping)}
    starts = [link.node_id for node in nodes.values() if (link := as_link(_inputs(node).get("positive"))) is not None]
    for start in starts:
        if text := _upstream(nodes, start):
            return _cut(text)
    return _cut(max((text for node in nodes.values() for text in _texts(node)), key=len, default=""))


def titles_of(prompt: Mapping[str, Any]) -> dict[str, str]:
    """The nodes by their ids: their titles, or their classes; none of a graph that is too large to send around."""
    if len(prompt) > _MOST_NODES:
        return {}
    return {node_id: _title(node) for node_id, node in prompt.items() if isinstance(node, Mapping)}


def _title(node: Mapping[str, Any]) -> str:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return str(title or node.get("class_type", ""))[:80]


def _upstream(nodes: Mapping[str, Mapping[str, Any]], start: str) -> str:
    """The first text on the way up from a node, the nearest nodes first."""
    waiting, seen = [start], {start}
    while waiting:
        node = nodes.get(waiting.pop(0))
        if node is None:
            continue
        if text := max(_texts(node), key=len, default=""):
            return text
        for value in _inputs(node).values():
            link = as_link(value)
            if link is not None and link.node_id not in seen:
                seen.add(link.node_id)
                waiting.append(link.node_id)
    return ""


def _texts(node: Mapping[str, Any]) -> Iterable[str]:
    inputs = _inputs(node)
    return (inputs[name] for name in _TEXTS if isinstance(inputs.get(name), str) and inputs[name].strip())


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
