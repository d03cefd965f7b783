"""What the nodes compute that need no model: sizes, texts and the order of lazy ones."""

import io
from typing import Any

import pytest
from PIL import Image

from tests.contract import graphs
from tests.contract.server import Server

IMAGE = ["1", 0]
"""A picture of 60 x 40."""
SMALL = ["2", 0]
"""A picture of 20 x 30."""
MASK = ["3", 0]
"""A mask of 10 x 10."""


def named(value: object) -> str:
    return value if isinstance(value, str) else ""


def given() -> dict[str, Any]:
    return {
        "1": _empty(60, 40),
        "2": _empty(20, 30),
        "3": {"class_type": "SolidMask", "inputs": {"value": 0.25, "width": 10, "height": 10}},
    }


def _empty(width: int, height: int) -> dict[str, Any]:
    inputs = {"width": width, "height": height, "batch_size": 1, "color": graphs.any_color()}
    return {"class_type": "EmptyImage", "inputs": inputs}


@pytest.mark.parametrize(
    ("class_type", "inputs", "size", "frames"),
    [
        ("ImageScale", {"upscale_method": "area", "width": 30, "height": 0, "crop": "disabled"}, (30, 20), 1),
        ("ImageScale", {"upscale_method": "bicubic", "width": 0, "height": 31, "crop": "center"}, (46, 31), 1),
        ("ImageScale", {"upscale_method": "lanczos", "width": 0, "height": 0, "crop": "disabled"}, (60, 40), 1),
        ("ImageScale", {"upscale_method": "bilinear", "width": 25, "height": 25, "crop": "center"}, (25, 25), 1),
        ("ImageScaleBy", {"upscale_method": "nearest-exact", "scale_by": 0.33}, (20, 13), 1),
        (
            "ImageScaleToTotalPixels",
            {"upscale_method": "area", "megapixels": 0.01, "resolution_steps": 1},
            (125, 84),
            1,
        ),
        (
            "ImageScaleToTotalPixels",
            {"upscale_method": "area", "megapixels": 0.01, "resolution_steps": 16},
            (128, 80),
            1,
        ),
        ("ImageScaleToMaxDimension", {"upscale_method": "area", "largest_size": 33}, (33, 22), 1),
        ("FluxKontextImageScale", {}, (1248, 832), 1),
        ("ImageCrop", {"width": 50, "height": 8, "x": 20, "y": 5}, (40, 8), 1),
        ("ImageFlip", {"flip_method": "x-axis: vertically"}, (60, 40), 1),
        ("ImageRotate", {"rotation": "90 degrees"}, (40, 60), 1),
        ("ImageRotate", {"rotation": "none"}, (60, 40), 1),
        ("ImagePadForOutpaint", {"left": 1, "top": 2, "right": 4, "bottom": 8, "feathering": 0}, (65, 50), 1),
        (
            "ResizeAndPadImage",
            {"target_width": 64, "target_height": 64, "padding_color": "white", "interpolation": "area"},
            (64, 64),
            1,
        ),
        ("RepeatImageBatch", {"amount": 3}, (60, 40), 3),
        ("ImageBlur", {"blur_radius": 2, "sigma": 1.0}, (60, 40), 1),
        ("ImageSharpen", {"sharpen_radius": 1, "sigma": 1.0, "alpha": 0.5}, (60, 40), 1),
        ("ImageInvert", {}, (60, 40), 1),
        ("ImageQuantize", {"colors": 4, "dither": "none"}, (60, 40), 1),
        ("JoinImageWithAlpha", {"alpha": MASK}, (60, 40), 1),
        ("SplitImageWithAlpha", {}, (60, 40), 1),
        ("GetImageSize", {}, None, 0),
    ],
    ids=named,
)
def test_size_of_one_picture(
    server: Server, class_type: str, inputs: dict[str, Any], size: tuple[int, int] | None, frames: int
) -> None:
    node = {"class_type": class_type, "inputs": {"image": IMAGE, **inputs}}

    if size is None:
        assert _text(server, {**given(), "9": node}, slot=0) == "60"
        assert _text(server, {**given(), "9": node}, slot=1) == "40"
    else:
        assert _sizes(server, {**given(), "9": node}) == [size] * frames


@pytest.mark.parametrize(
    ("class_type", "inputs", "size", "frames"),
    [
        ("ImageBatch", {"image1": IMAGE, "image2": SMALL}, (60, 40), 2),
        ("ImageBlend", {"image1": IMAGE, "image2": SMALL, "blend_factor": 0.5, "blend_mode": "normal"}, (60, 40), 1),
        (
            "ImageStitch",
            {
                "image1": IMAGE,
                "image2": SMALL,
                "direction": "right",
                "match_image_size": True,
                "spacing_width": 0,
                "spacing_color": "white",
            },
            (86, 40),
            1,
        ),
        (
            "ImageStitch",
            {
                "image1": IMAGE,
                "image2": SMALL,
                "direction": "down",
                "match_image_size": True,
                "spacing_width": 3,
                "spacing_color": "red",
            },
            (60, 134),
            1,
        ),
        (
            "ImageStitch",
            {
                "image1": IMAGE,
                "image2": SMALL,
                "direction": "left",
                "match_image_size": False,
                "spacing_width": 0,
                "spacing_color": "white",
            },
            (80, 40),
            1,
        ),
        (
            "ImageStitch",
            {
                "image1": IMAGE,
                "direction": "up",
                "match_image_size": True,
                "spacing_width": 0,
                "spacing_color": "white",
            },
            (60, 40),
            1,
        ),
        (
            "ImageCompositeMasked",
            {"destination": IMAGE, "source": SMALL, "x": 5, "y": 5, "resize_source": False, "mask": MASK},
            (60, 40),
            1,
        ),
        ("ImageFromBatch", {"image": IMAGE, "batch_index": 5, "length": 3}, (60, 40), 1),
        ("MaskToImage", {"mask": MASK}, (10, 10), 1),
    ],
    ids=named,
)
def test_size_of_what_is_put_together(
    server: Server, class_type: str, inputs: dict[str, Any], size: tuple[int, int], frames: int
) -> None:
    assert _sizes(server, {**given(), "9": {"class_type": class_type, "inputs": inputs}}) == [size] * frames


def test_alpha_is_the_mask_turned_round(server: Server) -> None:
    prompt = {**given(), "9": {"class_type": "JoinImageWithAlpha", "inputs": {"image": IMAGE, "alpha": MASK}}}

    (content,) = _pictures(server, prompt)

    with Image.open(io.BytesIO(content)) as image:
        assert (image.mode, image.getpixel((3, 3))[3]) == ("RGBA", 191)  # type: ignore[index]  # a tuple in RGBA


@pytest.mark.parametrize(
    ("class_type", "inputs", "text"),
    [
        ("PrimitiveString", {"value": "a b"}, "a b"),
        ("PrimitiveInt", {"value": "7"}, "7"),
        ("PrimitiveFloat", {"value": 0.5}, "0.5"),
        ("PrimitiveBoolean", {"value": True}, "True"),
        ("StringConcatenate", {"string_a": "a", "string_b": "b", "delimiter": ", "}, "a, b"),
        ("StringSubstring", {"string": "abcdef", "start": 1, "end": 4}, "bcd"),
        ("StringLength", {"string": "abc"}, "3"),
        ("CaseConverter", {"string": "aB c", "mode": "Title Case"}, "Ab C"),
        ("CaseConverter", {"string": "aB c", "mode": "UPPERCASE"}, "AB C"),
        ("StringTrim", {"string": " a ", "mode": "Left"}, "a "),
        ("StringReplace", {"string": "aXbX", "find": "X", "replace": "-"}, "a-b-"),
        ("StringContains", {"string": "Fox", "substring": "fox", "case_sensitive": False}, "True"),
        ("StringCompare", {"string_a": "fox", "string_b": "fo", "mode": "Starts With", "case_sensitive": True}, "True"),
        (
            "RegexMatch",
            {"string": "a1", "regex_pattern": "[0-9]", "case_insensitive": True, "multiline": False, "dotall": False},
            "True",
        ),
        (
            "RegexExtract",
            {
                "string": "a1 b2",
                "regex_pattern": "([a-z])([0-9])",
                "mode": "All Groups",
                "case_insensitive": True,
                "multiline": False,
                "dotall": False,
                "group_index": 2,
            },
            "1\n2",
        ),
        (
            "RegexExtract",
            {
                "string": "a1 b2",
                "regex_pattern": "([a-z])[0-9]",
                "mode": "All Matches",
                "case_insensitive": True,
                "multiline": False,
                "dotall": False,
                "group_index": 1,
            },
            "a\nb",
        ),
        (
            "RegexExtract",
            {
                "string": "a1 b2",
                "regex_pattern": "([a-z])[0-9]",
                "mode": "First Match",
                "case_insensitive": True,
                "multiline": False,
                "dotall": False,
                "group_index": 1,
            },
            "a1",
        ),
        ("RegexReplace", {"string": "a1 b2", "regex_pattern": "[0-9]", "replace": "#", "count": 1}, "a# b2"),
    ],
    ids=named,
)
def test_text_nodes(server: Server, class_type: str, inputs: dict[str, Any], text: str) -> None:
    assert _text(server, {"9": {"class_type": class_type, "inputs": inputs}}) == text


@pytest.mark.parametrize(
    ("resize_type", "inputs", "size"),
    [
        ("scale by multiplier", {"multiplier": 0.37}, (22, 15)),
        ("scale dimensions", {"width": 50, "height": 0, "crop": "center"}, (50, 33)),
        ("scale longer dimension", {"longer_size": 33}, (33, 22)),
        ("scale shorter dimension", {"shorter_size": 33}, (50, 33)),
        ("scale width", {"width": 21}, (21, 14)),
        ("scale height", {"height": 21}, (32, 21)),
        ("scale total pixels", {"megapixels": 0.01}, (125, 84)),
        ("match size", {"match": SMALL, "crop": "center"}, (20, 30)),
    ],
    ids=named,
)
def test_resize_with_inputs_that_depend_on_a_choice(
    server: Server, resize_type: str, inputs: dict[str, Any], size: tuple[int, int]
) -> None:
    chosen = {f"resize_type.{name}": value for name, value in inputs.items()}
    fixed = {"input": IMAGE, "scale_method": "area", "resize_type": resize_type}
    prompt = {**given(), "9": {"class_type": "ResizeImageMaskNode", "inputs": {**fixed, **chosen}}}

    assert _sizes(server, prompt) == [size]


def test_inputs_that_depend_on_a_choice_are_checked(server: Server) -> None:
    node: dict[str, Any] = {"input": IMAGE, "scale_method": "area", "resize_type": "scale width"}
    prompt = {**given(), "9": {"class_type": "ResizeImageMaskNode", "inputs": node}, "10": graphs.save("9")}

    (missing,) = server.reject(prompt)["node_errors"]["9"]["errors"]
    node["resize_type.width"] = 99999
    (too_large,) = server.reject(prompt)["node_errors"]["9"]["errors"]

    assert (missing["type"], missing["details"]) == ("required_input_missing", "width")
    assert missing["extra_info"] == {"input_name": "resize_type.width"}
    assert (too_large["type"], too_large["details"]) == ("value_bigger_than_max", "resize_type.width")


def test_choice_that_is_none_fails_when_it_runs(server: Server) -> None:
    node = {"input": IMAGE, "scale_method": "area", "resize_type": "bogus"}
    prompt = {**given(), "9": {"class_type": "ResizeImageMaskNode", "inputs": node}, "10": graphs.save("9")}

    kind, data = server.run(prompt, client_id="me")["status"]["messages"][-1]

    assert (kind, data["exception_type"]) == ("execution_error", "TypeError")
    assert "missing 1 required positional argument: 'resize_type'" in data["exception_message"]


def test_inputs_that_grow(server: Server) -> None:
    grown = {"images.image0": IMAGE, "images.image1": SMALL, "images.image2": SMALL}
    prompt = {**given(), "9": {"class_type": "BatchImagesNode", "inputs": grown}}

    assert _sizes(server, prompt) == [(60, 40)] * 3
    grown["images.image1"] = MASK
    (error,) = server.reject({**prompt, "10": graphs.save("9")})["node_errors"]["9"]["errors"]
    assert (error["type"], error["extra_info"]["input_name"]) == ("return_type_mismatch", "images.image1")


@pytest.mark.parametrize(
    ("class_type", "inputs", "levels"),
    [
        ("GrowMask", {"mask": ["5", 0], "expand": 1, "tapered_corners": False}, [0, 255, 255, 255, 0]),
        ("GrowMask", {"mask": ["5", 0], "expand": -1, "tapered_corners": False}, [0, 0, 0, 0, 0]),
        ("InvertMask", {"mask": ["5", 0]}, [255, 255, 0, 255, 255]),
        ("ThresholdMask", {"mask": ["3", 0], "value": 0.5}, [0] * 5),
        ("ThresholdMask", {"mask": ["3", 0], "value": 0.2}, [255] * 5),
        ("FeatherMask", {"mask": ["6", 0], "left": 2, "top": 0, "right": 0, "bottom": 0}, [127, 255, 255, 255, 255]),
        ("ImageColorToMask", {"image": ["8", 0], "color": 0x102030}, [255] * 5),
        ("ImageColorToMask", {"image": ["8", 0], "color": 0x102031}, [0] * 5),
        (
            "MaskComposite",
            {"destination": ["6", 0], "source": ["5", 0], "x": 0, "y": 0, "operation": "subtract"},
            [255, 255, 0, 255, 255],
        ),
        (
            "MaskComposite",
            {"destination": ["6", 0], "source": ["5", 0], "x": 1, "y": 0, "operation": "xor"},
            [255, 255, 255, 0, 255],
        ),
    ],
    ids=named,
)
def test_masks(server: Server, class_type: str, inputs: dict[str, Any], levels: list[int]) -> None:
    """Masks of five columns, three rows; the fifth node's has its middle set."""
    prompt = {
        **given(),
        "3": {"class_type": "SolidMask", "inputs": {"value": 0.25, "width": 5, "height": 3}},
        "4": {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 5, "height": 3}},
        "6": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 5, "height": 3}},
        "7": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 1, "height": 3}},
        "5": {
            "class_type": "MaskComposite",
            "inputs": {"destination": ["4", 0], "source": ["7", 0], "x": 2, "y": 0, "operation": "add"},
        },
        "8": {"class_type": "EmptyImage", "inputs": {"width": 5, "height": 3, "batch_size": 1, "color": 0x102030}},
        "11": {"class_type": class_type, "inputs": inputs},
        "9": {"class_type": "MaskToImage", "inputs": {"mask": ["11", 0]}},
    }

    (content,) = _pictures(server, prompt)

    with Image.open(io.BytesIO(content)) as image:
        row = [image.convert("L").getpixel((column, 1)) for column in range(5)]
    assert row == pytest.approx(levels, abs=1)


@pytest.mark.parametrize(("switch", "size"), [(True, (60, 40)), (False, (20, 30))])
def test_switch_runs_one_side_only(server: Server, *, switch: bool, size: tuple[int, int]) -> None:
    prompt = {**given(), "9": {"class_type": "ComfySwitchNode", "inputs": {"switch": switch}}}
    prompt["9"]["inputs"].update(on_true=IMAGE, on_false=SMALL)
    prompt["10"] = graphs.save("9")
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    side = "1" if switch else "2"
    order = [frame["data"]["node"] for frame in frames if frame["type"] == "executing"]
    assert order == ["9", side, "9", "10", None]
    image = server.finished(prompt_id)["outputs"]["10"]["images"][0]
    with Image.open(io.BytesIO(server.get("/view", params=image).content)) as picture:
        assert picture.size == size


def _text(server: Server, prompt: dict[str, Any], *, slot: int = 0) -> str:
    entry = server.run(
        {**prompt, "10": {"class_type": "PreviewAny", "inputs": {"source": ["9", slot]}}}, client_id=graphs.unique()
    )
    text: str = entry["outputs"]["10"]["text"][0]
    return text


def _sizes(server: Server, prompt: dict[str, Any]) -> list[tuple[int, int]]:
    sizes = []
    for content in _pictures(server, prompt):
        with Image.open(io.BytesIO(content)) as image:
            sizes.append(image.size)
    return sizes


def _pictures(server: Server, prompt: dict[str, Any]) -> list[bytes]:
    entry = server.run({**prompt, "10": graphs.save("9")}, client_id=graphs.unique())
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    return [server.get("/view", params=image).content for image in entry["outputs"]["10"]["images"]]
