"""Pictures in another format, without metadata, or too large, through the plugin's own process."""

import io
import json
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from comfybridge.connections import multipart
from comfybridge.convert import read_saved
from comfybridge.errors import ComfyError
from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import File
from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.simulator.dify_files import DifyFiles
from tests.plugin.calls import Call, Fails, has_chinese

MIB = 2**20


@pytest.fixture
def stored(dify_files: DifyFiles) -> Iterator[DifyFiles]:
    dify_files.stored.clear()
    yield dify_files
    dify_files.stored.clear()


def opened(file: File) -> Image.Image:
    return Image.open(io.BytesIO(file.data))


def saving(comfyui: Simulator, side: int) -> str:
    """A workflow that saves a picture of grain, which hardly packs."""
    packed = io.BytesIO()
    Image.merge("RGB", [Image.effect_noise((side, side), 120) for _ in "RGB"]).save(packed, "PNG", compress_level=1)
    body, content_type = multipart({"image": ("grain.png", packed.getvalue(), "image/png")})
    request = Request(f"{comfyui.url}/upload/image", body, {"Content-Type": content_type})  # noqa: S310  # the simulator
    with urlopen(request, timeout=10) as response:  # noqa: S310  # the simulator
        name = json.load(response)["name"]
    return json.dumps(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": name}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "big"}},
        }
    )


def test_picture_is_as_comfyui_saved_it(text2image: Call, comfyui: Simulator) -> None:
    (picture,) = text2image(prompt="a red fox").files

    assert picture.data in [path.read_bytes() for path in (comfyui.folder / "output").iterdir()]
    assert "KSampler" in json.dumps(read_saved(picture.data))


@pytest.mark.parametrize(("wanted", "kind", "ending"), [("webp", "WEBP", ".webp"), ("jpeg", "JPEG", ".jpg")])
def test_picture_comes_in_the_format_that_is_set(text2image: Call, wanted: str, kind: str, ending: str) -> None:
    answer = text2image(prompt="a red fox", format=wanted, template="sd15", count=2, width=512, height=768)

    for picture in answer.files:
        assert (opened(picture).format, opened(picture).size) == (kind, (512, 768))
        assert picture.mime_type == f"image/{wanted}"
        assert picture.filename.endswith(ending)
    assert (answer.variables["width"], answer.variables["height"]) == (512, 768)
    assert len(answer.files) == 2


@pytest.mark.parametrize("wanted", ["original", "webp", "jpeg"])
@pytest.mark.parametrize("output", ["image", "both"])
def test_nothing_of_the_workflow_leaves_with_the_picture(
    text2image: Call, stored: DifyFiles, wanted: str, output: str
) -> None:
    answer = text2image(
        prompt="a red fox",
        format=wanted,
        keep_metadata=False,
        output=output,
        credentials={"image_base_url": "https://pictures.example.com"},
    )

    (picture,) = answer.files
    with pytest.raises(ComfyError):
        read_saved(picture.data)
    assert b"red fox" not in picture.data
    # ComfyUI itself would serve it with all that is in it.
    assert "pictures.example.com" not in answer.text
    assert [file.data for file in stored.stored] == ([picture.data] if output == "both" else [])


def test_link_to_comfyui_leads_to_the_format_that_is_set(text2image: Call) -> None:
    answer = text2image(
        prompt="a red fox",
        format="webp",
        output="markdown",
        credentials={"image_base_url": "https://pictures.example.com"},
    )

    assert "&preview=webp%3B90)" in answer.text


def test_picture_too_large_for_agents_comes_as_webp_and_the_answer_says_so(
    run_workflow: Call, comfyui: Simulator
) -> None:
    answer = run_workflow(workflow=saving(comfyui, 2600))

    (original,) = [path.stat().st_size for path in (comfyui.folder / "output").iterdir()]
    (picture,) = answer.files
    assert original > 15 * MIB > len(picture.data)
    assert (opened(picture).format, opened(picture).size) == ("WEBP", (2600, 2600))
    assert (answer.variables["width"], answer.variables["height"]) == (2600, 2600)
    assert "A picture larger than 15 MiB came as WebP" in answer.text
    assert has_chinese(answer.text)
    assert [request.query.get("preview") for request in comfyui.requests if request.path == "/view"] == [
        None,
        "webp;90",
    ]


def test_earlier_job_and_another_tool_give_the_format_that_is_wanted(
    daemon: PluginDaemon, text2image: Call, comfyui: Simulator
) -> None:
    made = text2image(prompt="a red fox").variables["prompt_id"]
    wanted = {"format": "jpeg", "keep_metadata": False}
    credentials = {"base_url": comfyui.url}

    collected = daemon.call_tool("comfyui", "get_result", {"prompt_id": made, **wanted}, credentials=credentials)
    larger = daemon.call_tool("comfyui", "upscale", {"from_prompt_id": made, **wanted}, credentials=credentials)

    for picture in (*collected.files, *larger.files):
        assert opened(picture).format == "JPEG"
        with pytest.raises(ComfyError):
            read_saved(picture.data)
    assert (len(collected.files), len(larger.files)) == (1, 1)


def test_format_that_is_none_is_refused(fails: Fails) -> None:
    failure = fails(prompt="a red fox", format="gif")

    assert failure.outcome == "rejected"
    assert "webp" in failure.english
