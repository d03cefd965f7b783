"""Uploads: what they are called, and what comes of them."""

import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.contract import graphs
from tests.contract.media import png
from tests.contract.server import Server

_A_400 = pytest.mark.one_server("a caller's mistake is a 400")
_NO_FOLDERS = pytest.mark.one_server("the store has no folders that could be missing")


def named(suffix: str = ".png") -> str:
    return f"contract-{graphs.unique()}{suffix}"


def test_upload_keeps_name_and_bytes(server: Server) -> None:
    name = named(" é ☃.png")

    answer = server.upload(name, png())

    assert answer.json() == {"name": name, "subfolder": "", "type": "input"}
    assert server.get("/view", params={"filename": name, "type": "input"}).content == png()


def test_same_bytes_again_keep_the_name(server: Server) -> None:
    name = named()
    server.upload(name, png())

    assert server.upload(name, png()).json()["name"] == name


def test_other_bytes_get_another_name(server: Server) -> None:
    name = named()
    server.upload(name, png((1, 1, 1)))
    numbered = name.replace(".png", " (1).png")

    assert server.upload(name, png((2, 2, 2))).json()["name"] == numbered
    assert server.upload(name, png((2, 2, 2))).json()["name"] == numbered
    assert server.upload(name, png((3, 3, 3))).json()["name"] == name.replace(".png", " (2).png")


@pytest.mark.parametrize("overwrite", ["true", "1"])
def test_overwrite_replaces(server: Server, overwrite: str) -> None:
    name = named()
    server.upload(name, png((1, 1, 1)))

    answer = server.upload(name, png((2, 2, 2)), overwrite=overwrite)

    assert answer.json()["name"] == name
    assert server.get("/view", params={"filename": name, "type": "input"}).content == png((2, 2, 2))


def test_upload_into_another_folder(server: Server) -> None:
    name = named()

    answer = server.upload(name, png(), type="temp", subfolder="contract/deep")

    told = {"name": name, "subfolder": "contract/deep", "type": "temp"}
    assert answer.json() == told
    found = {"filename": name, "subfolder": "contract/deep", "type": "temp"}
    assert server.get("/view", params=found).content == png()


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("../../evil.png", {}, 400),
        ("x.png", {"subfolder": "../.."}, 400),
        ("x.png", {"subfolder": "/etc"}, 400),
        pytest.param("x.png", {"type": "bogus"}, 500, marks=_A_400),
        pytest.param("missing-folder/x.png", {}, 500, marks=_NO_FOLDERS),
    ],
)
def test_upload_that_goes_nowhere(server: Server, name: str, fields: dict[str, str], status: int) -> None:
    assert server.upload(name, png(), **fields).status_code == status


def test_leading_slash_is_stripped(server: Server) -> None:
    name = named()

    assert server.upload("/" + name, png()).json()["name"] == name


def test_upload_without_a_file_is_refused(server: Server) -> None:
    assert server.post("/upload/image", files={"other": ("a.png", png())}).status_code == 400


def test_uploaded_picture_can_be_chosen_and_loaded(server: Server) -> None:
    name = named()
    server.upload(name, png(size=(20, 10)))
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": graphs.save("1"),
        "3": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "upscale_method": "area", "scale_by": 2.0}},
        "4": graphs.save("3"),
    }

    options = server.get("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"][0]
    outputs = server.run(prompt, client_id="me")["outputs"]

    assert name in options
    assert _size(server, outputs["2"]) == (20, 10)
    assert _size(server, outputs["4"]) == (40, 20)


def test_changed_file_is_loaded_again(server: Server) -> None:
    name = named()
    server.upload(name, png((1, 1, 1)))
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}
    server.run(prompt)
    server.upload(name, png((2, 2, 2)), overwrite="true")

    entry = server.run(prompt)

    assert entry["status"]["messages"][1][1]["nodes"] == []


def test_mask_becomes_the_alpha_channel(server: Server) -> None:
    original, masked = named(), named()
    server.upload(original, png((9, 8, 7)))
    reference = json.dumps({"filename": original, "type": "input", "subfolder": ""})

    answer = server.upload(masked, png((0, 0, 0, 77)), "/upload/mask", original_ref=reference)

    assert answer.json() == {"name": masked, "subfolder": "", "type": "input"}
    content = server.get("/view", params={"filename": masked, "type": "input"}).content
    with Image.open(io.BytesIO(content)) as image:
        assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (9, 8, 7, 77))


def _size(server: Server, output: dict[str, Any]) -> tuple[int, int]:
    content = server.get("/view", params=output["images"][0]).content
    with Image.open(io.BytesIO(content)) as image:
        return image.size
