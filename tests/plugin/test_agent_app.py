"""The example of a classic Agent app: what its model is offered, and what happens when the model calls the tools.

The Agent's loop is in Dify's API and cannot run here: the model's choices are written down, and what Dify puts around
them (settings from the app, what the model is told of the answer) is played.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "examples" / "seed-story-agent.yml").read_text(encoding="utf-8"))["model_config"]
LISTED = {tool["tool_name"]: tool for tool in CONFIG["agent_mode"]["tools"]}
Use = Callable[..., Answer]


def declared(tool: str) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = yaml.safe_load((ROOT / "tools" / f"{tool}.yaml").read_text("utf-8"))[
        "parameters"
    ]
    return parameters


@pytest.fixture
def use(daemon: PluginDaemon, comfyui: Simulator) -> Use:
    """Call a tool as the Agent does: the app's settings, cast to their types, and what the model chose."""

    def call(tool: str, **chosen: Any) -> Answer:
        offered = {each["name"] for each in declared(tool) if each["form"] == "llm" and "file" not in each["type"]}
        assert chosen.keys() <= offered
        settings = {each["name"]: setting(each, LISTED[tool]) for each in declared(tool) if each["form"] == "form"}
        return daemon.call_tool("comfyui", tool, {**settings, **chosen}, credentials={"base_url": comfyui.url})

    return call


def setting(parameter: dict[str, Any], listed: dict[str, Any]) -> Any:
    """What Dify makes of a setting, its default where it is empty. Where this fails, the model has no such tool."""
    value = listed["tool_parameters"].get(parameter["name"])
    if not value and value != 0:
        value = parameter.get("default")
    match parameter["type"]:
        case "select":
            assert value is None or value in [option["value"] for option in parameter["options"]]
        case "model-selector" | "app-selector":
            assert isinstance(value, dict), "The selector must be a dictionary."
        case "string":
            return "" if value is None else str(value)
        case "boolean":
            return bool(value)
    return value


def observation(answer: Answer) -> str:
    """What Dify tells the model: texts as they are, a fixed sentence for a picture, all else by its representation."""
    said = []
    for message in answer.messages:
        match message.type:
            case "text":
                said.append(message.message["text"])
            case "blob":
                said.append("image has been created and sent to user already, you do not need to create it.")
            case _:
                said.append(str(message.message))
    return "".join(said)


@pytest.mark.parametrize("tool", LISTED)
def test_model_can_call_each_tool(tool: str) -> None:
    assert not [each["name"] for each in declared(tool) if each["required"] and "file" in each["type"]]
    assert f"{tool} " in CONFIG["pre_prompt"] or tool in ("cancel_job", "server_info")
    assert LISTED[tool]["tool_parameters"].get("progress", False) is False, "it would clutter what the model reads"


def test_picture_for_a_platform_and_then_its_colour(use: Use, comfyui: Simulator) -> None:
    first = use("text2image", prompt="极光台灯，橡木桌面，傍晚窗光", size="xiaohongshu")

    assert Image.open(BytesIO(first.files[0].data)).size == (1242, 1660)
    told = observation(first)
    assert len(told.encode()) < 2000
    prompt_id = next(
        message.message["variable_value"]
        for message in first.messages
        if message.message.get("variable_name") == "prompt_id"
    )
    assert prompt_id in told, "the model reads it, to pass it on"

    second = use("image2image", prompt="把灯罩改成墨绿色", from_prompt_id=prompt_id)

    graph = comfyui.received("POST", "/prompt")[-1].body["prompt"]
    assert [node for node in graph.values() if node["class_type"] == "LoadImage"]
    assert second.files[0].mime_type == "image/png"


def test_result_of_an_earlier_job_and_what_the_server_has(use: Use) -> None:
    first = use("text2image", prompt="a lamp")

    again = use("get_result", prompt_id=first.variables["prompt_id"])
    info = use("server_info", show="templates")

    assert again.files[0].data == first.files[0].data
    assert "sdxl" in info.text
