"""Every template of the library: what its graph means, what it needs, and that it runs."""

import io
import re
import wave
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageOps

from comfybridge import filling, jobs, library, preflight, workflow
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import InvalidInput
from comfybridge.filling import Filled, Inputs
from comfybridge.graph import Graph
from comfybridge.library import Named
from comfybridge.marks import FILES, NAMES
from comfybridge.media import InputFile, MediaType
from comfybridge.simulator.definitions import MODEL_INPUTS
from comfybridge.simulator.definitions import Definitions as Recorded
from comfybridge.simulator.files import Files
from comfybridge.simulator.models import Models
from comfybridge.simulator.simulator import Simulator
from comfybridge.template import FROM_PICTURES, Template
from comfybridge.wires import TEXT
from comfybridge.workflow import Definitions, InputRef, Lora
from scripts import library_table
from tests.core.making import LORAS, Connect, catalogue, make

TEMPLATES = library.templates()
PICTURE, COLOUR = (192, 128), (90, 120, 200)
MASK, HALF = "left.png", "half.png"
"""A mask of the left half, and a picture whose left half is transparent."""
MADE_OF = {
    "text2image": (frozenset(("positive",)), "image"),
    "image2image": (frozenset(("positive", "images")), "image"),
    "inpaint": (frozenset(("positive", "images")), "image"),
    "upscale": (frozenset(("images",)), "image"),
    "text2video": (frozenset(("positive",)), "video"),
    "image2video": (frozenset(("positive", "images")), "video"),
    "text2audio": (frozenset(("positive",)), "audio"),
    "image2model": (frozenset(("images",)), "3d"),
}
"""Task -> the roles that a caller of it fills, and what comes out."""


@dataclass(frozen=True)
class Meaning:
    """What a person finds in a graph: its roles, each with the number of its inputs where there are several.

    ``named`` are the values with names of their own, ``explained`` the roles whose absence a note explains, ``absent``
    those that nothing explains. ``grows`` is the factor from the asked to the made picture's sides.
    """

    roles: str
    named: str = ""
    explained: str = ""
    absent: str = ""
    grows: float = 1.0


_PLAIN = "positive negative seed steps cfg sampler scheduler denoise width height batch model"
_NO_NEGATIVE = _PLAIN.replace("negative ", "")
_TURBO = _NO_NEGATIVE.replace("scheduler ", "")
_HIRES = "positive negative seed*2 steps*2 cfg*2 sampler*2 scheduler*2 denoise width height batch model"
_REFINER = "positive*2 negative*2 seed steps*2 cfg*2 sampler*2 scheduler*2 width height batch model"
_SIZE = "width height"
_REDRAWN = _PLAIN.replace("width height batch ", "") + " images"
_VIDEO = _PLAIN.replace("batch ", "")
_SOUND = _PLAIN.replace("width height ", "")
_NO_SAMPLER = "positive negative seed steps cfg sampler scheduler model"
MEANINGS = {
    "ace-step": Meaning(_SOUND.replace("negative ", ""), named="seconds lyrics", explained="negative"),
    "flux-dev": Meaning(_NO_NEGATIVE, named="guidance", explained="negative"),
    "flux-schnell": Meaning(_NO_NEGATIVE, explained="negative"),
    "hunyuan3d": Meaning(
        "seed steps cfg sampler scheduler denoise batch model images", explained="positive negative width height"
    ),
    "qwen-image": Meaning(_PLAIN),
    "qwen-image-controlnet": Meaning(f"{_PLAIN} images", named="control_strength"),
    "qwen-image-edit": Meaning(f"{_REDRAWN}*3", explained=_SIZE),
    "qwen-image-edit-lightning": Meaning(f"{_REDRAWN}*3 loras".replace("negative ", ""), explained=_SIZE),
    "resize-crop": Meaning("images width height", absent=_NO_SAMPLER),
    "sd-turbo": Meaning(_TURBO, explained="negative", absent="scheduler"),
    "sd15": Meaning(_PLAIN),
    "sd15-clip-skip": Meaning(_PLAIN, named="stop_at_clip_layer"),
    "sd15-controlnet-canny": Meaning(f"{_PLAIN} images", named="control_strength"),
    "sd15-controlnet-depth": Meaning(f"{_PLAIN} images", named="control_strength"),
    "sd15-controlnet-pose": Meaning(f"{_PLAIN} images", named="control_strength"),
    "sd15-hires": Meaning(_HIRES, named="hires_scale hires_denoise", grows=2),
    "sd15-image2image": Meaning(_REDRAWN, explained=_SIZE),
    "sd15-inpaint": Meaning(f"{_REDRAWN} masks", named="grow_mask", explained=_SIZE),
    "sd15-inpaint-alpha": Meaning(_REDRAWN, named="grow_mask", explained=f"{_SIZE} masks"),
    "sd35": Meaning(_PLAIN),
    "sdxl": Meaning(_PLAIN),
    "sdxl-clip-skip": Meaning(_PLAIN, named="stop_at_clip_layer"),
    "sdxl-controlnet": Meaning(f"{_PLAIN} images", named="control_strength control_type"),
    "sdxl-hires": Meaning(_HIRES, named="hires_scale hires_denoise", grows=1.5),
    "sdxl-image2image": Meaning(_REDRAWN, explained=_SIZE),
    "sdxl-inpaint": Meaning(f"{_REDRAWN} masks", named="grow_mask", explained=_SIZE),
    "sdxl-inpaint-alpha": Meaning(_REDRAWN, named="grow_mask", explained=f"{_SIZE} masks"),
    "sdxl-merge": Meaning(_PLAIN, named="second_model merge_ratio*2"),
    "sdxl-refiner": Meaning(_REFINER),
    "sdxl-turbo": Meaning(_TURBO, explained="negative", absent="scheduler"),
    "stable-audio": Meaning(_SOUND, named="seconds"),
    "upscale": Meaning("images model", named="scale", absent=f"{_NO_SAMPLER} {_SIZE}".replace("model ", "")),
    "upscale-resize": Meaning("images", named="scale", absent=f"{_NO_SAMPLER} {_SIZE}"),
    "wan22-image2video": Meaning(f"{_VIDEO} images", named="frames fps"),
    "wan22-text2video": Meaning(_VIDEO, named="frames fps"),
    "z-image-turbo": Meaning(_NO_NEGATIVE, explained="negative"),
}


def counted(words: str) -> Counter[str]:
    """``seed*2 width`` as numbers."""
    return Counter({name: int(number or 1) for name, _, number in (word.partition("*") for word in words.split())})


def put_inputs(folder: Path) -> None:
    """The files that the templates' graphs name as examples."""
    (folder / "input").mkdir(exist_ok=True)
    for each in TEMPLATES:
        for role in FILES:
            for ref in workflow.trace(each.prompt, {})[role]:
                path = folder / "input" / each.prompt[ref.node_id]["inputs"][ref.input]
                if role == "audio":
                    write_sound(path)
                elif role != "video":
                    # What a mask selects is the transparent part.
                    Image.new("RGBA", PICTURE, (*COLOUR, 128)).save(path)
    mask = Image.new("L", PICTURE)
    mask.paste(255, (0, 0, PICTURE[0] // 2, PICTURE[1]))
    mask.save(folder / "input" / MASK)
    picture = Image.new("RGB", PICTURE, COLOUR)
    picture.putalpha(ImageOps.invert(mask))
    picture.save(folder / "input" / HALF)


def write_sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Definitions:
    """What a server with the files of all templates says of its node classes."""
    folder = tmp_path_factory.mktemp("comfyui")
    recorded = Recorded(Models(catalogue()), Files(folder))
    put_inputs(folder)
    return {class_type: recorded.info(class_type) for class_type in recorded}


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("comfyui")
    put_inputs(folder)
    with Simulator(models=catalogue(), folder=folder) as server:
        yield server


def other(value: Any, number: int) -> Any:
    """Another value of the same kind."""
    if isinstance(value, str):
        return f"{value} {number}"
    return value + 8 * number


def places(roles: workflow.Roles) -> dict[str, tuple[InputRef, ...]]:
    """Every role and name that sets something; a sidecar can take a role away by binding it to nothing."""
    return {name: refs for name, refs in {**roles.inputs, **roles.named}.items() if refs}


def noisy_seeds(chosen: Template) -> set[InputRef]:
    """Every seed in the graph but those of stages that add no noise."""
    return {
        InputRef(node_id, name)
        for node_id, node in chosen.prompt.items()
        for name, value in node["inputs"].items()
        if name in NAMES["seed"] and isinstance(value, int)
        if node["inputs"].get("add_noise") not in ("disable", False)
    }


@pytest.mark.parametrize("chosen", TEMPLATES, ids=lambda each: each.name)
class TestEachTemplate:
    def test_name_is_plain_and_a_person_has_read_the_graph(self, chosen: Template) -> None:
        assert re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*(@\d+)?", chosen.name)
        assert chosen.base_name in MEANINGS

    def test_title_and_one_sentence_in_both_languages(self, chosen: Template) -> None:
        assert set(chosen.title) == set(chosen.about) == {"en_US", "zh_Hans"}
        assert all(chosen.title.values())
        assert re.fullmatch(r"[^.].{20,250}[^.]\.", chosen.about["en_US"])
        assert re.search(r"[\u4e00-\u9fff].*。$", chosen.about["zh_Hans"])

    def test_every_node_names_itself(self, chosen: Template) -> None:
        assert [node_id for node_id, node in chosen.prompt.items() if not node["_meta"]["title"]] == []

    def test_nothing_is_wrong_with_it(self, chosen: Template, served: Definitions) -> None:
        assert preflight.check(chosen.prompt, served) == []

    def test_required_files_are_those_of_the_graph_in_their_folders(self, chosen: Template) -> None:
        named = {
            (MODEL_INPUTS[node["class_type"], name], value)
            for node in chosen.prompt.values()
            for name, value in node["inputs"].items()
            if (node["class_type"], name) in MODEL_INPUTS and value not in ("pixel_space", "")
        }

        assert {(required.folder, required.file) for required in chosen.requires} == named

    def test_pages_of_the_files_are_those_of_the_two_hubs(self, chosen: Template) -> None:
        for required in chosen.requires:
            assert re.fullmatch(r"https://huggingface\.co/[\w.-]+/[\w.-]+", required.huggingface)
            assert re.fullmatch(r"https://modelscope\.cn/models/[\w.-]+/[\w.-]+", required.modelscope)

    def test_first_file_is_that_of_the_model_loader(self, chosen: Template, served: Definitions) -> None:
        for ref in chosen.roles(served)["model"]:
            assert chosen.requires[0].file == chosen.prompt[ref.node_id]["inputs"][ref.input]

    def test_task_is_what_the_graph_does(self, chosen: Template, served: Definitions) -> None:
        needed, made = MADE_OF[chosen.task]
        roles = chosen.roles(served)

        assert needed <= set(roles.inputs)
        assert made in roles.kinds.values()

    def test_uploaded_files_are_all_found(self, chosen: Template, served: Definitions) -> None:
        loading = {
            node_id
            for node_id, node in chosen.prompt.items()
            if re.match("Load(Image|Audio|Video)", node["class_type"])
        }
        roles = chosen.roles(served)

        assert {ref.node_id for role in FILES for ref in roles[role]} == loading

    def test_roles_are_those_that_a_person_finds(self, chosen: Template, served: Definitions) -> None:
        meaning = MEANINGS[chosen.base_name]
        roles = chosen.roles(served)

        assert {name: len(refs) for name, refs in places(roles).items()} == counted(f"{meaning.roles} {meaning.named}")
        assert set(roles.named) == set(counted(meaning.named))
        assert {note.role for note in roles.notes} == set(meaning.explained.split())
        assert set(roles.missing) == set(meaning.absent.split())

    def test_every_value_ends_in_the_graph(self, chosen: Template, served: Definitions) -> None:
        roles = chosen.roles(served)

        for number, (role, refs) in enumerate(places(roles).items(), start=1):
            values = [other(chosen.prompt[ref.node_id]["inputs"][ref.input], number) for ref in refs]
            value = values if role in (*FILES, "loras") else values[0]
            graph = workflow.fill(chosen.prompt, workflow.assign(chosen.prompt, roles, {role: value}))
            arrived = [graph[ref.node_id]["inputs"][ref.input] for ref in refs]
            assert arrived == (values if value is values else [value] * len(refs)), role

    def test_no_node_is_dead(self, chosen: Template, served: Definitions) -> None:
        roles = chosen.roles(served)

        assert Graph(chosen.prompt, served).upstream(roles.outputs) == set(chosen.prompt)

    def test_random_seed_reaches_every_stage_that_adds_noise(self, chosen: Template, served: Definitions) -> None:
        roles = chosen.roles(served)

        assert set(roles["seed"]) == noisy_seeds(chosen)

    def test_no_text_stays_that_a_caller_cannot_set(self, chosen: Template, served: Definitions) -> None:
        roles = chosen.roles(served)
        reached = {ref for refs in places(roles).values() for ref in refs}
        hidden = [
            (node_id, name, value)
            for node_id, node in chosen.prompt.items()
            for name, value in node["inputs"].items()
            if name in TEXT and isinstance(value, str) and value.strip() and InputRef(node_id, name) not in reached
        ]

        assert hidden == []


def through_loras(chosen: Template, served: Definitions) -> tuple[dict[str, dict[str, Any]], workflow.Roles]:
    roles = chosen.roles(served)
    return workflow.add_loras(chosen.prompt, roles, [Lora(LORAS[0], 0.5), Lora(LORAS[1])]), roles


WITH_LORAS = [each for each in TEMPLATES if each.name != "resize-crop" and each.task not in ("upscale", "image2model")]


@pytest.mark.parametrize("chosen", WITH_LORAS, ids=lambda each: each.name)
class TestLoras:
    def test_two_loras_end_between_the_model_and_all_that_uses_it(self, chosen: Template, served: Definitions) -> None:
        graph, roles = through_loras(chosen, served)
        source = roles.model_source
        assert source is not None

        assert preflight.check(graph, served) == []
        assert users(graph, source) == ["lora1"]
        assert users(graph, workflow.Link("lora1", 0)) == ["lora2"]
        assert users(graph, workflow.Link("lora2", 0)) == users(chosen.prompt, source)

    def test_text_encoder_gets_them_where_there_is_one(self, chosen: Template, served: Definitions) -> None:
        graph, roles = through_loras(chosen, served)
        source = roles.clip_source
        classes = {node["class_type"] for node_id, node in graph.items() if node_id.startswith("lora")}

        assert classes == {"LoraLoader" if source else "LoraLoaderModelOnly"}
        if source is not None:
            assert users(graph, source) == ["lora1"]
            assert users(graph, workflow.Link("lora2", 1)) == users(chosen.prompt, source)

    def test_samplers_have_them_upstream(self, chosen: Template, served: Definitions) -> None:
        graph, roles = through_loras(chosen, served)
        (first, *_) = roles["seed"]

        assert {"lora1", "lora2"} <= Graph(graph, served).upstream([first.node_id])


def users(prompt: workflow.Prompt, source: workflow.Link) -> list[str]:
    """The nodes that take this output."""
    return sorted({node_id for node_id, node in prompt.items() if list(source) in node["inputs"].values()})


def photo(red: int) -> InputFile:
    data = io.BytesIO()
    Image.new("RGB", PICTURE, (red, 90, 160)).save(data, "PNG")
    return InputFile(data.getvalue(), MediaType("image/png", ".png"))


PHOTO, MASKED = photo(10), photo(255)


class TestRuns:
    @pytest.mark.parametrize("chosen", TEMPLATES, ids=lambda each: each.name)
    def test_simulator_makes_what_was_asked_for(self, chosen: Template, comfyui: Simulator, connect: Connect) -> None:
        wanted = {"positive": "a fox", "width": 128, "height": 192, "steps": 2, "seed": 5}

        made = run(connect(comfyui.url), chosen, wanted)

        _, kind = MADE_OF[chosen.task]
        meaning = MEANINGS[chosen.base_name]
        assert made
        assert {recognized(data) for data in made} == {kind}
        if kind == "image" and "width" in meaning.roles.split():
            assert [opened(data).size for data in made] == [(128 * meaning.grows, 192 * meaning.grows)]

    @pytest.mark.parametrize(
        ("name", "values", "size"),
        [
            ("sd15-image2image", {}, (624, 416)),
            ("sdxl-image2image", {}, (1256, 840)),
            ("sd15-inpaint", {}, PICTURE),
            ("sdxl-inpaint-alpha", {}, PICTURE),
            ("upscale", {}, (768, 512)),
            ("upscale", {"scale": 2}, (384, 256)),
            ("upscale-resize", {}, (384, 256)),
            ("upscale-resize", {"scale": 1.5}, (288, 192)),
        ],
    )
    def test_size_is_that_of_the_picture_or_good_for_the_model(
        self, name: str, values: dict[str, Any], size: tuple[int, int], comfyui: Simulator, connect: Connect
    ) -> None:
        made = run(connect(comfyui.url), library.load(name), {**values, "steps": 2})

        assert [opened(data).size for data in made] == [size]

    @pytest.mark.parametrize("name", ["sd15-inpaint", "sdxl-inpaint", "sd15-inpaint-alpha", "sdxl-inpaint-alpha"])
    def test_only_the_masked_part_is_painted(self, name: str, comfyui: Simulator, connect: Connect) -> None:
        (data,) = run(connect(comfyui.url), library.load(name), {"images": [HALF], "masks": [MASK], "steps": 2})

        changed = ImageChops.difference(opened(data).convert("RGB"), Image.new("RGB", PICTURE, COLOUR))
        assert max(changed.crop((0, 0, 64, 128)).tobytes()) > 20
        # A hint of the simulator's blur reaches further than that of a real server, which leaves no trace there.
        assert max(changed.crop((96 + 13, 0, *PICTURE)).tobytes()) <= 2


class TestWholeLine:
    @pytest.mark.parametrize("chosen", TEMPLATES, ids=lambda each: each.name)
    def test_every_template_is_filled_runs_and_is_fetched(
        self, chosen: Template, comfyui: Simulator, connect: Connect, served: Definitions
    ) -> None:
        roles = chosen.roles(served)
        needs = len(roles["images"]) + len(roles["masks"])
        prompt = "a fox" if roles["positive"] else None

        made = make(connect(comfyui.url), name=Named(chosen.name), positive=prompt, files=(PHOTO, MASKED)[:needs])

        assert made.files
        assert made.outcome is not None
        (job,) = made.outcome.jobs
        assert all(job.prompt_id in file.output.filename for file in made.files)
        assert all(job.prompt_id not in file.filename for file in made.files)

    @pytest.mark.parametrize(
        "chosen", [each for each in TEMPLATES if each.task in FROM_PICTURES], ids=lambda each: each.name
    )
    def test_picture_that_is_missing_is_asked_for_in_both_languages(
        self, chosen: Template, served: Definitions
    ) -> None:
        prompt = "a fox" if chosen.roles(served)["positive"] else None

        with pytest.raises(InvalidInput, match="needs a picture") as raised:
            filling.fill(chosen, Inputs(positive=prompt), served)
        assert "需要" in raised.value.zh

    def test_second_and_third_picture_to_edit_with_are_optional(self, comfyui: Simulator, connect: Connect) -> None:
        client = connect(comfyui.url)
        for count in (1, 2, 3):
            make(client, name=Named("qwen-image-edit"), files=tuple(photo(number) for number in range(count)))

            graph = comfyui.received("POST", "/prompt")[-1].body["prompt"]
            loaders = [node for node in graph.values() if node["class_type"] == "LoadImage"]
            assert len(loaders) == count


def run(client: Client, chosen: Template, values: Mapping[str, Any]) -> list[bytes]:
    deadline = Deadline(20)
    definitions = client.definitions(chosen.class_types(), deadline)
    graph = workflow.fill(chosen.prompt, workflow.assign(chosen.prompt, chosen.roles(definitions), values))
    filled = Filled(prompt=graph, template=chosen, seed=5, width=None, height=None, model=None)
    return finished(jobs.queue(client, filled, definitions, deadline, {}, None), deadline)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def finished(job: jobs.Job, deadline: Deadline) -> list[bytes]:
    following = jobs.follow(job, deadline)
    while True:
        try:
            next(following)
        except StopIteration as end:
            return [job.client.view(output, deadline) for output in end.value.outputs]


def recognized(data: bytes) -> str:
    """What kind of thing a file is, by how it begins."""
    return next(kind for kind, begins in _BEGINNINGS.items() if begins.match(data))


_BEGINNINGS = {
    "image": re.compile(rb"\x89PNG"),
    "video": re.compile(rb"....ftyp", re.DOTALL),
    "audio": re.compile(rb"ID3|\xff[\xe0-\xff]|fLaC|OggS"),
    "3d": re.compile(rb"glTF"),
}


def test_document_lists_every_template() -> None:
    document = library_table.DOCUMENT.read_text(encoding="utf-8")

    assert document == library_table.written(document), "make table"
    for each in TEMPLATES:
        assert f"| `{each.name}`" in document
        assert all(f"`{required.folder}/{required.file}`" in document for required in each.requires)


class TestSettings:
    """What single templates promise."""

    @pytest.fixture
    def fill(self, served: Definitions) -> Any:
        def filled(name: str, **inputs: Any) -> filling.Filled:
            (only,) = filling.fill(library.load(name), Inputs(**{"positive": "a fox", **inputs}), served)
            return only

        return filled

    def test_first_choices_stay_the_first(self) -> None:
        names = [each.name for each in library.choices("text2image")]

        assert names == ["z-image-turbo", "sdxl", "sd15", "qwen-image", "flux-dev", "sd35", "flux-schnell"]

    @pytest.mark.parametrize(
        ("task", "names"),
        [
            ("image2image", "qwen-image-edit-lightning qwen-image-edit sdxl-image2image sd15-image2image"),
            ("inpaint", "sdxl-inpaint sd15-inpaint sdxl-inpaint-alpha sd15-inpaint-alpha"),
            ("upscale", "upscale upscale-resize"),
            ("text2video", "wan22-text2video"),
            ("image2video", "wan22-image2video"),
            ("text2audio", "ace-step stable-audio"),
            ("image2model", "hunyuan3d"),
        ],
    )
    def test_every_task_has_its_choices(self, task: str, names: str) -> None:
        assert [each.name for each in library.choices(task)] == names.split()

    @pytest.mark.parametrize("name", ["wan22-text2video", "wan22-image2video"])
    def test_several_videos_are_several_jobs(self, name: str, served: Definitions) -> None:
        files = (PHOTO,) if name == "wan22-image2video" else ()

        filled = filling.fill(library.load(name), Inputs(positive="a fox", seed=7, count=2, files=files), served)

        assert [each.prompt["3"]["inputs"]["seed"] for each in filled] == [7, 8]
        assert [each.prompt["55"]["inputs"]["batch_size"] for each in filled] == [1, 1]

    @pytest.mark.parametrize("name", ["qwen-image-edit", "qwen-image-edit-lightning"])
    def test_second_and_third_picture_can_be_left_out(self, name: str, served: Definitions) -> None:
        chosen = library.load(name)
        _, *others = (ref.node_id for ref in chosen.roles(served)["images"])
        kept = {
            node_id: {
                **node,
                "inputs": {
                    name: value for name, value in node["inputs"].items() if value not in [[o, 0] for o in others]
                },
            }
            for node_id, node in chosen.prompt.items()
            if node_id not in others
        }

        assert len(others) == 2
        assert preflight.check(kept, served) == []

    @pytest.mark.parametrize(("name", "fits"), [("4x-UltraSharp.pth", True), ("1x-DeJPG-SRFormer.pth", False)])
    def test_any_upscale_model_serves(self, name: str, served: Definitions, *, fits: bool) -> None:
        loader = {**served["UpscaleModelLoader"], "input": {"required": {"model_name": [[name], {}]}}}
        chosen, definitions = library.load("upscale"), {**served, "UpscaleModelLoader": loader}

        assert chosen.model_names(definitions) == [name]
        assert chosen.can_run(name, {}, definitions) is fits

    def test_words_are_only_sung_that_a_caller_gave(self) -> None:
        prompt = library.load("ace-step").prompt

        assert prompt["60"]["inputs"]["value"] == "[instrumental]"

    def test_cfg_of_flux_is_its_guidance(self, fill: Any) -> None:
        graph = fill("flux-dev", cfg=2.5).prompt

        assert (graph["35"]["inputs"]["guidance"], graph["31"]["inputs"]["cfg"]) == (2.5, 1)

    def test_refiner_keeps_its_share_of_the_steps(self, fill: Any) -> None:
        graph = fill("sdxl-refiner", steps=10).prompt

        assert (graph["10"]["inputs"]["end_at_step"], graph["11"]["inputs"]["start_at_step"]) == (8, 8)

    @pytest.mark.parametrize("name", ["sd15-hires", "sdxl-hires"])
    def test_second_pass_draws_like_the_first(self, name: str, fill: Any) -> None:
        graph = fill(name, steps=11, cfg=5.5, sampler="euler_ancestral", scheduler="karras", seed=3).prompt

        for role in ("steps", "cfg", "sampler_name", "scheduler", "seed"):
            assert graph["3"]["inputs"][role] == graph["11"]["inputs"][role]
        assert (graph["3"]["inputs"]["steps"], graph["3"]["inputs"]["denoise"]) == (11, 1)

    def test_merge_ratio_sets_models_and_text_encoders_alike(self, served: Definitions) -> None:
        chosen = library.load("sdxl-merge")

        assigned = workflow.assign(chosen.prompt, chosen.roles(served), {"merge_ratio": 0.3, "second_model": "x"})

        assert {ref.input: value for ref, value in assigned.items()} == {"ratio": 0.3, "ckpt_name": "x"}
        assert len(assigned) == 3

    @pytest.mark.parametrize("name", ["sd-turbo", "sdxl-turbo", "flux-schnell"])
    def test_drafts_take_at_most_four_steps(self, name: str, fill: Any, served: Definitions) -> None:
        graph = fill(name).prompt
        (steps,) = library.load(name).roles(served)["steps"]

        assert 1 <= graph[steps.node_id]["inputs"]["steps"] <= 4

    @pytest.mark.parametrize("name", ["sdxl-turbo", "qwen-image-edit-lightning"])
    def test_negative_without_effect_is_told(self, name: str, fill: Any) -> None:
        told = (f"{name} has no negative: ignored", f"{name} 不使用 negative，已忽略")
        files = (PHOTO,) if library.load(name).task == "image2image" else ()

        assert fill(name, negative="blurry", files=files).notes == (told,)
