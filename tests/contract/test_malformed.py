"""Requests that are no requests."""

import pytest

from tests.contract import graphs
from tests.contract.server import Server


@pytest.mark.parametrize("body", ["[]", '{"client_id": "me"}'])
def test_body_without_a_prompt_is_refused(server: Server, body: str) -> None:
    answer = server.post("/prompt", data=body)

    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "type": "no_prompt",
            "message": "No prompt provided",
            "details": "No prompt provided",
            "extra_info": {},
        },
        "node_errors": {},
    }


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/prompt", "{not json"),
        ("POST", "/prompt", ""),
        ("POST", "/prompt", '{"prompt": null}'),
        ("POST", "/prompt", '{"prompt": "x"}'),
        ("POST", "/prompt", '{"prompt": {"1": 5}}'),
        ("POST", "/prompt", '{"prompt": {}, "number": "first"}'),
        ("POST", "/queue", ""),
        ("POST", "/free", ""),
        ("POST", "/history", ""),
        ("GET", "/history?max_items=abc", None),
    ],
)
@pytest.mark.one_server("a caller's mistake is a 400")
def test_malformed_request_is_a_500_in_plain_text(server: Server, method: str, path: str, body: str | None) -> None:
    answer = server.post(path, data=body) if method == "POST" else server.get(path)

    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "500 Internal Server Error\n\nServer got itself in trouble"


def test_content_type_of_a_prompt_does_not_matter(server: Server) -> None:
    answer = server.post("/prompt", json={"prompt": graphs.solid()}, headers={"Content-Type": "text/plain"})

    assert answer.status_code == 200
