"""What the author and the user of a Dify app see of the tool that runs any workflow."""

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.dify_files import DifyFiles
from tests.core.pairs import pair
from tests.dify.engine import Run, chatflow, with_fail_branch, workflow

QUERY = {"type": "mixed", "value": "{{#sys.query#}}"}
FILES = {"type": "variable", "value": ["sys", "files"]}
Play = Callable[..., Run]


def constant(value: Any) -> dict[str, Any]:
    return {"type": "constant", "value": value}


def node(class_type: str, title: str = "", /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


SCALED = json.dumps({
    "1": node("LoadImage", "Photo", image="mine.png"),
    "2": node("ImageScaleBy", "Bigger", image=["1", 0], upscale_method="nearest-exact", scale_by=2.0),
    "3": node("SaveImage", images=["2", 0], filename_prefix="scaled"),
})  # fmt: skip


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    with Simulator(workflows={"shop/poster": pair("pinned", "default").workflow}) as simulator:
        yield simulator


def test_workflow_by_name_with_the_users_text_and_values(play: Play, comfyui: Simulator) -> None:
    parameters = {"workflow": constant("poster"), "prompt": QUERY, "values": constant("步数=3\nwidth=64\nheight=96")}

    run = play(workflow(parameters, tool="run_workflow"), query="一只红狐")

    graph = comfyui.received("POST", "/prompt")[0].body["prompt"]
    assert "一只红狐" in [each["inputs"].get("text") for each in graph.values()]
    assert run.tool["workflow"] == "shop/poster"
    assert (run.tool["width"], run.tool["height"]) == (64, 96)
    assert [picture.mime_type for picture in run.outputs["pictures"]] == ["image/png"]


def test_picture_that_the_user_attached_is_the_input(play: Play, dify_files: DifyFiles) -> None:
    data = BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 60)).save(data, "PNG")
    photo = dify_files.offer(data.getvalue(), "照片.png", "image/png")

    run = play(workflow({"workflow": constant(SCALED), "images": FILES}, tool="run_workflow"), attached=[photo])

    (picture,) = run.outputs["pictures"]
    image = Image.open(BytesIO(run.files.stored[picture.reference].data)).convert("RGB")
    assert (image.size, image.getpixel((70, 50))) == ((80, 60), (200, 30, 60))


def test_files_come_in_the_graphs_order_and_texts_as_a_variable(play: Play) -> None:
    graph = {
        "1": node("EmptyImage", width=32, height=32, batch_size=4, color=255),
        "2": node("CreateVideo", images=["1", 0], fps=8.0),
        "3": node("SaveVideo", video=["2", 0], filename_prefix="v", format="mp4", codec="h264"),
        "4": node("EmptyImage", width=16, height=16, batch_size=1, color=255),
        "5": node("SaveImage", images=["4", 0], filename_prefix="b"),
        "6": node("PrimitiveString", value="a caption"),
        "7": node("PreviewAny", source=["6", 0]),
    }

    run = play(workflow({"workflow": constant(json.dumps(graph))}, tool="run_workflow"))

    assert [file.type.value for file in run.outputs["pictures"]] == ["video", "image"]
    assert run.tool["texts"] == ["a caption"]


def test_fail_branch_reads_the_outcome(play: Play) -> None:
    app = chatflow({"workflow": constant("no-such")}, answer="{{#draw.files#}}", tool="run_workflow")

    run = play(with_fail_branch(app, answer="sorry: {{#draw.error_message#}}"))

    assert run.succeeded
    assert run.outputs["answer"].startswith("sorry: ")
    assert "outcome=rejected prompt_id=-\n" in run.outputs["answer"]
    assert "shop/poster" in run.outputs["answer"]


def test_nothing_attached_leaves_the_workflow_its_own_picture(play: Play) -> None:
    run = play(workflow({"workflow": constant(SCALED), "images": FILES}, tool="run_workflow"))

    assert "the image 'mine.png' is not in the server's input folder" in run.error
