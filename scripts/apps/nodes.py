"""The data of the other nodes; selectors are tuples such as ``("start", "sentence")``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

#: Common enough, and small; another one is chosen in the app.
MODEL = {
    "provider": "langgenius/openai/openai",
    "name": "gpt-4o-mini",
    "mode": "chat",
    "completion_params": {"temperature": 0.7},
}
Selector = tuple[str, ...]


def start(*variables: dict[str, Any]) -> dict[str, Any]:
    return {"type": "start", "title": "Start 开始", "variables": list(variables)}


def paragraph(
    variable: str, label: str, *, hint: str = "", default: str = "", required: bool = True, longest: int = 2000
) -> dict[str, Any]:
    return {
        "variable": variable,
        "label": label,
        "type": "paragraph",
        "required": required,
        "max_length": longest,
        "default": default,
        "placeholder": hint,
        "options": [],
    }


def choice(variable: str, label: str, options: Sequence[str], default: str) -> dict[str, Any]:
    return {
        "variable": variable,
        "label": label,
        "type": "select",
        "required": False,
        "max_length": 48,
        "default": default,
        "options": list(options),
    }


def knowledge(title: str, query: Selector) -> dict[str, Any]:
    return {
        "type": "knowledge-retrieval",
        "title": title,
        "query_variable_selector": list(query),
        "query_attachment_selector": [],
        "dataset_ids": [],
        "retrieval_mode": "multiple",
        "multiple_retrieval_config": {"top_k": 4, "reranking_enable": False},
        "metadata_filtering_mode": "disabled",
    }


def llm(
    title: str, system: str, *, user: str = "", context: Selector | None = None, memory: bool = False
) -> dict[str, Any]:
    """``memory`` is for chats: the last messages, and after them what the user says now."""
    prompts = {"system": tidy(system)} | ({"user": user} if user else {})
    data = {
        "type": "llm",
        "title": title,
        "model": MODEL,
        "prompt_template": [{"id": role, "role": role, "text": text} for role, text in prompts.items()],
        "context": {"enabled": context is not None, "variable_selector": list(context or ())},
        "vision": {"enabled": False},
        "variables": [],
        # A thinking model's thoughts are no part of a prompt.
        "reasoning_format": "separated",
    }
    return {**data, "memory": _memory()} if memory else data


def classifier(title: str, instruction: str, **classes: str) -> dict[str, Any]:
    """Branches by what the user means; a model that answers nonsense takes the first one."""
    return {
        "type": "question-classifier",
        "title": title,
        "query_variable_selector": ["sys", "query"],
        "model": {**MODEL, "completion_params": {"temperature": 0}},
        "classes": [{"id": name, "name": what} for name, what in classes.items()],
        "instruction": tidy(instruction),
        "instructions": "",
        "topics": [],
        "vision": {"enabled": False},
    }


def branch(title: str, **cases: tuple[Selector, str, str]) -> dict[str, Any]:
    """If-else; a case is a variable, a comparison and what it is compared with. What fits none leaves by ``false``."""
    return {
        "type": "if-else",
        "title": title,
        "cases": [
            {
                "case_id": name,
                "id": name,
                "logical_operator": "and",
                "conditions": [
                    {
                        "id": f"{name}_condition",
                        "varType": "array[file]" if selector == ("sys", "files") else "string",
                        "variable_selector": list(selector),
                        "comparison_operator": operator,
                        "value": value,
                    }
                ],
            }
            for name, (selector, operator, value) in cases.items()
        ],
    }


def code(title: str, source: str, inputs: Mapping[str, Selector], **outputs: str) -> dict[str, Any]:
    """Plain Python for Dify's sandbox; an output is named with its type."""
    return {
        "type": "code",
        "title": title,
        "code_language": "python3",
        "code": source,
        "variables": [{"variable": name, "value_selector": list(selector)} for name, selector in inputs.items()],
        "outputs": {name: {"type": kind, "children": None} for name, kind in outputs.items()},
    }


def iteration(title: str, over: Selector, *, collects: Selector) -> dict[str, Any]:
    """Over a list of texts, one after the other as a GPU works; collects files, and leaves out what fails."""
    return {
        "type": "iteration",
        "title": title,
        "iterator_selector": list(over),
        "iterator_input_type": "array[string]",
        "output_selector": list(collects),
        "output_type": "array[file]",
        "is_parallel": False,
        "parallel_nums": 10,
        "error_handle_mode": "remove-abnormal-output",
        "flatten_output": True,
    }


def assign(title: str, **values: Selector | str) -> dict[str, Any]:
    """Set conversation variables, each to another variable or to a text."""
    return {
        "type": "assigner",
        "title": title,
        "version": "2",
        "items": [
            {
                "variable_selector": ["conversation", name],
                "input_type": "variable" if isinstance(value, tuple) else "constant",
                "operation": "over-write" if isinstance(value, tuple) else "set",
                "value": list(value) if isinstance(value, tuple) else value,
                "write_mode": "over-write",
            }
            for name, value in values.items()
        ],
    }


def first_of(title: str, kind: str, *variables: Selector) -> dict[str, Any]:
    """The variable of whichever branch was taken, as ``output``."""
    return {
        "type": "variable-aggregator",
        "title": title,
        "output_type": kind,
        "variables": [list(variable) for variable in variables],
    }


def answer(title: str, text: str) -> dict[str, Any]:
    return {"type": "answer", "title": title, "variables": [], "answer": tidy(text)}


def end(**outputs: tuple[Selector, str]) -> dict[str, Any]:
    """What the app hands out: name -> selector and type."""
    return {
        "type": "end",
        "title": "End 结束",
        "outputs": [
            {"variable": name, "value_selector": list(selector), "value_type": kind}
            for name, (selector, kind) in outputs.items()
        ],
    }


def live(tool: str) -> str:
    """What an Answer shows of a tool: its progress while it works, then what it made."""
    return f"{{{{#{tool}.progress#}}}}\n\n{{{{#{tool}.files#}}}}"


def snippet(name: str, **constants: object) -> str:
    """A file of ``code/``, with values of today in its first assignments to these names."""
    source = (Path(__file__).parent / "code" / f"{name}.py").read_text(encoding="utf-8")
    for constant, value in constants.items():
        empty = f"\n{constant} = []\n"
        if empty not in f"\n{source}":
            raise ValueError(f"{name} has no {constant}")
        source = f"\n{source}".replace(empty, f"\n{constant} = {value!r}\n", 1).removeprefix("\n")
    return source


def tidy(text: str) -> str:
    """A text without the indentation that it has in Python."""
    return dedent(text).strip()


def one_line(text: str) -> str:
    return " ".join(text.split())


def _memory() -> dict[str, Any]:
    return {
        "query_prompt_template": "{{#sys.query#}}",
        "role_prefix": {"user": "", "assistant": ""},
        "window": {"enabled": True, "size": 10},
    }
