# mypy: disable-error-code="import-not-found"
# graphon is in the environment of "make test-dify" only, the types are checked in the other one.
"""Runs an app in graphon, the workflow engine of Dify's API, with the plugin's real process behind its Tool nodes.

What Dify's API itself puts between the two is played here: it casts parameters to their declared types, stores blobs as
tool files, and signs links to them. What stands behind the other nodes is in ``stand_ins``.
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import yaml
from graphon.engine.engine import Engine
from graphon.engine_events.graph import GraphRunPartialSucceededEvent, GraphRunSucceededEvent
from graphon.engine_events.node import (
    NodeRunExceptionEvent,
    NodeRunFailedEvent,
    NodeRunStreamChunkEvent,
    NodeRunSucceededEvent,
)
from graphon.enums import BuiltinNodeTypes
from graphon.file.enums import FileTransferMethod, FileType
from graphon.file.models import File
from graphon.graph.graph import Graph
from graphon.model_runtime.entities.llm_entities import LLMUsage
from graphon.nodes.answer.answer_node import AnswerNode
from graphon.nodes.end.end_node import EndNode
from graphon.nodes.if_else import IfElseNode
from graphon.nodes.iteration import IterationNode, IterationStartNode
from graphon.nodes.start import StartNode
from graphon.nodes.tool.exc import ToolNodeError
from graphon.nodes.tool.tool_node import ToolNode
from graphon.nodes.tool_runtime_entities import ToolRuntimeHandle, ToolRuntimeMessage, ToolRuntimeParameter
from graphon.nodes.variable_aggregator import VariableAggregatorNode
from graphon.nodes.variable_assigner.v2 import VariableAssignerNode
from graphon.runtime.init_params import InitParams
from graphon.runtime.runtime_state import RuntimeState
from graphon.runtime.variable_pool import VariablePool
from graphon.variables.segments import ArrayFileSegment
from graphon.variables.template_resolution import convert_template

from comfybridge.simulator.answer import Message
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from tests.dify.stand_ins import BEHIND, Behind

ROOT = Path(__file__).parents[2]
PROVIDER = "comfybridge/comfybridge/comfyui"
TOOL = "draw"


@dataclass(frozen=True)
class ToolFile:
    id: str
    mime_type: str
    name: str | None
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)


class ToolFiles:
    """Dify's store of tool files, and the addresses it signs for them."""

    multimodal_send_format = "url"

    def __init__(self) -> None:
        self.stored: dict[str, ToolFile] = {}
        self.attached: dict[str, dict[str, Any]] = {}
        """What the user attached, as the API sends it to a plugin."""

    def attach(self, offered: dict[str, Any]) -> File:
        """The user's upload as the engine's variables hold it; ``offered`` is what ``DifyFiles.offer`` gave."""
        file_id = str(uuid.uuid4())
        self.attached[file_id] = offered
        return File(
            file_type=FileType(offered["type"]),
            transfer_method=FileTransferMethod.LOCAL_FILE,
            reference=file_id,
            filename=offered["filename"],
            mime_type=offered["mime_type"],
            size=offered["size"],
            extension=offered["extension"],
        )

    def create_file_by_raw(self, *, file_binary: bytes, mimetype: str, filename: str | None = None) -> ToolFile:
        file = ToolFile(str(uuid.uuid4()), mimetype, filename, file_binary)
        self.stored[file.id] = file
        return file

    def get_file_generator_by_tool_file_id(self, tool_file_id: str) -> tuple[None, ToolFile | None]:
        return None, self.stored.get(tool_file_id)

    def resolve_file_url(self, *, file: Any, for_external: bool = True) -> str:
        return self.resolve_tool_file_url(
            tool_file_id=file.reference, extension=file.extension, for_external=for_external
        )

    def resolve_tool_file_url(self, *, tool_file_id: str, extension: str, for_external: bool = True) -> str:
        assert for_external
        return f"https://dify.example/files/tools/{tool_file_id}{extension}?sign=s"


@dataclass(frozen=True)
class Runtime:
    """Between the Tool node and the plugin: what ``core/tools`` of Dify's API does."""

    daemon: PluginDaemon
    credentials: Mapping[str, Any]
    files: ToolFiles

    def get_runtime(
        self, *, node_id: str, node_data: Any, variable_pool: Any, node_execution_id: str | None = None
    ) -> Any:
        assert node_id
        assert node_execution_id
        return ToolRuntimeHandle(raw=(node_data, variable_pool))

    def get_runtime_parameters(self, *, tool_runtime: Any) -> list[Any]:
        node, _ = tool_runtime.raw
        return [ToolRuntimeParameter(name=name) for name in declared_parameters(node.tool_name)]

    def get_usage(self, *, tool_runtime: Any) -> Any:  # noqa: ARG002 (the engine's signature)
        return LLMUsage.empty_usage()

    def build_file_reference(self, *, mapping: Mapping[str, Any]) -> Any:
        file = self.files.stored[mapping["tool_file_id"]]
        return File(
            file_type=mapping["type"],
            transfer_method=FileTransferMethod.TOOL_FILE,
            reference=file.id,
            filename=file.name,
            mime_type=file.mime_type,
            size=file.size,
            extension=Path(file.name or "").suffix,
        )

    def invoke(
        self, *, tool_runtime: Any, tool_parameters: Mapping[str, Any], workflow_call_depth: int, provider_name: str
    ) -> Iterator[Any]:
        assert (workflow_call_depth, provider_name) == (0, PROVIDER)
        node, variables = tool_runtime.raw
        form = {name: configured(value, variables) for name, value in node.tool_configurations.items()}
        declared = declared_parameters(node.tool_name)
        given = {**form, **tool_parameters}
        parameters = {
            name: self._sent(cast(declared[name]["type"], value)) for name, value in given.items() if name in declared
        }
        provider = PROVIDER.rpartition("/")[2]
        try:
            for message in self.daemon.stream_tool(provider, node.tool_name, parameters, credentials=self.credentials):
                yield self._transform(message)
        except PluginError as error:
            raise ToolNodeError(f"An error occurred in the comfybridge/comfybridge: {error}") from error

    def _sent(self, value: Any) -> Any:
        """A file as the API sends it to a plugin (``convert_parameters_to_plugin_format``), in a list too."""
        if isinstance(value, list):
            return [self._sent(each) for each in value]
        return self.files.attached[value.reference] if isinstance(value, File) else value

    def _transform(self, message: Message) -> Any:
        """Store a blob and pass on its link; give every other message its type (``ToolFileMessageTransformer``)."""
        meta = dict(message.meta)
        if message.type == "blob":
            stored = self.files.create_file_by_raw(
                file_binary=message.message["blob"],
                mimetype=meta.get("mime_type", "application/octet-stream"),
                filename=meta.get("filename"),
            )
            kind = "image_link" if "image" in stored.mime_type else "binary_link"
            link = ToolRuntimeMessage.TextMessage(text=f"/files/tools/{stored.id}{Path(stored.name or '').suffix}")
            return ToolRuntimeMessage(type=kind, message=link, meta={**meta, "tool_file_id": stored.id})
        payload = {
            "text": ToolRuntimeMessage.TextMessage,
            "json": ToolRuntimeMessage.JsonMessage,
            "variable": ToolRuntimeMessage.VariableMessage,
            "log": ToolRuntimeMessage.LogMessage,
        }[message.type]
        return ToolRuntimeMessage(type=message.type, message=payload(**message.message), meta=meta)


def configured(value: Mapping[str, Any], variables: VariablePool) -> Any:
    match value["type"]:
        case "variable":
            variable = variables.get(value["value"])
            return None if variable is None else variable.value
        case "mixed":
            return convert_template(variables, str(value["value"])).text
        case _:
            return value["value"]


def declared_parameters(tool: str) -> dict[str, Mapping[str, Any]]:
    declaration = yaml.safe_load((ROOT / "tools" / f"{tool}.yaml").read_text(encoding="utf-8"))
    return {parameter["name"]: parameter for parameter in declaration["parameters"]}


def cast(kind: str, value: Any) -> Any:
    """What Dify's API makes of a value before it sends it (``cast_parameter_value``)."""
    match kind, value:
        case "number", "":
            return None
        case "number", str():
            return float(value) if "." in value else int(value)
        case "boolean", str():
            return value.lower() not in ("", "false", "no", "n", "0")
        case "boolean", None:
            return False
        case (("string" | "select"), None):
            return ""
        case (("string" | "select"), _):
            return str(value)
        case _:
            return value


@dataclass(frozen=True)
class Factory:
    """Builds the nodes of an app; the shape is the engine's ``NodeFactory``."""

    init_params: Any
    runtime_state: Any
    runtime: Runtime
    behind: Behind

    def with_runtime_state(self, runtime_state: Any) -> Self:
        return replace(self, runtime_state=runtime_state)

    def with_graph_config(self, graph_config: Mapping[str, Any]) -> Self:
        return replace(self, init_params=self.init_params.model_copy(update={"graph_config": graph_config}))

    def validate_node(self, node_config: Any) -> Any:
        node = NODES[node_config["data"].type]
        node.validate_node_data(node_config["data"])
        return node.execution_type

    def create_node(self, node_config: Any) -> Any:
        node = NODES[node_config["data"].type]
        extra = {"tool_file_manager": self.runtime.files, "runtime": self.runtime} if node is ToolNode else {}
        extra |= self.behind.of(node_config["id"], node)
        return node(
            node_id=node_config["id"],
            data=node.validate_node_data(node_config["data"]),
            init_params=self.init_params,
            runtime_state=self.runtime_state,
            **extra,
        )


NODES: dict[Any, Any] = {
    BuiltinNodeTypes.START: StartNode,
    BuiltinNodeTypes.TOOL: ToolNode,
    BuiltinNodeTypes.ANSWER: AnswerNode,
    BuiltinNodeTypes.END: EndNode,
    BuiltinNodeTypes.IF_ELSE: IfElseNode,
    BuiltinNodeTypes.VARIABLE_ASSIGNER: VariableAssignerNode,
    BuiltinNodeTypes.VARIABLE_AGGREGATOR: VariableAggregatorNode,
    BuiltinNodeTypes.ITERATION: IterationNode,
    BuiltinNodeTypes.ITERATION_START: IterationStartNode,
    **BEHIND,
}


@dataclass
class Run:
    """What an app's author sees of one run."""

    succeeded: bool = False
    #: The run's outputs: of a chatflow the answer, of a workflow those of its End node.
    outputs: dict[str, Any] = field(default_factory=dict)
    #: The Tool node's own outputs; empty where it failed.
    tool: dict[str, Any] = field(default_factory=dict)
    #: The outputs of every node that succeeded, by its id.
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: The conversation's variables at the end, which Dify keeps for the next turn.
    conversation: dict[str, Any] = field(default_factory=dict)
    #: The error of the node that failed last, as Dify shows it.
    error: str = ""
    #: Pieces in the order in which they streamed to the user, as (node, variable), text.
    chunks: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    files: ToolFiles = field(default_factory=ToolFiles)


def chatflow(
    parameters: Mapping[str, Any], *, answer: str, form: Mapping[str, Any] | None = None, tool: str = "text2image"
) -> dict[str, Any]:
    """The graph of a chatflow: Start, the tool, an Answer. A parameter is {"type": "mixed"|"constant"|…, "value"}."""
    last = {"id": "last", "data": {"type": "answer", "title": "Answer", "answer": answer}}
    return _app(tool, parameters, form or {}, last)


def workflow(
    parameters: Mapping[str, Any], *, form: Mapping[str, Any] | None = None, tool: str = "text2image"
) -> dict[str, Any]:
    """The graph of a workflow whose End node hands out the pictures."""
    outputs = [{"variable": "pictures", "value_selector": [TOOL, "files"], "value_type": "array[file]"}]
    return _app(
        tool, parameters, form or {}, {"id": "last", "data": {"type": "end", "title": "End", "outputs": outputs}}
    )


def with_fail_branch(graph: Mapping[str, Any], *, answer: str) -> dict[str, Any]:
    """The same app, whose tool has a fail branch: where it leads, ``answer`` is said instead."""
    failed = {"id": "failed", "data": {"type": "answer", "title": "Failed", "answer": answer}}
    nodes = [
        {**node, "data": {**node["data"], "error_strategy": "fail-branch"}} if node["id"] == TOOL else node
        for node in graph["nodes"]
    ]
    edges = [{**edge, "sourceHandle": "success-branch"} if edge["source"] == TOOL else edge for edge in graph["edges"]]
    return {"nodes": [*nodes, failed], "edges": [*edges, {**_edge(TOOL, "failed"), "sourceHandle": "fail-branch"}]}


def _app(
    tool_name: str, parameters: Mapping[str, Any], form: Mapping[str, Any], last: Mapping[str, Any]
) -> dict[str, Any]:
    tool = {
        "type": "tool",
        "title": tool_name,
        "provider_id": PROVIDER,
        "provider_name": PROVIDER,
        "provider_type": "builtin",
        "tool_name": tool_name,
        "tool_label": tool_name,
        "tool_node_version": "2",
        "tool_configurations": dict(form),
        "tool_parameters": dict(parameters),
    }
    start = {"id": "start", "data": {"type": "start", "title": "Start", "variables": []}}
    return {
        "nodes": [start, {"id": TOOL, "data": tool}, dict(last)],
        "edges": [_edge("start", TOOL), _edge(TOOL, "last")],
    }


def _edge(source: str, target: str) -> dict[str, str]:
    return {
        "id": f"{source}-{target}",
        "source": source,
        "sourceHandle": "source",
        "target": target,
        "targetHandle": "target",
    }


def run(
    graph: Mapping[str, Any],
    daemon: PluginDaemon,
    credentials: Mapping[str, Any],
    *,
    query: str = "a red fox",
    attached: Sequence[dict[str, Any]] = (),
    inputs: Mapping[str, Any] | None = None,
    conversation: Mapping[str, Any] | None = None,
    behind: Behind | None = None,
) -> Run:
    """Run an app to its end; ``query`` and ``attached`` are the user's ``sys.query`` and ``sys.files``.

    ``inputs`` are the Start node's variables, ``conversation`` those that Dify kept from the last turn.
    """
    result = Run()
    variables = VariablePool()
    variables.add(("sys", "query"), query)
    variables.add(("sys", "files"), ArrayFileSegment(value=[result.files.attach(offered) for offered in attached]))
    for name, value in (inputs or {}).items():
        variables.add(("start", name), value)
    for name, value in (conversation or {}).items():
        variables.add(("conversation", name), value)
    params = InitParams(workflow_id="app", graph_config=graph, run_context={}, call_depth=0)
    state = RuntimeState(variable_pool=variables, start_at=time.time(), workflow_id="app")
    factory = Factory(params, state, Runtime(daemon, credentials, result.files), behind or Behind())
    engine = Engine(
        graph=Graph.init(graph_config=graph, node_factory=factory, root_node_id="start"),
        runtime_state=state,
        workers=1,
        file_runtime=result.files,
    )
    try:
        for event in engine.run():
            _record(event, result)
    except RuntimeError:
        # After its last event the engine raises the error of a failed run once more.
        if not result.error:
            raise
    result.conversation = {name: variables.get(("conversation", name)).value for name in conversation or {}}
    return result


def _record(event: Any, result: Run) -> None:
    match event:
        case NodeRunStreamChunkEvent() if event.chunk:
            result.chunks.append((tuple(event.selector), event.chunk))
        case NodeRunSucceededEvent():
            result.nodes[event.node_id] = dict(event.node_run_result.outputs)
            if event.node_id == TOOL:
                result.tool = result.nodes[TOOL]
        case NodeRunFailedEvent() | NodeRunExceptionEvent():
            result.error = event.error
        case GraphRunSucceededEvent() | GraphRunPartialSucceededEvent():
            result.succeeded, result.outputs = True, dict(event.outputs)
