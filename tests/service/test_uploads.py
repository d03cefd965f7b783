"""What may be uploaded, under which names, and that a name never leads out of what is the caller's."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from comfybridge.service.gateway import uploads
from comfybridge.service.gateway.state import Options
from tests.contract.media import mp4, png, wav
from tests.contract.server import Server
from tests.service.running import alone, database, gateway

LARGEST = 200_000
CUBE = b"# a cube\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
GLTF = json.dumps({"asset": {"version": "2.0"}}).encode()
STL = bytes(80) + (1).to_bytes(4, "little") + bytes(50)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def server(postgres: str, store: Path) -> Iterator[Server]:
    with database(postgres) as url, gateway(url, store, Options(largest_upload=LARGEST)) as address:
        server = Server(address)
        yield server
        server.close()


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (png(), "image/png"),
        (png() + b"and more", "image/png"),
        (wav(0.1), "audio/wav"),
        (mp4(2), "video/mp4"),
        (CUBE, "model/obj"),
        (CUBE * 1000, "model/obj"),
        (GLTF, "model/gltf+json"),
        (STL, "model/stl"),
        (b"solid x\nfacet normal 0 0 1\nendsolid\n", "model/stl"),
        (b"glTF" + bytes(4) + (12).to_bytes(4, "little"), "model/gltf-binary"),
    ],
    ids=("png", "png+", "wav", "mp4", "obj", "large obj", "gltf", "stl", "text stl", "glb"),
)
def test_what_load_nodes_take(server: Server, data: bytes, mime: str) -> None:
    found = uploads.kind_of(data)

    assert found is not None
    assert found.mime == mime
    assert server.upload("thing.bin", data, overwrite="true").status_code == 200


@pytest.mark.parametrize(
    "data",
    [b"", b"<html><script>", b"#!/bin/sh\n", b"MZ\x90\x00", png()[:-20], b"{}", b"solid state", "v übel".encode()[:3]],
)
def test_what_is_none_of_it(server: Server, data: bytes) -> None:
    answer = server.upload("picture.png", data)

    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "unknown_type")


@pytest.mark.parametrize("extra", [1, 5_000_000], ids=str)
def test_too_large(server: Server, extra: int) -> None:
    answer = server.upload("large.png", png() + bytes(LARGEST + extra))

    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "too_large")


@pytest.mark.parametrize(
    "name",
    [
        "a" * 240 + ".png",
        "con.png",
        "sub/NUL",
        "a\t.png",
        "\u2028.png",
        "a:b.png",
        "x.png.",
        "x.png ",
        "../x.png",
        "a/../../x.png",
    ],
)
def test_names_that_are_not_taken(server: Server, name: str) -> None:
    answer = server.upload(name, png())

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "bad_name")


@pytest.mark.parametrize(
    "name", ["Ünï ☃ 👨‍👩‍👧.png", "contract.v2.png", "console.png", "a+b (1) [x].png", ".hidden.png"]
)
def test_names_that_are_taken(server: Server, name: str) -> None:
    assert server.upload(name, png()).json()["name"] == name


def test_view_reads_no_disk(server: Server, store: Path) -> None:
    secret = store / "secret.png"
    secret.write_bytes(png())
    server.upload("mine.png", png())
    inside = next(path for path in (store / "uploads").rglob("*") if path.is_file())
    ways = [
        "secret.png",
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e/secret.png",
        "..\\secret.png",
        "%2e%2e%5csecret.png",
        "/etc/passwd",
        str(secret),
        f"file://{secret}",
        "secret.png%00",
        "secret.png%00.png",
        inside.name,
        f"uploads/{inside.parent.name}/{inside.name}",
    ]

    for kind in ("output", "input", "temp"):
        for way in ways:
            for path in (f"filename={way}", f"filename=secret.png&subfolder={way}", f"filename=x.png [{way}]"):
                answer = server.get(f"/view?type={kind}&{path}")
                assert answer.status_code in (400, 403, 404), (path, answer.status_code)
                assert png() != answer.content
    for path in ("/view/../secret.png", "/view%2f..%2fsecret.png", "//etc/passwd", "/../../etc/passwd"):
        assert server.get(path).status_code in (400, 403, 404)


def test_page_of_a_caller_runs_nothing(server: Server) -> None:
    server.upload("drawing.svg", png())
    server.upload("page.html", png())

    drawing = server.get("/view?type=input&filename=drawing.svg")
    page = server.get("/view?type=input&filename=page.html")

    assert drawing.headers["Content-Security-Policy"] == "sandbox"
    assert page.headers["Content-Type"] == "application/octet-stream"
    assert drawing.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("route", ["/upload/image", "/v1/images/edits"])
def test_what_is_stored_is_noted_before(postgres: str, tmp_path: Path, route: str) -> None:
    """Else nobody would find it where its row is never written, or somebody might delete it as it comes."""
    with alone(postgres, tmp_path) as (_, _, address, connection):
        (tmp_path / "uploads").write_bytes(b"no folder")
        fields = {"prompt": "a boat", "model": "sd15-image2image"} if "edits" in route else {}
        answer = requests.post(address + route, data=fields, files={"image": ("x.png", png())}, timeout=60)

        assert answer.status_code == 503
        assert connection.execute("SELECT key LIKE 'uploads/%' FROM garbage").fetchall() == [(True,)]
