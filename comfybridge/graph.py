"""An API-format graph as a value: its nodes, its wires, what it puts out, and setting its inputs. Pure.

A graph maps node ids to ``{"class_type", "inputs", "_meta"}``; ids are strings such as ``"3"`` or, inside a subgraph,
``"57:27"``. An input is a literal or a link ``[node_id, output_index]``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Prompt: TypeAlias = Mapping[str, Mapping[str, Any]]
Definitions: TypeAlias = Mapping[str, Mapping[str, Any]]
"""class_type -> its entry of ``GET /object_info/{class_type}``."""

# What an output node puts out, by words of its class first, then by the names of its inputs, the first that fits.
_KINDS_BY_CLASS = (
    ("latent", "latent"),
    ("audio", "audio"),
    ("video", "video"),
    ("webm", "video"),
    ("3d", "3d"),
    ("glb", "3d"),
    ("mesh", "3d"),
    ("tripo", "3d"),
    ("text", "text"),
    ("string", "text"),
    ("svg", "image"),
    ("image", "image"),
    ("animated", "image"),
)
_KINDS_BY_INPUT = (
    ("images", "image"),
    ("image", "image"),
    ("mask", "image"),
    ("audio", "audio"),
    ("video", "video"),
    ("mesh", "3d"),
    ("samples", "latent"),
)


class InputRef(NamedTuple):
    """One input of one node."""

    node_id: str
    input: str


class Link(NamedTuple):
    """Where a value comes from: an output of a node."""

    node_id: str
    output: int


def as_link(value: Any) -> Link | None:
    """Read an input's value as a link; ``None`` when it is a literal."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):  # noqa: PLR2004
        return Link(value[0], value[1])
    return None


@dataclass(frozen=True, slots=True)
class Graph:
    """A prompt beside the definitions of its classes, read forgivingly: what is no node or no input is not there.

    Both come from JSON, so an object is a ``dict``; to ask for a ``Mapping`` would take several times as long.
    """

    prompt: Prompt
    definitions: Definitions
    _links: dict[str, dict[str, Link]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def inputs(self, node_id: str) -> Mapping[str, Any]:
        node = self.prompt.get(node_id)
        inputs = node.get("inputs") if isinstance(node, dict) else None
        return inputs if isinstance(inputs, dict) else {}

    def class_type(self, node_id: str) -> str:
        node = self.prompt.get(node_id)
        return str(node.get("class_type", "")) if isinstance(node, dict) else ""

    def definition(self, node_id: str) -> Mapping[str, Any]:
        definition = self.definitions.get(self.class_type(node_id))
        return definition if isinstance(definition, dict) else {}

    def links(self, node_id: str) -> dict[str, Link]:
        """The inputs that are wired to a node of the graph."""
        if node_id not in self._links:
            wired = ((name, as_link(value)) for name, value in self.inputs(node_id).items())
            inside = {name: link for name, link in wired if link is not None and link.node_id in self.prompt}
            self._links[node_id] = inside
        return self._links[node_id]

    def linked(self, node_id: str, names: Iterable[str]) -> Link | None:
        """The first of the named inputs that is wired to a node of the graph."""
        links = self.links(node_id)
        return next((links[name] for name in names if name in links), None)

    def value(self, ref: InputRef) -> Any:
        return self.inputs(ref.node_id).get(ref.input)

    def upstream(self, node_ids: Iterable[str], along: Iterable[str] | None = None) -> set[str]:
        """The nodes and everything that feeds them, over the named inputs only where some are named."""
        names = None if along is None else frozenset(along)
        seen: set[str] = set()
        waiting = list(node_ids)
        while waiting:
            node_id = waiting.pop()
            if node_id not in seen and node_id in self.prompt:
                seen.add(node_id)
                links = self.links(node_id).items()
                waiting += [link.node_id for name, link in links if names is None or name in names]
        return seen


def input_spec(definition: Mapping[str, Any], name: str) -> list[Any]:
    """How a class declares an input, ``[type, options]``; empty when it does not, or only inside another input."""
    groups = definition.get("input")
    if not isinstance(groups, dict):
        return []
    for group in groups.values():
        spec = group.get(name) if isinstance(group, dict) else None
        if isinstance(spec, list):
            return spec
    return []


def spec_options(spec: list[Any]) -> Mapping[str, Any]:
    """The options of a declared input: its limits, its default, whether it takes an upload."""
    return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def output_nodes(prompt: Prompt, definitions: Definitions) -> tuple[str, ...]:
    """The nodes that save or show something, in the graph's order."""
    graph = Graph(prompt, definitions)
    return tuple(node_id for node_id in prompt if _is_output(graph, node_id))


def output_kind(prompt: Prompt, definitions: Definitions, node_id: str) -> str:
    """What an output node puts out: ``image``, ``video``, ``audio``, ``3d``, ``latent`` or ``text``."""
    graph = Graph(prompt, definitions)
    class_type = graph.class_type(node_id).lower()
    by_class = next((kind for word, kind in _KINDS_BY_CLASS if word in class_type), None)
    if by_class is not None:
        return by_class
    return next((kind for name, kind in _KINDS_BY_INPUT if name in graph.inputs(node_id)), "text")


def fill(prompt: Prompt, values: Mapping[InputRef, Any]) -> dict[str, dict[str, Any]]:
    """Return a copy of the graph with the values set, as data: no text is ever spliced into JSON."""
    filled = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in prompt.items()}
    for ref, value in values.items():
        filled[ref.node_id]["inputs"][ref.input] = value
    return filled


def title(prompt: Prompt, node_id: str) -> str:
    """The node's title as its author wrote it, else its class."""
    node = prompt.get(node_id)
    if not isinstance(node, dict):
        return node_id
    meta = node.get("_meta")
    own = meta.get("title") if isinstance(meta, dict) else None
    return str(own or node.get("class_type") or node_id)


def class_types(prompt: Prompt) -> frozenset[str]:
    return frozenset(str(node["class_type"]) for node in prompt.values())


def _is_output(graph: Graph, node_id: str) -> bool:
    class_type = graph.class_type(node_id)
    definition = graph.definitions.get(class_type)
    if not isinstance(definition, dict):
        return class_type.startswith(("Save", "Preview"))
    return bool(definition.get("output_node"))
