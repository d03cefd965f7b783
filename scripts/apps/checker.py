"""What is wrong with a document of Dify's DSL: Dify itself imports nearly anything, and fails at the first run.

It reads the finished document and the tools' declarations, and knows nothing of how the document was made.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.apps.tools import PROVIDER, ROOT, declaration

_REFERENCE = re.compile(r"\{\{#([^#}]+)#\}\}")
#: What Dify's templates understand: node ids and names of this form and no longer.
_SELECTOR = re.compile(r"[a-zA-Z0-9_]{1,50}(\.[a-zA-Z_][a-zA-Z0-9_]{0,29}){1,10}")
_SYSTEM = {
    "workflow": {"user_id", "app_id", "workflow_id", "workflow_run_id"},
    "advanced-chat": {
        "query", "files", "conversation_id", "user_id", "dialogue_count", "app_id", "workflow_id", "workflow_run_id",
    },
}  # fmt: skip
_OUTPUTS: Mapping[str, set[str]] = {
    "llm": {"text", "usage", "reasoning_content"},
    "knowledge-retrieval": {"result"},
    "variable-aggregator": {"output"},
    "iteration": {"output"},
    "question-classifier": {"class_name"},
}
_ERRORS = {"error_message", "error_type"}


def problems(document: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that Dify would stumble over; none for a good document."""
    if not isinstance(document.get("version"), str) or document.get("kind") != "app":
        return ["version is a text and kind is app"]
    if document["app"]["mode"] == "agent-chat":
        agent_tools = document["model_config"]["agent_mode"]["tools"]
        return [problem for tool in agent_tools for problem in _agent_tool(tool)]
    return list(_Graph(document).problems())


class _Graph:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self.mode = document["app"]["mode"]
        workflow = document["workflow"]
        self.conversation = {variable["name"] for variable in workflow["conversation_variables"]}
        self.listed: Sequence[Mapping[str, Any]] = workflow["graph"]["nodes"]
        self.nodes = {node["id"]: node["data"] for node in self.listed}
        self.inside = {node["id"]: node.get("parentId") for node in self.listed}
        self.edges: Sequence[Mapping[str, Any]] = workflow["graph"]["edges"]

    def problems(self) -> Iterator[str]:
        names = [each["id"] for each in [*self.listed, *self.edges]]
        yield from (f"{name} stands there twice" for name in sorted({name for name in names if names.count(name) > 1}))
        broken = list(self._edges())
        yield from broken
        if broken:
            return
        yield from self._ways()
        for name, data in self.nodes.items():
            for selector in _selectors(data):
                yield from (f"{name}: {problem}" for problem in self._selector(name, selector))
            match data["type"]:
                case "tool":
                    yield from (f"{name}: {problem}" for problem in _tool(data))
                case "llm":
                    yield from (f"{name}: {problem}" for problem in self._llm(data))
                case "iteration" if self.inside.get(data["start_node_id"]) != name:
                    yield f"{name}: its start node is not inside it"

    def _edges(self) -> Iterator[str]:
        for edge in self.edges:
            source, target, handle = edge["source"], edge["target"], edge["sourceHandle"]
            if not {source, target} <= self.nodes.keys():
                yield f"{edge['id']} joins nodes that do not exist"
                continue
            if handle not in self._handles(source):
                yield f"{edge['id']}: {source} has no branch {handle}"
            if (edge["data"]["sourceType"], edge["data"]["targetType"]) != (
                self.nodes[source]["type"],
                self.nodes[target]["type"],
            ):
                yield f"{edge['id']} tells other types than its nodes have"
            if self.inside[source] != self.inside[target]:
                yield f"{edge['id']} crosses the border of an iteration"

    def _ways(self) -> Iterator[str]:
        reached = self._after("start") | {"start"} if "start" in self.nodes else set()
        for name, data in self.nodes.items():
            container = self.inside[name]
            if container is not None:
                start = self.nodes[container]["start_node_id"]
                if name not in self._after(start) | {start}:
                    yield f"{name} is not reached inside {container}"
                continue
            if name not in reached:
                yield f"{name} is not reached from the start"
            left = {edge["sourceHandle"] for edge in self.edges if edge["source"] == name}
            if self._handles(name) > {"source"} or data["type"] in ("if-else", "question-classifier"):
                yield from (f"{name}: nothing follows the branch {each}" for each in sorted(self._handles(name) - left))
            if not left and not self._says_something(name):
                yield f"{name} is an end at which nothing comes out"

    def _says_something(self, name: str) -> bool:
        if self.mode == "workflow":
            return bool(self.nodes[name]["type"] == "end")
        before = [each for each in self.nodes if name in self._after(each)]
        return any(self.nodes[each]["type"] == "answer" for each in (name, *before))

    def _selector(self, name: str, selector: Sequence[str]) -> Iterator[str]:
        source, *rest = selector
        variable = ".".join(rest)
        if not _SELECTOR.fullmatch(f"{source}.{variable}"):
            yield f"{source}.{variable} is no name that Dify understands"
        elif source == "sys":
            if variable not in _SYSTEM[self.mode]:
                yield f"sys.{variable} does not exist in this app"
        elif source == "conversation":
            if variable not in self.conversation:
                yield f"conversation.{variable} is not declared"
        elif source not in self.nodes:
            yield f"{source}.{variable}: there is no {source}"
        elif variable not in self._variables(source, name):
            yield f"{source} has no {variable} here"

    def _variables(self, source: str, user: str) -> set[str]:
        """What ``user`` may read of ``source``: nothing that comes later, on another branch or inside an iteration."""
        data = self.nodes[source]
        if data["type"] == "iteration" and self.inside[user] == source:
            return {"item", "index"}
        if data["type"] == "iteration" and user == source:
            return set()
        if self.inside[source] == user:
            return self._outputs(source)
        place: str | None = user
        while place is not None and self.inside[place] != self.inside[source]:
            place = self.inside[place]
        if place is None:
            return set()
        seen = self._outputs(source) if place in self._after(source, "source") else set()
        return seen | (_ERRORS if place in self._after(source, "fail-branch") else set())

    def _outputs(self, name: str) -> set[str]:
        data = self.nodes[name]
        match data["type"]:
            case "start":
                return {variable["variable"] for variable in data["variables"]}
            case "code":
                return set(data["outputs"])
            case "tool":
                return {"text", "files", "json", *declaration(data["tool_name"])["output_schema"]["properties"]}
            case kind:
                return _OUTPUTS.get(kind, set())

    def _handles(self, name: str) -> set[str]:
        data = self.nodes[name]
        match data["type"]:
            case "if-else":
                return {case["case_id"] for case in data["cases"]} | {"false"}
            case "question-classifier":
                return {each["id"] for each in data["classes"]}
            case "end":
                return set()
            case _:
                return {"source", "fail-branch"} if data.get("error_strategy") == "fail-branch" else {"source"}

    def _after(self, name: str, handle: str | None = None) -> set[str]:
        """All nodes that follow one, by a branch of it or by any."""
        found: set[str] = set()
        todo = [
            each["target"] for each in self.edges if each["source"] == name and handle in (None, each["sourceHandle"])
        ]
        while todo:
            if (node := todo.pop()) not in found:
                found.add(node)
                todo += [edge["target"] for edge in self.edges if edge["source"] == node]
        return found

    def _llm(self, data: Mapping[str, Any]) -> Iterator[str]:
        shown = any("{{#context#}}" in prompt["text"] for prompt in data["prompt_template"])
        if data["context"]["enabled"] != shown:
            yield "its context and its prompt's {{#context#}} belong together"
        if "memory" in data and self.mode == "workflow":
            yield "a workflow has no memory"
        if "memory" not in data and not any(prompt["role"] == "user" for prompt in data["prompt_template"]):
            yield "nobody tells the model what the user said"


def _selectors(data: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """Every variable that a node reads or sets, in selectors and inside texts."""
    for key, value in data.items():
        if key in ("output_schema", "code"):
            continue
        if key.endswith("selector") and value:
            yield value
        elif key == "variables" and data["type"] == "variable-aggregator":
            yield from value
        elif key == "value" and data.get("type", data.get("input_type")) == "variable":
            yield value
        else:
            yield from _within(value)


def _within(value: object) -> Iterator[Sequence[str]]:
    match value:
        case str():
            yield from (name.split(".") for name in _REFERENCE.findall(value) if name != "context")
        case Mapping():
            yield from _selectors(value)
        case list():
            for each in value:
                yield from _within(each)


def _tool(data: Mapping[str, Any]) -> Iterator[str]:
    if any(data[key] != PROVIDER for key in ("provider_id", "provider_name")):
        yield "it is not our provider's tool"
    tool = data["tool_name"]
    if not (ROOT / "tools" / f"{tool}.yaml").is_file():
        yield f"there is no tool {tool}"
        return
    declared = {parameter["name"]: parameter for parameter in declaration(tool)["parameters"]}
    places = {"tool_parameters": "llm", "tool_configurations": "form"}
    given = {name: (place, each) for place in places for name, each in data[place].items()}
    for name, (place, entry) in given.items():
        if name not in declared:
            yield f"{tool} has no {name}"
        elif declared[name]["form"] != places[place]:
            yield f"{name} does not belong into {place}"
        elif entry["type"] == "constant":
            yield from _constant(declared[name], entry["value"])
    for name, parameter in declared.items():
        if parameter["required"] and not given.get(name, ("", {}))[1].get("value"):
            yield f"{name} is missing"


def _constant(parameter: Mapping[str, Any], value: object) -> Iterator[str]:
    kinds: Mapping[str, tuple[type, ...]] = {
        "number": (int, float),
        "boolean": (bool,),
        "string": (str,),
    }
    name, kind = parameter["name"], parameter["type"]
    if kind == "select":
        if value not in [option["value"] for option in parameter["options"]]:
            yield f"{name} has no option {value}"
    elif kind not in kinds or not isinstance(value, kinds[kind]) or (kind == "number" and isinstance(value, bool)):
        yield f"{name} cannot be {value!r}"
    elif isinstance(value, int | float) and not parameter.get("min", value) <= value <= parameter.get("max", value):
        yield f"{name} cannot be {value}"


def _agent_tool(listed: Mapping[str, Any]) -> Iterator[str]:
    tool = listed["tool_name"]
    if listed["provider_id"] != PROVIDER or not (ROOT / "tools" / f"{tool}.yaml").is_file():
        yield f"there is no tool {tool}"
        return
    declared = {parameter["name"]: parameter for parameter in declaration(tool)["parameters"]}
    for name, value in listed["tool_parameters"].items():
        if name not in declared:
            yield f"{tool} has no {name}"
        elif value != "":
            yield from (f"{tool}: {problem}" for problem in _constant(declared[name], value))
    for name, parameter in declared.items():
        if parameter["required"] and parameter["type"] in ("file", "files"):
            yield f"{tool} cannot be called by an agent: {name}"
