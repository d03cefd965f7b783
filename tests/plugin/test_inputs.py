"""Values as Dify sends them, good and bad; the bad ones never reach ComfyUI."""

from collections.abc import Callable
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from tests.plugin.calls import Call, Fails

Inputs = Callable[[str], list[Any]]


@pytest.mark.parametrize("number", ["512", 512, 512.0, "512.0", " 512 "], ids=repr)
def test_numbers_in_any_dress(text2image: Call, inputs: Inputs, number: Any) -> None:
    answer = text2image(prompt="fox", template="sd15", size="custom", width=number, height=number)

    assert (answer.variables["width"], answer.variables["height"]) == (512, 512)
    assert inputs("width") == [512]


@pytest.mark.parametrize("empty", ["", None, "  "], ids=repr)
def test_empty_means_default(text2image: Call, empty: Any) -> None:
    names = (
        "negative_prompt", "template", "model", "loras", "sampler", "scheduler", "size", "width", "height", "seed",
        "steps", "cfg", "count", "output", "wait", "timeout", "progress",
    )  # fmt: skip

    answer = text2image(prompt="fox", **dict.fromkeys(names, empty))

    assert answer.variables["status"] == "succeeded"
    assert len(answer.files) == 1


def test_settings_reach_the_graph(text2image: Call, inputs: Inputs) -> None:
    text2image(
        prompt="fox",
        template="sd15",
        seed="3",
        steps="12",
        cfg="4.5",
        sampler="dpmpp_2m",
        scheduler="karras",
        count="2",
    )

    assert [inputs(name) for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "batch_size")] == [
        [3], [12], [4.5], ["dpmpp_2m"], ["karras"], [2],
    ]  # fmt: skip


def test_seed_beyond_a_floats_precision_stays_exact(text2image: Call, inputs: Inputs) -> None:
    seed = 2**64 - 1

    answer = text2image(prompt="fox", seed=str(seed))

    assert inputs("seed") == [seed]
    assert answer.variables["seed"] == seed


def test_loras_are_loaded_with_their_strengths(text2image: Call, inputs: Inputs) -> None:
    text2image(prompt="fox", template="sd15", loras="ink_sketch:0.8, film_grain")

    assert inputs("lora_name") == ["ink_sketch.safetensors", "film_grain.safetensors"]
    assert inputs("strength_model") == [0.8, 1.0]


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ("1:1", 1), ("4:3", 4 / 3), ("3:4", 3 / 4), ("3:2", 3 / 2), ("2:3", 2 / 3), ("16:9", 16 / 9), ("9:16", 9 / 16),
        ("21:9", 21 / 9),
    ],
)  # fmt: skip
def test_every_size_on_offer(text2image: Call, size: str, ratio: float) -> None:
    variables = text2image(prompt="fox", size=size).variables

    assert variables["width"] / variables["height"] == pytest.approx(ratio, rel=0.05)


def test_unknown_parameters_are_ignored(text2image: Call) -> None:
    assert text2image(prompt="fox", a_parameter_of_tomorrow=1).files


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("prompt", ["", "   ", "\n\t\u3000", None], ids=repr)
def test_blank_prompt_is_refused(fails: Fails, prompt: str | None) -> None:
    failure = fails(prompt=prompt)

    assert (failure.outcome, failure.prompt_id) == ("rejected", None)
    assert failure.english.startswith("prompt is empty")


@pytest.mark.usefixtures("untouched")
def test_missing_prompt_is_refused(fails: Fails) -> None:
    assert fails().english.startswith("prompt is empty")


@pytest.mark.usefixtures("untouched")
def test_prompt_over_the_limit_is_refused(fails: Fails) -> None:
    failure = fails(prompt="狐" * 8001)

    assert "8001" in failure.english
    assert "8000" in failure.english


def test_prompt_at_the_limit_is_taken(text2image: Call, inputs: Inputs) -> None:
    prompt = "狐" * 8000

    text2image(prompt=prompt, template="sd15")

    assert prompt in inputs("text")


@pytest.mark.usefixtures("untouched")
def test_operators_own_limit_holds(fails: Fails) -> None:
    failure = fails(prompt="x" * 101, credentials={"max_prompt_length": "100"})

    assert "101" in failure.english
    assert "100" in failure.english


BAD = [
    ("width", "0"), ("width", "-8"), ("width", "100000"), ("width", "wide"), ("width", "nan"), ("width", "inf"),
    ("height", "12.5"), ("height", [1]), ("steps", "0"), ("steps", "1e9"), ("steps", "many"), ("steps", True),
    ("cfg", "-1"), ("cfg", "1000"), ("count", "0"), ("count", "9"), ("count", "two"), ("seed", "-2"),
    ("seed", str(2**64)), ("seed", "1.5"), ("timeout", "soon"), ("timeout", "-1"), ("size", "5:4:3"),
    ("output", "video"), ("wait", "maybe"), ("progress", "sometimes"), ("loras", "name:strong"), ("loras", ":1"),
]  # fmt: skip


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}={value}" for name, value in BAD])
def test_bad_value_is_refused_by_name(fails: Fails, name: str, value: Any) -> None:
    failure = fails(prompt="fox", **{name: value})

    assert (failure.outcome, failure.prompt_id) == ("rejected", None)
    assert name in failure.english
    assert name in failure.chinese


@pytest.mark.usefixtures("untouched")
def test_custom_size_needs_both_sides(fails: Fails) -> None:
    assert "width and height" in fails(prompt="fox", size="custom", width=512).english


@pytest.mark.usefixtures("untouched")
def test_unknown_template_names_those_there_are(fails: Fails) -> None:
    failure = fails(prompt="fox", template="sd51")

    assert (failure.outcome, failure.prompt_id) == ("rejected", None)
    assert all(name in failure.english for name in ("'sd51'", "auto", "sd15", "sdxl", "z-image-turbo"))


@pytest.mark.usefixtures("untouched")
def test_model_that_the_server_lacks_names_the_nearest(fails: Fails) -> None:
    failure = fails(prompt="fox", template="sdxl", model="sd_xl_refiner_0.9")

    assert (failure.outcome, failure.prompt_id) == ("rejected", None)
    assert "'sd_xl_refiner_0.9'" in failure.english
    assert "sd_xl_base_1.0.safetensors" in failure.english
    assert "2" in failure.english.replace("sd_xl_base_1.0", "").replace("sd_xl_refiner_0.9", "")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", ["sampler", "scheduler", "loras"])
def test_name_that_the_server_lacks_is_refused(fails: Fails, name: str) -> None:
    failure = fails(prompt="fox", template="sd15", **{name: "no_such_thing"})

    assert (failure.outcome, failure.prompt_id) == ("rejected", None)
    assert "no_such_thing" in failure.english


@pytest.mark.parametrize(
    ("models", "template"), [("sd15", "sd15"), ("sdxl", "sdxl"), ("z-image-turbo", "z-image-turbo")]
)
def test_auto_takes_what_the_server_can_run(daemon: Any, models: str, template: str) -> None:
    with Simulator(models=models) as comfyui:
        answer = daemon.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials={"base_url": comfyui.url})

    assert answer.variables["template"] == template
