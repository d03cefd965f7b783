"""Workflows that people already have, run on the simulator: by name, pasted, with files and values of their own."""

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from comfybridge import collecting, filling, generation, library
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, InvalidInput, Rejected
from comfybridge.filling import Inputs
from comfybridge.library import Named, Pasted
from comfybridge.media import InputFile, MediaType
from comfybridge.pool import Pool
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import RefuseWebSockets
from comfybridge.template import Template
from comfybridge.workflow import Definitions
from tests.core.making import Connect, Made, make
from tests.core.pairs import pair

PNG = MediaType("image/png", ".png")
SIMPLE = pair("pinned", "default").workflow
COLOUR = (200, 30, 60)


def node(class_type: str, title: str = "", /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


def picture(colour: tuple[int, int, int] = COLOUR, size: tuple[int, int] = (64, 48), filename: str = "") -> InputFile:
    data = BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return InputFile(data.getvalue(), PNG, filename)


def scaled(image: str = "mine.png") -> dict[str, dict[str, Any]]:
    return {
        "1": node("LoadImage", "Photo", image=image),
        "2": node("ImageScaleBy", image=["1", 0], upscale_method="nearest-exact", scale_by=2.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="scaled"),
    }


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    with Simulator(workflows={"poster": SIMPLE, "sets/winter sale": SIMPLE, "海报": SIMPLE}) as simulator:
        yield simulator


@pytest.fixture
def client(comfyui: Simulator, connect: Connect) -> Client:
    return connect(comfyui.url)


def sent(comfyui: Simulator) -> dict[str, Any]:
    """The graph of the last submission."""
    graph: dict[str, Any] = comfyui.received("POST", "/prompt")[-1].body["prompt"]
    return graph


def run(client: Client, source: Named | Pasted, **inputs: Any) -> Made:
    return make(client, name=source, **{"positive": None, **inputs})


def fails(client: Client, source: Named | Pasted, **inputs: Any) -> ComfyError:
    with pytest.raises(ComfyError) as raised:
        run(client, source, **inputs)
    return raised.value


class TestNames:
    @pytest.mark.parametrize(
        "name", ["poster", "poster.json", "Poster", "sets/winter sale", "winter sale", "海报", "post"]
    )
    def test_workflow_saved_in_comfyui_is_converted_and_runs(
        self, name: str, comfyui: Simulator, client: Client
    ) -> None:
        made = run(client, Named(name), positive="三只猫")

        assert [file.mime for file in made.files] == ["image/png"]
        assert "三只猫" in [each["inputs"].get("text") for each in sent(comfyui).values()]
        assert made.outcome is not None
        assert made.outcome.jobs[0].filled.template.is_users

    def test_templates_come_before_saved_workflows_of_the_same_name(self, connect: Connect) -> None:
        with Simulator(workflows={"sd15": {"nodes": []}}) as comfyui:
            made = run(connect(comfyui.url), Named("sd15"), positive="a fox", width=64, height=64, steps=1)

        assert made.outcome is not None
        assert not made.outcome.jobs[0].filled.template.is_users

    def test_templates_of_ones_own_come_before_saved_workflows(self, comfyui: Simulator, client: Client) -> None:
        own = library.load("sd15")
        named = Named("poster", others=(type(own)(name="poster", prompt=scaled(), task="upscale"),))

        run(client, named, files=(picture(),))

        assert sent(comfyui)["2"]["class_type"] == "ImageScaleBy"

    def test_unknown_name_lists_templates_and_saved_workflows(self, comfyui: Simulator, client: Client) -> None:
        error = fails(client, Named("summer"))

        assert isinstance(error, InvalidInput)
        assert "There is no template 'summer'" in str(error)
        assert "a workflow saved in ComfyUI: poster, sets/winter sale, 海报" in str(error)
        assert "海报" in error.zh
        assert comfyui.received("POST", "/prompt") == []

    def test_part_that_fits_several_names_them_and_nothing_else(self, connect: Connect) -> None:
        with Simulator(workflows={"banner red": SIMPLE, "shop/banner blue": SIMPLE, "poster": SIMPLE}) as comfyui:
            error = fails(connect(comfyui.url), Named("Banner"))

        assert str(error) == (
            "Several saved workflows fit 'Banner': banner red, shop/banner blue. Write the whole name of one."
        )
        assert "banner red、shop/banner blue" in error.zh

    @pytest.mark.parametrize("name", ["/sets/winter sale", "sets\\winter sale.json", "SD15"])
    def test_names_as_people_write_them(self, name: str, client: Client) -> None:
        assert run(client, Named(name), positive="x", width=64, height=64, steps=1).files

    def test_text_that_is_no_name_is_quoted_in_part_and_on_one_line(self, client: Client) -> None:
        error = fails(client, Named("please\nrun " + "x" * 5000))

        assert "There is no template 'please run xxx" in str(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 1500

    @pytest.mark.parametrize(("name", "near"), [("postre", "poster"), ("upscal-resize", "upscale-resize")])
    def test_name_with_a_typo_gets_the_nearest_first(self, name: str, near: str, client: Client) -> None:
        error = fails(client, Named(name))

        assert str(error).startswith(f"There is no template and no saved workflow '{name}'. Did you mean {near}")
        assert "是否指 " + near in error.zh

    def test_name_that_climbs_out_of_the_folder_is_only_a_name(self, client: Client) -> None:
        assert isinstance(fails(client, Named("../../secret")), InvalidInput)

    def test_server_without_saved_workflows_still_says_what_there_is(self, connect: Connect) -> None:
        with Simulator() as comfyui:
            error = fails(connect(comfyui.url), Named("poster"))

        assert "There is no template 'poster'" in str(error)


class TestPasted:
    def test_editors_format_runs_as_it_is(self, comfyui: Simulator, client: Client) -> None:
        run(client, Pasted(SIMPLE))

        texts = [each["inputs"]["text"] for each in sent(comfyui).values() if "text" in each["inputs"]]
        assert "beautiful scenery nature glass bottle landscape, purple galaxy bottle," in texts

    def test_nothing_said_changes_nothing_but_the_seed(self, comfyui: Simulator, client: Client) -> None:
        graph = library.load("sd15").prompt
        (size,) = [key for key, value in graph.items() if value["class_type"] == "EmptyLatentImage"]
        graph = {**graph, size: node("EmptyLatentImage", width=72, height=40, batch_size=2)}

        made = run(client, Pasted(graph))

        after = sent(comfyui)
        seed = after["3"]["inputs"].pop("seed")
        wanted = json.loads(json.dumps(graph))
        wanted["3"]["inputs"].pop("seed")
        assert after == wanted
        assert made.outcome is not None
        assert made.outcome.jobs[0].filled.seed == seed
        assert len(made.files) == 2

    @pytest.mark.parametrize("highest", [0, 7, 2**31 - 1])
    def test_random_seed_is_one_that_the_node_takes(self, highest: int, definitions: Definitions) -> None:
        narrow = json.loads(json.dumps(definitions))
        narrow["KSampler"]["input"]["required"]["seed"][1]["max"] = highest
        graph = library.load("sd15").prompt

        (filled,) = filling.fill(Template(name="mine", prompt=graph, is_users=True), Inputs(), narrow)

        assert filled.seed is not None
        assert 0 <= filled.seed <= highest

    def test_missing_model_of_a_users_workflow_has_no_page_to_name(self, client: Client) -> None:
        graph = json.loads(json.dumps(library.load("sd15").prompt))
        graph["4"]["inputs"]["ckpt_name"] = "mine.safetensors"

        error = fails(client, Pasted(graph))

        assert "'mine.safetensors' is not on the server" in str(error)
        assert "template" not in str(error)
        assert "模板" not in error.zh

    def test_template_without_a_prompt_says_that(self, client: Client) -> None:
        error = fails(client, Named("upscale-resize"), positive="sharper", files=(picture(),))

        assert str(error) == "The template 'upscale-resize' takes no prompt: leave prompt empty."
        assert "请将 prompt 留空" in error.zh

    def test_seed_that_has_no_place_is_told(self, client: Client) -> None:
        made = run(client, Named("upscale-resize"), seed=3, files=(picture(),))

        assert made.outcome is not None
        assert ("upscale-resize has no seed: ignored", "upscale-resize 不使用 seed，已忽略") in (
            made.outcome.jobs[0].filled.notes
        )

    def test_prompt_envelope_and_values(self, comfyui: Simulator, client: Client) -> None:
        run(
            client,
            Pasted({"prompt": library.load("sd15").prompt}),
            positive="x",
            seed=5,
            values={"steps": "3", "width": 64},
        )

        graph = sent(comfyui)
        assert (graph["3"]["inputs"]["steps"], graph["3"]["inputs"]["seed"]) == (3, 5)
        assert graph["5"]["inputs"]["width"] == 64

    def test_missing_node_is_named_before_anything_is_sent(self, comfyui: Simulator, client: Client) -> None:
        graph = scaled()
        graph["2"]["class_type"] = "UltimateSDUpscale"

        error = fails(client, Pasted(graph), files=(picture(),))

        assert isinstance(error, Rejected)
        assert "Node 2 (ImageScaleBy): the server does not know the node class 'UltimateSDUpscale'" in str(error)
        assert "自定义节点" in error.zh
        assert comfyui.received("POST", "/prompt") == []
        assert comfyui.received("POST", "/upload/image") == []

    def test_missing_model_is_named_and_no_template_is_spoken_of(self, client: Client) -> None:
        graph = json.loads(json.dumps(library.load("sd15").prompt))
        graph["4"]["inputs"]["ckpt_name"] = "dreamshaper_99.safetensors"

        error = fails(client, Pasted(graph))

        assert "dreamshaper_99.safetensors" in str(error)
        assert "template" not in str(error)

    @pytest.mark.parametrize("saved", [[], {}, {"nodes": []}, {"prompt": {}}, 3, "text", None])
    def test_what_is_no_workflow_is_refused(self, saved: Any, client: Client) -> None:
        error = fails(client, Pasted(saved))

        assert error.outcome == "rejected"
        assert error.zh

    def test_graph_without_a_prompt_says_where_it_could_be(self, client: Client) -> None:
        error = fails(client, Pasted(scaled()), positive="a fox", files=(picture(),))

        assert "Where the prompt belongs in 'workflow' cannot be found" in str(error)


class TestFiles:
    def test_picture_goes_up_and_comes_back_scaled(self, comfyui: Simulator, client: Client) -> None:
        made = run(client, Pasted(scaled()), files=(picture(),))

        image = Image.open(BytesIO(made.files[0].data)).convert("RGB")
        assert image.size == (128, 96)
        assert image.getpixel((64, 48)) == COLOUR
        assert (comfyui.folder / "input" / picture().name).is_file()

    def test_same_picture_is_stored_once(self, comfyui: Simulator, client: Client) -> None:
        for _ in range(2):
            run(client, Pasted(scaled()), files=(picture(filename="我的照片.png"),))

        assert [path.name for path in (comfyui.folder / "input").iterdir()] == [picture().name]

    def test_name_that_is_taken_by_other_bytes_gets_another(self, comfyui: Simulator, client: Client) -> None:
        (comfyui.folder / "input").mkdir(exist_ok=True)
        (comfyui.folder / "input" / picture().name).write_bytes(picture((1, 2, 3)).data)

        made = run(client, Pasted(scaled()), files=(picture(),))

        image = Image.open(BytesIO(made.files[0].data)).convert("RGB")
        assert image.getpixel((10, 10)) == COLOUR
        assert sent(comfyui)["1"]["inputs"]["image"] != picture().name

    def test_workflow_keeps_its_own_picture_where_none_is_given(self, comfyui: Simulator, client: Client) -> None:
        (comfyui.folder / "input").mkdir(exist_ok=True)
        (comfyui.folder / "input" / "mine.png").write_bytes(picture((9, 8, 7)).data)

        made = run(client, Pasted(scaled()))

        assert Image.open(BytesIO(made.files[0].data)).convert("RGB").getpixel((5, 5)) == (9, 8, 7)

    def test_picture_that_nobody_gave_is_named(self, client: Client) -> None:
        error = fails(client, Pasted(scaled()))

        assert isinstance(error, Rejected)
        assert "Node 1 (Photo): the image 'mine.png' is not in the server's input folder" in str(error)

    def test_picture_of_the_output_folder_is_missed_there(self, client: Client) -> None:
        error = fails(client, Pasted(scaled("gone.png [output]")))

        assert "'gone.png [output]' is not in the server's output folder" in str(error)
        assert "output 文件夹" in error.zh

    def test_optional_picture_that_nobody_gave_is_left_out(self, comfyui: Simulator, client: Client) -> None:
        graph = {
            **scaled(),
            "4": node("LoadImage", "Second", image="second.png"),
            "5": node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="qwen_image", device="default"),
            "6": node("TextEncodeQwenImageEditPlus", clip=["5", 0], prompt="x", image1=["1", 0], image2=["4", 0]),
            "7": node("PreviewAny", source=["6", 0]),
        }

        made = run(client, Pasted(graph), files=(picture(),))

        assert "4" not in sent(comfyui)
        assert "image2" not in sent(comfyui)["6"]["inputs"]
        assert made.outcome is not None
        assert ("Second has no file: left out", "Second 没有文件，已省略") in made.outcome.jobs[0].filled.notes


class TestOutputs:
    def test_everything_that_was_saved_comes_in_the_graphs_order_and_texts_with_it(self, client: Client) -> None:
        graph = {
            "1": node("EmptyImage", width=32, height=32, batch_size=3, color=255),
            "2": node("SaveAnimatedWEBP", images=["1", 0], filename_prefix="a", fps=6.0, lossless=True, quality=80,
                      method="default"),
            "3": node("PreviewImage", images=["1", 0]),
            "4": node("SaveImage", images=["1", 0], filename_prefix="b"),
            "5": node("PrimitiveString", value="a caption"),
            "6": node("PreviewAny", source=["5", 0]),
        }  # fmt: skip

        made = run(client, Pasted(graph))

        assert [file.mime for file in made.files] == ["image/webp", "image/png", "image/png", "image/png"]
        assert made.outcome is not None
        assert made.outcome.texts == ("a caption",)

    def test_text_alone_is_a_success(self, client: Client) -> None:
        graph = {"5": node("PrimitiveString", value="一句话"), "6": node("PreviewAny", source=["5", 0])}

        made = run(client, Pasted(graph))

        assert made.files == []
        assert made.outcome is not None
        assert made.outcome.texts == ("一句话",)

    def test_video_is_a_video(self, client: Client) -> None:
        graph = {
            "1": node("EmptyImage", width=32, height=32, batch_size=4, color=255),
            "2": node("CreateVideo", images=["1", 0], fps=8.0),
            "3": node("SaveVideo", video=["2", 0], filename_prefix="video/v", format="mp4", codec="h264"),
        }

        (file,) = run(client, Pasted(graph)).files

        assert (file.mime, file.filename) == ("video/mp4", "v_00001_.mp4")
        assert file.data[4:8] == b"ftyp"


class TestEarlierPictures:
    def earlier(self, client: Client, name: str) -> InputFile:
        return collecting.earlier_picture(name, Pool([client]), Deadline(10))

    def test_picture_of_an_earlier_job_becomes_the_input(self, client: Client) -> None:
        first = make(client, count=2)
        assert first.outcome is not None
        prompt_id = first.outcome.jobs[0].prompt_id

        assert self.earlier(client, prompt_id).data == first.files[0].data
        assert self.earlier(client, f"{prompt_id}#2").data == first.files[1].data
        made = run(client, Pasted(scaled()), files=(self.earlier(client, f" {prompt_id}"),))
        assert Image.open(BytesIO(made.files[0].data)).size == (128, 128)

    def test_several_jobs_count_on(self, client: Client) -> None:
        jobs = [make(client, seed=seed) for seed in (1, 2)]
        ids = ",".join(made.outcome.jobs[0].prompt_id for made in jobs if made.outcome is not None)

        assert self.earlier(client, f"{ids}#2").data == jobs[1].files[0].data

    def test_picture_that_was_not_made_is_refused(self, client: Client) -> None:
        first = make(client)
        assert first.outcome is not None

        with pytest.raises(InvalidInput, match="made 1 picture, not 5"):
            self.earlier(client, f"{first.outcome.jobs[0].prompt_id}#5")

    @pytest.mark.parametrize("number", ["0", "second", "", "-1"])
    def test_what_is_no_number_of_a_picture_is_refused(self, number: str, client: Client) -> None:
        with pytest.raises(InvalidInput, match="a number from 1") as raised:
            self.earlier(client, f"some-job#{number}")
        assert "从 1 开始" in raised.value.zh

    def test_unknown_job_is_refused(self, client: Client) -> None:
        with pytest.raises(InvalidInput, match="no server knows a job nobody") as raised:
            self.earlier(client, "nobody")
        assert "没有任务 nobody" in raised.value.zh

    def test_job_that_still_runs_is_waited_for(self, connect: Connect) -> None:
        with Simulator(work=0.6) as comfyui:
            comfyui.inject(RefuseWebSockets(403))
            client = connect(comfyui.url)
            (job,) = generation.submit(
                Named("sd15"),
                Inputs(positive="x", width=64, height=64, steps=2),
                Pool([client]),
                deadline=Deadline(10),
                extra_data={},
            )

            assert self.earlier(client, job.prompt_id).data.startswith(b"\x89PNG")

    def test_job_is_found_on_whichever_server_has_it(self, comfyui: Simulator, connect: Connect) -> None:
        with Simulator() as other:
            having = connect(other.url)
            made = make(having)
            assert made.outcome is not None

            found = collecting.earlier_picture(
                made.outcome.jobs[0].prompt_id, Pool([connect(comfyui.url), having]), Deadline(10)
            )

            assert found.data == made.files[0].data
