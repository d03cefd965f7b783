"""What no client should send, and some do: it is refused, and breaks nothing for anybody else."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from comfybridge.service.database import as_json, told
from comfybridge.service.masking import masked
from tests.contract import graphs
from tests.contract.media import png
from tests.contract.server import Server
from tests.service.running import alone

DEEP = "[" * 100_000
NUL, HALF = "\0", "\ud800"


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that must work as ever after all of the tests."""
    store = tmp_path_factory.mktemp("store")
    with alone(postgres, store) as (_, _, address, _):
        server = Server(address)
        yield server
        works(server)


def works(server: Server) -> None:
    """Whatever was sent until now, jobs are done and listed."""
    assert server.run(graphs.solid())["status"]["completed"]
    assert server.get("/api/jobs").status_code == 200


def post(server: Server, path: str, body: str) -> requests.Response:
    return server.post(path, data=body.encode(errors="surrogatepass"))


def loader(node_id: str) -> dict[str, Any]:
    """A graph with a file of the caller's, whose place is written down with the job."""
    return {**graphs.solid(), node_id: {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}


CHAIN = {
    "0": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    **{str(n): {"class_type": "ImageInvert", "inputs": {"image": [str(n - 1), 0]}} for n in range(1, 3000)},
    "x": {"class_type": "SaveImage", "inputs": {"images": ["2999", 0], "filename_prefix": "x"}},
}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": loader(NUL)},
        {"prompt": loader(HALF)},
        {"prompt": CHAIN},
        {"extra_data": {"x": NUL}},
        {"extra_data": {"x": HALF}},
        {"extra_data": {"x": float("nan")}},
        {"number": float("nan")},
        {"number": float("-inf")},
        {"number": 10**400},
        {"client_id": NUL},
        {"client_id": HALF},
        {"client_id": "x" * 9000},
        {"prompt_id": HALF},
        {"prompt_id": NUL},
        {"prompt_id": "x" * 201},
    ],
)
def test_prompt_that_cannot_be_kept_is_refused(server: Server, fields: dict[str, Any]) -> None:
    assert server.upload("x.png", png()).status_code == 200

    assert post(server, "/prompt", json.dumps({"prompt": graphs.solid(), **fields})).status_code == 400
    works(server)


@pytest.mark.parametrize(
    "path",
    [
        "/history/%00",
        "/api/jobs/%00",
        "/comfybridge/images/%00",
        "/comfybridge/deliveries?prompt_id=%00",
        "/view?filename=a%00",
        "/ws?clientId=%00",
        "/history?max_items=x",
    ],
)
def test_address_that_cannot_be_looked_up_is_refused(server: Server, path: str) -> None:
    assert server.get(path).status_code == 400


def test_any_page_of_the_history_may_be_asked_for(server: Server) -> None:
    server.run(graphs.solid())
    assert server.get("/history?offset=99999999999999999999").json() == {}
    assert len(server.get("/history?max_items=99999999999999999999").json()) > 0


@pytest.mark.parametrize("text", [DEEP, "{", "[]", '{"type": "feature_flags", "data": [1]}'])
def test_socket_stays_open_whatever_comes(server: Server, text: str) -> None:
    with server.connect() as sock:
        sock.send(text)

        assert all(frame["type"] in ("status", "feature_flags") for frame in sock.so_far())


PATHS = (
    "/prompt",
    "/queue",
    "/history",
    "/interrupt",
    "/free",
    "/settings",
    "/settings/a",
    "/comfybridge/servers",
    "/comfybridge/cancel",
    "/comfybridge/versions",
    "/comfybridge/images",
    "/comfybridge/keys",
    "/v1/images/generations",
)
FIELDS = (
    *("prompt", "prompt_id", "client_id", "extra_data", "number", "front", "partial_execution_targets", "delete"),
    *("clear", "n", "size", "seed", "user", "model", "action", "url", "template", "version", "timeout", "stream"),
)
TEXTS = st.sampled_from(
    ["", NUL, HALF, "\udfff", "a" * 300, "1e999", "\U0001f600", "add", "resume", "auto", "[output]"]
)
LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.just(10**400) | TEXTS
VALUES: st.SearchStrategy[Any] = st.deferred(
    lambda: LEAVES | st.lists(VALUES, max_size=3) | st.dictionaries(TEXTS, VALUES, max_size=3)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), body=VALUES | st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_no_body_makes_an_answer_of_500(server: Server, path: str, body: Any) -> None:
    if isinstance(body, dict):
        body.pop("stream", None)
        body["timeout"] = 1
    answer = post(server, path, json.dumps(body))

    assert answer.status_code < 500 or answer.status_code in (503, 504), answer.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [DEEP, '{"a": ' * 300 + "1" + "}" * 300, "{", '{"a": NaN}', '{"a": "\\u0000"}'])
def test_body_that_cannot_be_kept_is_a_400(server: Server, path: str, body: str) -> None:
    # Whoever only interrupts need not say anything.
    assert post(server, path, body).status_code == (200 if path == "/interrupt" else 400)


def test_body_in_another_encoding_cannot_bring_halves_of_characters(server: Server) -> None:
    body = json.dumps({"prompt": graphs.solid(), "prompt_id": "half"}).replace("half", r"\ud800")
    headers = {"Content-Type": "application/json; charset=unicode_escape"}

    assert server.post("/prompt", data=body, headers=headers).status_code == 400


# Pictures


def broken() -> bytes:
    """A PNG whose head is right, and whose picture is not."""
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGBA").save(buffer, "PNG")
    whole = buffer.getvalue()
    return whole[:60] + bytes(len(whole) - 72) + whole[-12:]


def huge() -> bytes:
    """A PNG of a few bytes that says it is of 40000 x 40000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("make", [broken, huge])
@pytest.mark.parametrize("form", ["preview=webp", "preview=jpeg;80", "channel=rgb"])
def test_picture_that_cannot_be_changed_is_a_415(server: Server, make: Any, form: str) -> None:
    name = f"{make.__name__}.png"
    assert server.upload(name, make()).status_code == 200

    assert server.get(f"/view?filename={name}&type=input&{form}").status_code == 415


def test_picture_that_cannot_be_edited_is_a_400(server: Server) -> None:
    assert server.upload("sound.png", png()).status_code == 200
    assert server.upload("torn.png", broken()).status_code == 200
    for data, name in ((broken(), "sound.png"), (png(), "torn.png"), (huge(), "sound.png")):
        reference = json.dumps({"filename": name, "type": "input"})
        assert server.upload("painted.png", data, "/upload/mask", original_ref=reference).status_code == 400
    form = {"prompt": "a tree", "model": "dall-e-2", "timeout": "4"}
    for data in (broken(), huge()):
        assert server.post("/v1/images/edits", files={"image": ("a.png", data)}, data=form).status_code == 400


@pytest.mark.parametrize("quality", ["%C2%B2", "9" * 5000, "1000", "0", "-1"])
def test_any_quality_may_be_asked_for(server: Server, quality: str) -> None:
    assert server.upload("fine.png", png()).status_code == 200

    assert server.get(f"/view?filename=fine.png&type=input&preview=jpeg;{quality}").status_code == 200


# What nodes tell


def test_what_nodes_tell_is_kept_whatever_it_is(postgres: str) -> None:
    told_by_a_node = {"text": [f"a{NUL}b{HALF}c\U0001f600", r"\u0000"], HALF: (float("nan"), float("inf"), 1.5, None)}
    with psycopg.connect(postgres) as connection:
        query = "SELECT kept, kept #>> '{text,0}' FROM (SELECT %s::json AS kept) AS one"
        row = connection.execute(query, (as_json(told_by_a_node),)).fetchone()

    assert row == (
        {"text": ["a�b�c\U0001f600", r"\u0000"], "�": [None, None, 1.5, None]},
        "a�b�c\U0001f600",
    )
    assert told({"text": HALF}).encode() == '{"text":"�"}'.encode()


def test_long_texts_are_masked_in_no_time() -> None:
    # Tries at every letter, each to the end, would take minutes.
    for text in ("a." * 50_000, "?" + "a-" * 50_000, "a://" * 20_000, "Bearer " * 20_000):
        assert masked(text) == text.replace("Bearer Bearer", "Bearer ***")
