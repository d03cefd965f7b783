"""The tool run_workflow in the plugin's real process: workflows by name, pasted and attached, with files and values."""

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginError
from comfybridge.simulator.dify_files import DifyFiles
from tests.core.pairs import FOLDER, pair
from tests.plugin.calls import Call, Failure, read_failure

SIMPLE = pair("pinned", "default").workflow
COLOUR = (10, 120, 240)
Graphs = Callable[[], list[dict[str, Any]]]


def node(class_type: str, title: str = "", /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


SCALED = json.dumps({
    "1": node("LoadImage", "Photo", image="mine.png"),
    "2": node("ImageScaleBy", "Bigger", image=["1", 0], upscale_method="nearest-exact", scale_by=2.0),
    "3": node("SaveImage", images=["2", 0], filename_prefix="scaled"),
})  # fmt: skip


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    with Simulator(workflows={"poster": SIMPLE, "海报": SIMPLE}) as simulator:
        yield simulator


@pytest.fixture
def refused(run_workflow: Call) -> Callable[..., Failure]:
    def call(**arguments: Any) -> Failure:
        with pytest.raises(PluginError) as raised:
            run_workflow(**arguments)
        return read_failure(raised.value.message)

    return call


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    data = BytesIO()
    Image.new("RGB", size, COLOUR).save(data, "PNG")
    return data.getvalue()


def image(answer: Answer) -> Image.Image:
    return Image.open(BytesIO(answer.files[0].data)).convert("RGB")


@pytest.mark.parametrize("name", ["poster", "海报"])
def test_saved_workflow_by_name(name: str, run_workflow: Call, graphs: Graphs) -> None:
    answer = run_workflow(workflow=name, prompt="一只猫", seed="7", values="steps=2\nwidth = 64\nheight=64")

    assert image(answer).size == (64, 64)
    assert (answer.variables["workflow"], answer.variables["seed"]) == (name, 7)
    (graph,) = graphs()
    assert "一只猫" in [each["inputs"].get("text") for each in graph.values()]


def test_template_by_name(run_workflow: Call) -> None:
    answer = run_workflow(workflow="sd15", prompt="a fox", values='{"steps": 1, "width": 64, "height": 64}')

    assert (answer.variables["template"], image(answer).size) == ("sd15", (64, 64))


def test_size_that_is_told_is_that_of_the_picture(run_workflow: Call) -> None:
    answer = run_workflow(workflow="sd15-hires", prompt="a fox", values="steps=1\nwidth=64\nheight=64")

    assert (answer.variables["width"], answer.variables["height"]) == image(answer).size == (128, 128)


def test_pasted_json_in_the_editors_format(run_workflow: Call) -> None:
    assert run_workflow(workflow=json.dumps(SIMPLE)).variables["status"] == "succeeded"


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}```", " {} "])
def test_pasted_json_as_language_models_write_it(fence: str, run_workflow: Call) -> None:
    assert run_workflow(workflow=fence.format(json.dumps(SIMPLE))).variables["status"] == "succeeded"


def test_note_ends_in_one_full_stop(run_workflow: Call) -> None:
    saved = json.loads(json.dumps(SIMPLE).replace('"v1-5-pruned', '"SD15/v1-5-pruned'))

    text = run_workflow(workflow=json.dumps(saved)).text

    assert "on this server / " in text
    assert text.endswith("”.")
    assert "。." not in text


def test_attached_picture_carries_its_workflow(run_workflow: Call, dify_files: DifyFiles) -> None:
    data = (FOLDER / "saved_by_comfyui.png").read_bytes()

    answer = run_workflow(workflow_file=dify_files.offer(data, "earlier.png", "image/png"))

    assert answer.variables["workflow"] == "earlier"
    assert answer.files


def test_attached_json(run_workflow: Call, dify_files: DifyFiles) -> None:
    file = dify_files.offer(json.dumps(SIMPLE).encode(), "我的工作流.json", "application/json")

    assert run_workflow(workflow_file=file, workflow="").variables["workflow"] == "我的工作流"


@pytest.mark.parametrize("wrapped", [False, True], ids=["one", "list"])
def test_attached_picture_is_the_input(run_workflow: Call, dify_files: DifyFiles, *, wrapped: bool) -> None:
    file = dify_files.offer(png(), "照片.png", "image/png")

    answer = run_workflow(workflow=SCALED, images=[file] if wrapped else file)

    assert (image(answer).size, image(answer).getpixel((10, 10))) == ((80, 60), COLOUR)


def test_picture_of_an_earlier_call_is_the_input(run_workflow: Call, text2image: Call) -> None:
    first = text2image(prompt="a fox", template="sd15", size="custom", width=64, height=64)

    answer = run_workflow(workflow=SCALED, from_prompt_id=first.variables["prompt_id"])

    assert image(answer).size == (128, 128)


def test_earlier_picture_comes_before_attached_ones(
    run_workflow: Call, text2image: Call, dify_files: DifyFiles
) -> None:
    first = text2image(prompt="a fox", template="sd15", size="custom", width=64, height=64)
    graph = json.loads(SCALED) | {
        "4": node("LoadImage", "Second", image="other.png"),
        "5": node("SaveImage", images=["4", 0], filename_prefix="second"),
    }
    file = dify_files.offer(png(), "a.png", "image/png")

    answer = run_workflow(workflow=json.dumps(graph), from_prompt_id=first.variables["prompt_id"], images=[file])

    assert [Image.open(BytesIO(each.data)).size for each in answer.files] == [(128, 128), (40, 30)]


def test_dify_files_by_address_once_dify_has_named_the_host(run_workflow: Call, dify_files: DifyFiles) -> None:
    file = dify_files.offer(png(), "a.png", "image/png")
    run_workflow(workflow=SCALED, images=file)

    assert image(run_workflow(workflow=SCALED, image_url=file["url"])).size == (80, 60)


def test_nothing_else_on_the_host_of_difys_files_is_fetched(
    run_workflow: Call, refused: Callable[..., Failure], dify_files: DifyFiles, comfyui: Simulator
) -> None:
    run_workflow(workflow=SCALED, images=dify_files.offer(png(), "a.png", "image/png"))

    for url in (f"{comfyui.url}/system_stats", f"{dify_files.url}/console/api/setup"):
        assert "no public address" in refused(workflow=SCALED, image_url=url).english
    assert comfyui.received("GET", "/system_stats") == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x.png", "http://169.254.169.254/latest", "file:///etc/passwd", "http://[::1]/a.png"]
)
def test_addresses_inside_the_network_are_refused(url: str, refused: Callable[..., Failure]) -> None:
    failure = refused(workflow=SCALED, image_url=url)

    assert failure.outcome == "rejected"
    assert failure.prompt_id is None


def test_remote_file_inside_the_network_is_refused(refused: Callable[..., Failure], comfyui: Simulator) -> None:
    file = {
        "dify_model_identity": "__dify__file__", "url": f"{comfyui.url}/system_stats", "type": "image",
        "mime_type": "image/png", "filename": "x.png", "extension": ".png", "size": 3,
    }  # fmt: skip

    assert refused(workflow=SCALED, images=[file]).outcome == "rejected"
    assert comfyui.received("GET", "/system_stats") == []


def test_expired_file_says_so(refused: Callable[..., Failure], dify_files: DifyFiles) -> None:
    file = dify_files.offer(png(), "a.png", "image/png")
    dify_files.offered.clear()

    failure = refused(workflow=SCALED, images=[file])

    assert failure.outcome == "rejected"
    assert "sign" not in failure.english


def test_empty_file_is_named_as_what_was_attached(refused: Callable[..., Failure], dify_files: DifyFiles) -> None:
    failure = refused(workflow_file=dify_files.offer(b"", "empty.json", "application/json"))

    assert failure.english == "The attached file is empty: upload it again."
    assert "重新上传" in failure.chinese


def test_several_kinds_of_output_and_text(run_workflow: Call) -> None:
    graph = {
        "1": node("EmptyImage", width=32, height=32, batch_size=4, color=255),
        "2": node("CreateVideo", images=["1", 0], fps=8.0),
        "3": node("SaveVideo", video=["2", 0], filename_prefix="video/v", format="mp4", codec="h264"),
        "4": node("SaveImage", images=["1", 0], filename_prefix="b"),
        "5": node("PrimitiveString", value="a caption"),
        "6": node("PreviewAny", source=["5", 0]),
    }

    answer = run_workflow(workflow=json.dumps(graph))

    assert [file.mime_type for file in answer.files] == ["video/mp4", *["image/png"] * 4]
    assert answer.text.startswith("1 video, 4 pictures, 32×32, workflow, ")
    assert answer.text.endswith("a caption")
    assert answer.variables["texts"] == ["a caption"]


def test_video_as_a_link_is_no_picture(run_workflow: Call, dify_files: DifyFiles) -> None:
    graph = {
        "1": node("EmptyImage", width=32, height=32, batch_size=4, color=255),
        "2": node("CreateVideo", images=["1", 0], fps=8.0),
        "3": node("SaveVideo", video=["2", 0], filename_prefix="video/v", format="mp4", codec="h264"),
    }

    answer = run_workflow(workflow=json.dumps(graph), output="markdown")

    assert "\n[v_00001_.mp4](https://dify.example/files/tools/" in answer.text
    assert dify_files.stored[-1].mime_type == "video/mp4"


def test_no_wait(run_workflow: Call) -> None:
    answer = run_workflow(workflow="poster", wait=False)

    assert (answer.variables["status"], list(answer.files)) == ("queued", [])


@pytest.mark.parametrize(
    ("parameters", "english"),
    [
        ({}, "workflow is empty"),
        ({"workflow": "no-such"}, "There is no template 'no-such'"),
        ({"workflow": "{not json"}, "This is not JSON"),
        ({"workflow": '{"a": 1}'}, ""),
        ({"workflow": "poster", "values": "steps"}, "values: line 1 is not 'name=value'"),
        ({"workflow": "poster", "values": "stepz=3"}, "The workflow has no 'stepz'"),
        ({"workflow": "poster", "values": "{1}"}, "values is not valid JSON"),
        ({"workflow": SCALED}, "the image 'mine.png' is not in the server's input folder"),
        ({"workflow": SCALED, "from_prompt_id": "gone"}, "no server knows a job gone"),
        ({"workflow": "poster", "images": "text"}, "images: entry 1 is no file"),
        ({"workflow": "poster", "workflow_file": "text"}, "workflow_file is no file"),
    ],
    ids=["nothing", "unknown", "broken json", "other json", "half a value", "unknown value", "broken values",
         "no picture", "unknown job", "text for a file", "text for a workflow file"],
)  # fmt: skip
def test_bad_input_is_one_clear_sentence(
    parameters: dict[str, Any], english: str, refused: Callable[..., Failure]
) -> None:
    failure = refused(**parameters)

    assert failure.outcome == "rejected"
    assert english in failure.english
