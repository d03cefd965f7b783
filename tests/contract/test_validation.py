"""What ``POST /prompt`` refuses, and how it says so."""

from typing import Any

import pytest

from tests.contract import graphs
from tests.contract.server import Server

WIDTH = {"default": 512, "min": 1, "max": 16384, "step": 1}
NO_OUTPUTS = {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "", "extra_info": {}}


def scaled(**inputs: Any) -> dict[str, Any]:
    prompt = graphs.solid()
    given = {"image": ["1", 0], "upscale_method": "area", "width": 8, "height": 8, "crop": "disabled", **inputs}
    prompt["3"] = {"class_type": "ImageScale", "inputs": given}
    prompt["2"] = graphs.save("3")
    return prompt


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(
            0,
            {
                "type": "value_smaller_than_min",
                "message": "Value 0 smaller than min of 1",
                "details": "width",
                "extra_info": {"input_name": "width", "input_config": ["INT", WIDTH], "received_value": 0},
            },
            id="too small",
        ),
        pytest.param(
            16385,
            {
                "type": "value_bigger_than_max",
                "message": "Value 16385 bigger than max of 16384",
                "details": "width",
                "extra_info": {"input_name": "width", "input_config": ["INT", WIDTH], "received_value": 16385},
            },
            id="too big",
        ),
        pytest.param(
            "wide",
            {
                "type": "invalid_input_type",
                "message": "Failed to convert an input value to a INT value",
                "details": "width, wide, invalid literal for int() with base 10: 'wide'",
                "extra_info": {
                    "input_name": "width",
                    "input_config": ["INT", WIDTH],
                    "received_value": "wide",
                    "exception_message": "invalid literal for int() with base 10: 'wide'",
                },
            },
            id="no number",
        ),
        pytest.param(
            ["1"],
            {
                "type": "bad_linked_input",
                "message": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                "details": "width",
                "extra_info": {"input_name": "width", "input_config": ["INT", WIDTH], "received_value": ["1"]},
            },
            id="half a link",
        ),
    ],
)
def test_bad_value_is_explained(server: Server, value: Any, error: dict[str, Any]) -> None:
    prompt = graphs.solid()
    prompt["1"]["inputs"]["width"] = value

    refusal = server.reject(prompt)

    assert refusal == {
        "error": {
            "type": "prompt_outputs_failed_validation",
            "message": "Prompt outputs failed validation",
            "details": "",
            "extra_info": {},
        },
        "node_errors": {"1": {"errors": [error], "dependent_outputs": ["2"], "class_type": "EmptyImage"}},
    }


def test_missing_input_is_named(server: Server) -> None:
    prompt = graphs.solid()
    del prompt["1"]["inputs"]["height"]

    refusal = server.reject(prompt)

    assert refusal["node_errors"]["1"]["errors"] == [
        {
            "type": "required_input_missing",
            "message": "Required input is missing",
            "details": "height",
            "extra_info": {"input_name": "height"},
        }
    ]


def test_errors_of_an_output_node_are_repeated_in_the_details(server: Server) -> None:
    prompt = graphs.solid()
    prompt["2"]["inputs"] = {"filename_prefix": "x"}

    refusal = server.reject(prompt)

    assert refusal["error"]["details"] == "Required input is missing: images"


def test_short_list_of_options_is_told(server: Server) -> None:
    refusal = server.reject(scaled(crop="middle"))

    (error,) = refusal["node_errors"]["3"]["errors"]
    assert error["type"] == "value_not_in_list"
    assert error["details"] == "crop: 'middle' not in ['disabled', 'center']"
    assert error["extra_info"]["input_config"] == [["disabled", "center"], {}]
    assert error["extra_info"]["received_value"] == "middle"


def test_long_list_of_options_is_not_told(server: Server) -> None:
    prompt = graphs.solid()
    prompt["3"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "none"}}
    prompt["4"] = {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}}

    answer = server.post("/prompt", json={"prompt": prompt}).json()

    (error,) = answer["node_errors"]["3"]["errors"]
    assert error["details"].startswith("sampler_name: 'none' not in (list of length ")
    assert error["extra_info"]["input_config"] is None


def test_link_of_the_wrong_type_is_explained(server: Server) -> None:
    prompt = scaled()
    prompt["4"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 8, "height": 8}}
    prompt["3"]["inputs"]["image"] = ["4", 0]

    refusal = server.reject(prompt)

    (error,) = refusal["node_errors"]["3"]["errors"]
    assert error["type"] == "return_type_mismatch"
    assert error["details"] == "image, received_type(MASK) mismatch input_type(IMAGE)"
    assert error["extra_info"]["received_type"] == "MASK"
    assert error["extra_info"]["linked_node"] == ["4", 0]


@pytest.mark.parametrize(
    ("link", "exception", "details"),
    [
        pytest.param(["44", 0], "KeyError", "'44'", id="no such node"),
        pytest.param(["1", 7], "IndexError", "tuple index out of range", id="no such slot"),
    ],
)
def test_dangling_link_is_filed_under_its_holder(server: Server, link: list[Any], exception: str, details: str) -> None:
    refusal = server.reject(scaled(image=link))

    (error,) = refusal["node_errors"]["3"]["errors"]
    assert refusal["node_errors"]["3"]["class_type"] == "ImageScale"
    assert (error["type"], error["details"]) == ("exception_during_inner_validation", details)
    extra = error["extra_info"]
    # The input named is the consumer's, one node further on.
    assert (extra["input_name"], extra["linked_node"], extra["exception_type"]) == ("images", ["3", 0], exception)
    assert all(isinstance(line, str) for line in extra["traceback"])


def test_dangling_link_of_an_output_node(server: Server) -> None:
    prompt = graphs.solid()
    prompt["2"]["inputs"]["images"] = ["44", 0]

    refusal = server.reject(prompt)

    (error,) = refusal["node_errors"]["2"]["errors"]
    assert (error["type"], error["details"]) == ("exception_during_validation", "'44'")
    assert set(error["extra_info"]) == {"exception_type", "traceback"}
    assert refusal["error"]["details"] == "Exception when validating node: '44'"


def test_cycle_is_refused_without_a_reason(server: Server) -> None:
    prompt = {
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": graphs.save("1"),
    }

    refusal = server.reject(prompt)

    assert refusal["error"]["type"] == "prompt_outputs_failed_validation"
    assert refusal["node_errors"] == {}


def test_missing_file_fails_the_node_s_own_check(server: Server) -> None:
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "nowhere.png"}}, "2": graphs.save("1")}

    refusal = server.reject(prompt)

    assert refusal["node_errors"]["1"]["errors"] == [
        {
            "type": "custom_validation_failed",
            "message": "Custom validation failed for node",
            "details": "image - Invalid image file: nowhere.png",
            "extra_info": {"input_name": "image"},
        }
    ]


@pytest.mark.parametrize(
    ("inputs", "details"),
    [
        ({}, "LoadImage.VALIDATE_INPUTS() missing 1 required positional argument: 'image'"),
        ({"image": 5}, "'int' object has no attribute 'endswith'"),
    ],
    ids=["missing", "no text"],
)
def test_node_s_own_check_breaks_without_its_file_name(server: Server, inputs: dict[str, Any], details: str) -> None:
    refusal = server.reject({"1": {"class_type": "LoadImage", "inputs": inputs}, "2": graphs.save("1")})

    (error,) = refusal["node_errors"]["1"]["errors"]
    assert (error["type"], error["details"]) == ("exception_during_inner_validation", details)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"class_type": "NoSuchNode", "inputs": {}}, "Cannot execute because node NoSuchNode does not exist."),
        ({"inputs": {}}, "Cannot execute because a node is missing the class_type property."),
    ],
    ids=["unknown class", "no class"],
)
def test_unknown_node_spoils_the_whole_prompt(server: Server, node: dict[str, Any], message: str) -> None:
    refusal = server.reject({**graphs.solid(), "9": node})

    error = {"type": "invalid_prompt", "message": message, "details": "Node ID '#9'", "extra_info": {}}
    assert refusal == {"error": error, "node_errors": {}}


def test_slot_of_a_newer_class_is_missed_in_other_words(server: Server) -> None:
    prompt = scaled()
    prompt["4"] = {"class_type": "PrimitiveInt", "inputs": {"value": 1}}
    prompt["3"]["inputs"]["image"] = ["4", 3]

    (error,) = server.reject(prompt)["node_errors"]["3"]["errors"]

    assert error["details"] == "list index out of range"


@pytest.mark.parametrize("prompt", [{}, []], ids=repr)
def test_nothing_to_do_is_refused(server: Server, prompt: Any) -> None:
    assert server.reject(prompt) == {"error": NO_OUTPUTS, "node_errors": {}}


@pytest.mark.parametrize("targets", [[], ["77"]], ids=repr)
def test_targets_that_are_no_outputs_are_refused(server: Server, targets: list[str]) -> None:
    refusal = server.reject(graphs.solid(), partial_execution_targets=targets)

    assert refusal == {"error": NO_OUTPUTS, "node_errors": {}}


def test_good_outputs_run_although_others_are_bad(server: Server) -> None:
    prompt = graphs.solid()
    prompt["3"] = {"class_type": "EmptyImage", "inputs": {"width": 0, "height": 1, "batch_size": 1, "color": 0}}
    prompt["4"] = graphs.save("3")
    answer = server.post("/prompt", json={"prompt": prompt, "client_id": "me"})

    assert answer.status_code == 200
    errors = answer.json()["node_errors"]
    assert {node: error["dependent_outputs"] for node, error in errors.items()} == {"3": ["4"]}
    entry = server.finished(answer.json()["prompt_id"])
    assert entry["prompt"][4] == ["2"]
    assert list(entry["outputs"]) == ["2"]


def test_nodes_that_no_output_needs_are_not_checked(server: Server) -> None:
    prompt = graphs.solid()
    prompt["3"] = {"class_type": "EmptyImage", "inputs": {}}

    assert server.run(prompt)["status"]["status_str"] == "success"


def test_step_and_unknown_inputs_do_not_matter(server: Server) -> None:
    prompt = {
        "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 67, "height": "64", "batch_size": 1, "odd": 1}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }

    assert server.run(prompt)["status"]["status_str"] == "success"
