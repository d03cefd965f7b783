"""Pictures as Markdown links: stored in Dify, or served by ComfyUI where the operator says how it is reached."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import pytest

from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.simulator.dify_files import DifyFiles
from tests.plugin.calls import Call

LINK = re.compile(r"!\[[^]\n]*\]\((\S+?)\)")
PUBLIC = "https://dify.example"


@pytest.fixture(autouse=True)
def stored(dify_files: DifyFiles) -> Iterator[DifyFiles]:
    """Dify's file store, as it was at the start of the test."""
    dify_files.stored.clear()
    yield dify_files
    dify_files.public_base, dify_files.refuse = PUBLIC, None


def test_markdown_links_to_the_picture_in_dify(text2image: Call, stored: DifyFiles) -> None:
    answer = text2image(prompt="a red fox", output="markdown")

    (file,) = stored.stored
    assert file.mime_type == "image/png"
    assert file.data.startswith(b"\x89PNG")
    assert LINK.findall(answer.text) == [file.preview_url]
    assert answer.variables["image_urls"] == [file.preview_url]
    assert answer.files == []


def test_both_gives_the_file_too(text2image: Call, stored: DifyFiles) -> None:
    answer = text2image(prompt="a red fox", output="both")

    (file,) = stored.stored
    assert LINK.findall(answer.text) == [file.preview_url]
    assert [picture.data for picture in answer.files] == [file.data]


def test_every_picture_has_its_link_in_order(text2image: Call, stored: DifyFiles) -> None:
    answer = text2image(prompt="a red fox", output="markdown", count=2)

    assert len(stored.stored) == 2
    assert LINK.findall(answer.text) == [file.preview_url for file in stored.stored]
    assert answer.variables["image_urls"] == [file.preview_url for file in stored.stored]


def test_more_links_than_there_is_room_for_become_files(text2image: Call) -> None:
    answer = text2image(prompt="a red fox", output="markdown", count=8)

    assert len(LINK.findall(answer.text)) + len(answer.files) == 8
    assert len(answer.text.encode()) <= 1500


def test_image_uploads_nothing(text2image: Call, stored: DifyFiles) -> None:
    answer = text2image(prompt="a red fox", output="image")

    assert stored.stored == []
    assert "image_urls" not in answer.variables


@pytest.mark.parametrize("status", [HTTPStatus.FORBIDDEN, HTTPStatus.INTERNAL_SERVER_ERROR], ids=str)
def test_refused_upload_falls_back_to_the_file(text2image: Call, stored: DifyFiles, status: HTTPStatus) -> None:
    stored.refuse = status

    answer = text2image(prompt="a red fox", output="markdown")

    assert len(answer.files) == 1
    assert LINK.findall(answer.text) == []
    assert "image_urls" not in answer.variables
    assert answer.variables["status"] == "succeeded"
    assert len(answer.text) > 40


@pytest.mark.parametrize(
    "base",
    ["http://api:5001", "http://127.0.0.1:5001", "http://localhost", "http://host.docker.internal", "http://[x", None],
    ids=["docker", "loopback", "localhost", "docker host", "malformed", "none"],
)
def test_address_that_no_browser_reaches_falls_back_to_the_file(
    text2image: Call, stored: DifyFiles, base: str | None
) -> None:
    stored.public_base = base

    answer = text2image(prompt="a red fox", output="markdown")

    assert len(answer.files) == 1
    assert LINK.findall(answer.text) == []
    assert "FILES_URL" in answer.text


@pytest.mark.parametrize("base", ["http://192.168.1.5", ""], ids=["private network", "relative"])
def test_address_that_some_browser_reaches_is_used(text2image: Call, stored: DifyFiles, base: str) -> None:
    stored.public_base = base

    answer = text2image(prompt="a red fox", output="markdown")

    assert LINK.findall(answer.text) == [stored.stored[0].preview_url]
    assert answer.files == []


def test_upload_that_dify_does_not_offer_falls_back_to_the_file(daemon: PluginDaemon, text2image: Call) -> None:
    upload = daemon.reverse.pop("upload_file")
    try:
        answer = text2image(prompt="a red fox", output="markdown")
    finally:
        daemon.reverse["upload_file"] = upload

    assert len(answer.files) == 1
    assert LINK.findall(answer.text) == []


def test_operators_base_makes_links_to_comfyui(text2image: Call, stored: DifyFiles) -> None:
    answer = text2image(
        prompt="a red fox", output="markdown", credentials={"image_base_url": "https://pictures.example/comfy/"}
    )

    (url,) = LINK.findall(answer.text)
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "pictures.example", "/comfy/view")
    assert query["filename"][0].endswith(".png")
    assert query["type"] == ["output"]
    assert answer.variables["image_urls"] == [url]
    assert stored.stored == []
    assert answer.files == []
