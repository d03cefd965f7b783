"""Every further tool in the plugin's real process: pictures from pictures, videos, sounds, and what the server has."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.dify_files import DifyFiles
from tests.core.making import catalogue
from tests.plugin.calls import Call, Failure, read_failure

Use = Callable[..., Answer]
SIZE = (96, 64)


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    """A server with every model that the library names."""
    with Simulator(models=catalogue(), workflows={"poster": {"nodes": [], "links": []}}) as simulator:
        yield simulator


@pytest.fixture
def use(daemon: PluginDaemon, comfyui: Simulator) -> Use:
    def call(tool: str, **parameters: Any) -> Answer:
        return daemon.call_tool("comfyui", tool, parameters, credentials={"base_url": comfyui.url})

    return call


@pytest.fixture
def refused(use: Use) -> Callable[..., Failure]:
    def call(tool: str, **parameters: Any) -> Failure:
        with pytest.raises(PluginError) as raised:
            use(tool, **parameters)
        return read_failure(raised.value.message)

    return call


@pytest.fixture
def photo(dify_files: DifyFiles) -> dict[str, Any]:
    return dify_files.offer(png(SIZE, (200, 30, 60)), "photo.png", "image/png")


@pytest.fixture
def mask(dify_files: DifyFiles) -> dict[str, Any]:
    picture = Image.new("RGB", SIZE)
    picture.paste((255, 255, 255), (0, 0, 32, 64))
    return dify_files.offer(saved(picture), "mask.png", "image/png")


def png(size: tuple[int, int], colour: tuple[int, ...], mode: str = "RGB") -> bytes:
    return saved(Image.new(mode, size, colour))


def saved(picture: Image.Image) -> bytes:
    data = BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def size(answer: Answer) -> tuple[int, int]:
    return Image.open(BytesIO(answer.files[0].data)).size


class TestImage2Image:
    def test_attached_picture_is_changed_by_the_first_template_that_can_run(
        self, use: Use, photo: dict[str, Any]
    ) -> None:
        answer = use("image2image", prompt="make it blue", images=[photo])

        assert answer.variables["template"] == "qwen-image-edit-lightning"
        assert answer.files[0].mime_type == "image/png"

    def test_three_pictures_need_the_template_that_takes_three(self, use: Use, dify_files: DifyFiles) -> None:
        photos = [dify_files.offer(png(SIZE, (red, 0, 0)), f"{red}.png", "image/png") for red in (1, 2, 3)]

        assert use("image2image", prompt="together", images=photos).variables["template"].startswith("qwen-image-edit")

    def test_picture_of_an_earlier_call_and_strength(self, use: Use, comfyui: Simulator) -> None:
        first = use("text2image", prompt="a car", template="sd15", size="custom", width=64, height=64)

        use(
            "image2image",
            prompt="a red car",
            from_prompt_id=first.variables["prompt_id"],
            template="sd15-image2image",
            strength="0.4",
        )

        graph = comfyui.received("POST", "/prompt")[-1].body["prompt"]
        assert [node["inputs"]["denoise"] for node in graph.values() if "denoise" in node["inputs"]] == [0.4]

    def test_without_a_picture_it_is_asked_for(self, refused: Callable[..., Failure]) -> None:
        failure = refused("image2image", prompt="make it blue")

        assert failure.outcome == "rejected"
        assert "needs a picture: give it as a file, by its address, or as the prompt_id" in failure.english
        assert "prompt_id" in failure.chinese


class TestInpaint:
    def test_mask_decides_the_template(self, use: Use, photo: dict[str, Any], mask: dict[str, Any]) -> None:
        answer = use("inpaint", prompt="a door", image=photo, mask=mask, grow_mask=0)

        assert (answer.variables["template"], size(answer)) == ("sdxl-inpaint", SIZE)

    def test_transparent_part_needs_no_mask(self, use: Use, dify_files: DifyFiles) -> None:
        clear = dify_files.offer(png(SIZE, (9, 9, 9, 0), "RGBA"), "clear.png", "image/png")

        assert use("inpaint", prompt="a door", image=clear).variables["template"] == "sdxl-inpaint-alpha"

    def test_mask_for_an_earlier_picture_is_still_the_mask(
        self, use: Use, comfyui: Simulator, mask: dict[str, Any]
    ) -> None:
        first = use("text2image", prompt="a wall", template="sd15", size="custom", width=96, height=64)

        use("inpaint", prompt="a door", from_prompt_id=first.variables["prompt_id"], mask=mask, template="sd15-inpaint")

        graph = comfyui.received("POST", "/prompt")[-1].body["prompt"]
        (loader,) = [node for node in graph.values() if node["class_type"] == "LoadImageMask"]
        stored = (comfyui.folder / "input" / loader["inputs"]["image"]).read_bytes()
        assert Image.open(BytesIO(stored)).getpixel((1, 1)) == (255, 255, 255)


class TestUpscale:
    def test_picture_grows_by_the_scale(self, use: Use, photo: dict[str, Any]) -> None:
        answer = use("upscale", image=photo, scale=2)

        assert size(answer) == (SIZE[0] * 2, SIZE[1] * 2)
        assert (answer.variables["width"], answer.variables["height"]) == size(answer)

    def test_server_without_an_upscale_model_resizes(self, daemon: PluginDaemon, photo: dict[str, Any]) -> None:
        with Simulator() as comfyui:
            answer = daemon.call_tool("comfyui", "upscale", {"image": photo}, credentials={"base_url": comfyui.url})

        assert (answer.variables["template"], size(answer)) == ("upscale-resize", (SIZE[0] * 2, SIZE[1] * 2))


class TestMedia:
    def test_video_from_text(self, use: Use, comfyui: Simulator) -> None:
        answer = use("text2video", prompt="a boat", seconds=1, fps=8)

        assert [file.mime_type for file in answer.files] == ["video/mp4"]
        assert answer.text.startswith("1 video, ")
        graph = comfyui.received("POST", "/prompt")[-1].body["prompt"]
        assert graph["59"]["inputs"]["value"] == 9

    def test_video_has_the_shape_of_its_picture(self, use: Use, photo: dict[str, Any]) -> None:
        answer = use("image2video", prompt="it moves", image=photo, seconds=0.5)

        assert answer.variables["width"] / answer.variables["height"] == pytest.approx(1.5, rel=0.05)

    @pytest.mark.parametrize(("template", "more"), [("auto", {"lyrics": "[verse] 月亮"}), ("stable-audio", {})])
    def test_sound_from_text(self, template: str, more: dict[str, Any], use: Use) -> None:
        answer = use("text2audio", prompt="calm piano", seconds=2, template=template, **more)

        assert answer.files[0].mime_type.startswith("audio/")
        assert answer.text.startswith("1 sound, ")


class TestExactSizes:
    @pytest.mark.parametrize(
        ("name", "pixels"), [("wechat_cover", (900, 383)), ("xiaohongshu", (1242, 1660)), ("product_main", (800, 800))]
    )
    def test_platforms_get_their_pixels(self, name: str, pixels: tuple[int, int], use: Use) -> None:
        answer = use("text2image", prompt="a fox", template="sd15", size=name)

        assert (answer.variables["width"], answer.variables["height"]) == size(answer) == pixels


class TestServerInfo:
    def test_summary_names_version_memory_queue_and_templates(self, use: Use) -> None:
        answer = use("server_info")

        assert "ComfyUI 0.8.0" in answer.text
        assert "in the queue" in answer.text
        assert "templates can run: " in answer.text
        assert "z-image-turbo" in answer.variables["names"]
        assert len(answer.text.encode()) < 800

    def test_templates_that_lack_something_say_what(self, daemon: PluginDaemon) -> None:
        with Simulator() as comfyui:
            answer = daemon.call_tool(
                "comfyui",
                "server_info",
                {"show": "templates", "search": "flux-dev"},
                credentials={"base_url": comfyui.url},
            )

        assert "flux-dev lacks flux1-dev-fp8.safetensors" in answer.text

    @pytest.mark.parametrize(
        ("show", "search", "names"),
        [
            ("workflows", "", ["poster"]),
            ("loras", "GRAIN", ["film_grain.safetensors"]),
            ("samplers", "karras", ["karras"]),
        ],
    )
    def test_names_are_listed_and_searched(self, show: str, search: str, names: list[str], use: Use) -> None:
        answer = use("server_info", show=show, search=search)

        assert answer.variables["names"] == names
        assert names[0] in answer.text

    def test_server_that_is_down_is_a_failure(self, daemon: PluginDaemon) -> None:
        with pytest.raises(PluginError) as raised:
            daemon.call_tool("comfyui", "server_info", {}, credentials={"base_url": "http://127.0.0.1:1"})

        assert read_failure(raised.value.message).outcome == "failed"


def test_no_tool_shows_an_address_of_the_server(use: Use, comfyui: Simulator, photo: Call) -> None:
    for answer in (use("server_info"), use("upscale", image=photo), use("text2image", prompt="a fox", template="sd15")):
        assert comfyui.url.partition("://")[2] not in answer.text
