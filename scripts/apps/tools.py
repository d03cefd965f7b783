"""Tool nodes, made of the tools' own declarations, so that no name, default or option can differ from them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
#: author/plugin/provider
PROVIDER = "comfybridge/comfybridge/comfyui"


@cache
def declaration(tool: str) -> Mapping[str, Any]:
    document: Mapping[str, Any] = yaml.safe_load((ROOT / "tools" / f"{tool}.yaml").read_text(encoding="utf-8"))
    return document


def options(tool: str, parameter: str) -> tuple[str, ...]:
    """What a drop-down offers, in its order."""
    declared = _parameters(tool)[parameter]
    return tuple(option["value"] for option in declared["options"])


def labels(tool: str, parameter: str, language: str = "en_US") -> Mapping[str, str]:
    """Option -> what the form calls it."""
    return {option["value"]: option["label"][language] for option in _parameters(tool)[parameter]["options"]}


def node(tool: str, title: str, *, fail_branch: bool = False, **values: Any) -> dict[str, Any]:
    """The data of a Tool node.

    Of ``values``, a tuple is a variable's selector, a text in which ``{{#…#}}`` may stand is mixed, everything else is
    constant. What an app leaves at its default is left out: the plugin knows it, and the node on the canvas is short.
    """
    declared = _parameters(tool)
    if unknown := set(values) - set(declared):
        raise ValueError(f"{tool} has no {', '.join(sorted(unknown))}")
    document = declaration(tool)
    inputs = {name: _input(declared[name]["type"], value) for name, value in values.items()}
    data = {
        "type": "tool",
        "title": title,
        "provider_id": PROVIDER,
        "provider_name": PROVIDER,
        "provider_type": "builtin",
        "plugin_id": PROVIDER.rpartition("/")[0],
        "tool_name": tool,
        "tool_label": document["identity"]["label"]["en_US"],
        "tool_description": document["description"]["human"]["en_US"],
        "tool_node_version": "2",
        "is_team_authorization": True,
        "tool_parameters": {name: value for name, value in inputs.items() if declared[name]["form"] == "llm"},
        "tool_configurations": {name: value for name, value in inputs.items() if declared[name]["form"] != "llm"},
        "params": {},
        # The editor reads the parameters from the installed plugin.
        "paramSchemas": [],
        "output_schema": document["output_schema"],
        "retry_config": {"retry_enabled": False, "max_retries": 1, "retry_interval": 1000},
    }
    return {**data, "error_strategy": "fail-branch"} if fail_branch else data


def agent_tool(tool: str, **values: Any) -> dict[str, Any]:
    """The tool as an Agent app lists it: the settings by name, what its model decides empty."""
    declared = _parameters(tool)
    if unknown := set(values) - set(declared):
        raise ValueError(f"{tool} has no {', '.join(sorted(unknown))}")
    settings = {name: _setting(each) for name, each in declared.items()}
    return {
        "enabled": True,
        "isDeleted": False,
        "notAuthor": False,
        "provider_id": PROVIDER,
        "provider_name": PROVIDER,
        "provider_type": "builtin",
        "tool_name": tool,
        "tool_label": declaration(tool)["identity"]["label"]["en_US"],
        "tool_parameters": {**settings, **values},
    }


def _setting(parameter: Mapping[str, Any]) -> Any:
    return parameter.get("default", "") if parameter["form"] == "form" else ""


def _parameters(tool: str) -> Mapping[str, Mapping[str, Any]]:
    return {parameter["name"]: parameter for parameter in declaration(tool)["parameters"]}


def _input(kind: str, value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {"type": "variable", "value": list(value)}
    return {"type": "mixed" if kind == "string" else "constant", "value": value}
