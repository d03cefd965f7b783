"""``/view``: which file, which headers, which form."""

import io
import json
from urllib.parse import quote

import pytest
from PIL import Image

from tests.contract import graphs
from tests.contract.media import png
from tests.contract.server import Server

COLOR = 0x336699


@pytest.fixture
def picture(server: Server) -> str:
    """Name a saved picture, 32 x 24 and of one colour."""
    entry = server.run(graphs.solid(color=COLOR), client_id="me", extra_data={"extra_pnginfo": {"workflow": {"a": 1}}})
    name: str = entry["outputs"]["2"]["images"][0]["filename"]
    return name


def test_picture_is_what_the_graph_says(server: Server, picture: str) -> None:
    answer = server.get(f"/view?filename={picture}")

    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size, image.getpixel((5, 5))) == ("PNG", (32, 24), (0x33, 0x66, 0x99))


def test_picture_carries_prompt_and_workflow(server: Server, picture: str) -> None:
    answer = server.get(f"/view?filename={picture}")

    with Image.open(io.BytesIO(answer.content)) as image:
        assert json.loads(image.text["prompt"])["1"]["inputs"]["color"] == COLOR  # type: ignore[attr-defined]  # PNG only
        assert json.loads(image.text["workflow"]) == {"a": 1}  # type: ignore[attr-defined]  # PNG only


def test_loaded_picture_s_hash_is_in_the_metadata(server: Server) -> None:
    name = _uploaded(server)
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}

    entry = server.run(prompt, client_id="me")

    image = entry["outputs"]["2"]["images"][0]
    with Image.open(io.BytesIO(server.get("/view", params=image).content)) as picture:
        metadata = json.loads(picture.text["prompt"])  # type: ignore[attr-defined]  # PNG only
    assert len(metadata["1"]["is_changed"][0]) == 64
    assert "is_changed" not in entry["prompt"][2]["1"]


def test_headers_of_a_file(server: Server, picture: str) -> None:
    headers = server.get(f"/view?filename={picture}&rand=0.1").headers

    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"] == f'filename="{picture}"'
    assert headers["Accept-Ranges"] == "bytes"
    assert all(name in headers for name in ("ETag", "Last-Modified", "Content-Length"))


def test_head_range_and_condition(server: Server, picture: str) -> None:
    path = f"/view?filename={picture}"
    whole = server.get(path)

    head = server.request("HEAD", path)
    part = server.get(path, headers={"Range": "bytes=0-7"})
    same = server.get(path, headers={"If-None-Match": whole.headers["ETag"]})

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert (part.status_code, part.content) == (206, whole.content[:8])
    assert part.headers["Content-Range"] == f"bytes 0-7/{len(whole.content)}"
    assert (same.status_code, same.content) == (304, b"")


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("preview=webp;90", "webp"),
        ("preview=webp", "webp"),
        ("preview=jpeg;50", "jpeg"),
        ("preview=png", "webp"),
        ("preview=jpeg&channel=a", "webp"),
    ],
)
def test_preview_is_encoded_anew(server: Server, picture: str, query: str, kind: str) -> None:
    answer = server.get(f"/view?filename={picture}&{query}")

    assert answer.headers["Content-Type"] == f"image/{kind}"
    assert "ETag" not in answer.headers
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == (kind.upper(), (32, 24))


@pytest.mark.parametrize(("channel", "mode", "color"), [("rgb", "RGB", (51, 102, 153)), ("a", "RGBA", (0, 0, 0, 255))])
def test_channel_is_a_png(server: Server, picture: str, channel: str, mode: str, color: tuple[int, ...]) -> None:
    answer = server.get(f"/view?filename={picture}&channel={channel}")

    assert answer.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.mode, image.getpixel((0, 0))) == (mode, color)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("filename=missing.png", 404),
        ("type=output", 404),
        ("filename=", 400),
        ("filename=../../x", 400),
        ("filename=%2Fetc%2Fpasswd", 400),
        ("filename=x.png&subfolder=../..", 403),
        ("filename=x.png&type=bogus", 400),
        ("filename=x.png&subfolder=nowhere", 404),
    ],
)
def test_file_that_is_not_to_be_had(server: Server, query: str, status: int) -> None:
    answer = server.get(f"/view?{query}")

    assert (answer.status_code, answer.content) == (status, b"")


def test_file_of_another_kind_is_not_found(server: Server, picture: str) -> None:
    assert server.get(f"/view?filename={picture}&type=temp").status_code == 404


def test_folder_in_the_name_is_dropped(server: Server, picture: str) -> None:
    assert server.get(f"/view?filename=sub%2F{picture}").status_code == 200


def test_suffix_selects_the_folder(server: Server) -> None:
    name = _uploaded(server)

    assert server.get(f"/view?filename={name}").status_code == 404
    assert server.get(f"/view?filename={quote(name + ' [input]')}").status_code == 200


@pytest.mark.parametrize(
    ("suffix", "content_type"), [("html", "application/octet-stream"), ("txt", "text/plain"), ("png", "image/png")]
)
def test_pages_and_scripts_are_downloads(server: Server, suffix: str, content_type: str) -> None:
    name = f"contract-{graphs.unique()}.{suffix}"
    server.upload(name, png())

    answer = server.get(f"/view?filename={name}&type=input")

    assert answer.headers["Content-Type"] == content_type


def _uploaded(server: Server) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(buffer, "PNG")
    name: str = server.upload(f"contract-{graphs.unique()}.png", buffer.getvalue()).json()["name"]
    return name
