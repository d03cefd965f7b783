import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfybridge import library, workflow
from comfybridge.workflow import Definitions, InputRef, Link, Lora, Roles
from tests.core.recorded import graph

Graph = dict[str, dict[str, Any]]
AWKWARD = 'a "quoted" {brace}\nnew line\ttab \\ backslash \\n  nbsp 🦊 猫 é e\u0301 \u200d \u0000 $(x) %s <lora:a:1>'


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def text_to_image(**changed: dict[str, Any]) -> Graph:
    """A small SDXL graph with readable ids, some of its nodes replaced."""
    return {
        "loader": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "good": node("CLIPTextEncode", text="good", clip=["loader", 1]),
        "bad": node("CLIPTextEncode", text="bad", clip=["loader", 1]),
        "size": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "sampler": node(
            "KSampler",
            seed=1,
            steps=20,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            model=["loader", 0],
            positive=["good", 0],
            negative=["bad", 0],
            latent_image=["size", 0],
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["loader", 2]),
        "save": node("SaveImage", filename_prefix="x", images=["decode", 0]),
        **changed,
    }


def places(roles: Roles, role: str) -> list[str]:
    return [f"{ref.node_id}.{ref.input}" for ref in roles[role]]


class TestTemplates:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            (
                "sd15",
                {
                    "positive": ["6.text"],
                    "negative": ["7.text"],
                    "seed": ["3.seed"],
                    "steps": ["3.steps"],
                    "cfg": ["3.cfg"],
                    "sampler": ["3.sampler_name"],
                    "scheduler": ["3.scheduler"],
                    "denoise": ["3.denoise"],
                    "width": ["5.width"],
                    "height": ["5.height"],
                    "batch": ["5.batch_size"],
                    "model": ["4.ckpt_name"],
                },
            ),
            (
                "sdxl",
                {"positive": ["6.text"], "negative": ["7.text"], "seed": ["3.seed"], "model": ["4.ckpt_name"]},
            ),
            (
                "z-image-turbo",
                {
                    "positive": ["58.value"],
                    "negative": [],
                    "seed": ["57:3.seed"],
                    "steps": ["57:3.steps"],
                    "cfg": ["57:3.cfg"],
                    "sampler": ["57:3.sampler_name"],
                    "scheduler": ["57:3.scheduler"],
                    "width": ["57:13.width"],
                    "height": ["57:13.height"],
                    "batch": ["57:13.batch_size"],
                    "model": ["57:28.unet_name"],
                },
            ),
        ],
    )
    def test_template_is_traced(self, name: str, expected: dict[str, list[str]], definitions: Definitions) -> None:
        roles = workflow.trace(library.load(name).prompt, definitions)

        assert {role: places(roles, role) for role in expected} == expected
        assert roles.outputs == ("9",)

    def test_checkpoint_feeds_model_and_text(self, definitions: Definitions) -> None:
        roles = workflow.trace(library.load("sdxl").prompt, definitions)

        assert (roles.model_source, roles.clip_source) == (Link("4", 0), Link("4", 1))

    def test_separate_loaders_feed_model_and_text(self, definitions: Definitions) -> None:
        roles = workflow.trace(library.load("z-image-turbo").prompt, definitions)

        assert (roles.model_source, roles.clip_source) == (Link("57:28", 0), Link("57:30", 0))


class TestRealGraphs:
    def test_base_and_refiner_share_texts_but_only_the_base_makes_noise(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("sdxl_base_refiner"), definitions)

        assert places(roles, "positive") == ["6.text", "15.text"]
        assert places(roles, "negative") == ["7.text", "16.text"]
        assert places(roles, "seed") == ["10.noise_seed"]
        assert places(roles, "model") == ["4.ckpt_name"]
        assert places(roles, "width") == ["5.width"]
        assert (roles.model_source, roles.clip_source) == (Link("4", 0), Link("4", 1))

    def test_custom_sampler_keeps_its_settings_in_other_nodes(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("flux_custom_advanced"), definitions)

        assert places(roles, "positive") == ["6.text"]
        assert places(roles, "negative") == []
        assert places(roles, "seed") == ["25.noise_seed"]
        assert places(roles, "steps") == ["17.steps"]
        assert places(roles, "sampler") == ["16.sampler_name"]
        assert places(roles, "scheduler") == ["17.scheduler"]
        assert places(roles, "width") == ["27.width"]
        assert places(roles, "height") == ["27.height"]
        assert places(roles, "cfg") == []
        assert roles.model_source == Link("12", 0)

    def test_controlnet_hands_both_conditionings_on(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("sd35_controlnet"), definitions)

        assert places(roles, "positive") == ["6.text"]
        assert places(roles, "seed") == ["3.seed"]
        assert places(roles, "width") == ["33.width"]
        assert places(roles, "model") == ["4.ckpt_name"]

    def test_lora_of_the_graph_is_no_model(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("qwen_image_lora"), definitions)

        assert places(roles, "model") == ["76:37.unet_name"]
        assert places(roles, "positive") == ["76:6.text"]
        assert places(roles, "negative") == ["76:7.text"]
        assert (roles.model_source, roles.clip_source) == (Link("76:37", 0), Link("76:38", 0))

    def test_zeroed_negative_has_no_text(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("flux_zeroed_negative"), definitions)

        assert places(roles, "positive") == ["41.clip_l", "41.t5xxl"]
        assert places(roles, "negative") == []

    def test_turbo_scheduler_holds_the_steps(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("sdxl_turbo_custom"), definitions)

        assert places(roles, "steps") == ["22.steps"]
        assert places(roles, "seed") == ["13.noise_seed"]
        assert places(roles, "cfg") == ["13.cfg"]
        assert places(roles, "sampler") == ["14.sampler_name"]

    def test_size_that_primitives_feed_is_set_in_the_primitives(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("flux2_klein"), definitions)

        assert places(roles, "width") == ["75:68.value"]
        assert places(roles, "height") == ["75:69.value"]
        assert places(roles, "batch") == ["75:66.batch_size"]
        assert places(roles, "positive") == ["75:74.text"]
        assert places(roles, "negative") == ["75:67.text"]
        assert places(roles, "cfg") == ["75:63.cfg"]
        assert places(roles, "steps") == ["75:62.steps"]

    def test_dual_guider_has_a_positive_text(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("omnigen2_dual_guider"), definitions)

        assert places(roles, "positive") == ["42:6.text"]
        assert places(roles, "negative") == ["42:7.text"]

    def test_sampler_that_only_estimates_depth_is_not_the_main_one(self, definitions: Definitions) -> None:
        roles = workflow.trace(graph("qwen_depth_controlnet"), definitions)

        assert places(roles, "positive") == ["111:6.text"]
        assert places(roles, "steps") == ["111:3.steps"]
        assert places(roles, "cfg") == ["111:3.cfg"]
        assert places(roles, "model") == ["111:37.unet_name"]
        assert roles.model_source == Link("111:37", 0)

    def test_hires_second_stage_gets_text_and_seed_but_keeps_its_own_steps(self, definitions: Definitions) -> None:
        prompt = text_to_image(
            up=node("LatentUpscale", samples=["sampler", 0], width=1024, height=1536, upscale_method="bilinear"),
            second=node(
                "KSampler",
                seed=2,
                steps=8,
                cfg=5.0,
                sampler_name="euler",
                scheduler="normal",
                denoise=0.5,
                model=["loader", 0],
                positive=["good", 0],
                negative=["bad", 0],
                latent_image=["up", 0],
            ),
            decode=node("VAEDecode", samples=["second", 0], vae=["loader", 2]),
        )

        roles = workflow.trace(prompt, definitions)

        assert places(roles, "seed") == ["sampler.seed", "second.seed"]
        assert places(roles, "positive") == ["good.text"]
        assert places(roles, "steps") == ["sampler.steps"]
        assert places(roles, "denoise") == ["sampler.denoise"]
        assert places(roles, "width") == ["size.width"]

    @pytest.mark.parametrize(
        "name",
        [
            "sdxl_base_refiner",
            "flux_custom_advanced",
            "sd35_controlnet",
            "qwen_image_lora",
            "flux_zeroed_negative",
            "sdxl_turbo_custom",
            "flux2_klein",
            "omnigen2_dual_guider",
            "qwen_depth_controlnet",
        ],
    )
    def test_trace_without_definitions_is_the_same(self, name: str, definitions: Definitions) -> None:
        assert workflow.trace(graph(name), {}) == workflow.trace(graph(name), definitions)


class TestTrace:
    def test_graph_without_a_sampler_has_outputs_only(self, definitions: Definitions) -> None:
        prompt = {"1": node("EmptyImage", width=16, height=16), "2": node("SaveImage", images=["1", 0])}

        roles = workflow.trace(prompt, definitions)

        assert roles == Roles({}, None, None, ("2",))
        assert roles["positive"] == ()

    def test_empty_graph_has_nothing(self) -> None:
        assert workflow.trace({}, {}) == Roles({}, None, None, ())

    def test_sampler_that_leads_to_no_output_is_left_out(self, definitions: Definitions) -> None:
        unused = {**text_to_image()["sampler"], "inputs": {**text_to_image()["sampler"]["inputs"], "seed": 99}}

        roles = workflow.trace(text_to_image(unused=unused), definitions)

        assert places(roles, "seed") == ["sampler.seed"]

    def test_prompt_that_a_primitive_feeds_is_set_in_the_primitive(self, definitions: Definitions) -> None:
        prompt = text_to_image(
            words=node("PrimitiveStringMultiline", value="words"),
            good=node("CLIPTextEncode", text=["words", 0], clip=["loader", 1]),
        )

        assert places(workflow.trace(prompt, definitions), "positive") == ["words.value"]

    def test_seed_that_a_primitive_feeds_is_set_in_the_primitive(self, definitions: Definitions) -> None:
        prompt = text_to_image(number=node("PrimitiveInt", value=5))
        prompt["sampler"]["inputs"]["seed"] = ["number", 0]

        assert places(workflow.trace(prompt, definitions), "seed") == ["number.value"]

    def test_both_texts_of_an_sdxl_encoder_are_the_prompt(self, definitions: Definitions) -> None:
        prompt = text_to_image(good=node("CLIPTextEncodeSDXL", text_g="g", text_l="l", width=1024, clip=["loader", 1]))

        assert places(workflow.trace(prompt, definitions), "positive") == ["good.text_g", "good.text_l"]

    def test_combined_conditionings_are_all_followed(self, definitions: Definitions) -> None:
        prompt = text_to_image(
            also=node("CLIPTextEncode", text="also", clip=["loader", 1]),
            both=node("ConditioningCombine", conditioning_1=["good", 0], conditioning_2=["also", 0]),
        )
        prompt["sampler"]["inputs"]["positive"] = ["both", 0]

        assert places(workflow.trace(prompt, definitions), "positive") == ["good.text", "also.text"]

    def test_controlnet_keeps_the_sides_apart(self, definitions: Definitions) -> None:
        prompt = text_to_image(
            hint=node("ControlNetApplyAdvanced", positive=["good", 0], negative=["bad", 0], strength=1.0)
        )
        prompt["sampler"]["inputs"] |= {"positive": ["hint", 0], "negative": ["hint", 1]}

        roles = workflow.trace(prompt, definitions)

        assert (places(roles, "positive"), places(roles, "negative")) == (["good.text"], ["bad.text"])

    def test_text_behind_an_image_input_is_no_prompt(self, definitions: Definitions) -> None:
        prompt = text_to_image(
            caption=node("SomeCaptioner", text="describe"),
            good=node("SomeImageConditioning", image=["caption", 0], conditioning=["inner", 0]),
            inner=node("CLIPTextEncode", text="inner", clip=["loader", 1]),
        )

        assert places(workflow.trace(prompt, definitions), "positive") == ["inner.text"]

    def test_one_encoder_on_both_sides_is_the_positive_prompt_only(self, definitions: Definitions) -> None:
        prompt = text_to_image()
        prompt["sampler"]["inputs"]["negative"] = ["good", 0]

        roles = workflow.trace(prompt, definitions)

        assert (places(roles, "positive"), places(roles, "negative")) == (["good.text"], [])

    def test_clip_skip_and_model_patches_are_looked_through(self, definitions: Definitions) -> None:
        prompt = text_to_image(
            skip=node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["loader", 1]),
            good=node("CLIPTextEncode", text="good", clip=["skip", 0]),
            patch=node("ModelSamplingDiscrete", model=["loader", 0], sampling="eps"),
        )
        prompt["sampler"]["inputs"]["model"] = ["patch", 0]

        roles = workflow.trace(prompt, definitions)

        assert (roles.model_source, roles.clip_source) == (Link("loader", 0), Link("loader", 1))

    def test_loras_go_behind_a_merge_and_the_model_is_the_first_of_the_two(self, definitions: Definitions) -> None:
        prompt = text_to_image(
            other=node("CheckpointLoaderSimple", ckpt_name="b.safetensors"),
            models=node("ModelMergeSimple", ratio=0.5, model1=["loader", 0], model2=["other", 0]),
            clips=node("CLIPMergeSimple", ratio=0.5, clip1=["loader", 1], clip2=["other", 1]),
            good=node("CLIPTextEncode", text="good", clip=["clips", 0]),
        )
        prompt["sampler"]["inputs"]["model"] = ["models", 0]

        roles = workflow.trace(prompt, definitions)

        assert (roles.model_source, roles.clip_source) == (Link("models", 0), Link("clips", 0))
        assert places(roles, "model") == ["loader.ckpt_name"]

    def test_custom_sampler_class_is_found_by_its_inputs(self, definitions: Definitions) -> None:
        prompt = text_to_image()
        prompt["sampler"]["class_type"] = "KSampler (Efficient)"

        assert places(workflow.trace(prompt, definitions), "positive") == ["good.text"]

    def test_dangling_links_are_no_places(self, definitions: Definitions) -> None:
        prompt = text_to_image()
        prompt["sampler"]["inputs"] |= {"positive": ["gone", 0], "latent_image": ["gone", 0], "seed": ["gone", 0]}

        roles = workflow.trace(prompt, definitions)

        assert [places(roles, role) for role in ("positive", "width", "seed")] == [[], [], []]

    @pytest.mark.parametrize(
        "changed",
        [
            {"good": node("A", conditioning=["good", 0])},
            {"good": node("A", conditioning=["also", 0]), "also": node("B", conditioning=["good", 0])},
            {"size": node("A", samples=["size", 0])},
            {"size": node("A", samples=["sampler", 0])},
            {"loader": node("A", model=["loader", 0], clip=["loader", 1])},
            {"loader": node("A", model=["patch", 0]), "patch": node("B", model=["loader", 0])},
            {
                "good": node("A", text=["words", 0], clip=["loader", 1]),
                "words": node("P", value=["more", 0]),
                "more": node("P", value=["words", 0]),
            },
        ],
        ids=["self", "pair", "latent", "latent of the sampler", "loader", "patches", "primitives"],
    )
    def test_cycle_does_not_hang(self, changed: Graph, definitions: Definitions) -> None:
        roles = workflow.trace(text_to_image(**changed), definitions)

        assert roles.outputs == ("save",)

    # How slow the machine is says nothing about the graphs.
    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_any_wiring_ends(self, data: st.DataObject) -> None:
        ids = ["a", "b", "c", "d"]
        link = st.tuples(st.sampled_from(ids), st.integers(0, 2)).map(list)
        names = st.sampled_from(
            ("model", "positive", "negative", "seed", "text", "clip", "samples", "guider", "width", "height", "value")
        )
        inputs = st.dictionaries(names, link | st.text(max_size=3) | st.integers(), max_size=6)
        prompt = {i: node(data.draw(st.sampled_from(("SaveImage", "X"))), **data.draw(inputs)) for i in ids}

        roles = workflow.trace(prompt, {})

        assert all(
            not isinstance(prompt[ref.node_id]["inputs"][ref.input], list)
            for refs in roles.inputs.values()
            for ref in refs
        )


class TestFill:
    @pytest.mark.parametrize("text", [AWKWARD, "", " ", "'; DROP TABLE", '{"a": 1}', "\\u0041", "\r\n"])
    def test_text_is_set_as_data(self, text: str) -> None:
        filled = workflow.fill(text_to_image(), {InputRef("good", "text"): text})

        assert filled["good"]["inputs"]["text"] == text
        assert json.loads(json.dumps(filled))["good"]["inputs"]["text"] == text

    @given(st.text(), st.integers(), st.floats(allow_nan=False))
    def test_original_is_never_changed(self, text: str, seed: int, cfg: float) -> None:
        prompt = text_to_image()
        before = copy.deepcopy(prompt)

        filled = workflow.fill(
            prompt,
            {InputRef("good", "text"): text, InputRef("sampler", "seed"): seed, InputRef("sampler", "cfg"): cfg},
        )

        assert prompt == before
        assert (filled["good"]["inputs"]["text"], filled["sampler"]["inputs"]["seed"]) == (text, seed)

    def test_everything_else_stays(self) -> None:
        prompt = library.load("z-image-turbo").prompt

        filled = workflow.fill(prompt, {InputRef("57:3", "seed"): 5})

        assert {key for key in prompt if prompt[key] != filled[key]} == {"57:3"}
        assert list(filled) == list(prompt)

    def test_no_values_make_an_equal_copy(self) -> None:
        prompt = text_to_image()

        assert workflow.fill(prompt, {}) == prompt


class TestAddLoras:
    def test_checkpoint_gets_a_loader_on_both_outputs(self, definitions: Definitions) -> None:
        prompt = text_to_image()

        filled = workflow.add_loras(prompt, workflow.trace(prompt, definitions), [Lora("ink.safetensors", 0.8)])

        assert filled["lora1"]["class_type"] == "LoraLoader"
        assert filled["lora1"]["inputs"] == {
            "lora_name": "ink.safetensors",
            "strength_model": 0.8,
            "strength_clip": 0.8,
            "model": ["loader", 0],
            "clip": ["loader", 1],
        }
        assert filled["sampler"]["inputs"]["model"] == ["lora1", 0]
        assert filled["good"]["inputs"]["clip"] == ["lora1", 1]
        assert filled["bad"]["inputs"]["clip"] == ["lora1", 1]
        assert filled["decode"]["inputs"]["vae"] == ["loader", 2]

    def test_separate_text_encoder_is_wired_from_its_first_output(self, definitions: Definitions) -> None:
        prompt = library.load("z-image-turbo").prompt

        filled = workflow.add_loras(prompt, workflow.trace(prompt, definitions), [Lora("ink.safetensors")])

        assert filled["lora1"]["inputs"]["model"] == ["57:28", 0]
        assert filled["lora1"]["inputs"]["clip"] == ["57:30", 0]
        assert filled["57:11"]["inputs"]["model"] == ["lora1", 0]
        assert filled["57:27"]["inputs"]["clip"] == ["lora1", 1]

    def test_several_loras_form_a_chain_in_order(self, definitions: Definitions) -> None:
        prompt = text_to_image()
        loras = [Lora("a.safetensors", 1.0), Lora("b.safetensors", 0.5), Lora("c.safetensors", -0.25)]

        filled = workflow.add_loras(prompt, workflow.trace(prompt, definitions), loras)

        assert [filled[f"lora{number}"]["inputs"]["lora_name"] for number in (1, 2, 3)] == [
            "a.safetensors",
            "b.safetensors",
            "c.safetensors",
        ]
        assert filled["lora1"]["inputs"]["model"] == ["loader", 0]
        assert (filled["lora2"]["inputs"]["model"], filled["lora2"]["inputs"]["clip"]) == (["lora1", 0], ["lora1", 1])
        assert (filled["lora3"]["inputs"]["model"], filled["lora3"]["inputs"]["clip"]) == (["lora2", 0], ["lora2", 1])
        assert filled["sampler"]["inputs"]["model"] == ["lora3", 0]
        assert filled["good"]["inputs"]["clip"] == ["lora3", 1]

    def test_graph_without_a_text_encoder_gets_model_only_loaders(self, definitions: Definitions) -> None:
        prompt = text_to_image(good=node("SomeEmbeds", text="good"), bad=node("SomeEmbeds", text="bad"))

        filled = workflow.add_loras(
            prompt, workflow.trace(prompt, definitions), [Lora("a.safetensors"), Lora("b.safetensors")]
        )

        assert filled["lora2"]["class_type"] == "LoraLoaderModelOnly"
        assert filled["lora2"]["inputs"] == {
            "lora_name": "b.safetensors",
            "strength_model": 1.0,
            "model": ["lora1", 0],
        }
        assert filled["sampler"]["inputs"]["model"] == ["lora2", 0]

    def test_loras_of_the_graph_stay_behind_the_new_ones(self, definitions: Definitions) -> None:
        prompt = graph("qwen_image_lora")

        filled = workflow.add_loras(prompt, workflow.trace(prompt, definitions), [Lora("a.safetensors")])

        assert filled["76:73"]["inputs"]["model"] == ["lora1", 0]
        assert filled["76:66"]["inputs"]["model"] == ["76:73", 0]

    def test_other_stages_model_is_left_alone(self, definitions: Definitions) -> None:
        prompt = graph("sdxl_base_refiner")

        filled = workflow.add_loras(prompt, workflow.trace(prompt, definitions), [Lora("a.safetensors")])

        assert filled["10"]["inputs"]["model"] == ["lora1", 0]
        assert filled["11"]["inputs"]["model"] == ["12", 0]
        assert filled["15"]["inputs"]["clip"] == ["12", 1]

    def test_ids_of_the_graph_are_not_taken(self, definitions: Definitions) -> None:
        prompt = text_to_image(lora1=node("PreviewAny", source=["decode", 0]))

        filled = workflow.add_loras(prompt, workflow.trace(prompt, definitions), [Lora("a.safetensors")])

        assert filled["lora1"]["class_type"] == "PreviewAny"
        assert filled["sampler"]["inputs"]["model"] == ["lora1_", 0]

    def test_no_loras_change_nothing(self, definitions: Definitions) -> None:
        prompt = text_to_image()

        assert workflow.add_loras(prompt, workflow.trace(prompt, definitions), []) == prompt

    def test_original_is_never_changed(self, definitions: Definitions) -> None:
        prompt = text_to_image()
        before = copy.deepcopy(prompt)

        workflow.add_loras(prompt, workflow.trace(prompt, definitions), [Lora("a.safetensors")])

        assert prompt == before

    def test_graph_without_a_model_takes_none(self) -> None:
        with pytest.raises(ValueError, match="model loader"):
            workflow.add_loras({}, Roles({}, None, None, ()), [Lora("a.safetensors")])


class TestLinks:
    @pytest.mark.parametrize("value", [["4", 0], ["57:27", 1]])
    def test_pair_of_id_and_index_is_a_link(self, value: list[Any]) -> None:
        link = workflow.as_link(value)

        assert link is not None
        assert [link.node_id, link.output] == value

    @pytest.mark.parametrize("value", ["4", 4, None, [], ["4"], ["4", "0"], [4, 0], ["4", 0, 1], {"a": 1}, ("4", 0)])
    def test_anything_else_is_a_literal(self, value: Any) -> None:
        assert workflow.as_link(value) is None


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ({"3": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": "Denoise"}}}, "Denoise"),
        ({"3": {"class_type": "KSampler", "inputs": {}}}, "KSampler"),
        ({"3": {"class_type": "KSampler", "inputs": {}, "_meta": {}}}, "KSampler"),
        ({"3": {"class_type": "KSampler", "inputs": {}, "_meta": None}}, "KSampler"),
        ({}, "3"),
    ],
)
def test_title_falls_back_on_class_and_id(prompt: Graph, expected: str) -> None:
    assert workflow.title(prompt, "3") == expected


def test_class_types_are_named_once() -> None:
    prompt = text_to_image()

    assert workflow.class_types(prompt) == {
        "CheckpointLoaderSimple",
        "CLIPTextEncode",
        "EmptyLatentImage",
        "KSampler",
        "VAEDecode",
        "SaveImage",
    }
