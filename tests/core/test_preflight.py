from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge import library, preflight, workflow
from comfybridge.preflight import Problem
from comfybridge.workflow import Definitions, InputRef
from tests.core.recorded import REFUSALS, refusal

NAMES = [
    "SDXL/sd_xl_base_1.0.safetensors",
    "SDXL/sd_xl_refiner_1.0.safetensors",
    "juggernautXL_v9.safetensors",
    "v1-5-pruned-emaonly-fp16.safetensors",
    "通义/造像.safetensors",
]
LEGACY = {"L": {"input": {"required": {"pick": [["a", "b"], {}]}}, "output_node": True}}
MODERN = {"L": {"input": {"required": {"pick": ["COMBO", {"options": ["a", "b"]}]}}, "output_node": True}}


def graph(**changed: Any) -> dict[str, dict[str, Any]]:
    """The template sd15 with inputs replaced, written as ``id__input``."""
    refs = {InputRef(*name.removeprefix("n").split("__", 1)): value for name, value in changed.items()}
    return workflow.fill(library.load("sd15").prompt, refs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ERROR_TYPES = st.sampled_from(
    ("value_not_in_list", "value_bigger_than_max", "invalid_input_type", "exception_during_validation", "return_type")
)
NODE_ERROR = st.fixed_dictionaries(
    {},
    optional={
        "type": ERROR_TYPES | JSON,
        "message": JSON,
        "details": JSON,
        "extra_info": JSON
        | st.fixed_dictionaries(
            {}, optional={"input_name": JSON, "input_config": JSON, "received_value": JSON, "received_type": JSON}
        ),
    },
)
REPORT = st.fixed_dictionaries({}, optional={"errors": JSON | st.lists(JSON | NODE_ERROR, max_size=3)})
BODY = st.fixed_dictionaries(
    {},
    optional={
        "error": JSON | st.fixed_dictionaries({}, optional={"type": JSON, "message": JSON, "details": JSON}),
        "node_errors": JSON | st.dictionaries(st.sampled_from(("3", "nobody")), JSON | REPORT, max_size=2),
    },
)
"""What a 400 may say: as ComfyUI says it, or with any other thing in any of its places."""


def codes(problems: list[Problem]) -> list[tuple[str, str, str]]:
    return [(problem.node_id, problem.input, problem.code) for problem in problems]


class TestFindName:
    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ("SDXL/sd_xl_base_1.0.safetensors", "SDXL/sd_xl_base_1.0.safetensors"),
            ("SDXL\\sd_xl_base_1.0.safetensors", "SDXL/sd_xl_base_1.0.safetensors"),
            ("sd_xl_base_1.0.safetensors", "SDXL/sd_xl_base_1.0.safetensors"),
            ("models/checkpoints/sd_xl_base_1.0.safetensors", "SDXL/sd_xl_base_1.0.safetensors"),
            ("SD_XL_BASE_1.0.SAFETENSORS", "SDXL/sd_xl_base_1.0.safetensors"),
            ("sd_xl_base_1.0", "SDXL/sd_xl_base_1.0.safetensors"),
            ("sd_xl_base_1.0.ckpt", "SDXL/sd_xl_base_1.0.safetensors"),
            ("sd xl base 1.0", "SDXL/sd_xl_base_1.0.safetensors"),
            ("juggernaut", "juggernautXL_v9.safetensors"),
            ("JuggernautXL", "juggernautXL_v9.safetensors"),
            ("jugernautXL_v9", "juggernautXL_v9.safetensors"),
            ("emaonly", "v1-5-pruned-emaonly-fp16.safetensors"),
            ("造像", "通义/造像.safetensors"),
        ],
        ids=[
            "exact",
            "backslash",
            "no folder",
            "other folder",
            "case",
            "no extension",
            "other extension",
            "spaces",
            "part",
            "part with case",
            "typo",
            "middle part",
            "chinese",
        ],
    )
    def test_one_name_that_fits_is_found(self, wanted: str, found: str) -> None:
        assert preflight.find_name(wanted, NAMES).name == found

    def test_windows_server_is_found_from_a_slash(self) -> None:
        assert preflight.find_name("SDXL/base.safetensors", ["SDXL\\base.safetensors"]).name == "SDXL\\base.safetensors"

    def test_ambiguous_part_finds_nothing_but_names_the_candidates(self) -> None:
        match = preflight.find_name("sd_xl", NAMES)

        assert match.name is None
        assert set(match.nearest) == {"SDXL/sd_xl_base_1.0.safetensors", "SDXL/sd_xl_refiner_1.0.safetensors"}

    def test_same_file_in_two_folders_is_ambiguous(self) -> None:
        match = preflight.find_name("model.safetensors", ["a/model.safetensors", "b/model.safetensors"])

        assert match.name is None
        assert set(match.nearest) == {"a/model.safetensors", "b/model.safetensors"}

    @pytest.mark.parametrize("wanted", ["SDXL/model.safetensors", "sdxl\\model", "sdxl/model"])
    def test_folder_tells_two_files_of_one_name_apart(self, wanted: str) -> None:
        names = ["sdxl/model.safetensors", "sd15/model.safetensors"]

        assert preflight.find_name(wanted, names).name == "sdxl/model.safetensors"

    @pytest.mark.parametrize(
        ("wanted", "other"),
        [
            ("sd_xl_base_1.0.safetensors", "sd_xl_base_0.9.safetensors"),
            ("juggernautXL_v8.safetensors", "juggernautXL_v9.safetensors"),
            ("flux1-dev-fp8.safetensors", "flux1-dev-fp16.safetensors"),
        ],
    )
    def test_another_version_is_no_typo(self, wanted: str, other: str) -> None:
        match = preflight.find_name(wanted, [other])

        assert match.name is None
        assert match.nearest == (other,)

    @pytest.mark.parametrize("wanted", ["", " ", "...", "/", ".safetensors"])
    def test_nothing_finds_nothing(self, wanted: str) -> None:
        assert preflight.find_name(wanted, NAMES).name is None

    def test_far_name_finds_nothing(self) -> None:
        assert preflight.find_name("qwen_image_fp8.safetensors", NAMES).name is None

    def test_at_most_three_are_named(self) -> None:
        names = [f"anime_{letter}.safetensors" for letter in "abcdef"]

        assert len(preflight.find_name("anime", names).nearest) == 3

    @given(st.text(), st.lists(st.text(), max_size=6))
    def test_what_is_found_is_there(self, wanted: str, names: list[str]) -> None:
        match = preflight.find_name(wanted, names)

        assert match.name is None or match.name in names
        assert set(match.nearest) <= set(names)
        assert len(match.nearest) <= 3

    @given(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True), st.data())
    def test_exact_name_always_wins(self, names: list[str], data: st.DataObject) -> None:
        wanted = data.draw(st.sampled_from(names))

        assert preflight.find_name(wanted, names).name == wanted


class TestNotFound:
    def test_nearest_and_their_number_are_named(self) -> None:
        english, chinese = preflight.not_found("the model", "模型", "sd_xl", NAMES)

        assert english == (
            "the model 'sd_xl' is not on the server. Nearest of 5: 'SDXL/sd_xl_base_1.0.safetensors',"
            " 'SDXL/sd_xl_refiner_1.0.safetensors'."
        )
        assert chinese.startswith("服务器上没有模型“sd_xl”。共有 5 个")

    def test_without_anything_near_the_first_ones_are_named(self) -> None:
        english, _ = preflight.not_found("the model", "模型", "qqqq", NAMES)

        assert "'SDXL/sd_xl_base_1.0.safetensors'" in english

    def test_server_without_any_says_so(self) -> None:
        english, chinese = preflight.not_found("the LoRA", "LoRA ", "ink", [])

        assert english == "the LoRA 'ink' is not on the server: it has none at all."
        assert chinese == "服务器上没有LoRA “ink”，而且一个也没有安装。"


class TestOptions:
    @pytest.mark.parametrize("definitions", [LEGACY, MODERN], ids=["legacy", "modern"])
    def test_combo_is_read_in_either_encoding(self, definitions: Definitions) -> None:
        assert preflight.options(definitions, "L", "pick") == ["a", "b"]

    @pytest.mark.parametrize(
        "spec",
        [["INT", {"min": 0}], ["COMBO"], ["COMBO", {"remote": {"route": "/x"}}], ["MODEL"], [], "STRING"],
        ids=str,
    )
    def test_what_lists_no_values_is_no_combo(self, spec: Any) -> None:
        assert preflight.options({"L": {"input": {"required": {"pick": spec}}}}, "L", "pick") is None

    def test_unknown_class_or_input_is_no_combo(self) -> None:
        assert preflight.options(LEGACY, "M", "pick") is None
        assert preflight.options(LEGACY, "L", "other") is None

    def test_optional_inputs_are_found_too(self) -> None:
        assert preflight.options({"L": {"input": {"optional": {"pick": [["a"]]}}}}, "L", "pick") == ["a"]

    def test_server_lists_its_checkpoints(self, definitions: Definitions) -> None:
        assert preflight.options(definitions, "CheckpointLoaderSimple", "ckpt_name") == [
            "sd_xl_base_1.0.safetensors",
            "v1-5-pruned-emaonly-fp16.safetensors",
        ]


class TestCheck:
    def test_good_graph_has_no_problem(self, definitions: Definitions) -> None:
        assert preflight.check(graph(), definitions) == []

    def test_missing_class_is_named(self, definitions: Definitions) -> None:
        prompt = {**graph(), "8": {**graph()["8"], "class_type": "FancyDecode", "_meta": {"title": "My decoder"}}}

        (problem,) = preflight.check(prompt, definitions)

        assert (problem.node_id, problem.title, problem.code) == ("8", "My decoder", "missing_node")
        assert "'FancyDecode'" in problem.message_en
        assert "“FancyDecode”" in problem.message_zh

    def test_missing_model_names_the_nearest(self, definitions: Definitions) -> None:
        (problem,) = preflight.check(graph(n4__ckpt_name="sd_xl_base_0.9.safetensors"), definitions)

        assert (problem.node_id, problem.input, problem.code) == ("4", "ckpt_name", "missing_model")
        assert "sd_xl_base_1.0.safetensors" in problem.message_en

    def test_unknown_sampler_names_the_nearest(self, definitions: Definitions) -> None:
        (problem,) = preflight.check(graph(n3__sampler_name="dpmpp2m"), definitions)

        assert problem.code == "value_not_in_list"
        assert "'dpmpp_2m'" in problem.message_en

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"n5__width": 8}, "value_smaller_than_min"),
            ({"n3__steps": 100000}, "value_bigger_than_max"),
            ({"n3__seed": 2**64}, "value_bigger_than_max"),
            ({"n3__cfg": -1.0}, "value_smaller_than_min"),
        ],
        ids=str,
    )
    def test_number_out_of_range_is_found(self, changed: dict[str, Any], code: str, definitions: Definitions) -> None:
        (problem,) = preflight.check(graph(**changed), definitions)

        assert problem.code == code

    @pytest.mark.parametrize("seed", [0, 2**64 - 1])
    def test_limits_themselves_are_allowed(self, seed: int, definitions: Definitions) -> None:
        assert preflight.check(graph(n3__seed=seed), definitions) == []

    def test_number_as_text_is_left_to_the_server(self, definitions: Definitions) -> None:
        assert preflight.check(graph(n3__steps="20"), definitions) == []

    @pytest.mark.parametrize("value", [None, {"a": 1}, [1]], ids=str)
    def test_value_of_no_sensible_type_does_not_break_the_check(self, value: Any, definitions: Definitions) -> None:
        preflight.check(graph(n3__steps=value), definitions)

    def test_missing_required_input_is_found(self, definitions: Definitions) -> None:
        prompt = graph()
        del prompt["3"]["inputs"]["steps"]

        assert codes(preflight.check(prompt, definitions)) == [("3", "steps", "required_input_missing")]

    def test_dangling_link_is_found(self, definitions: Definitions) -> None:
        (problem,) = preflight.check(graph(n3__model=["44", 0]), definitions)

        assert (problem.node_id, problem.input, problem.code) == ("3", "model", "dangling_link")
        assert "44" in problem.message_en

    def test_graph_without_an_output_is_found(self, definitions: Definitions) -> None:
        prompt = {node_id: node for node_id, node in graph().items() if node_id != "9"}

        assert codes(preflight.check(prompt, definitions)) == [("", "", "no_output")]

    def test_all_problems_are_found_at_once(self, definitions: Definitions) -> None:
        prompt = graph(n4__ckpt_name="gone.safetensors", n3__steps=0, n3__sampler_name="zzz")

        assert set(codes(preflight.check(prompt, definitions))) == {
            ("3", "steps", "value_smaller_than_min"),
            ("3", "sampler_name", "value_not_in_list"),
            ("4", "ckpt_name", "missing_model"),
        }

    def test_unknown_extra_input_is_ignored_as_comfyui_does(self, definitions: Definitions) -> None:
        assert preflight.check(graph(n3__note="hello"), definitions) == []

    @pytest.mark.parametrize("definitions", [LEGACY, MODERN], ids=["legacy", "modern"])
    @pytest.mark.parametrize(("value", "problems"), [("a", 0), ("c", 1)])
    def test_both_combo_encodings_are_checked(self, value: str, problems: int, definitions: Definitions) -> None:
        prompt = {"1": {"class_type": "L", "inputs": {"pick": value}}}

        assert len(preflight.check(prompt, definitions)) == problems

    @pytest.mark.parametrize(
        ("label", "code"),
        [
            ("unknown class_type", "missing_node"),
            ("missing required input", "required_input_missing"),
            ("value smaller than min (two nodes)", "value_smaller_than_min"),
            ("value bigger than max", "value_bigger_than_max"),
            ("link to a missing node", "dangling_link"),
            ("no output node", "no_output"),
            ("combo >20 options", "value_not_in_list"),
        ],
    )
    def test_what_comfyui_refused_is_found_before_sending(
        self, label: str, code: str, definitions: Definitions
    ) -> None:
        assert code in [problem.code for problem in preflight.check(refusal(label)["prompt"], definitions)]


FILES: Definitions = {
    "LoadImage": {
        "input": {"required": {"image": [["here.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "LoadAudio": {
        "input": {"required": {"audio": ["COMBO", {"audio_upload": True, "options": []}]}},
        "output": ["AUDIO"],
    },
    "Save": {"input": {"required": {}, "optional": {"images": ["IMAGE", {}]}}, "output": [], "output_node": True},
    "Paid": {"input": {"required": {}}, "output": ["IMAGE"], "api_node": True},
    "Grow": {
        "input": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {"min": 2}}]}},
        "output": ["IMAGE"],
        "output_node": True,
    },
}


def saved(**nodes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {**nodes, "save": {"class_type": "Save", "inputs": {}}}


class TestCheckOfWholeWorkflows:
    @pytest.mark.parametrize(
        ("pack", "english", "chinese"),
        [
            ({"properties": {"cnr_id": "fancy-pack"}}, "Install the custom node pack 'fancy-pack'.", "fancy-pack"),
            (
                {"_meta": {"title": "T", "cnr_id": "fancy-pack"}},
                "Install the custom node pack 'fancy-pack'.",
                "fancy-pack",
            ),
            ({"_meta": {"title": "T", "properties": {"aux_id": "who/what"}}}, "node pack 'who/what'.", "who/what"),
            ({"properties": {"cnr_id": "comfy-core"}}, "Update ComfyUI.", "请更新 ComfyUI。"),
            ({}, "Update ComfyUI, or install its custom node pack.", "请更新 ComfyUI，或安装"),
        ],
        ids=["properties", "meta", "meta properties", "core", "unknown"],
    )
    def test_pack_of_a_missing_class_is_named(self, pack: dict[str, Any], english: str, chinese: str) -> None:
        prompt = saved(n={"class_type": "Fancy", "inputs": {}, **pack})

        (problem,) = preflight.check(prompt, FILES)

        assert (problem.node_id, problem.code) == ("n", "missing_node")
        assert problem.message_en.endswith(english)
        assert chinese in problem.message_zh

    @pytest.mark.parametrize(
        ("class_type", "name", "value", "code"),
        [("LoadImage", "image", "gone.png", "missing_image"), ("LoadAudio", "audio", "gone.mp3", "missing_file")],
    )
    def test_missing_file_is_to_be_uploaded(self, class_type: str, name: str, value: str, code: str) -> None:
        (problem,) = preflight.check(saved(n={"class_type": class_type, "inputs": {name: value}}), FILES)

        assert (problem.node_id, problem.input, problem.code) == ("n", name, code)
        assert f"'{value}' is not in the server's input folder: upload it" in problem.message_en
        assert "请上传" in problem.message_zh

    @pytest.mark.parametrize("value", ["here.png", "folder/a.png", "folder\\a.png", "a.png [output]", "a.png [temp]"])
    def test_file_that_comfyui_does_not_list_may_be_there(self, value: str) -> None:
        assert preflight.check(saved(n={"class_type": "LoadImage", "inputs": {"image": value}}), FILES) == []

    def test_paid_service_needs_a_key(self) -> None:
        prompt = saved(n={"class_type": "Paid", "inputs": {}})

        (problem,) = preflight.check(prompt, FILES)

        assert (problem.node_id, problem.code) == ("n", "no_key")
        assert preflight.check(prompt, FILES, has_key=True) == []

    def test_each_ring_is_named_once(self) -> None:
        def wired(*sources: str) -> dict[str, Any]:
            return {"class_type": "Save", "inputs": {f"i{n}": [source, 0] for n, source in enumerate(sources)}}

        prompt = {"a": wired("b"), "b": wired("a"), "c": wired("c"), "d": wired("a"), "e": wired()}

        problems = [problem for problem in preflight.check(prompt, FILES) if problem.code == "cycle"]

        assert [problem.node_id for problem in problems] == ["a", "c"]
        assert "the nodes b → a → b wait for each other." in problems[0].message_en

    @pytest.mark.parametrize(("given_parts", "count"), [({"images.image0": "x"}, 0), ({}, 1)])
    def test_input_that_grows_is_there_when_a_part_is(self, given_parts: dict[str, Any], count: int) -> None:
        problems = preflight.check({"n": {"class_type": "Grow", "inputs": given_parts}}, FILES)

        assert [problem.code for problem in problems] == ["required_input_missing"] * count

    def test_text_for_a_number_is_found(self, definitions: Definitions) -> None:
        (problem,) = preflight.check(graph(n3__steps="many"), definitions)

        assert (problem.node_id, problem.input, problem.code) == ("3", "steps", "invalid_input_type")
        assert "'steps' is 'many', which is not of the type INT." in problem.message_en

    @given(st.dictionaries(st.text(max_size=2), st.none() | st.integers() | st.dictionaries(
        st.sampled_from(("class_type", "inputs", "_meta")),
        st.sampled_from(("Save", "LoadImage", "Grow")) | st.integers() | st.dictionaries(
            st.sampled_from(("image", "images", "a")),
            st.none() | st.text(max_size=2) | st.lists(st.text(max_size=1) | st.integers(), max_size=3), max_size=3),
    ), max_size=5))  # fmt: skip
    def test_any_graph_only_gets_problems(self, prompt: Any) -> None:
        assert all(isinstance(problem, Problem) for problem in preflight.check(prompt, FILES))


class TestRepair:
    @pytest.mark.parametrize(
        "written",
        ["SDXL\\base.safetensors", "base.safetensors", "other/base.safetensors", "sdxl/BASE.safetensors"],
        ids=["slash", "no folder", "other folder", "case"],
    )
    def test_same_file_elsewhere_is_used_and_told(self, written: str) -> None:
        definitions = {"L": {"input": {"required": {"ckpt_name": [["SDXL/base.safetensors", "x.safetensors"], {}]}}}}
        prompt = {"4": {"class_type": "L", "inputs": {"ckpt_name": written}, "_meta": {"title": "Loader"}}}

        repaired = preflight.repair(prompt, definitions)

        assert repaired.prompt["4"]["inputs"] == {"ckpt_name": "SDXL/base.safetensors"}
        assert repaired.notes == (
            (
                f"Node 4 (Loader): '{written}' is 'SDXL/base.safetensors' on this server.",
                f"节点 4（Loader）：“{written}”在此服务器上为“SDXL/base.safetensors”。",
            ),
        )
        assert prompt["4"]["inputs"] == {"ckpt_name": written}

    @pytest.mark.parametrize(
        ("written", "names"),
        [
            ("base.safetensors", ["a/base.safetensors", "b/base.safetensors"]),
            ("base.ckpt", ["base.safetensors"]),
            ("base_v1.safetensors", ["base_v2.safetensors"]),
            ("a/base.safetensors", ["a/base.safetensors", "b/base.safetensors"]),
            ("eulr", ["euler"]),
        ],
        ids=["two of them", "other kind", "other version", "exact", "no file"],
    )
    def test_what_is_not_certain_stays(self, written: str, names: list[str]) -> None:
        prompt = {"4": {"class_type": "L", "inputs": {"ckpt_name": written}}}

        repaired = preflight.repair(prompt, {"L": {"input": {"required": {"ckpt_name": [names, {}]}}}})

        assert (repaired.prompt, repaired.notes) == (prompt, ())


class TestExplain:
    @pytest.mark.parametrize("refused", REFUSALS, ids=lambda refused: str(refused["label"]))
    def test_every_recorded_refusal_is_explained(self, refused: dict[str, Any], definitions: Definitions) -> None:
        prompt = refused["prompt"] if isinstance(refused["prompt"], dict) else {}

        problems = preflight.explain(refused["body"], prompt, definitions)

        assert problems
        assert all(problem.message_en.strip() and problem.message_zh.strip() for problem in problems)
        assert not any("Traceback" in problem.message_en or "/srv/" in problem.message_en for problem in problems)

    def test_unknown_checkpoint_is_a_missing_model(self, definitions: Definitions) -> None:
        refused = refusal("unknown checkpoint")

        (problem,) = preflight.explain(refused["body"], refused["prompt"], definitions)

        assert (problem.node_id, problem.input, problem.code) == ("4", "ckpt_name", "missing_model")
        assert "'nope.safetensors' is not on the server" in problem.message_en
        assert "Nearest of 2" in problem.message_en

    def test_two_bad_nodes_are_two_problems(self, definitions: Definitions) -> None:
        refused = refusal("value smaller than min (two nodes)")

        problems = preflight.explain(refused["body"], refused["prompt"], definitions)

        assert {problem.node_id for problem in problems} == set(refused["body"]["node_errors"])
        assert {problem.code for problem in problems} == {"value_smaller_than_min"}

    def test_range_is_told_in_numbers(self, definitions: Definitions) -> None:
        refused = refusal("value bigger than max")

        (problem,) = preflight.explain(refused["body"], refused["prompt"], definitions)

        assert "steps is 100000, but must be from 1 to 10000." in problem.message_en

    def test_options_that_comfyui_left_out_are_looked_up(self, definitions: Definitions) -> None:
        refused = refusal("combo >20 options")

        (problem,) = preflight.explain(refused["body"], refused["prompt"], definitions)

        assert problem.code == "value_not_in_list"
        assert "Nearest of 44" in problem.message_en

    def test_unknown_class_is_found_in_the_graph(self, definitions: Definitions) -> None:
        refused = refusal("unknown class_type")

        (problem,) = preflight.explain(refused["body"], refused["prompt"], definitions)

        assert (problem.node_id, problem.code) == ("3", "missing_node")
        assert "'NoSuchNode'" in problem.message_en

    @pytest.mark.parametrize(
        ("code", "details", "words"),
        [
            (
                "template_not_allowed",
                "sd15, sdxl",
                ("templates only, as they are: sd15, sdxl.", "以下模板：sd15, sdxl。"),
            ),
            ("too_many_pixels", "4194304 > 1048576", ("pixels (4194304 > 1048576).", "（4194304 > 1048576）")),
        ],
    )
    def test_what_a_key_may_not_is_told_in_both_languages(
        self, code: str, details: str, words: tuple[str, str], definitions: Definitions
    ) -> None:
        error = {"type": code, "message": "No.", "details": details, "extra_info": {}}

        (problem,) = preflight.explain({"error": error, "node_errors": {}}, graph(), definitions)

        assert problem.code == code
        assert words[0] in problem.message_en
        assert words[1] in problem.message_zh

    def test_refusal_without_node_errors_gives_comfyuis_words(self, definitions: Definitions) -> None:
        refused = refusal("real cycle")

        (problem,) = preflight.explain(refused["body"], graph(), definitions)

        assert problem.node_id == ""
        assert problem.message_en.startswith("ComfyUI says: Prompt outputs failed validation")

    def test_cycle_that_comfyui_does_not_name_is_named(self, definitions: Definitions) -> None:
        refused = refusal("real cycle")

        (problem,) = preflight.explain(refused["body"], refused["prompt"], definitions)

        assert problem.code == "cycle"
        assert "wait for each other" in problem.message_en

    def test_missing_class_is_told_without_any_definitions(self) -> None:
        refused = refusal("unknown class_type")

        (problem,) = preflight.explain(refused["body"], refused["prompt"], {})

        assert (problem.node_id, problem.code) == ("3", "missing_node")
        assert "'NoSuchNode'" in problem.message_en

    @pytest.mark.parametrize(
        ("label", "code", "words"),
        [
            ("missing required input", "required_input_missing", "'steps' is not set."),
            ("wrong type (not convertible)", "invalid_input_type", "'steps' is 'abc', which is not of the type INT."),
            ("link of wrong type", "return_type_mismatch", "'model' takes MODEL, but CLIP is wired to it."),
            ("bad link (length 1)", "bad_linked_input", "'model' is no proper wire"),
            ("link to a missing node", "dangling_link", "is wired to node 44, which is not in the workflow."),
            (
                "link to a missing output slot",
                "exception_during_inner_validation",
                "'samples' is wired to: tuple index",
            ),
            ("LoadImage missing file", "missing_image", "the image 'missing.png' is not in the server's input folder"),
            ("no output node", "no_output", "The workflow saves nothing"),
            ("no prompt key", "no_prompt", "No workflow was sent."),
            ("node without class_type", "missing_node", "it says no node class"),
        ],
    )
    def test_comfyuis_errors_are_put_into_our_words(
        self, label: str, code: str, words: str, definitions: Definitions
    ) -> None:
        refused = refusal(label)
        prompt = refused["prompt"] if isinstance(refused["prompt"], dict) else {}

        problems = preflight.explain(refused["body"], prompt, definitions)

        assert any(problem.code == code and words in problem.message_en for problem in problems)

    def test_partly_valid_graph_names_its_bad_outputs(self, definitions: Definitions) -> None:
        refused = refusal("partially valid: outputs 2 good, 20 and 22 bad")

        problems = preflight.explain({"node_errors": refused["body"]["node_errors"]}, refused["prompt"], definitions)

        assert {problem.node_id for problem in problems} == {"20", "21"}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"error": None},
            {"error": "text"},
            {"error": {}},
            {"error": {"message": "m"}, "node_errors": None},
            {"node_errors": {"3": {}}},
            {"node_errors": {"3": {"errors": [{}]}}},
            {"node_errors": {"3": {"errors": [{"type": "value_not_in_list"}]}}},
            {"node_errors": {"3": {"errors": [{"type": "value_bigger_than_max", "extra_info": None}]}}},
        ],
        ids=str,
    )
    def test_odd_bodies_are_explained_too(self, body: dict[str, Any], definitions: Definitions) -> None:
        assert preflight.explain(body, graph(), definitions)

    def test_refusal_is_explained_without_any_definitions(self) -> None:
        refused = refusal("unknown checkpoint")

        (problem,) = preflight.explain(refused["body"], refused["prompt"], {})

        assert "nope.safetensors" in problem.message_en


class TestSentences:
    def problem(self, number: int) -> Problem:
        return Problem(str(number), "t", "i", "c", f"English {number}.", f"中文{number}。")

    def test_few_are_all_said(self) -> None:
        assert preflight.sentences([self.problem(1), self.problem(2)]) == ("English 1. English 2.", "中文1。中文2。")

    def test_many_are_cut_and_counted(self) -> None:
        english, chinese = preflight.sentences([self.problem(number) for number in range(8)])

        assert english.endswith("English 4. (and 3 more)")
        assert chinese.endswith("中文4。（另有 3 处）")


class TestStrangeRefusals:
    @given(BODY)
    def test_any_body_is_put_into_one_line_of_words(self, body: dict[str, Any]) -> None:
        english, chinese = preflight.sentences(preflight.explain(body, graph(), {}))

        assert english.strip()
        assert chinese.strip()
        assert len(english.splitlines()) == len(chinese.splitlines()) == 1

    @pytest.mark.parametrize(
        "node_errors",
        [
            "no GPU left",
            ["no GPU left"],
            {"3": "no GPU left"},
            {"3": ["no GPU left"]},
            {"3": {"errors": "no GPU left"}},
            {"3": {"errors": ["no GPU left"]}},
            {"3": {"reason": "no GPU left"}},
        ],
        ids=str,
    )
    def test_what_has_another_shape_is_quoted(self, node_errors: Any) -> None:
        english, chinese = preflight.sentences(preflight.explain({"node_errors": node_errors}, graph(), {}))

        assert "no GPU left" in english
        assert "no GPU left" in chinese

    def test_quote_is_cut(self) -> None:
        for body in ({"error": "x" * 100_000}, {"node_errors": ["x" * 100_000]}, {"error": {"message": "x" * 100_000}}):
            assert len(preflight.sentences(preflight.explain(body, graph(), {}))[0]) < 700
