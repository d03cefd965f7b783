"""``/userdata``: saved workflows, and every other file of the editor's."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests

from tests.contract import graphs
from tests.contract.server import Server

WORKFLOW = b'{"nodes": [], "links": [], "version": 0.4}'

pytestmark = pytest.mark.one_server("the saved workflows are the fleet's templates, read-only")


@pytest.fixture
def folder(server: Server) -> Iterator[str]:
    """A folder of this test's own below ``workflows``, with two files."""
    folder = f"workflows/contract-{graphs.unique()}"
    for name in ("a é.json", "deep/b.json"):
        assert post(server, f"{folder}/{name}").status_code == 200
    yield folder
    for entry in server.get("/v2/userdata", params={"path": folder}).json():
        if entry["type"] == "file":
            server.request("DELETE", address(entry["path"]))


def address(name: str) -> str:
    return "/userdata/" + quote(name, safe="")


def post(server: Server, name: str, content: bytes = WORKFLOW, query: str = "") -> requests.Response:
    return server.post(address(name) + query, data=content)


@pytest.mark.parametrize("base", ["", "/api"])
def test_file_comes_back_as_it_was_sent(server: Server, folder: str, base: str) -> None:
    answer = server.get(base + address(f"{folder}/a é.json"))

    assert (answer.status_code, answer.content) == (200, WORKFLOW)
    assert answer.headers["Content-Type"] == "application/json"


def test_answer_to_a_file_is_its_path(server: Server, folder: str) -> None:
    name = f"{folder}/c.json"

    assert post(server, name).json() == name
    info = post(server, name, b"{}", "?full_info=true").json()

    assert (info["path"], info["size"]) == (name, 2)
    assert set(info) == {"path", "size", "modified", "created"}


def test_file_is_kept_when_asked_to(server: Server, folder: str) -> None:
    name = f"{folder}/a é.json"

    refused = post(server, name, b"{}", "?overwrite=false")

    assert (refused.status_code, refused.text) == (409, "File already exists")
    assert server.get(address(name)).content == WORKFLOW
    assert post(server, name, b"{}").status_code == 200
    assert server.get(address(name)).content == b"{}"


def test_list_of_a_folder(server: Server, folder: str) -> None:
    listed = {
        query: server.get(f"/userdata?dir={quote(folder)}{query}").json()
        for query in ("", "&recurse=true", "&recurse=true&split=true", "&recurse=true&full_info=true&split=true")
    }

    assert listed[""] == ["a é.json"]
    assert sorted(listed["&recurse=true"]) == ["a é.json", "deep/b.json"]
    split = sorted(listed["&recurse=true&split=true"])
    assert split == [["a é.json", "a é.json"], ["deep/b.json", "deep", "b.json"]]
    infos = {info.pop("path"): info for info in listed["&recurse=true&full_info=true&split=true"]}
    assert set(infos) == {"a é.json", "deep/b.json"}
    assert infos["deep/b.json"]["size"] == len(WORKFLOW)
    assert {type(value) for value in infos["deep/b.json"].values()} == {int, float}


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("", 400, "Directory not provided"),
        ("?dir=", 400, "Directory not provided"),
        ("?dir=../..", 403, "Invalid directory"),
        ("?dir=/etc", 403, "Invalid directory"),
        ("?dir=no-such-folder", 404, "Directory not found"),
    ],
)
def test_list_that_is_refused(server: Server, query: str, status: int, text: str) -> None:
    answer = server.get(f"/userdata{query}")

    assert (answer.status_code, answer.text) == (status, text)


def test_tree_has_folders_first(server: Server, folder: str) -> None:
    for base in ("", "/api"):
        entries = server.get(f"{base}/v2/userdata", params={"path": folder}).json()

        assert [(entry["type"], entry["path"]) for entry in entries] == [
            ("directory", f"{folder}/deep"),
            ("file", f"{folder}/a é.json"),
            ("file", f"{folder}/deep/b.json"),
        ]
        assert set(entries[0]) == {"name", "path", "type"}
        assert set(entries[1]) == {"name", "path", "type", "size", "modified"}
        assert (entries[1]["name"], entries[1]["size"]) == ("a é.json", len(WORKFLOW))


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("../..", 400, "Invalid path requested"),
        ("..%2f..", 400, "Invalid path requested"),
        ("no-such-folder", 404, "Requested path not found"),
    ],
)
def test_tree_that_is_refused(server: Server, path: str, status: int, text: str) -> None:
    answer = server.get("/v2/userdata", params={"path": path})

    assert (answer.status_code, answer.text) == (status, text)


def test_tree_of_a_file_is_refused(server: Server, folder: str) -> None:
    answer = server.get("/v2/userdata", params={"path": f"{folder}/a é.json"})

    assert (answer.status_code, answer.text) == (400, "Requested path is not a directory")


def test_file_is_moved(server: Server, folder: str) -> None:
    source, target = f"{folder}/a é.json", f"{folder}/new/c.json"

    answer = server.post(f"{address(source)}/move/{quote(target, safe='')}")

    assert (answer.status_code, answer.json()) == (200, target)
    assert server.get(address(source)).status_code == 404
    assert server.get(address(target)).content == WORKFLOW


def test_move_keeps_what_is_there(server: Server, folder: str) -> None:
    source, target = f"{folder}/a é.json", quote(f"{folder}/deep/b.json", safe="")

    refused = server.post(f"{address(source)}/move/{target}?overwrite=false")
    moved = server.post(f"{address(source)}/move/{target}?full_info=true")

    assert (refused.status_code, refused.text) == (409, "File already exists")
    assert (moved.status_code, moved.json()["path"]) == (200, f"{folder}/deep/b.json")


def test_file_is_deleted(server: Server, folder: str) -> None:
    name = f"{folder}/a é.json"

    deleted = server.request("DELETE", address(name))

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert server.request("DELETE", address(name)).status_code == 404
    assert server.get(address(name)).status_code == 404


def test_folder_is_no_file(server: Server, folder: str) -> None:
    assert post(server, f"{folder}/deep").status_code == 400
    assert server.request("DELETE", address(f"{folder}/deep")).status_code == 500
    assert server.get(address(f"{folder}/deep")).status_code == 403


@pytest.mark.parametrize("name", ["../evil.json", "../../../etc/passwd", "/etc/passwd", "%2e%2e/evil.json"])
def test_no_way_out_of_the_user_s_folder(server: Server, name: str) -> None:
    inside = quote("x.json", safe="")

    assert server.get(address(name)).status_code == 403
    assert post(server, name).status_code == 403
    assert server.request("DELETE", address(name)).status_code == 403
    assert server.post(f"{address(name)}/move/{inside}").status_code == 403


def test_missing_file_cannot_be_moved(server: Server) -> None:
    assert server.post("/userdata/no-such.json/move/x.json").status_code == 404


def test_user_in_the_header_is_ignored(server: Server, folder: str) -> None:
    answer = server.get(address(f"{folder}/a é.json"), headers={"comfy-user": "somebody"})

    assert answer.status_code == 200
