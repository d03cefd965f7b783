"""What the author and the user of a Dify app see of the tool."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon
from tests.dify.engine import TOOL, Run, chatflow, workflow

PNG = b"\x89PNG\r\n\x1a\n"
QUERY = {"type": "mixed", "value": "{{#sys.query#}}"}
Play = Callable[..., Run]


def constant(value: Any) -> dict[str, Any]:
    return {"type": "constant", "value": value}


def test_workflow_hands_out_the_picture(play: Play) -> None:
    run = play(workflow({"prompt": QUERY}), query="a red fox")

    (picture,) = run.outputs["pictures"]
    assert (picture.type.value, picture.mime_type, picture.extension) == ("image", "image/png", ".png")
    stored = run.files.stored[picture.reference]
    assert stored.data.startswith(PNG)
    assert picture.size == len(stored.data)


def test_chatflow_answers_with_the_picture(play: Play) -> None:
    run = play(chatflow({"prompt": QUERY}, answer="{{#draw.files#}}"))

    assert re.fullmatch(r"!\[\S+\.png\]\(https://dify\.example/files/tools/\S+\.png\?sign=s\)", run.outputs["answer"])


def test_variables_carry_what_was_promised(play: Play, comfyui: Simulator) -> None:
    run = play(workflow({"prompt": QUERY, "seed": constant("42")}))

    assert set(run.tool) == {
        "text", "files", "json", "prompt_id", "status", "seed", "width", "height", "template", "model", "seconds",
        "made_by", "prompt",
    }  # fmt: skip
    assert (run.tool["status"], run.tool["seed"]) == ("succeeded", 42)
    assert run.tool["text"].count("\n") <= 1
    assert len(run.tool["json"]) == 1
    assert comfyui.url not in str(run.tool)


def test_several_pictures_arrive_in_order(play: Play) -> None:
    run = play(workflow({"prompt": QUERY, "count": constant("3")}))

    names = [picture.filename for picture in run.outputs["pictures"]]
    assert len(names) == 3
    assert names == sorted(names)


def test_failure_fails_the_node_and_says_why(play: Play) -> None:
    run = play(workflow({"prompt": QUERY, "model": constant("no-such-model.safetensors")}))

    assert not run.succeeded
    assert "outcome=rejected prompt_id=-\n" in run.error
    assert "no-such-model.safetensors" in run.error
    assert run.tool == {}


def test_progress_streams_to_the_user_before_the_picture(play: Play) -> None:
    graph = chatflow(
        {"prompt": QUERY}, form={"progress": constant("true")}, answer="{{#draw.progress#}}\n\n{{#draw.files#}}"
    )

    run = play(graph)

    pieces = [text for selector, text in run.chunks if selector == (TOOL, "progress")]
    assert len(pieces) >= 2
    assert run.tool["progress"] == "".join(pieces)
    assert run.outputs["answer"].startswith(run.tool["progress"])
    assert "![" in run.outputs["answer"]


def test_no_progress_unless_asked_for(play: Play) -> None:
    run = play(chatflow({"prompt": QUERY}, answer="{{#draw.files#}}"))

    assert "progress" not in run.tool


@pytest.mark.parametrize(
    ("size", "width", "height", "expected"),
    [("custom", "512", "768", (512, 768)), ("custom", "512.0", "768.0", (512, 768)), ("1:1", "", "", (512, 512))],
    ids=["digits", "floats", "empty"],
)
def test_numbers_as_the_editor_sends_them(
    play: Play, size: str, width: str, height: str, expected: tuple[int, int]
) -> None:
    graph = workflow(
        {"prompt": QUERY, "width": constant(width), "height": constant(height)},
        form={"size": constant(size), "template": constant("sd15")},
    )

    run = play(graph)

    assert (run.tool["width"], run.tool["height"]) == expected


def test_everything_but_the_prompt_may_be_missing_or_empty(play: Play) -> None:
    empty = {name: constant("") for name in ("negative_prompt", "model", "loras", "seed", "steps", "cfg")}

    bare, blank = play(workflow({"prompt": QUERY})), play(workflow({"prompt": QUERY, **empty}))

    assert (bare.succeeded, blank.succeeded) == (True, True)


def test_parameters_of_another_version_are_tolerated(play: Play) -> None:
    run = play(workflow({"prompt": QUERY, "gone": constant("1")}))

    assert run.succeeded


def test_missing_prompt_is_refused(play: Play) -> None:
    run = play(workflow({"prompt": QUERY}), query="")

    assert "outcome=rejected prompt_id=-\n" in run.error


def test_not_waiting_is_green_at_once(play: Play) -> None:
    run = play(workflow({"prompt": QUERY}, form={"wait": constant("false")}))

    assert run.tool["status"] == "queued"
    assert run.tool["prompt_id"]
    assert run.tool["files"].value == []


def test_markdown_answer_needs_no_files(play: Play) -> None:
    run = play(chatflow({"prompt": QUERY}, form={"output": constant("markdown")}, answer="{{#draw.text#}}"))

    assert re.search(r"!\[[^]]*\]\(https://dify\.example/files/tools/\S+\.png\?\S+\)", run.outputs["answer"])
    assert run.tool["files"].value == []


@pytest.mark.parametrize(
    "chosen",
    ["langgenius/openai/openai/gpt-4o-mini", {"provider": "langgenius/openai/openai", "model": "gpt-4o-mini"}],
    ids=["typed", "saved with a selector"],
)
def test_prompt_is_written_by_the_model_that_the_editor_chose(play: Play, daemon: PluginDaemon, chosen: Any) -> None:
    asked: list[Mapping[str, Any]] = []

    def writes(request: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(request)
        message = {"role": "assistant", "content": '{"prompt": "a red fox in deep snow"}'}
        return {"model": request["model"], "delta": {"index": 0, "message": message}}

    daemon.reverse["llm"] = writes
    try:
        run = play(workflow({"prompt": QUERY}, form={"enhance_with": constant(chosen)}), query="狐狸")
    finally:
        del daemon.reverse["llm"]

    assert (asked[0]["provider"], asked[0]["model"]) == ("langgenius/openai/openai", "gpt-4o-mini")
    assert run.tool["prompt"] == "a red fox in deep snow"
    assert "used as written" not in run.tool["text"]
