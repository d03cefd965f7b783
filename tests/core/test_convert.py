import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from comfybridge.convert import Conversion, class_types, convert
from comfybridge.errors import InvalidInput
from comfybridge.workflow import Definitions
from tests.core import pairs

Json = dict[str, Any]


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    number = ["FLOAT", {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.1}]
    made = {
        "TextBox": declare({"text": ["STRING", {"multiline": True}]}, ["STRING"]),
        "Line": declare({"text": ["STRING", {}]}, ["STRING"]),
        "Numbers": declare({"seed": ["INT", {"default": 0}], "strength": number}, ["INT"]),
        "Any Switch (rgthree)": declare({}, ["*"]),
        "Power Lora Loader (rgthree)": declare({"model": ["MODEL"]}, ["MODEL"]),
        "Anything Everywhere": declare({"anything": ["*"]}, []),
        "VHS_VideoCombine": declare({"images": ["IMAGE"], "frame_rate": ["INT", {"default": 8}]}, [], is_output=True),
        "Curves": declare({"curve": ["MY_CURVE", {}], "low": ["INT", {"default": 1}]}, ["MODEL"]),
    }
    return {**pairs.definitions(), **made}


def declare(required: Mapping[str, Any], output: Sequence[str], *, is_output: bool = False) -> Json:
    return {
        "input": {"required": required},
        "input_order": {"required": list(required)},
        "output": list(output),
        "output_node": is_output,
    }


def node(node_id: int, class_type: str, *values: Any, mode: Any = 0, **wires: Any) -> Json:
    """A node as the front end saves it; ``wires`` are its inputs: a link's number, or a pair of it and a type."""
    inputs = []
    for name, wire in wires.items():
        link, slot_type = wire if isinstance(wire, tuple) else (wire, "*")
        inputs.append({"name": name, "type": slot_type, "link": link})
    return {"id": node_id, "type": class_type, "mode": mode, "inputs": inputs, "widgets_values": list(values)}


def graph(*nodes: Json, links: Sequence[Sequence[Any]] = (), **more: Any) -> Json:
    return {"version": 0.4, "nodes": list(nodes), "links": [[*link, "*"] for link in links], **more}


def subgraph(name: str, inputs: Sequence[str], outputs: Sequence[str], *nodes: Json, links: Sequence[Any]) -> Json:
    return {
        "id": name,
        "name": name,
        "nodes": list(nodes),
        "inputs": [{"name": port, "type": "*"} for port in inputs],
        "outputs": [{"name": port, "type": "*"} for port in outputs],
        "links": [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot"), link, strict=True))
            for link in links
        ],
    }


def with_subgraphs(workflow: Json, *subgraphs: Json) -> Json:
    return {**workflow, "definitions": {"subgraphs": list(subgraphs)}}


def inputs_of(conversion: Conversion, node_id: str) -> Json:
    inputs: Json = conversion.prompt[node_id]["inputs"]
    return inputs


def codes(conversion: Conversion) -> list[str]:
    return [warning.code for warning in conversion.warnings]


SIZE = (64, 64, 1)
SAVE: Json = {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}


class TestForms:
    @pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"prompt": p}, lambda p: {"output": p, "workflow": {}}])
    def test_a_prompt_stays_as_it_is(self, wrap: Any, definitions: Definitions) -> None:
        prompt = {"7": {**SAVE, "_meta": {"title": "Save"}}}

        assert convert(wrap(prompt), definitions).prompt == prompt

    def test_what_comfyui_adds_to_a_prompt_in_a_picture_is_taken_out(self, definitions: Definitions) -> None:
        assert convert({"7": {**SAVE, "is_changed": [None]}}, definitions).prompt == {"7": SAVE}

    def test_links_may_be_objects(self, definitions: Definitions) -> None:
        workflow = graph(node(1, "EmptyLatentImage", *SIZE), node(2, "VAEDecode", samples=5), links=[(5, 1, 0, 2, 0)])
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        workflow |= {"version": 1, "links": [dict(zip(names, link, strict=True)) for link in workflow["links"]]}

        assert inputs_of(convert(workflow, definitions), "2") == {"samples": ["1", 0]}

    def test_titles_are_kept(self, definitions: Definitions) -> None:
        titled = {**node(1, "EmptyLatentImage", *SIZE), "title": "Size"}

        conversion = convert(graph(titled, node(2, "Line", "x")), definitions)

        assert [entry["_meta"]["title"] for entry in conversion.prompt.values()] == ["Size", "Line"]

    def test_class_types_name_what_has_to_be_fetched(self) -> None:
        inner = subgraph("sub", [], [], node(4, "VAEDecode"), links=[])
        workflow = graph(node(1, "sub"), node(2, "T2IAdapterLoader"), node(3, "Note", "x"))

        assert class_types(with_subgraphs(workflow, inner)) == {"VAEDecode", "ControlNetLoader"}

    def test_class_types_of_a_prompt(self) -> None:
        assert class_types({"prompt": {"1": SAVE}}) == {"SaveImage"}


class TestWidgets:
    def test_extra_values_are_ignored(self, definitions: Definitions) -> None:
        conversion = convert(graph(node(1, "EmptyLatentImage", *SIZE, 9, "x")), definitions)

        assert inputs_of(conversion, "1") == {"width": 64, "height": 64, "batch_size": 1}

    def test_values_of_old_samplers_are_renamed(self, definitions: Definitions) -> None:
        old = node(1, "KSampler", 5, True, 20, 8, "sample_euler", "normal", 1)  # noqa: FBT003

        inputs = inputs_of(convert(graph(old), definitions), "1")

        assert (inputs["sampler_name"], inputs["steps"]) == ("euler", 20)

    @pytest.mark.parametrize(("saved", "sent"), [("a\r\nb\rc", "a\nb\nc"), (None, ""), (5, "5")])
    def test_a_text_box_holds_text_with_lf(self, saved: Any, sent: str, definitions: Definitions) -> None:
        assert inputs_of(convert(graph(node(1, "TextBox", saved)), definitions), "1") == {"text": sent}

    def test_a_control_word_too_many_is_taken_out(self, definitions: Definitions) -> None:
        plain = {**definitions, "Plain": declare({"seed": ["INT", {"control_after_generate": False}]} | STEPS, [])}
        workflow = graph(node(1, "Plain", 7, "randomize", 20))

        assert inputs_of(convert(workflow, plain), "1") == {"seed": 7, "steps": 20}
        assert inputs_of(convert(workflow, plain, repair=False), "1") == {"seed": 7, "steps": "randomize"}

    def test_what_fits_no_number_is_kept_and_told(self, definitions: Definitions) -> None:
        conversion = convert(graph(node(1, "EmptyLatentImage", "wide", 64, 1)), definitions)

        assert inputs_of(conversion, "1")["width"] == "wide"
        assert [(each.code, each.node_id, each.input) for each in conversion.warnings] == [("odd_value", "1", "width")]
        assert "'width' takes INT" in conversion.warnings[0].message_en

    def test_lists_are_told_apart_from_links(self, definitions: Definitions) -> None:
        conversion = convert(graph(node(1, "Line", ["a", 0])), definitions)

        assert inputs_of(conversion, "1") == {"text": {"__value__": ["a", 0]}}

    def test_an_uploaded_file_gets_its_folder(self, definitions: Definitions) -> None:
        picture = {"filename": "a.png", "subfolder": "clipspace", "type": "temp"}

        assert inputs_of(convert(graph(node(1, "LoadImage", picture)), definitions), "1") == {
            "image": "clipspace/a.png [temp]"
        }

    def test_a_dynamic_combo_brings_its_own_inputs(self, definitions: Definitions) -> None:
        workflow = graph(
            node(1, "EmptyImage", *SIZE, 0),
            node(2, "PrimitiveInt", 5, "fixed"),
            node(
                3,
                "ResizeImageMaskNode",
                "scale dimensions",
                10,
                20,
                "center",
                "area",
                input=1,
                **{"resize_type.width": 2},
            ),
            links=[(1, 1, 0, 3, 0), (2, 2, 0, 3, 1)],
        )

        assert inputs_of(convert(workflow, definitions), "3") == {
            "input": ["1", 0],
            "resize_type": "scale dimensions",
            "resize_type.width": ["2", 0],
            "resize_type.height": 20,
            "resize_type.crop": "center",
            "scale_method": "area",
        }

    def test_a_gap_in_a_growing_group_is_closed(self, definitions: Definitions) -> None:
        wires = {"images.image0": 1, "images.image1": None, "images.image2": 2}
        workflow = graph(
            node(1, "EmptyImage", *SIZE, 0),
            node(2, "BatchImagesNode", **wires),
            links=[(1, 1, 0, 2, 0), (2, 1, 0, 2, 2)],
        )

        assert inputs_of(convert(workflow, definitions), "2") == {"images.image0": ["1", 0], "images.image1": ["1", 0]}

    def test_the_file_knows_widgets_of_types_that_a_pack_brings(self, definitions: Definitions) -> None:
        curves = node(1, "Curves", "0,0;1,1", 5)
        curves["inputs"] = [{"name": "curve", "type": "MY_CURVE", "link": None, "widget": {"name": "curve"}}]

        assert inputs_of(convert(graph(curves), definitions), "1") == {"curve": "0,0;1,1", "low": 5}

    def test_inputs_that_only_the_file_knows_are_sent_when_wired(self, definitions: Definitions) -> None:
        workflow = graph(node(1, "Line", "x"), node(2, "Line", "y", extra=1, unwired=None), links=[(1, 1, 0, 2, 0)])

        assert inputs_of(convert(workflow, definitions), "2") == {"text": "y", "extra": ["1", 0]}

    def test_choices_are_made_by_the_caller(self, definitions: Definitions) -> None:
        workflow = graph(node(1, "CLIPTextEncode", "a {red|{blue|green}} cat"))

        conversion = convert(workflow, definitions, choose=lambda options: options[-1])

        assert inputs_of(conversion, "1") == {"text": "a green cat"}

    def test_choices_are_random_else(self, definitions: Definitions) -> None:
        workflow = graph(node(1, "CLIPTextEncode", "{a|b}"))

        assert {inputs_of(convert(workflow, definitions), "1")["text"] for _ in range(99)} == {"a", "b"}


STEPS = {"steps": ["INT", {"default": 20}]}


class TestWires:
    def test_reroutes_are_followed_and_dead_ends_left_out(self, definitions: Definitions) -> None:
        workflow = graph(
            node(1, "EmptyLatentImage", *SIZE),
            node(2, "Reroute", **{"": 1}),
            node(3, "Reroute", **{"": None}),
            node(4, "VAEDecode", samples=2, vae=3),
            links=[(1, 1, 0, 2, 0), (2, 2, 0, 4, 0), (3, 3, 0, 4, 1)],
        )

        assert inputs_of(convert(workflow, definitions), "4") == {"samples": ["1", 0]}

    def test_bypassed_nodes_are_passed_by_type(self, definitions: Definitions) -> None:
        workflow = graph(
            node(1, "CheckpointLoaderSimple", "a"),
            node(2, "LoraLoader", "l", 1, 1, mode=4, model=1, clip=2),
            node(3, "LoraLoader", "l", 1, 1, mode=4, model=3, clip=4),
            node(4, "CLIPTextEncode", "x", clip=5),
            links=[(1, 1, 0, 2, 0), (2, 1, 1, 2, 1), (3, 2, 0, 3, 0), (4, 2, 1, 3, 1), (5, 3, 1, 4, 0)],
        )

        assert inputs_of(convert(workflow, definitions), "4") == {"text": "x", "clip": ["1", 1]}

    def test_a_primitive_goes_through_reroutes_and_is_rounded(self, definitions: Definitions) -> None:
        workflow = graph(
            node(1, "PrimitiveNode", 3.25, "fixed"),
            node(2, "Reroute", **{"": 1}),
            node(3, "Numbers", 1, "fixed", 2.0, strength=2),
            links=[(1, 1, 0, 2, 0), (2, 2, 0, 3, 1)],
        )

        assert inputs_of(convert(workflow, definitions), "3") == {"seed": 1, "strength": 3.3}

    @pytest.mark.parametrize("links", [[], [(1, 9, 0, 2, 5)]], ids=["no-such-link", "no-such-node"])
    def test_a_broken_wire_is_left_out_and_told(self, links: list[Any], definitions: Definitions) -> None:
        workflow = graph(node(2, "VAEDecode", samples=1), links=links)

        conversion = convert(workflow, definitions)

        assert (inputs_of(conversion, "2"), codes(conversion)) == ({}, ["dangling_link"])
        with pytest.raises(InvalidInput, match=r"Node 2 .*'samples' is wired to"):
            convert(workflow, definitions, repair=False)


def inner(*extra: Json, links: Sequence[Any] = (), inputs: Sequence[str] = ("text",)) -> Json:
    """A subgraph with one text box, promoted as ``text``."""
    box = node(30, "TextBox", "inner", text=1)
    return subgraph("sub", inputs, ["out"], box, *extra, links=[(1, -10, 0, 30, 0), (2, 30, 0, -20, 0), *links])


class TestSubgraphs:
    def test_every_instance_has_its_own_text(self, definitions: Definitions) -> None:
        workflow = with_subgraphs(graph(node(1, "sub", "one"), node(2, "sub", "two")), inner())

        conversion = convert(workflow, definitions)

        assert [entry["inputs"]["text"] for entry in conversion.prompt.values()] == ["one", "two"]

    def test_the_front_end_gives_both_the_last_text(self, definitions: Definitions) -> None:
        workflow = with_subgraphs(graph(node(1, "sub", "one"), node(2, "sub", "two")), inner())

        conversion = convert(workflow, definitions, repair=False)

        assert [entry["inputs"]["text"] for entry in conversion.prompt.values()] == ["two", "two"]

    def test_proxies_say_which_value_belongs_where(self, definitions: Definitions) -> None:
        instance = node(1, "sub", None, "outer")
        instance["properties"] = {"proxyWidgets": [["31", "seed"], ["-1", "text"]]}
        workflow = with_subgraphs(graph(instance), inner(node(31, "Numbers", 5, "fixed", 1)))

        conversion = convert(workflow, definitions)

        assert inputs_of(conversion, "1:30") == {"text": "outer"}
        assert inputs_of(conversion, "1:31")["seed"] == 5

    def test_a_primitive_outside_sets_what_is_promoted(self, definitions: Definitions) -> None:
        workflow = graph(node(1, "sub", "x", text=1), node(2, "PrimitiveNode", "primitive"), links=[(1, 2, 0, 1, 0)])

        assert inputs_of(convert(with_subgraphs(workflow, inner()), definitions), "1:30") == {"text": "primitive"}

    def test_a_wire_from_outside_goes_to_the_node_inside_and_out_again(self, definitions: Definitions) -> None:
        passing = subgraph("sub", ["in"], ["out"], node(3, "TextBox", "x"), links=[(1, -10, 0, -20, 0)])
        workflow = graph(
            node(1, "EmptyLatentImage", *SIZE),
            node(2, "sub", **{"in": 1}),
            node(4, "VAEDecode", samples=2),
            links=[(1, 1, 0, 2, 0), (2, 2, 0, 4, 0)],
        )

        assert inputs_of(convert(with_subgraphs(workflow, passing), definitions), "4") == {"samples": ["1", 0]}

    @pytest.mark.parametrize(
        ("version", "sent"), [("1.35.9", {"1:30", "2"}), ("1.47.10", {"2"}), (None, {"1:30", "2"})]
    )
    def test_a_muted_subgraph_takes_its_inside_along_where_the_file_means_that(
        self, version: str | None, sent: set[str], definitions: Definitions
    ) -> None:
        workflow = graph(node(1, "sub", "x", mode=2), node(2, "Line", "y"), extra={"frontendVersion": version})

        assert set(convert(with_subgraphs(workflow, inner()), definitions).prompt) == sent

    def test_a_subgraph_in_itself_is_refused(self, definitions: Definitions) -> None:
        workflow = with_subgraphs(graph(node(1, "sub")), inner(node(31, "sub")))

        with pytest.raises(InvalidInput, match="'sub' contains itself"):
            convert(workflow, definitions)

    def test_ever_more_instances_are_refused(self, definitions: Definitions) -> None:
        levels = [
            subgraph(f"s{level}", [], [], node(1, f"s{level + 1}"), node(2, f"s{level + 1}"), links=[])
            for level in range(40)
        ]
        workflow = with_subgraphs(graph(node(1, "s0")), *levels, subgraph("s40", [], [], node(1, "Line"), links=[]))

        with pytest.raises(InvalidInput, match="more than 20000 nodes"):
            convert(workflow, definitions)

    def test_a_group_node_is_unpacked(self, definitions: Definitions) -> None:
        group = {
            "nodes": [
                {**node(-1, "EmptyLatentImage"), "inputs": [], "outputs": [{"name": "LATENT", "type": "LATENT"}]},
                {
                    **node(-1, "KSampler", latent_image=None, model=None),
                    "outputs": [{"name": "LATENT", "type": "LATENT"}],
                },
            ],
            "links": [[0, 0, 1, 0, "LATENT"]],
            "external": [],
        }
        workflow = graph(
            node(2, "workflow>G", 32, 16, 1, 7, "fixed", 20, 8, "euler", "normal", 1, model=1),
            node(3, "CheckpointLoaderSimple", "a"),
            node(4, "VAEDecode", samples=2),
            links=[(1, 3, 0, 2, 0), (2, 2, 0, 4, 0)],
            extra={"groupNodes": {"G": group}},
        )

        conversion = convert(workflow, definitions)

        assert inputs_of(conversion, "2:0") == {"width": 32, "height": 16, "batch_size": 1}
        assert inputs_of(conversion, "2:1")["latent_image"] == ["2:0", 0]
        assert inputs_of(conversion, "2:1")["model"] == ["3", 0]
        assert inputs_of(conversion, "2:1")["denoise"] == 1
        assert inputs_of(conversion, "4") == {"samples": ["2:1", 0]}
        assert class_types(workflow) == {"EmptyLatentImage", "KSampler", "CheckpointLoaderSimple", "VAEDecode"}


class TestPacks:
    @pytest.mark.parametrize("easy", ["{}Node", "easy {}Node"])
    def test_a_getter_stands_for_what_its_setter_is_wired_to(self, easy: str, definitions: Definitions) -> None:
        set_, get = easy.format("Set" if easy[0] == "{" else "set"), easy.format("Get" if easy[0] == "{" else "get")
        workflow = graph(
            node(1, "EmptyLatentImage", *SIZE),
            node(2, set_, "size", LATENT=1),
            node(3, get, "size"),
            node(4, "VAEDecode", samples=2),
            links=[(1, 1, 0, 2, 0), (2, 3, 0, 4, 0)],
        )

        assert inputs_of(convert(workflow, definitions), "4") == {"samples": ["1", 0]}

    def test_a_getter_inside_a_subgraph_looks_outside(self, definitions: Definitions) -> None:
        sub = subgraph(
            "sub", [], [], node(5, "GetNode", "size"), node(6, "VAEDecode", samples=1), links=[(1, 5, 0, 6, 0)]
        )
        workflow = graph(
            node(1, "EmptyLatentImage", *SIZE), node(2, "SetNode", "size", a=1), node(3, "sub"), links=[(1, 1, 0, 2, 0)]
        )

        assert inputs_of(convert(with_subgraphs(workflow, sub), definitions), "3:6") == {"samples": ["1", 0]}

    def test_video_helpers_save_by_name(self, definitions: Definitions) -> None:
        values = {"frame_rate": 24, "crf": 19, "videopreview": {"hidden": False}, "choose video to upload": "image"}
        combine = {**node(1, "VHS_VideoCombine"), "widgets_values": values}

        conversion = convert(graph(combine), definitions)

        assert (inputs_of(conversion, "1"), codes(conversion)) == ({"frame_rate": 24, "crf": 19}, [])

    def test_switches_and_lora_stacks_of_rgthree(self, definitions: Definitions) -> None:
        lora = {"on": True, "lora": "a.safetensors", "strength": 0.5}
        workflow = graph(
            node(1, "CheckpointLoaderSimple", "a"),
            node(2, "Any Switch (rgthree)", any_01=None, any_02=1),
            node(3, "Power Lora Loader (rgthree)", {}, {"type": "PowerLoraLoaderHeaderWidget"}, lora, {}, "", model=2),
            node(4, "Fast Groups Bypasser (rgthree)"),
            links=[(1, 1, 0, 2, 1), (2, 2, 0, 3, 0)],
        )

        conversion = convert(workflow, definitions)

        assert inputs_of(conversion, "2") == {"any_02": ["1", 0]}
        assert inputs_of(conversion, "3") == {"model": ["2", 0], "lora_1": lora}
        assert "4" not in conversion.prompt

    def test_anything_everywhere_reaches_open_inputs(self, definitions: Definitions) -> None:
        workflow = graph(
            {
                **node(1, "CheckpointLoaderSimple", "a"),
                "outputs": [{"type": kind} for kind in ("MODEL", "CLIP", "VAE")],
            },
            node(2, "Anything Everywhere", anything=1),
            node(3, "VAEDecode"),
            links=[(1, 1, 2, 2, 0)],
        )

        conversion = convert(workflow, definitions)

        assert inputs_of(conversion, "3") == {"vae": ["1", 2]}
        assert "2" not in conversion.prompt

    def test_prompts_everywhere_tells_positive_from_negative(self, definitions: Definitions) -> None:
        encoders = [{**node(number, "CLIPTextEncode", "x"), "outputs": [{"type": "CONDITIONING"}]} for number in (1, 2)]
        workflow = graph(
            *encoders,
            node(3, "Prompts Everywhere", first=1, second=2),
            node(4, "KSampler"),
            links=[(1, 1, 0, 3, 0), (2, 2, 0, 3, 1)],
        )

        inputs = inputs_of(convert(workflow, definitions), "4")

        assert (inputs["positive"], inputs["negative"]) == (["1", 0], ["2", 0])

    @pytest.mark.parametrize(
        ("title", "is_wired"), [(".*", True), ("Decode", True), ("Sampler", False), ("(a+)+", False)]
    )
    def test_a_filter_of_anything_everywhere_keeps_to_its_titles(
        self, title: str, definitions: Definitions, *, is_wired: bool
    ) -> None:
        workflow = graph(
            {
                **node(1, "CheckpointLoaderSimple", "a"),
                "outputs": [{"type": kind} for kind in ("MODEL", "CLIP", "VAE")],
            },
            node(2, "Anything Everywhere?", title, ".*", anything=1),
            node(3, "VAEDecode"),
            links=[(1, 1, 2, 2, 0)],
        )

        assert bool(inputs_of(convert(workflow, definitions), "3")) == is_wired


class TestRefusals:
    @pytest.mark.parametrize("workflow", [None, 5, "x", [], [{}], {"a": 1}, {"prompt": 5}, {"prompt": {"a": []}}])
    def test_json_that_is_no_workflow(self, workflow: Any, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="no ComfyUI workflow"):
            convert(workflow, definitions)

    @pytest.mark.parametrize("workflow", [{}, graph(), graph(node(1, "Note", "x")), {"prompt": {}}])
    def test_nothing_to_send(self, workflow: Any, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="no nodes that can be sent"):
            convert(workflow, definitions)

    def test_a_newer_schema(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="schema version 2") as caught:
            convert({**graph(node(1, "Line")), "version": 2}, definitions)

        assert "格式版本" in caught.value.zh

    @pytest.mark.parametrize("bad", [5, {}, {"id": 1}, {"type": "Line"}, {"id": None, "type": "Line"}])
    def test_a_node_that_is_none_is_named_by_its_place(self, bad: Any, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match=r"nodes\[1\] is no node"):
            convert(graph(node(1, "Line"), bad), definitions)

    def test_a_prompt_node_without_a_class(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="Node 2 has no class_type"):
            convert({"1": SAVE, "2": {"inputs": {}}}, definitions)

    def test_an_unknown_node_is_named_with_its_pack(self, definitions: Definitions) -> None:
        unknown = {**node(2, "Sharpen+", image=1), "properties": {"cnr_id": "comfyui_essentials"}}
        workflow = graph(node(1, "EmptyImage", *SIZE, 0), unknown, links=[(1, 1, 0, 2, 0)])

        with pytest.raises(InvalidInput, match=r"Sharpen\+ \(2, comfyui_essentials\)"):
            convert(workflow, definitions)

    @pytest.mark.parametrize("mode", [2, 4])
    def test_an_unknown_node_that_is_off_does_no_harm(self, mode: int, definitions: Definitions) -> None:
        workflow = graph(node(1, "Unknown", mode=mode), node(2, "Line", "x"))

        assert list(convert(workflow, definitions).prompt) == ["2"]

    def test_an_unknown_node_with_no_wire_is_left_out_and_told(self, definitions: Definitions) -> None:
        conversion = convert(graph(node(1, "Unknown"), node(2, "Line", "x")), definitions)

        assert (list(conversion.prompt), codes(conversion)) == (["2"], ["unknown_node"])

    def test_nodes_in_a_circle(self, definitions: Definitions) -> None:
        workflow = graph(node(1, "Line", text=2), node(2, "Line", text=1), links=[(1, 1, 0, 2, 0), (2, 2, 0, 1, 0)])

        with pytest.raises(InvalidInput, match="circle: 1 -> 2 -> 1"):
            convert(workflow, definitions)

    def test_reroutes_in_a_circle(self, definitions: Definitions) -> None:
        workflow = graph(
            node(1, "Reroute", **{"": 2}),
            node(2, "Reroute", **{"": 1}),
            node(3, "Line", text=3),
            links=[(1, 1, 0, 2, 0), (2, 2, 0, 1, 0), (3, 1, 0, 3, 0)],
        )

        with pytest.raises(InvalidInput, match="'text' runs in a circle"):
            convert(workflow, definitions)

    def test_braces_without_end(self, definitions: Definitions) -> None:
        with pytest.raises(InvalidInput, match="braces nested more than 50 deep"):
            convert(graph(node(1, "CLIPTextEncode", "{" * 5000)), definitions)

    def test_the_arguments_are_left_alone(self, definitions: Definitions) -> None:
        pair = pairs.pair("pinned", "image_flux2")
        before = json.dumps(pair.workflow)

        convert(pair.workflow, definitions)

        assert json.dumps(pair.workflow) == before


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "sent"),
        [
            ("a {x|y} b", "a x b"),
            ("{a {b|c}|d}", "a b"),
            (r"\{x\|y\}", "{x|y}"),
            ("see http://x", "see http:"),
            ("one /* two\nthree */ four", "one  four"),
            ("{open|end", "open"),
            ("{}", ""),
            ("tail \\", "tail \\"),
        ],
    )
    def test_choices_and_comments(self, text: str, sent: str, definitions: Definitions) -> None:
        conversion = convert(graph(node(1, "CLIPTextEncode", text)), definitions, choose=lambda options: options[0])

        assert inputs_of(conversion, "1") == {"text": sent}

    @pytest.mark.parametrize(
        ("prefix", "sent"),
        [
            ("%EmptyImage.width%x%Named.height%", "64x32"),
            ("%date:yyyy-MM-dd_hhmmss%/%date:yy%", "2026-11-09_070503/26"),
            ("%Nope.x%%width%", "%Nope.x%%width%"),
            ("%Line.text%", "a_b_c"),
        ],
    )
    def test_names_of_files(
        self, prefix: str, sent: str, definitions: Definitions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("comfybridge.convert.emit.now", lambda: datetime(2026, 11, 9, 7, 5, 3, tzinfo=UTC))
        named = {**node(2, "EmptyLatentImage", 16, 32.0, 1), "title": "Named"}
        workflow = graph(
            node(1, "EmptyImage", *SIZE, 0), named, node(3, "Line", "a/b:c"), node(4, "SaveImage", prefix, images=None)
        )

        assert inputs_of(convert(workflow, definitions), "4") == {"filename_prefix": sent}
