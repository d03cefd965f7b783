import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge import parameters
from comfybridge.errors import InvalidInput
from comfybridge.library import Named
from comfybridge.moderation import blocked_words
from comfybridge.parameters import Call, Limits
from comfybridge.pictures import Form
from comfybridge.workflow import Lora


def read(**values: Any) -> Call:
    """Read a call with these parameters; ``max_prompt_length`` and ``serverless`` are the plugin's own settings."""
    longest, serverless = values.pop("max_prompt_length", 8000), values.pop("serverless", False)
    return parameters.text2image({"prompt": "a fox", **values}, Limits(longest, serverless))


NUMBERS = ("width", "height", "steps", "cfg", "count", "seed", "timeout")
EMPTY = ["", "   ", None]


class TestDefaults:
    def test_prompt_alone_is_enough(self) -> None:
        call = read()

        assert (call.source, call.output, call.wait, call.timeout_s, call.progress) == (
            Named("auto"),
            "image",
            True,
            240,
            False,
        )
        assert call.inputs.positive == "a fox"
        assert call.inputs.aspect == (1, 1)
        assert call.inputs.count == 1
        assert (call.inputs.negative, call.inputs.seed, call.inputs.steps, call.inputs.cfg) == (None, None, None, None)
        assert (call.inputs.sampler, call.inputs.scheduler, call.inputs.model, call.inputs.loras) == (
            None,
            None,
            None,
            (),
        )

    @pytest.mark.parametrize("empty", EMPTY, ids=repr)
    def test_empty_parameters_are_as_good_as_missing(self, empty: str | None) -> None:
        names = [
            *("template", "seed", "width", "height", "size", "steps", "cfg", "sampler", "scheduler", "model"),
            *("loras", "count", "timeout", "output", "wait", "progress"),
        ]

        assert read(**dict.fromkeys(names, empty)) == read()

    def test_unknown_parameters_are_ignored(self) -> None:
        assert read(user="x", file=[]) == read()


class TestPrompt:
    @pytest.mark.parametrize("prompt", ["", " ", "\n\t", None, "\u00a0"])
    def test_empty_prompt_is_refused(self, prompt: str | None) -> None:
        with pytest.raises(InvalidInput, match="prompt is empty") as raised:
            read(prompt=prompt)

        assert raised.value.zh == "prompt 为空：请描述画面内容。"

    def test_missing_prompt_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="prompt is empty"):
            parameters.text2image({}, Limits(10, serverless=False))

    @pytest.mark.parametrize("prompt", [' "a"\n\\b\u00a0🦊 ', "猫\r\n", "x" * 8000, "{}%s", "a\tb\x7f\x85\u202e"])
    def test_prompt_stays_as_it_is(self, prompt: str) -> None:
        assert read(prompt=prompt).inputs.positive == prompt

    def test_number_as_prompt_is_its_text(self) -> None:
        assert read(prompt=42).inputs.positive == "42"

    @pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
    def test_text_beyond_the_limit_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidInput, match=rf"^{name} has 11 characters, the limit is 10: shorten it"):
            read(max_prompt_length=10, **{name: "x" * 11})

    def test_text_at_the_limit_is_taken(self) -> None:
        assert read(max_prompt_length=10, prompt="🦊" * 10).inputs.positive == "🦊" * 10

    @pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
    @pytest.mark.parametrize("code", [0, 1, 8, 11, 12, 14, 27, 31])
    def test_control_character_is_refused_with_its_place(self, name: str, code: int) -> None:
        with pytest.raises(InvalidInput) as raised:
            read(**{name: f"a\t\r\n{chr(code)}b"})

        assert str(raised.value) == f"{name} holds a control character (U+{code:04X}, character 5): take it out."
        assert raised.value.zh == f"{name} 的第 5 个字符是控制字符（U+{code:04X}）：请删除。"

    @pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
    def test_half_a_character_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="half a character"):
            read(**{name: "a\ud83d"})

    def test_negative_prompt_is_taken(self) -> None:
        assert read(negative_prompt=" blurry ").inputs.negative == " blurry "


BLOCKED = Limits(8000, serverless=False, blocked_words=blocked_words("blood, 色情"))


class TestBlockedWords:
    @pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
    @pytest.mark.parametrize(("text", "written"), [("much B.L.O.O.D!", "B.L.O.O.D"), ("一张色 情图片", "色 情")])
    def test_prompt_with_a_blocked_word_is_refused_in_the_words_of_its_writer(
        self, name: str, text: str, written: str
    ) -> None:
        with pytest.raises(InvalidInput, match=r"^" + name + " holds a word that the operator of this app") as raised:
            parameters.text2image({"prompt": "a fox", name: text}, BLOCKED)

        assert f"'{written}'" in str(raised.value)
        assert f"{name} 包含本应用管理员屏蔽的词语：'{written}'" in raised.value.zh

    def test_word_over_several_lines_is_told_in_one(self) -> None:
        with pytest.raises(InvalidInput, match="'b l o o d'"):
            parameters.text2image({"prompt": "b\nl\no\no\nd"}, BLOCKED)

    @pytest.mark.parametrize(
        "values",
        ["6.text=blood everywhere", '{"6.text": "blood"}', {"6.text": "blood"}, {"6.text": ["a", {"b": "blood"}]}],
        ids=["lines", "JSON", "object", "nested"],
    )
    def test_texts_among_the_values_are_looked_at(self, values: Any) -> None:
        with pytest.raises(InvalidInput, match=r"^values holds a word"):
            parameters.run_workflow({"workflow": "poster", "values": values}, BLOCKED, attached=None)

    def test_texts_of_a_workflow_that_comes_along_are_looked_at(self) -> None:
        pasted = json.dumps({"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "blood"}}})

        with pytest.raises(InvalidInput, match=r"^workflow holds a word"):
            parameters.run_workflow({"workflow": pasted}, BLOCKED, attached=None)

    def test_innocent_call_passes(self) -> None:
        values = {"workflow": "poster", "prompt": "a bloodhound", "values": "6.text=bloody mary\nsteps=20"}

        assert parameters.run_workflow(values, BLOCKED, attached=None).inputs.positive == "a bloodhound"

    def test_number_among_the_values_holds_no_words(self) -> None:
        limits = Limits(8000, serverless=False, blocked_words=blocked_words("64"))

        call = parameters.run_workflow({"workflow": "p", "values": {"width": 64}}, limits, attached=None)

        assert call.inputs.values == {"width": 64}


class TestModerationModel:
    @pytest.mark.parametrize(
        "value",
        [
            None, "", " \n", {}, {"provider": "", "model": ""}, {"provider": None}, "{}", '{"provider":"","model":""}',
            "{'provider': '', 'model': '', 'model_type': 'moderation'}", "{'provider': None, 'model': None}",
        ],
        ids=repr,
    )  # fmt: skip
    def test_no_model_means_no_check(self, value: Any) -> None:
        assert read(moderation_model=value).moderation_model is None

    def test_model_is_what_the_selector_gives(self) -> None:
        chosen = {
            "provider": "langgenius/openai/openai", "model": "gpt-4o", "mode": "completion",
            "completion_params": {"temperature": 0.2, "stop": None},
        }  # fmt: skip

        # An app that was saved with a selector: Dify makes a text of its mapping, in Python's notation.
        for value in (chosen, json.dumps(chosen), str(chosen)):
            model = read(moderation_model=value).moderation_model

            assert model is not None
            assert (model.provider, model.model, model.mode) == ("langgenius/openai/openai", "gpt-4o", "completion")
            assert (model.completion_params, model.shown) == (chosen["completion_params"], "gpt-4o")

    @pytest.mark.parametrize(
        ("typed", "provider", "name"),
        [
            ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
            (" OpenAI / GPT 4o\n", "openai", "GPT 4o"),
            ("siliconflow/Qwen/Qwen2.5-7B-Instruct", "siliconflow", "Qwen/Qwen2.5-7B-Instruct"),
            ("siliconflow/Pro/Qwen/Qwen2.5-7B-Instruct", "siliconflow", "Pro/Qwen/Qwen2.5-7B-Instruct"),
            ("openrouter/openrouter/auto", "openrouter", "openrouter/auto"),
            ("langgenius/openai/openai/gpt-4o-mini", "langgenius/openai/openai", "gpt-4o-mini"),
            ("langgenius/gemini/google/gemini-2.0-flash", "langgenius/gemini/google", "gemini-2.0-flash"),
            ("fox/vllm/vllm/Qwen/Qwen2.5-7B-Instruct", "fox/vllm/vllm", "Qwen/Qwen2.5-7B-Instruct"),
            ("ollama/llama3.2:3b", "ollama", "llama3.2:3b"),
            ("tongyi/通义千问", "tongyi", "通义千问"),
        ],
    )
    def test_model_is_typed(self, typed: str, provider: str, name: str) -> None:
        model = read(moderation_model=typed).moderation_model

        assert model is not None
        assert (model.provider, model.model, model.mode, model.completion_params) == (provider, name, "chat", {})
        assert model.shown == typed.strip()

    def test_long_name_is_shown_in_part(self) -> None:
        model = read(moderation_model=f"openai/{'x' * 500}").moderation_model

        assert model is not None
        assert (len(model.model), len(model.shown)) == (500, 60)

    @pytest.mark.parametrize(
        "value",
        [
            "omni", "openai/", "/gpt-4o", "openai//gpt-4o", "langgenius/openai/gpt-4o", "langgenius/openai/openai",
            "langgenius/openai", "open ai/gpt-4o", "openai.com/gpt-4o", "openai/gpt\x07", "openai/gpt\nx", "a/\ud800",
            "{", "{" * 3000, '{"provider": "p"}', "{'provider': 1, 'model': 2}", "{'a', 'b'}", "{" + " " * 9000 + "}",
            ["x"], 7, True, {"model": "omni"}, {"provider": "p"}, {"provider": 1, "model": 2},
        ],
        ids=lambda value: ascii(value)[:30],
    )  # fmt: skip
    def test_half_a_choice_is_refused(self, value: Any) -> None:
        with pytest.raises(InvalidInput, match="moderation_model names no model: write provider/model") as raised:
            read(moderation_model=value)
        assert "openai/gpt-4o-mini" in raised.value.zh

    def test_texts_to_check_are_all_that_the_caller_says(self) -> None:
        values = {
            "workflow": "p",
            "prompt": "one",
            "negative_prompt": "two",
            "values": {"a": "three", "b": 4, "c": [" "]},
        }

        call = parameters.run_workflow(values, Limits(8000, serverless=False), attached=None)

        assert call.texts == ("one", "two", "three")


class TestNumbers:
    @pytest.mark.parametrize("value", ["1024", 1024, 1024.0, "1024.0", " 1024 ", "1.024e3"], ids=repr)
    def test_side_is_read_in_every_form(self, value: Any) -> None:
        inputs = read(width=value, height=value).inputs

        assert (inputs.width, inputs.height, inputs.aspect) == (1024, 1024, None)
        assert isinstance(inputs.width, int)

    @pytest.mark.parametrize("value", ["7.5", 7.5], ids=repr)
    def test_cfg_may_have_a_fraction(self, value: Any) -> None:
        assert read(cfg=value).inputs.cfg == 7.5

    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [("width", 64, 4096), ("height", 64, 4096), ("steps", 1, 150), ("cfg", 0, 30), ("count", 1, 8)],
    )
    def test_limits_are_inclusive_and_named(self, name: str, low: int, high: int) -> None:
        other = {"width": "height", "height": "width"}.get(name)
        also = {other: 512} if other else {}
        for good in (low, high):
            assert getattr(read(**{name: good}, **also).inputs, name) == good
        for bad in (low - 1, high + 1):
            with pytest.raises(InvalidInput, match=rf"^{name} must be a number from {low} to {high}, not '{bad}'"):
                read(**{name: bad}, **also)

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize(
        "value",
        ["abc", "nan", math.nan, "inf", math.inf, -math.inf, [], {}, True, False, "1,5", "０x10"],
        ids=lambda value: str(value)[:12],
    )
    def test_what_is_no_number_is_refused_by_name(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidInput, match=rf"^{name} must be"):
            read(**{name: value})

    @pytest.mark.parametrize("name", ["steps", "seed"])
    def test_number_too_large_for_a_float_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(InvalidInput, match=rf"^{name} must be"):
            read(**{name: 10**400})

    @pytest.mark.parametrize("name", ["width", "height", "steps", "count"])
    def test_fraction_of_a_whole_number_is_refused(self, name: str) -> None:
        with pytest.raises(
            InvalidInput, match=rf"^{name} must be a whole number, not '{64.5 if name in 'width height' else 2.5}'"
        ):
            read(**{name: 64.5 if name in "width height" else 2.5})

    def test_long_nonsense_is_cut_in_the_error(self) -> None:
        with pytest.raises(InvalidInput) as raised:
            read(steps="9" * 300)

        assert len(str(raised.value)) < 120

    @given(st.sampled_from(NUMBERS), st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none()))
    def test_any_value_is_read_or_refused(self, name: str, value: Any) -> None:
        refusal = ""
        try:
            read(**{name: value})
        except InvalidInput as error:
            refusal = str(error)

        assert refusal == "" or refusal.startswith(f"{name} must be")


class TestTimeout:
    @pytest.mark.parametrize(
        ("value", "seconds"), [("30", 30), (0x1E, 30), (1, 1), (570, 570), (571, 570), ("100000", 570), (2.5, 2.5)]
    )
    def test_timeout_stays_below_what_dify_allows(self, value: Any, seconds: float) -> None:
        assert read(timeout=value).timeout_s == seconds

    @pytest.mark.parametrize(("value", "seconds"), [(None, 240), (300, 270), (270, 270), (60, 60)])
    def test_cloud_allows_less(self, value: Any, seconds: float) -> None:
        assert read(timeout=value, serverless=True).timeout_s == seconds

    @pytest.mark.parametrize("value", [0, "0", -1, 0.5])
    def test_no_time_at_all_is_refused(self, value: Any) -> None:
        with pytest.raises(InvalidInput, match=r"^timeout must be a number from 1 up"):
            read(timeout=value)


class TestSeed:
    @pytest.mark.parametrize(
        ("value", "seed"),
        [
            (0, 0),
            ("0", 0),
            (42, 42),
            ("42", 42),
            (" 42 ", 42),
            (42.0, 42),
            ("42.0", 42),
            (2**60, 2**60),
            (str(2**60), 2**60),
            (2**60 + 1, 2**60 + 1),
            (str(2**60 + 1), 2**60 + 1),
            (float(2**60), 2**60),
            (2**64 - 1, 2**64 - 1),
            (str(2**64 - 1), 2**64 - 1),
        ],
        ids=repr,
    )
    def test_seed_is_exact(self, value: Any, seed: int) -> None:
        assert read(seed=value).inputs.seed == seed

    @pytest.mark.parametrize("value", ["", None, -1, "-1", -1.0, "-1.0", "random", "Random", " RANDOM "], ids=repr)
    def test_random_seed_is_left_open(self, value: Any) -> None:
        assert read(seed=value).inputs.seed is None

    @pytest.mark.parametrize("value", [-2, "-2", 2**64, str(2**64), float(2**64), 1.5, "1.5", "abc", True, "0x10"])
    def test_other_seeds_are_refused(self, value: Any) -> None:
        with pytest.raises(InvalidInput, match=r"^seed must be"):
            read(seed=value)

    @given(st.integers(0, 2**64 - 1))
    def test_every_seed_survives_json(self, seed: int) -> None:
        assert read(**json.loads(json.dumps({"seed": seed}))).inputs.seed == seed
        assert read(seed=str(seed)).inputs.seed == seed


class TestSize:
    @pytest.mark.parametrize(
        ("size", "aspect"),
        [("1:1", (1, 1)), ("16:9", (16, 9)), ("9:16", (9, 16)), (" 21:9 ", (21, 9)), ("3:2", (3, 2))],
    )
    def test_aspect_is_read(self, size: str, aspect: tuple[int, int]) -> None:
        inputs = read(size=size).inputs

        assert (inputs.width, inputs.height, inputs.aspect) == (None, None, aspect)

    @pytest.mark.parametrize("size", ["1024x768", "1024X768", "1024 x 768", "1024×768", "1024*768", " 1024x768 "])
    def test_pixels_are_read_where_an_aspect_is_asked_for(self, size: str) -> None:
        inputs = read(size=size).inputs

        assert (inputs.width, inputs.height, inputs.aspect) == (1024, 768, None)

    @pytest.mark.parametrize(("size", "name"), [("8192x768", "width"), ("1024x8", "height"), ("0x0", "width")])
    def test_pixels_have_the_limits_of_the_sides(self, size: str, name: str) -> None:
        with pytest.raises(InvalidInput, match=rf"^{name} must be a number from 64 to 4096"):
            read(size=size)

    def test_both_sides_win_over_size(self) -> None:
        for size in ("16:9", "custom", "640x640", "nonsense"):
            inputs = read(size=size, width=512, height=768).inputs
            assert (inputs.width, inputs.height, inputs.aspect) == (512, 768, None)

    def test_one_side_goes_with_the_aspect(self) -> None:
        wide, high = read(size="16:9", width=1280).inputs, read(size="9:16", height=1280).inputs

        assert (wide.width, wide.height, wide.aspect) == (1280, 720, None)
        assert (high.width, high.height, high.aspect) == (720, 1280, None)

    def test_side_that_the_aspect_makes_too_long_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match=r"^width would be 9333 at size 21:9, but must be from 64 to 4096"):
            read(size="21:9", height=4000)

    @pytest.mark.parametrize("given", [{}, {"width": 512}, {"height": 512}])
    def test_custom_needs_both_sides(self, given: dict[str, int]) -> None:
        with pytest.raises(InvalidInput, match=r"^size custom needs both width and height"):
            read(size="custom", **given)

    @pytest.mark.parametrize("size", ["square", "16/9", "5:4", "1024", "x", "-1x5"])
    def test_unknown_size_lists_the_sizes(self, size: str) -> None:
        with pytest.raises(InvalidInput, match=r"^size must be one of 1:1, 4:3, .*, custom, not "):
            read(size=size)


class TestChoicesAndFlags:
    @pytest.mark.parametrize("output", ["image", "markdown", "both", " both "])
    def test_output_is_read(self, output: str) -> None:
        assert read(output=output).output == output.strip()

    def test_unknown_output_lists_them(self) -> None:
        with pytest.raises(InvalidInput, match=r"^output must be one of image, markdown, both, not 'png'") as raised:
            read(output="png")

        assert raised.value.zh == "output 必须是 image、markdown、both 之一，而不是 'png'。"

    @pytest.mark.parametrize(
        ("typed", "form"),
        [
            ({}, Form("original", keep_metadata=True)),
            ({"format": "", "keep_metadata": None}, Form("original", keep_metadata=True)),
            ({"format": " webp ", "keep_metadata": "false"}, Form("webp", keep_metadata=False)),
            ({"format": "jpeg", "keep_metadata": 0}, Form("jpeg", keep_metadata=False)),
        ],
    )
    def test_form_of_the_pictures_is_read(self, typed: dict[str, Any], form: Form) -> None:
        assert read(**typed).form == form

    def test_format_that_is_none_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(InvalidInput, match="format must be one of original, webp, jpeg, not 'gif'"):
            read(format="gif")

    @pytest.mark.parametrize("name", ["wait", "progress"])
    @pytest.mark.parametrize(
        ("value", "flag"),
        [
            (True, True),
            (False, False),
            ("true", True),
            ("True", True),
            ("1", True),
            (1, True),
            ("yes", True),
            ("on", True),
            ("false", False),
            ("FALSE", False),
            ("0", False),
            (0, False),
            ("no", False),
            (" off ", False),
        ],
    )
    def test_flag_is_read_in_every_form(self, name: str, value: Any, *, flag: bool) -> None:
        assert getattr(read(**{name: value}), name) is flag

    @pytest.mark.parametrize("value", ["maybe", 2, "nein", []], ids=repr)
    def test_other_flags_are_refused(self, value: Any) -> None:
        with pytest.raises(InvalidInput, match=r"^wait must be true or false"):
            read(wait=value)

    @pytest.mark.parametrize("name", ["sampler", "scheduler", "model", "template"])
    def test_names_are_stripped(self, name: str) -> None:
        call = read(**{name: " euler "})

        assert (call.source if name == "template" else getattr(call.inputs, name)) in ("euler", Named("euler"))


class TestLoras:
    @pytest.mark.parametrize(
        ("typed", "loras"),
        [
            ("detail", (Lora("detail", 1.0),)),
            ("detail:0.8", (Lora("detail", 0.8),)),
            ("detail:-0.5", (Lora("detail", -0.5),)),
            (" detail : 0.8 ", (Lora("detail", 0.8),)),
            ("a:0.8, b", (Lora("a", 0.8), Lora("b", 1.0))),
            ("a:0.8，b；c;d", (Lora("a", 0.8), Lora("b"), Lora("c"), Lora("d"))),
            ("a\nb:2\n", (Lora("a"), Lora("b", 2.0))),
            ("<lora:ink sketch:0.7>", (Lora("ink sketch", 0.7),)),
            ("<LORA:ink>", (Lora("ink", 1.0),)),
            ("SDXL/ink_v1.0.safetensors:1", (Lora("SDXL/ink_v1.0.safetensors", 1.0),)),
            ("a,,b,", (Lora("a"), Lora("b"))),
            (" , ", ()),
        ],
    )
    def test_loras_are_read(self, typed: str, loras: tuple[Lora, ...]) -> None:
        assert read(loras=typed).inputs.loras == loras

    @pytest.mark.parametrize("typed", ["<lora:a:0.5><lora:b:0.7>", "<lora:a:0.5> <lora:b:0.7>"])
    def test_tags_of_other_tools_may_stand_side_by_side(self, typed: str) -> None:
        assert read(loras=typed).inputs.loras == (Lora("a", 0.5), Lora("b", 0.7))

    @pytest.mark.parametrize("typed", [":0.8", "a:", "a:strong", "a:nan", "a:inf", "a:101", "a:-101", "<lora::1>"])
    def test_malformed_lora_gives_an_example(self, typed: str) -> None:
        with pytest.raises(InvalidInput, match=r"^loras: .* Example: detail:0\.8, lineart\.") as raised:
            read(loras=typed)

        assert raised.value.zh.startswith("loras：")

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            loras = read(loras=text).inputs.loras
        except InvalidInput:
            return
        assert all(lora.name.strip() == lora.name and abs(lora.strength) <= 100 for lora in loras)
