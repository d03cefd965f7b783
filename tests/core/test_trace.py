"""Marks, switches, stages and values: what tracing makes of graphs that are made up for one thing each."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge import workflow
from comfybridge.workflow import InputRef, Roles

Graph = dict[str, dict[str, Any]]


def node(class_type: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


def sampler(**changed: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "seed": 1,
        "steps": 20,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "model": ["loader", 0],
        "positive": ["good", 0],
        "negative": ["bad", 0],
        "latent_image": ["size", 0],
    }
    return node("KSampler", **{**inputs, **changed})


def text_to_image(**changed: dict[str, Any]) -> Graph:
    return {
        "loader": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "good": node("CLIPTextEncode", text="good", clip=["loader", 1]),
        "bad": node("CLIPTextEncode", text="bad", clip=["loader", 1]),
        "size": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "sampler": sampler(),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["loader", 2]),
        "save": node("SaveImage", images=["decode", 0]),
        **changed,
    }


def two_slices(**second: Any) -> Graph:
    advanced: dict[str, Any] = {"add_noise": "enable", "noise_seed": 1, "start_at_step": 0, "end_at_step": 10}
    first = {**sampler()["inputs"], **advanced}
    rest = {**first, "add_noise": "disable", "start_at_step": 10, "end_at_step": 10000, "latent_image": ["sampler", 0]}
    return text_to_image(
        sampler={"class_type": "KSamplerAdvanced", "inputs": first},
        second={"class_type": "KSamplerAdvanced", "inputs": {**rest, **second}},
        decode=node("VAEDecode", samples=["second", 0], vae=["loader", 2]),
    )


def encoded(text: Any, **more: dict[str, Any]) -> Graph:
    """The graph with a prompt that comes from other nodes."""
    return text_to_image(good=node("CLIPTextEncode", text=text, clip=["loader", 1]), **more)


def places(roles: Roles, role: str) -> list[str]:
    return [f"{ref.node_id}.{ref.input}" for ref in roles[role]]


def filled(prompt: Graph, **values: Any) -> dict[str, dict[str, Any]]:
    return workflow.fill(prompt, workflow.assign(prompt, workflow.trace(prompt, {}), values))


class TestTextsOverWires:
    @pytest.mark.parametrize(
        ("nodes", "expected"),
        [
            ({"words": node("PrimitiveString", value="a")}, "words.value"),
            ({"words": node("StringConcatenate", string_a="in ink, ", string_b=["own", 0], delimiter=""),
              "own": node("PrimitiveStringMultiline", "Prompt", value="x")}, "own.value"),
            ({"words": node("StringConcatenate", string_a=["a", 0], string_b=["b", 0], delimiter=""),
              "a": node("PrimitiveString", value="the longer one of the two"),
              "b": node("PrimitiveString", "My prompt", value="x")}, "b.value"),
            ({"words": node("StringReplace", string="An image of {it}, sharp, bright", find="{it}", replace="a cat")},
             "words.replace"),
            ({"words": node("StringReplace", string=["a", 0], find="{it}", replace=["b", 0]),
              "a": node("PrimitiveString", "Prompt template", value="An image of {it}, sharp and bright"),
              "b": node("PrimitiveString", value="a cat")}, "b.value"),
            ({"words": node("Reroute", value=["own", 0]), "own": node("PrimitiveString", value="x")}, "own.value"),
            ({"words": node("GeminiNode", prompt="Describe a cat", system_prompt="You are " * 9, seed=3)},
             "words.prompt"),
        ],
        ids=["primitive", "concatenated", "titled", "replacement", "replaced", "reroute", "language model"],
    )  # fmt: skip
    def test_text_that_people_edit_is_found(self, nodes: Graph, expected: str) -> None:
        roles = workflow.trace(encoded(["words", 0], **nodes), {})

        assert places(roles, "positive") == [expected]

    def test_text_made_of_a_picture_is_no_prompt(self) -> None:
        prompt = encoded(
            ["words", 0], words=node("Captioner", image=["picture", 0]), picture=node("LoadImage", image="a")
        )

        roles = workflow.trace(prompt, {})

        assert places(roles, "positive") == []
        assert [note.role for note in roles.notes] == ["positive"]

    def test_encoder_with_both_prompts_gives_each_side_its_own(self) -> None:
        both = node("WanVideoTextEncode", positive_prompt="good", negative_prompt="bad", t5=["t", 0])
        video = node(
            "WanVideoSampler", model=["m", 0], text_embeds=["both", 0], steps=30, seed=1, image_embeds=["e", 0]
        )
        prompt = {
            "m": node("WanVideoModelLoader", model="wan.safetensors"),
            "both": both,
            "e": node("WanVideoEmptyEmbeds", width=832, height=480, num_frames=81),
            "video": video,
            "save": node("SaveAnimatedWEBP", images=["video", 0]),
        }

        roles = workflow.trace(prompt, {})

        assert (places(roles, "positive"), places(roles, "negative")) == (
            ["both.positive_prompt"],
            ["both.negative_prompt"],
        )
        assert (places(roles, "width"), places(roles, "model")) == (["e.width"], ["m.model"])


class TestSwitches:
    @pytest.mark.parametrize(("is_on", "expected"), [(True, "quick.value"), (False, "slow.value")])
    def test_branch_that_is_taken_counts(self, is_on: object, expected: str) -> None:
        prompt = text_to_image(
            sampler=sampler(steps=["choice", 0]),
            choice=node("ComfySwitchNode", switch=["fast", 0], on_true=["quick", 0], on_false=["slow", 0]),
            fast=node("PrimitiveBoolean", value=is_on),
            quick=node("PrimitiveInt", value=4),
            slow=node("PrimitiveInt", value=20),
        )

        assert places(workflow.trace(prompt, {}), "steps") == [expected]

    def test_loras_of_the_other_branch_have_no_effect(self) -> None:
        prompt = text_to_image(
            sampler=sampler(model=["choice", 0]),
            choice=node("ComfySwitchNode", switch=False, on_true=["lora", 0], on_false=["loader", 0]),
            lora=node("LoraLoaderModelOnly", lora_name="a.safetensors", model=["loader", 0]),
        )

        roles = workflow.trace(prompt, {})

        assert (places(roles, "loras"), places(roles, "model")) == ([], ["loader.ckpt_name"])

    def test_switches_in_a_ring_end(self) -> None:
        prompt = text_to_image(
            sampler=sampler(steps=["a", 0]),
            a=node("ComfySwitchNode", switch=["b", 0], on_true=["b", 0], on_false=["b", 0]),
            b=node("ComfySwitchNode", switch=["a", 0], on_true=["a", 0], on_false=["a", 0]),
        )

        assert places(workflow.trace(prompt, {}), "steps") == []


class TestStages:
    def test_slices_share_their_steps_and_keep_the_handover(self) -> None:
        graph = filled(two_slices(), steps=8)

        assert [graph[name]["inputs"]["steps"] for name in ("sampler", "second")] == [8, 8]
        assert (graph["sampler"]["inputs"]["end_at_step"], graph["second"]["inputs"]["start_at_step"]) == (4, 4)
        assert graph["second"]["inputs"]["end_at_step"] == 10000

    @pytest.mark.parametrize("steps", [1, 2])
    def test_slice_with_few_steps_keeps_one(self, steps: int) -> None:
        graph = filled(two_slices(), steps=steps)

        assert graph["sampler"]["inputs"]["end_at_step"] == graph["second"]["inputs"]["start_at_step"] == 1

    def test_slice_with_a_cfg_of_its_own_keeps_it(self) -> None:
        graph = filled(two_slices(cfg=1.0), cfg=3.5)

        assert (graph["sampler"]["inputs"]["cfg"], graph["second"]["inputs"]["cfg"]) == (3.5, 1.0)

    def test_split_sigmas_keep_their_proportion(self) -> None:
        prompt = text_to_image(
            sampler=node(
                "SamplerCustomAdvanced",
                noise=["noise", 0],
                guider=["guider", 0],
                sampler=["select", 0],
                sigmas=["split", 1],
                latent_image=["size", 0],
            ),
            noise=node("RandomNoise", noise_seed=1),
            guider=node("CFGGuider", cfg=4.0, model=["loader", 0], positive=["good", 0], negative=["bad", 0]),
            select=node("KSamplerSelect", sampler_name="euler"),
            split=node("SplitSigmas", sigmas=["sigmas", 0], step=5),
            sigmas=node("BasicScheduler", scheduler="simple", steps=20, denoise=1.0, model=["loader", 0]),
        )

        assert filled(prompt, steps=40)["split"]["inputs"]["step"] == 10

    def test_second_size_keeps_its_proportion(self) -> None:
        prompt = text_to_image(
            up=node("LatentUpscale", samples=["sampler", 0], width=1024, height=1536),
            second=sampler(latent_image=["up", 0], seed=2),
            decode=node("VAEDecode", samples=["second", 0], vae=["loader", 2]),
        )

        graph = filled(prompt, width=768, height=512)

        assert [graph["size"]["inputs"][side] for side in ("width", "height")] == [768, 512]
        assert [graph["up"]["inputs"][side] for side in ("width", "height")] == [1536, 1024]

    def test_sizes_that_an_encoder_is_told_follow(self) -> None:
        told = node("CLIPTextEncodeSDXL", text_g="g", text_l="l", width=1024, height=1536, target_width=512,
                    target_height=768, crop_w=0, crop_h=0, clip=["loader", 1])  # fmt: skip
        graph = filled(text_to_image(good=told), width=1024, height=768)

        assert {
            name: graph["good"]["inputs"][name] for name in ("width", "height", "target_width", "target_height")
        } == {
            "width": 2048,
            "height": 1536,
            "target_width": 1024,
            "target_height": 768,
        }

    def test_size_of_a_control_picture_is_left_alone(self) -> None:
        prompt = text_to_image(
            sampler=sampler(positive=["hint", 0], negative=["hint", 1]),
            hint=node("ControlNetApplyAdvanced", positive=["good", 0], negative=["bad", 0], image=["small", 0]),
            small=node("ImageScale", image=["picture", 0], width=640, height=640),
            picture=node("LoadImage", image="a.png"),
        )

        roles = workflow.trace(prompt, {})

        assert (places(roles, "width"), roles.scales) == (["size.width"], {})

    def test_same_size_changes_nothing(self) -> None:
        prompt = text_to_image(up=node("LatentUpscale", samples=["sampler", 0], width=1001, height=1501))

        assert filled(prompt, width=512, height=768)["up"]["inputs"] == prompt["up"]["inputs"]

    def test_another_pictures_prompt_is_left_alone_and_named(self) -> None:
        prompt = text_to_image(
            other=node("CLIPTextEncode", "The second", text="other", clip=["loader", 1]),
            second=sampler(positive=["other", 0], seed=2),
            decode2=node("VAEDecode", samples=["second", 0], vae=["loader", 2]),
            save2=node("SaveImage", images=["decode2", 0]),
        )

        roles = workflow.trace(prompt, {})

        assert places(roles, "positive") == ["good.text"]
        assert places(roles, "seed") == ["sampler.seed", "second.seed"]
        assert [note.en for note in roles.notes] == [
            "other pictures' prompts stay as they are: other.text (The second)"
        ]

    def test_first_thing_saved_is_the_main_one(self) -> None:
        prompt = text_to_image()
        prompt = {
            **{name: prompt[name] for name in prompt if name != "save"},
            "first": node("PreviewImage", images=["p", 0]),
        }
        prompt |= {
            "p": node("VAEDecode", samples=["early", 0], vae=["loader", 2]),
            "early": sampler(positive=["draft", 0], steps=3),
            "draft": node("CLIPTextEncode", text="draft", clip=["loader", 1]),
            "save": node("SaveImage", images=["decode", 0]),
        }

        assert places(workflow.trace(prompt, {}), "steps") == ["sampler.steps"]

    def test_sampler_is_the_main_one_beside_a_paid_service(self) -> None:
        service = node("Paid", prompt="a sketch", seed=3, model="m")
        prompt = text_to_image(
            service=service,
            size=node("VAEEncode", pixels=["service", 0], vae=["loader", 2]),
        )

        roles = workflow.trace(
            prompt, {"Paid": {"output": ["IMAGE"], "api_node": True}, "SaveImage": {"output_node": True}}
        )

        assert (places(roles, "positive"), places(roles, "steps")) == (["good.text"], ["sampler.steps"])
        assert places(roles, "seed") == ["service.seed", "sampler.seed"]

    def test_loader_that_holds_both_prompts_gives_each_side_its_own(self) -> None:
        loader = node("Efficient Loader", ckpt_name="a.safetensors", positive="good", negative="bad",
                      empty_latent_width=512, empty_latent_height=768, batch_size=1)  # fmt: skip
        prompt = {
            "loader": loader,
            "sampler": sampler(positive=["loader", 1], negative=["loader", 2], latent_image=["loader", 3]),
            "save": node("SaveImage", images=["sampler", 5]),
        }

        roles = workflow.trace(prompt, {})

        assert [places(roles, role) for role in ("positive", "negative", "width", "batch", "model")] == [
            ["loader.positive"],
            ["loader.negative"],
            ["loader.empty_latent_width"],
            ["loader.batch_size"],
            ["loader.ckpt_name"],
        ]


class TestNegative:
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            (node("ConditioningZeroOut", conditioning=["good", 0]), "the graph zeroes its negative conditioning"),
            (node("Reroute", value=["good", 0]), "the graph uses no negative prompt of its own"),
        ],
        ids=["zeroed", "the positive one"],
    )
    def test_absent_negative_is_explained(self, bad: dict[str, Any], words: str) -> None:
        roles = workflow.trace(text_to_image(bad=bad), {})

        assert [(note.role, note.en) for note in roles.notes] == [("negative", words)]
        assert "negative" not in roles.missing


class TestMarks:
    @pytest.mark.parametrize(
        "title", ["positive", "Positive Prompt", "正向提示词", "POSITIVE_PROMPT", "ｐｒｏｍｐｔ", "[Prompt]"]
    )
    def test_title_wins_over_tracing(self, title: str) -> None:
        prompt = encoded(
            ["all", 0],
            all=node("StringConcatenate", string_a=["long", 0], string_b=["own", 0], delimiter=", "),
            long=node("PrimitiveString", "Prompt of the house", value="a much longer text than the other"),
            own=node("PrimitiveString", title, value="x"),
        )

        assert places(workflow.trace(prompt, {}), "positive") == ["own.value"]

    @pytest.mark.parametrize(
        ("title", "role", "marked"),
        [
            ("Negative prompt", "negative", node("PrimitiveString", value="a")),
            ("反向提示词", "negative", node("PrimitiveString", value="a")),
            ("Seed", "seed", node("PrimitiveInt", value=5)),
            ("随机种子", "seed", node("PrimitiveInt", value=5)),
            ("步数", "steps", node("PrimitiveInt", value=5)),
            ("CFG", "cfg", node("PrimitiveFloat", value=5.0)),
            ("Width", "width", node("PrimitiveInt", value=512)),
            ("高度", "height", node("PrimitiveInt", value=512)),
            ("Batch size", "batch", node("PrimitiveInt", value=2)),
            ("VC_BASIC Seed", "seed", node("PrimitiveInt", value=5)),
            ("VC_ADV - Steps", "steps", node("PrimitiveInt", value=5)),
        ],
    )  # fmt: skip
    def test_each_role_can_be_marked(self, title: str, role: str, marked: dict[str, Any]) -> None:
        marked = {**marked, "_meta": {"title": title}}
        prompt = text_to_image(marked=marked, look=node("PreviewAny", source=["marked", 0]))

        assert places(workflow.trace(prompt, {}), role) == ["marked.value"]

    def test_title_on_a_node_that_cannot_hold_it_means_something_else(self) -> None:
        prompt = text_to_image(decode=node("VAEDecode", "Seed", samples=["sampler", 0], vae=["loader", 2]))

        assert places(workflow.trace(prompt, {}), "seed") == ["sampler.seed"]

    def test_marked_image_comes_first_and_the_others_stay(self) -> None:
        prompt = text_to_image(
            one=node("LoadImage", image="1.png"),
            two=node("LoadImage", "Input image", image="2.png"),
            look=node("PreviewImage", images=["one", 0]),
            look2=node("PreviewImage", images=["two", 0]),
        )

        assert places(workflow.trace(prompt, {}), "images") == ["two.image", "one.image"]

    @pytest.mark.parametrize(
        ("marker", "expected"),
        [
            (node("CPackInputString", "prompt", value="x"), "words.value"),
            (node("CPackInputString", "String Input", value="x"), "words.value"),
            (node("ComfyUIDeployExternalText", input_id="prompt", default_value="x"), "words.default_value"),
            (node("ETN_Parameter", name="Subject", type="prompt (positive)", default="x"), "words.default"),
            (node("SwarmInputText", title="Prompt", value="x", view_type="prompt"), "words.value"),
            (node("ServingInputText", argument="prompt", default="x"), "words.default"),
        ],
        ids=lambda value: value["class_type"] if isinstance(value, dict) else "",
    )  # fmt: skip
    def test_marker_nodes_of_other_tools_name_roles(self, marker: dict[str, Any], expected: str) -> None:
        assert places(workflow.trace(encoded(["words", 0], words=marker), {}), "positive") == [expected]

    @pytest.mark.parametrize(
        ("marker", "name"),
        [
            (node("CPackInputString", "hero", value="x"), "hero"),
            (node("ComfyUIDeployExternalText", input_id="hero", default_value="x"), "hero"),
            (node("ETN_Parameter", name="Hero", type="text", default="x"), "Hero"),
            (node("SwarmInputText", title="Hero", value="x"), "Hero"),
            (node("PrimitiveString", "VC_BASIC Hero", value="x"), "Hero"),
        ],
        ids=lambda value: value["class_type"] if isinstance(value, dict) else "",
    )
    def test_other_names_are_named_inputs(self, marker: dict[str, Any], name: str) -> None:
        prompt = text_to_image(tail=marker, mix=node("PreviewAny", source=["tail", 0]))

        roles = workflow.trace(prompt, {})

        assert list(roles.named) == [name]
        (ref,) = roles.named[name]
        assert workflow.assign(prompt, roles, {name: "y"}) == {ref: "y"}

    @pytest.mark.parametrize("token", ["%prompt%", "${prompt}", "{{prompt}}", "{{ prompt }}"])
    def test_placeholder_is_replaced_as_data(self, token: str) -> None:
        graph = filled(encoded(f"ink, {token}, sharp"), positive='a "fox"\n{x}')

        assert graph["good"]["inputs"]["text"] == 'ink, a "fox"\n{x}, sharp'

    def test_placeholder_alone_becomes_a_number(self) -> None:
        prompt = text_to_image(sampler=sampler(seed="%seed%", steps="%steps%", cfg="%scale%"))

        graph = filled(prompt, seed=7, steps=9, cfg=2.5)

        assert [graph["sampler"]["inputs"][name] for name in ("seed", "steps", "cfg")] == [7, 9, 2.5]

    def test_two_placeholders_in_one_text_are_both_replaced(self) -> None:
        graph = filled(encoded("%prompt% without %negative_prompt%"), positive="a", negative="b")

        assert graph["good"]["inputs"]["text"] == "a without b"

    def test_what_looks_like_a_placeholder_in_a_value_stays(self) -> None:
        graph = filled(encoded("%prompt% without %negative_prompt%"), positive="100 %negative_prompt%", negative="b")

        assert graph["good"]["inputs"]["text"] == "100 %negative_prompt% without b"

    def test_front_ends_own_placeholders_are_none_of_ours(self) -> None:
        prompt = text_to_image(save=node("SaveImage", images=["decode", 0], filename_prefix="%width%x%height%"))

        assert places(workflow.trace(prompt, {}), "width") == ["size.width"]


class TestAssign:
    def test_several_files_go_into_one_input_each(self) -> None:
        prompt = text_to_image(
            one=node("LoadImage", image="1.png"),
            two=node("LoadImage", image="2.png"),
            look=node("PreviewImage", images=["one", 0]),
            look2=node("PreviewImage", images=["two", 0]),
        )
        roles = workflow.trace(prompt, {})

        assert workflow.assign(prompt, roles, {"images": ["a.png"]}) == {InputRef("one", "image"): "a.png"}
        assert workflow.assign(prompt, roles, {"images": ["a", "b", "c"]}) == {
            InputRef("one", "image"): "a",
            InputRef("two", "image"): "b",
        }

    def test_unknown_name_sets_nothing(self) -> None:
        prompt = text_to_image()

        assert workflow.assign(prompt, workflow.trace(prompt, {}), {"nonsense": 1, "masks": ["x"]}) == {}


class TestFiles:
    def test_picture_of_which_only_the_mask_is_used_is_a_mask(self) -> None:
        prompt = {
            "picture": node("LoadImage", image="a.png"),
            "hole": node("LoadImage", image="b.png"),
            "cut": node("ImageCompositeMasked", destination=["picture", 0], mask=["hole", 1]),
            "save": node("SaveImage", images=["cut", 0]),
        }

        roles = workflow.trace(prompt, {})

        assert (places(roles, "images"), places(roles, "masks")) == (["picture.image"], ["hole.image"])

    def test_mask_in_the_picture_itself_is_told(self) -> None:
        prompt = {
            "picture": node("LoadImage", "Cat", image="a.png"),
            "cut": node("ImageCompositeMasked", destination=["picture", 0], mask=["picture", 1]),
            "save": node("SaveImage", images=["cut", 0]),
        }

        roles = workflow.trace(prompt, {})

        assert (places(roles, "images"), places(roles, "masks")) == (["picture.image"], [])
        assert [note.en for note in roles.notes] == ["it is the transparent part of the picture in node picture (Cat)"]

    def test_file_that_nothing_uses_is_left_out(self) -> None:
        assert places(workflow.trace(text_to_image(spare=node("LoadImage", image="a.png")), {}), "images") == []


_NAMES = st.sampled_from(
    ("model", "positive", "negative", "seed", "text", "clip", "samples", "guider", "width", "height", "value", "switch",
     "on_true", "on_false", "steps", "start_at_step", "end_at_step", "string", "replace", "prompt", "image")
)  # fmt: skip
_CLASSES = st.sampled_from(
    ("SaveImage", "X", "Reroute", "ConditioningZeroOut", "LoadImage", "CPackInputString", "ETN_Parameter", "")
)
_IDS = ["a", "b", "c", "d", "e"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_LINKS = st.tuples(st.sampled_from(_IDS), st.integers(-1, 3)).map(list)
_NODES = st.fixed_dictionaries(
    {
        "class_type": _CLASSES,
        "inputs": st.dictionaries(_NAMES, _LINKS | _JSON | st.sampled_from(("%prompt%", "${seed}")), max_size=7),
        "_meta": st.fixed_dictionaries({"title": st.sampled_from(("seed", "正向", "VC_BASIC x", "")) | _JSON}),
    }
)
_GRAPHS = st.fixed_dictionaries(dict.fromkeys(_IDS, _NODES))


class TestAnyGraph:
    @given(_GRAPHS)
    def test_only_literals_come_out_and_can_be_set(self, prompt: Graph) -> None:
        roles = workflow.trace(prompt, {})

        refs = [ref for group in (roles.inputs, roles.named, roles.scales) for found in group.values() for ref in found]
        assert all(workflow.as_link(prompt[ref.node_id]["inputs"][ref.input]) is None for ref in refs)
        values = dict.fromkeys(roles.inputs, 12)
        workflow.fill(prompt, workflow.assign(prompt, roles, values))

    @given(
        st.dictionaries(st.text(max_size=3), _JSON, max_size=4), st.dictionaries(st.text(max_size=3), _JSON, max_size=3)
    )
    def test_what_is_no_graph_has_no_roles(self, prompt: Any, definitions: Any) -> None:
        assert workflow.trace(prompt, definitions).inputs == {}

    def test_long_chain_ends(self) -> None:
        chain = {f"n{i}": node("StringConcatenate", string_a=[f"n{i + 1}", 0], string_b="x") for i in range(3000)}
        prompt = encoded(["n0", 0], **chain, n3000=node("PrimitiveString", "Prompt", value="end"))

        assert places(workflow.trace(prompt, {}), "positive") == ["n3000.value"]
