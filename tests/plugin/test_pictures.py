"""What a call that succeeds gives to Dify."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon
from tests.plugin.calls import Call, get

PNG = b"\x89PNG\r\n\x1a\n"
#: What text, JSON and variables but the prompt itself may come to: an Agent's model reads them all.
LONGEST_ANSWER = 1500


def size_of(answer: Answer) -> int:
    """Bytes of all that is neither a picture nor the variable with the prompt."""
    variables = [
        [m.message["variable_name"], m.message["variable_value"]]
        for m in answer.messages
        if m.type == "variable" and m.message["variable_name"] != "prompt"
    ]
    return len(answer.text.encode()) + len(json.dumps([answer.json, variables], ensure_ascii=False).encode())


def test_picture_comes_as_a_file_with_its_type_and_name(text2image: Call) -> None:
    (picture,) = text2image(prompt="a red fox").files

    assert picture.mime_type == "image/png"
    assert re.fullmatch(r"[\w.-]+\.png", picture.filename)
    assert picture.data.startswith(PNG)
    assert Image.open(BytesIO(picture.data)).format == "PNG"


def test_variables_say_what_was_made(text2image: Call, comfyui: Simulator) -> None:
    answer = text2image(prompt="a red fox", template="sd15", seed=7, size="custom", width=512, height=768)

    variables = answer.variables
    assert variables.pop("seconds") > 0
    prompt_id = variables.pop("prompt_id")
    assert variables == {
        "status": "succeeded",
        "seed": 7,
        "width": 512,
        "height": 768,
        "template": "sd15",
        "model": "v1-5-pruned-emaonly-fp16.safetensors",
        "made_by": "comfyui",
        "prompt": "a red fox",
    }
    assert list(get(f"{comfyui.url}/history/{prompt_id}")) == [prompt_id]


def test_picture_has_the_size_that_the_variables_say(text2image: Call) -> None:
    answer = text2image(prompt="a red fox", size="16:9")

    width, height = Image.open(BytesIO(answer.files[0].data)).size
    assert (answer.variables["width"], answer.variables["height"]) == (width, height)
    assert width / height == pytest.approx(16 / 9, rel=0.03)


def test_text_is_one_line_and_json_is_one_object(text2image: Call) -> None:
    answer = text2image(prompt="a red fox", seed=7)

    assert "\n" not in answer.text.strip()
    assert "7" in answer.text
    (facts,) = answer.json
    assert isinstance(facts, dict)


def test_only_declared_variables_are_sent(text2image: Call) -> None:
    declared = {
        "prompt_id", "status", "seed", "width", "height", "template", "model", "seconds", "image_urls", "progress",
        "made_by", "prompt", "negative_prompt",
    }  # fmt: skip

    answer = text2image(prompt="a red fox", output="both", progress=True)

    assert set(answer.variables) <= declared
    assert None not in answer.variables.values()


@pytest.mark.parametrize("output", ["image", "both"])
def test_words_stay_short_however_many_pictures(text2image: Call, output: str) -> None:
    answer = text2image(prompt="狐" * 500, count=8, progress=True, output=output)

    assert len(answer.files) == 8
    assert size_of(answer) <= LONGEST_ANSWER
    assert answer.variables["prompt"] == "狐" * 500
    assert "prompt" not in answer.json[0]


def test_prompts_that_were_used_are_told(text2image: Call, daemon: PluginDaemon, comfyui: Simulator) -> None:
    answer = text2image(prompt="a red fox", negative_prompt="blur", template="sd15")
    queued = text2image(prompt="a blue fox", negative_prompt="blur", template="sd15", wait=False)

    earlier = daemon.call_tool(
        "comfyui", "get_result", {"prompt_id": queued.variables["prompt_id"]}, credentials={"base_url": comfyui.url}
    )

    for each, prompt in ((answer, "a red fox"), (queued, "a blue fox"), (earlier, "a blue fox")):
        assert (each.variables["prompt"], each.variables["negative_prompt"]) == (prompt, "blur")
        assert (each.json[0]["prompt"], each.json[0]["negative_prompt"]) == (prompt, "blur")


def test_server_address_is_not_told(text2image: Call, comfyui: Simulator) -> None:
    answer = text2image(prompt="a red fox", output="both", progress=True)

    assert comfyui.url not in answer.text + json.dumps([answer.json, answer.variables])


def test_several_pictures_come_in_order_and_differ(text2image: Call) -> None:
    answer = text2image(prompt="a red fox", count=4, seed=1)

    names = [picture.filename for picture in answer.files]
    assert len(names) == 4
    assert names == sorted(set(names))
    assert len({picture.data for picture in answer.files}) == 4
    assert answer.variables["seed"] == 1


def test_the_same_seed_makes_the_same_picture_again(text2image: Call) -> None:
    first, second = (text2image(prompt="a red fox", seed=5) for _ in range(2))

    assert pixels(first) == pixels(second)


def test_no_seed_means_another_picture_each_time(text2image: Call) -> None:
    first, second = (text2image(prompt="a red fox") for _ in range(2))

    assert first.variables["seed"] != second.variables["seed"]
    assert pixels(first) != pixels(second)


def pixels(answer: Answer) -> bytes:
    return Image.open(BytesIO(answer.files[0].data)).tobytes()


def test_progress_streams_as_a_variable_while_the_picture_is_made(daemon: PluginDaemon) -> None:
    with Simulator(work=0.5) as comfyui:
        answer = daemon.call_tool(
            "comfyui", "text2image", {"prompt": "a red fox", "progress": True}, credentials={"base_url": comfyui.url}
        )

    kinds = ["file" if m.type == "blob" else m.message.get("variable_name", m.type) for m in answer.messages]
    streamed = [m for m in answer.messages if m.message.get("variable_name") == "progress"]
    assert len(streamed) >= 2
    assert all(m.message["stream"] for m in streamed)
    assert kinds.index("progress") < kinds.index("file")
    assert "%" in answer.variables["progress"]


def test_no_progress_unless_asked_for(text2image: Call) -> None:
    assert "progress" not in text2image(prompt="a red fox").variables


def test_without_waiting_the_call_ends_at_once(daemon: PluginDaemon) -> None:
    with Simulator(work=60.0) as comfyui:
        answer = daemon.call_tool(
            "comfyui", "text2image", {"prompt": "a red fox", "wait": False}, credentials={"base_url": comfyui.url}
        )
        queue = get(f"{comfyui.url}/queue")

    assert answer.files == []
    assert answer.variables["status"] == "queued"
    assert answer.variables["prompt_id"] in [entry[1] for entries in queue.values() for entry in entries]
    assert answer.variables["prompt_id"] in answer.text


def test_sixteen_calls_at_once_each_get_their_own_picture(text2image: Call) -> None:
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda seed: text2image(prompt=f"fox {seed}", seed=seed), range(16)))

    assert [answer.variables["seed"] for answer in answers] == list(range(16))
    assert len({answer.variables["prompt_id"] for answer in answers}) == 16
    assert len({pixels(answer) for answer in answers}) == 16


PROMPTS = {
    "chinese": "雪地里的红狐，晨光，“特写”",
    "emoji": "a fox 🦊 family 👨‍👩‍👧‍👦 flag 🇯🇵",
    "quotes": 'she said "it\'s ‘fine’" and `left`',
    "newlines": "line one\nline two\r\nline three\ttabbed",
    "backslashes": r"C:\new\table \u4e2d \" \\",
    "nbsp": "a\u00a0fox\u202fin\u2009snow\u3000here\ufeff",
    "json": '{"text": "x", "$ref": "#"} }},{{ }}',
    "markup": "<b>fox</b> &amp; %s %(x)s {0} {prompt} ${HOME} __import__",
    "weights": "(fox:1.3), [snow], embedding:bad, <lora:none:1>",
    "spaces at the ends": "  a fox  ",
    "combining": "e\u0301 vs \u00e9, \u200b\u200d",
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_prompt_arrives_byte_for_byte(text2image: Call, inputs: Callable[[str], list[Any]], prompt: str) -> None:
    text2image(prompt=prompt, template="sd15", negative_prompt=f"no {prompt}")

    assert sorted(text.encode() for text in inputs("text")) == sorted((prompt.encode(), f"no {prompt}".encode()))
