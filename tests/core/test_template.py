import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from comfybridge import filling, library, preflight, workflow
from comfybridge.errors import InvalidInput
from comfybridge.filling import Inputs
from comfybridge.template import Template
from comfybridge.workflow import Definitions, InputRef, Lora
from tests.core.recorded import graph

SIDECAR: dict[str, Any] = {
    "title": {"en_US": "Mine"},
    "about": {"en_US": "My own."},
    "task": "text2image",
    "order": 9,
    "comfyui": "0.3.45",
    "requires": [
        {
            "folder": "checkpoints",
            "file": "mine.safetensors",
            "huggingface": "https://huggingface.co/x",
            "modelscope": "https://modelscope.cn/x",
        }
    ],
    "size": {"grid": 64, "pixels": 262144},
}
SDXL = {"modelspec.architecture": "stable-diffusion-xl-v1-base"}


def written(folder: Path, prompt: Any, **changed: Any) -> Path:
    """Write a template; a value of ``None`` takes its key out of the sidecar."""
    sidecar = {key: value for key, value in {**SIDECAR, **changed}.items() if value is not None}
    path = folder / "mine.json"
    path.write_text(json.dumps(prompt), encoding="utf-8")
    path.with_suffix(".yaml").write_text(yaml.safe_dump(sidecar), encoding="utf-8")
    return path


def filled(name: str, definitions: Definitions, **inputs: Any) -> filling.Filled:
    (only,) = filling.fill(library.load(name), Inputs(**{"positive": "a fox", **inputs}), definitions)
    return only


class TestLibrary:
    @pytest.mark.parametrize("name", ["z-image-turbo", "sdxl", "sd15"])
    def test_template_passes_the_check_when_filled_to_the_brim(self, name: str, definitions: Definitions) -> None:
        inputs = Inputs(
            positive="fox",
            negative="cat",
            seed=2**64 - 1,
            width=4096,
            height=64,
            steps=150,
            cfg=30.0,
            sampler="dpmpp_2m",
            scheduler="karras",
            loras=(Lora("film_grain", 0.5), Lora("ink_sketch", -2)),
            count=8,
        )

        (only,) = filling.fill(library.load(name), inputs, definitions)

        assert preflight.check(only.prompt, definitions) == []

    def test_unknown_name_says_which_there_are(self) -> None:
        with pytest.raises(InvalidInput) as raised:
            library.load("no-such")

        assert str(raised.value).startswith("There is no template 'no-such'. Choose one of: auto, ")
        for each in library.templates():
            assert each.name in str(raised.value)
            assert each.name in raised.value.zh

    def test_install_advice_names_file_folder_and_both_sources(self) -> None:
        english, chinese = library.load("z-image-turbo").how_to_install(["ae.safetensors"])

        assert english == (
            "To use the template 'z-image-turbo', put ae.safetensors into models/vae"
            " (https://huggingface.co/Comfy-Org/z_image_turbo or"
            " https://modelscope.cn/models/Comfy-Org/z_image_turbo)."
        )
        assert "ae.safetensors 放到 models/vae" in chinese


class TestVersions:
    @pytest.fixture
    def posters(self, tmp_path: Path) -> tuple[Template, ...]:
        for stem in ("poster", "poster@2", "poster@10"):
            (tmp_path / f"{stem}.json").write_text(json.dumps(graph("sdxl_base_refiner")), encoding="utf-8")
            (tmp_path / f"{stem}.yaml").write_text(yaml.safe_dump(SIDECAR), encoding="utf-8")
        return library.read_folder(tmp_path)

    @pytest.mark.parametrize(
        ("name", "found"), [("poster", "poster@10"), ("poster@2", "poster@2"), ("poster@10", "poster@10")]
    )
    def test_version_stands_in_the_name_and_without_one_it_is_the_newest(
        self, name: str, found: str, posters: tuple[Template, ...]
    ) -> None:
        template = library.find(name, posters)

        assert template is not None
        assert template.name == found
        assert template.base_name == "poster"

    def test_version_that_is_not_there_is_not_found(self, posters: tuple[Template, ...]) -> None:
        assert library.find("poster@3", posters) is None

    def test_templates_of_this_package_come_before_others(self, tmp_path: Path) -> None:
        path = written(tmp_path, graph("sdxl_base_refiner"))
        for suffix in (".json", ".yaml"):
            path.with_suffix(suffix).rename(tmp_path / f"sd15@9{suffix}")

        found = library.find("sd15", library.read_folder(tmp_path))

        assert found is library.load("sd15")

    @pytest.mark.parametrize("stem", ["po ster", "poster@x", "poster@"])
    def test_name_of_another_form_is_an_error(self, stem: str, tmp_path: Path) -> None:
        path = written(tmp_path, graph("sdxl_base_refiner"))
        for suffix in (".json", ".yaml"):
            path.with_suffix(suffix).rename(tmp_path / f"{stem}{suffix}")

        with pytest.raises(ValueError, match="may end in '@2'"):
            library.read_folder(tmp_path)


class TestSidecar:
    def test_whole_sidecar_is_read(self, tmp_path: Path) -> None:
        loaded = library.read(written(tmp_path, graph("sdxl_base_refiner")))

        assert (loaded.name, loaded.order, loaded.size.grid, loaded.fits) == ("mine", 9, 64, None)
        assert loaded.requires[0].file == "mine.safetensors"

    @pytest.mark.parametrize(
        ("changed", "named"),
        [
            ({"colour": "red"}, "colour"),
            ({"size": {"grid": 8, "pixels": 1, "step": 2}}, "step"),
            ({"requires": [{**SIDECAR["requires"][0], "sha256": "0"}]}, "sha256"),
            ({"fits": {"architecture": [], "name": [], "except": []}}, "except"),
            ({"defaults": {"stepz": 8}}, "stepz"),
            ({"bindings": {"positiv": "6.text"}}, "positiv"),
            ({"prompt_language": "de"}, "prompt_language must be one of en, zh, any, not de"),
        ],
        ids=["top", "size", "requires", "fits", "defaults", "bindings", "language"],
    )
    def test_unknown_key_is_an_error(self, changed: dict[str, Any], named: str, tmp_path: Path) -> None:
        path = written(tmp_path, graph("sdxl_base_refiner"), **changed)

        with pytest.raises(ValueError, match=named):
            library.read(path)

    @pytest.mark.parametrize("key", ["title", "about", "task", "comfyui"])
    def test_missing_key_is_an_error(self, key: str, tmp_path: Path) -> None:
        path = written(tmp_path, graph("sdxl_base_refiner"), **{key: None})

        with pytest.raises(ValueError, match=key):
            library.read(path)

    def test_empty_sidecar_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        path = written(tmp_path, graph("sdxl_base_refiner"))
        path.with_suffix(".yaml").write_text("", encoding="utf-8")

        with pytest.raises(ValueError, match="task"):
            library.read(path)

    def test_binding_to_a_node_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        path = written(tmp_path, graph("sdxl_base_refiner"), bindings={"positive": "99.text"})

        with pytest.raises(ValueError, match="99"):
            library.read(path)

    def test_graph_whose_prompt_cannot_be_found_is_an_error(self, tmp_path: Path, definitions: Definitions) -> None:
        prompt = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16}}}
        path = written(tmp_path, prompt)

        with pytest.raises((ValueError, InvalidInput)):
            filling.fill(library.read(path), Inputs(positive="a fox"), definitions)

    def test_binding_wins_over_tracing(self, tmp_path: Path, definitions: Definitions) -> None:
        path = written(tmp_path, graph("sdxl_base_refiner"), bindings={"positive": "15.text"})

        roles = library.read(path).roles(definitions)

        assert roles["positive"] == (InputRef("15", "text"),)
        assert roles["negative"] == (InputRef("7", "text"), InputRef("16", "text"))

    def test_binding_reads_subgraph_ids(self, tmp_path: Path, definitions: Definitions) -> None:
        path = written(tmp_path, graph("qwen_image_lora"), bindings={"positive": "76:7.text"})

        assert library.read(path).roles(definitions)["positive"] == (InputRef("76:7", "text"),)

    def test_binding_names_several_inputs_and_inputs_with_dots(self, tmp_path: Path, definitions: Definitions) -> None:
        prompt = graph("sdxl_base_refiner")
        prompt["5"]["inputs"]["size.width"] = 7
        path = written(tmp_path, prompt, bindings={"seed": ["10.noise_seed", "11.noise_seed"], "width": "5.size.width"})

        roles = library.read(path).roles(definitions)

        assert roles["seed"] == (InputRef("10", "noise_seed"), InputRef("11", "noise_seed"))
        assert roles["width"] == (InputRef("5", "size.width"),)


class TestServerThatKeepsFilesElsewhere:
    @pytest.fixture
    def moved(self, definitions: Definitions) -> Definitions:
        """The VAE of z-image-turbo lies in a folder."""
        loader = {**definitions["VAELoader"], "input": {"required": {"vae_name": [["flux\\ae.safetensors"], {}]}}}
        return {**definitions, "VAELoader": loader}

    def test_file_in_another_folder_is_used_and_told(self, moved: Definitions) -> None:
        (filled,) = filling.fill(library.load("z-image-turbo"), Inputs(positive="a fox"), moved)

        assert filled.prompt["57:29"]["inputs"]["vae_name"] == "flux\\ae.safetensors"
        assert preflight.check(filled.prompt, moved) == []
        assert [english for english, _ in filled.notes] == [
            "Node 57:29 (Load VAE): 'ae.safetensors' is 'flux\\ae.safetensors' on this server."
        ]

    def test_template_without_moved_files_has_nothing_to_tell(self, definitions: Definitions) -> None:
        (filled,) = filling.fill(library.load("z-image-turbo"), Inputs(positive="a fox"), definitions)

        assert filled.notes == ()


class TestSteps:
    def test_steps_of_a_base_and_a_refiner_stay_in_proportion(self, tmp_path: Path, definitions: Definitions) -> None:
        loaded = library.read(written(tmp_path, graph("sdxl_base_refiner")))

        (filled,) = filling.fill(loaded, Inputs(positive="a fox", steps=10), definitions)

        base, refiner = filled.prompt["10"]["inputs"], filled.prompt["11"]["inputs"]
        assert (base["steps"], base["end_at_step"]) == (10, 8)
        assert (refiner["steps"], refiner["start_at_step"], refiner["end_at_step"]) == (10, 8, 10000)


class TestSizes:
    @pytest.mark.parametrize(
        ("name", "aspect", "size"),
        [
            ("sdxl", (1, 1), (1024, 1024)),
            ("sdxl", (16, 9), (1368, 768)),
            ("sdxl", (9, 16), (768, 1368)),
            ("sdxl", (4, 3), (1184, 888)),
            ("sdxl", (3, 2), (1256, 840)),
            ("sdxl", (21, 9), (1568, 672)),
            ("sd15", (1, 1), (512, 512)),
            ("sd15", (16, 9), (680, 384)),
            ("z-image-turbo", (1, 1), (1024, 1024)),
            ("z-image-turbo", (16, 9), (1360, 768)),
            ("z-image-turbo", (2, 3), (832, 1248)),
        ],
    )
    def test_aspect_becomes_sides_on_the_grid_within_the_budget(
        self, name: str, aspect: tuple[int, int], size: tuple[int, int], definitions: Definitions
    ) -> None:
        only = filled(name, definitions, aspect=aspect)

        assert (only.width, only.height) == size

    @given(st.integers(1, 40), st.integers(1, 40))
    def test_every_aspect_is_near_the_budget_and_on_the_grid(self, wide: int, high: int) -> None:
        loaded = library.load("sdxl")
        (only,) = filling.fill(loaded, Inputs(positive="a fox", aspect=(wide, high)), {})
        assert only.width is not None
        assert only.height is not None

        assert only.width % 8 == only.height % 8 == 0
        assert 0.9 < only.width * only.height / 1048576 < 1.1
        assert 0.9 < (only.width / only.height) / (wide / high) < 1.1

    @pytest.mark.parametrize(
        ("typed", "used"), [(1000, 1000), (1003, 1000), (1004, 1008), (1005, 1008), (12, 16), (20, 24), (1, 8)]
    )
    def test_explicit_side_is_rounded_half_up(self, typed: int, used: int, definitions: Definitions) -> None:
        assert filled("sdxl", definitions, width=typed, height=512).width == used

    def test_explicit_sides_win_over_the_aspect(self, definitions: Definitions) -> None:
        only = filled("sdxl", definitions, width=640, height=320, aspect=(1, 1))

        assert (only.width, only.height) == (640, 320)

    def test_one_side_alone_keeps_the_graphs_other(self, definitions: Definitions) -> None:
        only = filled("sdxl", definitions, width=640)

        assert (only.width, only.height) == (640, 1024)

    def test_nothing_asked_keeps_the_graphs_size(self, definitions: Definitions) -> None:
        only = filled("sd15", definitions)

        assert (only.width, only.height) == (512, 512)

    def test_graph_without_a_size_ignores_it_and_says_so(self, tmp_path: Path, definitions: Definitions) -> None:
        prompt = graph("flux_custom_advanced")
        prompt["13"]["inputs"]["latent_image"] = ["load", 0]
        prompt["load"] = {"class_type": "LoadLatent", "inputs": {"latent": "x"}}
        loaded = dataclasses.replace(library.read(written(tmp_path, prompt)), is_users=True)

        (only,) = filling.fill(loaded, Inputs(positive="a fox", width=640, height=640), definitions)

        assert (only.width, only.height) == (None, None)
        assert ("mine has no width: ignored", "mine 不使用 width，已忽略") in only.notes


class TestExactSizes:
    def test_picture_is_made_at_a_good_size_and_cropped_to_the_pixel(self, definitions: Definitions) -> None:
        only = filled("sdxl", definitions, exact=(900, 383))

        (scaler,) = [node for node in only.prompt.values() if node["class_type"] == "ImageScale"]
        made = only.prompt["5"]["inputs"]
        assert (scaler["inputs"]["width"], scaler["inputs"]["height"], scaler["inputs"]["crop"]) == (900, 383, "center")
        assert made["width"] / made["height"] == pytest.approx(900 / 383, rel=0.02)
        assert made["width"] * made["height"] == pytest.approx(1024 * 1024, rel=0.02)
        assert made["width"] % 8 == made["height"] % 8 == 0
        assert preflight.check(only.prompt, definitions) == []

    def test_size_that_the_model_makes_anyway_needs_no_scaling(self, definitions: Definitions) -> None:
        only = filled("sdxl", definitions, exact=(1024, 1024))

        assert "ImageScale" not in workflow.class_types(only.prompt)

    def test_pictures_keep_their_wires(self, definitions: Definitions) -> None:
        plain, exact = filled("sd15", definitions, seed=1), filled("sd15", definitions, seed=1, exact=(900, 383))

        scaler = exact.prompt["9"]["inputs"]["images"][0]
        assert exact.prompt[scaler]["inputs"]["image"] == plain.prompt["9"]["inputs"]["images"]


class TestSeconds:
    @pytest.mark.parametrize(
        ("seconds", "values", "frames"), [(5, {}, 121), (2, {}, 49), (2, {"fps": "8"}, 17), (0.01, {}, 5)]
    )
    def test_seconds_become_frames_that_the_model_can_draw(
        self, seconds: float, values: dict[str, Any], frames: int, definitions: Definitions
    ) -> None:
        only = filled("wan22-text2video", definitions, seconds=seconds, values=values)

        assert only.prompt["59"]["inputs"]["value"] == frames

    def test_graph_that_counts_seconds_gets_them(self, definitions: Definitions) -> None:
        assert filled("ace-step", definitions, seconds=12).prompt["17"]["inputs"]["seconds"] == 12

    def test_picture_has_no_length(self, definitions: Definitions) -> None:
        assert filled("sd15", definitions, seconds=3, seed=1).prompt == filled("sd15", definitions, seed=1).prompt

    def test_frames_that_are_named_win(self, definitions: Definitions) -> None:
        only = filled("wan22-text2video", definitions, seconds=3, values={"frames": 9})

        assert only.prompt["59"]["inputs"]["value"] == 9


class TestSeeds:
    def test_seed_is_set_and_reported(self, definitions: Definitions) -> None:
        only = filled("sdxl", definitions, seed=123456789012345678)

        assert only.seed == 123456789012345678
        assert only.prompt["3"]["inputs"]["seed"] == 123456789012345678

    def test_random_seed_is_new_every_time_and_exact_in_every_json_reader(self, definitions: Definitions) -> None:
        seeds = {filled("sdxl", definitions).seed or 0 for _ in range(20)}

        assert len(seeds) == 20
        assert all(0 <= seed < 2**50 for seed in seeds)

    def test_zero_is_a_seed(self, definitions: Definitions) -> None:
        assert filled("sdxl", definitions, seed=0).prompt["3"]["inputs"]["seed"] == 0

    def test_count_is_one_batch_where_the_graph_has_one(self, definitions: Definitions) -> None:
        only = filled("z-image-turbo", definitions, count=4, seed=7)

        assert only.prompt["57:13"]["inputs"]["batch_size"] == 4
        assert only.seed == 7

    def test_count_without_a_batch_makes_graphs_with_seeds_counting_up(
        self, tmp_path: Path, definitions: Definitions
    ) -> None:
        loaded = without_batch(tmp_path)

        graphs = filling.fill(loaded, Inputs(positive="a fox", seed=2**64 - 2, count=4), definitions)

        assert [each.seed for each in graphs] == [2**64 - 2, 2**64 - 1, 0, 1]
        assert [each.prompt["3"]["inputs"]["seed"] for each in graphs] == [2**64 - 2, 2**64 - 1, 0, 1]

    def test_random_seeds_of_several_graphs_count_up_too(self, tmp_path: Path, definitions: Definitions) -> None:
        first, second = filling.fill(without_batch(tmp_path), Inputs(positive="a fox", count=2), definitions)

        assert second.seed == (first.seed or 0) + 1


def without_batch(folder: Path) -> Template:
    prompt = json.loads(json.dumps(library.load("sd15").prompt))
    del prompt["5"]["inputs"]["batch_size"]
    return library.read(written(folder, prompt))


class TestValues:
    @pytest.mark.parametrize("name", ["z-image-turbo", "sdxl", "sd15"])
    @pytest.mark.parametrize("text", ['"quoted"\n\\ 🦊 nbsp', "中文", "{}", "$(id)"])
    def test_prompt_arrives_as_it_is(self, name: str, text: str, definitions: Definitions) -> None:
        only = filled(name, definitions, positive=text)

        assert text in [value for node in only.prompt.values() for value in node["inputs"].values()]

    def test_every_setting_is_set(self, definitions: Definitions) -> None:
        only = filled(
            "sdxl", definitions, negative="no", steps=33, cfg=4.5, sampler="euler_ancestral", scheduler="karras"
        )

        assert {key: only.prompt["3"]["inputs"][key] for key in ("steps", "cfg", "sampler_name", "scheduler")} == {
            "steps": 33,
            "cfg": 4.5,
            "sampler_name": "euler_ancestral",
            "scheduler": "karras",
        }
        assert only.prompt["7"]["inputs"]["text"] == "no"
        assert only.notes == ()

    def test_defaults_of_the_sidecar_win_over_the_graph(self, definitions: Definitions) -> None:
        only = filled("z-image-turbo", definitions)

        assert (only.prompt["57:3"]["inputs"]["steps"], only.prompt["57:3"]["inputs"]["cfg"]) == (8, 1.0)

    def test_caller_wins_over_the_defaults(self, definitions: Definitions) -> None:
        assert filled("z-image-turbo", definitions, steps=5).prompt["57:3"]["inputs"]["steps"] == 5

    def test_example_texts_of_the_export_are_gone(self, definitions: Definitions) -> None:
        only = filled("sd15", definitions)

        assert (only.prompt["6"]["inputs"]["text"], only.prompt["7"]["inputs"]["text"]) == ("a fox", "")

    def test_cfg_of_zero_is_a_value(self, definitions: Definitions) -> None:
        assert filled("sdxl", definitions, cfg=0.0).prompt["3"]["inputs"]["cfg"] == 0.0

    def test_value_without_a_place_is_noted(self, definitions: Definitions) -> None:
        only = filled("z-image-turbo", definitions, negative="blurry")

        assert only.notes == (("z-image-turbo has no negative: ignored", "z-image-turbo 不使用 negative，已忽略"),)

    def test_empty_negative_without_a_place_is_not_noted(self, definitions: Definitions) -> None:
        assert filled("z-image-turbo", definitions, negative="").notes == ()

    def test_template_itself_never_changes(self, definitions: Definitions) -> None:
        before = json.dumps(library.load("sdxl").prompt)

        filled("sdxl", definitions, negative="x", loras=(Lora("film_grain"),), count=3, width=64)

        assert json.dumps(library.load("sdxl").prompt) == before


class TestModels:
    def test_model_is_found_by_a_part_of_its_name(self, definitions: Definitions) -> None:
        only = filled("sdxl", definitions, model="v1-5")

        assert only.model == "v1-5-pruned-emaonly-fp16.safetensors"
        assert only.prompt["4"]["inputs"]["ckpt_name"] == "v1-5-pruned-emaonly-fp16.safetensors"

    def test_unknown_model_names_the_nearest(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput) as raised:
            filled("sdxl", definitions, model="sd_xl_bose_2")

        assert str(raised.value).startswith("The model 'sd_xl_bose_2' is not on the server. Nearest of 2: ")
        assert "sd_xl_base_1.0.safetensors" in str(raised.value)
        assert "模型“sd_xl_bose_2”" in raised.value.zh

    def test_lora_is_found_and_wired(self, definitions: Definitions) -> None:
        only = filled("sdxl", definitions, loras=(Lora("film grain", 0.7), Lora("ink_sketch.safetensors")))

        assert only.prompt["lora1"]["inputs"]["lora_name"] == "film_grain.safetensors"
        assert only.prompt["lora2"]["inputs"]["lora_name"] == "ink_sketch.safetensors"
        assert only.prompt["3"]["inputs"]["model"] == ["lora2", 0]

    def test_unknown_lora_names_the_nearest(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match=r"^The LoRA 'watercolour' is not on the server\. Nearest of 2: "):
            filled("sdxl", definitions, loras=(Lora("watercolour"),))

    def test_server_without_loras_says_so(self) -> None:
        with pytest.raises(InvalidInput, match="it has none at all"):
            filled("sdxl", {}, loras=(Lora("ink"),))

    def test_lora_for_a_graph_without_a_model_is_the_callers_mistake(
        self, tmp_path: Path, definitions: Definitions
    ) -> None:
        prompt = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 16}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
            "3": {"class_type": "PrimitiveString", "inputs": {"value": "words"}},
        }
        loaded = library.read(written(tmp_path, prompt, bindings={"positive": "3.value"}))

        with pytest.raises(InvalidInput, match="LoRA"):
            filling.fill(loaded, Inputs(positive="a fox", loras=(Lora("ink_sketch"),)), definitions)


class TestFits:
    @pytest.mark.parametrize(
        ("name", "model", "metadata"),
        [
            ("sdxl", "anything.safetensors", SDXL),
            ("sdxl", "anything.safetensors", {"modelspec.architecture": "Stable-Diffusion-XL-v1-Base"}),
            ("sdxl", "anything.safetensors", {"ss_base_model_version": "sdxl_base_v1-0"}),
            ("sdxl", "juggernautXL_v9.safetensors", {}),
            ("sdxl", "Pony/ponyDiffusionV6.safetensors", {}),
            ("sd15", "dreamshaper_8.safetensors", {}),
            ("sd15", "x.safetensors", {"modelspec.architecture": "stable-diffusion-v1"}),
            ("z-image-turbo", "Z_Image-Turbo_fp8.safetensors", {}),
        ],
    )
    def test_model_fits_by_metadata_or_by_name(self, name: str, model: str, metadata: dict[str, str]) -> None:
        assert library.load(name).can_run(model, metadata, server_with(model))

    @pytest.mark.parametrize(
        ("name", "model", "metadata"),
        [
            ("sdxl", "juggernautXL_v9.safetensors", {"modelspec.architecture": "flux-1-dev"}),
            ("sdxl", "sd_xl_turbo_1.0.safetensors", {}),
            ("sdxl", "sd_xl_refiner_1.0.safetensors", {}),
            ("sdxl", "juggernautXL_inpaint.safetensors", SDXL),
            ("sdxl", "dreamshaper_8.safetensors", {}),
            ("sd15", "dreamshaperXL.safetensors", {}),
            ("sd15", "juggernautXL_v9.safetensors", {}),
            ("sdxl", "flux1-dev.safetensors", {}),
            ("z-image-turbo", "z_image_base.safetensors", {}),
        ],
    )
    def test_model_does_not_fit(self, name: str, model: str, metadata: dict[str, str]) -> None:
        assert not library.load(name).can_run(model, metadata, server_with(model))

    def test_model_that_the_server_lacks_does_not_fit(self, definitions: Definitions) -> None:
        assert not library.load("sdxl").can_run("juggernautXL_v9.safetensors", {}, definitions)

    def test_model_without_its_other_files_does_not_fit(self) -> None:
        server = server_with("z_image_turbo_fp8.safetensors")
        server["VAELoader"]["input"]["required"]["vae_name"][0][:] = ["other.safetensors"]

        assert not library.load("z-image-turbo").can_run("z_image_turbo_fp8.safetensors", {}, server)

    def test_template_that_says_nothing_fits_nothing(self, tmp_path: Path, definitions: Definitions) -> None:
        loaded = library.read(written(tmp_path, library.load("sdxl").prompt))

        assert not loaded.can_run("sd_xl_base_1.0.safetensors", SDXL, definitions)

    def test_model_names_are_those_the_loader_takes(self, definitions: Definitions) -> None:
        assert library.load("sdxl").model_names(definitions) == [
            "sd_xl_base_1.0.safetensors",
            "v1-5-pruned-emaonly-fp16.safetensors",
        ]
        assert library.load("z-image-turbo").model_names(definitions) == ["z_image_turbo_bf16.safetensors"]
        assert library.load("sdxl").model_names({}) == []


def server_with(model: str) -> dict[str, Any]:
    """The definitions of a server that has one more model in each folder."""
    with_model: dict[str, Any] = {}
    for each in library.templates():
        for node in each.prompt.values():
            inputs = {name: ["*"] for name in node["inputs"]}
            with_model[node["class_type"]] = {"input": {"required": inputs}, "output_node": True}
    for class_type, name, file in (
        ("CheckpointLoaderSimple", "ckpt_name", model),
        ("UNETLoader", "unet_name", model),
        ("CLIPLoader", "clip_name", "qwen_3_4b.safetensors"),
        ("VAELoader", "vae_name", "ae.safetensors"),
    ):
        with_model[class_type]["input"]["required"][name] = [[file]]
    return with_model
