# mypy: disable-error-code="import-not-found"
# graphon is in the environment of "make test-dify" only, the types are checked in the other one.
"""What stands behind an app's nodes in tests: a model that says what a test wrote down, knowledge, and a sandbox.

The nodes themselves are graphon's. The exception is knowledge retrieval, which graphon lacks, since it lives in Dify's
API: the node here hands out the passages of the chosen knowledge as Dify's does.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphon.entities.base_node_data import BaseNodeData
from graphon.enums import BuiltinNodeTypes, WorkflowNodeExecutionStatus
from graphon.model_runtime.entities.common_entities import I18nObject
from graphon.model_runtime.entities.llm_entities import LLMResultChunk, LLMResultChunkDelta, LLMUsage
from graphon.model_runtime.entities.message_entities import AssistantPromptMessage, PromptMessage, UserPromptMessage
from graphon.model_runtime.entities.model_entities import AIModelEntity, FetchFrom, ModelPropertyKey, ModelType
from graphon.node_events.base import NodeRunResult
from graphon.nodes.base.node import Node
from graphon.nodes.code import CodeNode
from graphon.nodes.code.limits import CodeNodeLimits
from graphon.nodes.llm import LLMNode
from graphon.nodes.question_classifier import QuestionClassifierNode
from graphon.template_rendering import Jinja2TemplateRenderer
from graphon.variables.segments import ArrayObjectSegment

#: What a model answers: a text, or what it makes of the prompt's texts.
Reply = str | Callable[[Sequence[str]], str]

#: Dify's defaults.
LIMITS = CodeNodeLimits(
    max_string_length=400_000,
    max_number=9_223_372_036_854_775_807,
    min_number=-9_223_372_036_854_775_807,
    max_precision=20,
    max_depth=5,
    max_number_array_length=1000,
    max_string_array_length=30,
    max_object_array_length=30,
)


class CodeError(Exception):
    """The code of a node ended with an error."""


@dataclass
class Behind:
    """One app's surroundings.

    ``model``: what the model answers, by node. ``knowledge``: the passages of each knowledge, by the id that a node may
    choose. ``history``: the turns before, as the user said them and as they were answered.
    """

    model: Mapping[str, Reply] = field(default_factory=dict)
    knowledge: Mapping[str, Sequence[str]] = field(default_factory=dict)
    history: Sequence[tuple[str, str]] = ()
    prompts: dict[str, list[str]] = field(default_factory=dict)
    """What the model was told, by node."""

    def of(self, node_id: str, node: Any) -> dict[str, Any]:
        """What a node's constructor needs beyond its data."""
        if node is CodeNode:
            return {"code_executor": Sandbox(), "code_limits": LIMITS}
        if node in (LLMNode, QuestionClassifierNode):
            renderer = "jinja2_template_renderer" if node is LLMNode else "template_renderer"
            return {
                "model_instance": Model(self, node_id),
                "memory": History(self.history),
                "llm_file_saver": object(),
                "prompt_message_serializer": AsIs(),
                renderer: NoTemplates(),
            }
        return {"knowledge": self.knowledge} if node is KnowledgeRetrieval else {}


class Model:
    """Streams its reply in two pieces, as models do in more."""

    provider = "langgenius/openai/openai"
    model_name = "scripted"
    stop: Sequence[str] | None = None

    def __init__(self, behind: Behind, node_id: str) -> None:
        self.behind = behind
        self.node_id = node_id
        self.parameters: Mapping[str, Any] = {}

    def get_model_schema(self) -> Any:
        return AIModelEntity(
            model=self.model_name,
            label=I18nObject(en_US=self.model_name),
            model_type=ModelType.LLM,
            fetch_from=FetchFrom.PREDEFINED_MODEL,
            model_properties={ModelPropertyKey.CONTEXT_SIZE: 8192, ModelPropertyKey.MODE: "chat"},
        )

    def get_llm_num_tokens(self, prompt_messages: Sequence[PromptMessage]) -> int:
        return len(prompt_messages)

    def invoke_llm(self, *, prompt_messages: Sequence[PromptMessage], stream: bool, **_: Any) -> Iterator[Any]:
        assert stream
        texts = [message.get_text_content() for message in prompt_messages]
        self.behind.prompts[self.node_id] = texts
        reply = self.behind.model[self.node_id]
        said = reply if isinstance(reply, str) else reply(texts)
        middle = len(said) // 2
        for index, piece in enumerate((said[:middle], said[middle:])):
            delta = LLMResultChunkDelta(
                index=index,
                message=AssistantPromptMessage(content=piece),
                usage=LLMUsage.empty_usage() if index else None,
            )
            yield LLMResultChunk(model=self.model_name, prompt_messages=list(prompt_messages), delta=delta)

    def is_structured_output_parse_error(self, error: Exception) -> bool:  # noqa: ARG002 (the engine's signature)
        return False


@dataclass(frozen=True)
class History:
    turns: Sequence[tuple[str, str]]

    def get_history_prompt_messages(
        self, max_token_limit: int = 2000, message_limit: int | None = None
    ) -> Sequence[PromptMessage]:
        assert max_token_limit
        assert message_limit is None or message_limit > 0
        pairs = [(UserPromptMessage(content=said), AssistantPromptMessage(content=told)) for said, told in self.turns]
        return [message for pair in pairs for message in pair]


class AsIs:
    def serialize(self, *, model_mode: Any, prompt_messages: Sequence[PromptMessage]) -> Any:  # noqa: ARG002
        return [message.get_text_content() for message in prompt_messages]


class NoTemplates(Jinja2TemplateRenderer):  # type: ignore[misc, unused-ignore]  # Any where graphon is missing
    def render_template(self, template: str, variables: Mapping[str, Any]) -> str:
        raise AssertionError(f"no app renders Jinja: {template} {variables}")


class Sandbox:
    """Runs a node's code in a Python of its own, isolated from this project as Dify's sandbox is."""

    _RUNNER = """
import json, sys
code, inputs = json.load(sys.stdin)
names = {}
exec(compile(code, "code", "exec"), names)
print(json.dumps(names["main"](**inputs)))
"""

    def execute(self, *, language: Any, code: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        assert language == "python3"
        done = subprocess.run(
            [sys.executable, "-I", "-c", self._RUNNER],
            input=json.dumps([code, dict(inputs)]),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise CodeError(done.stderr)
        result: Mapping[str, Any] = json.loads(done.stdout)
        return result

    def is_execution_error(self, error: Exception) -> bool:
        return isinstance(error, CodeError)


class KnowledgeData(BaseNodeData):  # type: ignore[misc, unused-ignore]  # Any where graphon is missing
    type: str = BuiltinNodeTypes.KNOWLEDGE_RETRIEVAL
    query_variable_selector: list[str]
    dataset_ids: list[str]


class KnowledgeRetrieval(Node[KnowledgeData]):  # type: ignore[misc, unused-ignore]  # Any where graphon is missing
    node_type = BuiltinNodeTypes.KNOWLEDGE_RETRIEVAL

    def __init__(self, *, knowledge: Mapping[str, Sequence[str]], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._knowledge = knowledge

    @classmethod
    def version(cls) -> str:
        return "1"

    def _run(self) -> Any:
        query = self.runtime_state.variable_pool.get(self.node_data.query_variable_selector)
        assert query.value
        passages = [passage for chosen in self.node_data.dataset_ids for passage in self._knowledge[chosen]]
        found = [
            {"metadata": {"_source": "knowledge", "position": place}, "title": "notes", "content": passage}
            for place, passage in enumerate(passages, start=1)
        ]
        return NodeRunResult(
            status=WorkflowNodeExecutionStatus.SUCCEEDED,
            inputs={"query": query.value},
            outputs={"result": ArrayObjectSegment(value=found)},
        )


BEHIND: dict[Any, Any] = {
    BuiltinNodeTypes.LLM: LLMNode,
    BuiltinNodeTypes.QUESTION_CLASSIFIER: QuestionClassifierNode,
    BuiltinNodeTypes.CODE: CodeNode,
    BuiltinNodeTypes.KNOWLEDGE_RETRIEVAL: KnowledgeRetrieval,
}
