import pytest

from comfybridge import advice
from comfybridge.advice import Fault

SERVER = "http://gpu:8188"


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: str(fault.name))
def test_every_fault_names_the_server_in_both_languages(fault: Fault) -> None:
    error = advice.unreachable(SERVER, fault)

    assert str(error).startswith("ComfyUI at http://gpu:8188 ")
    assert error.zh.startswith("ComfyUI（http://gpu:8188）")
    assert error.server == SERVER
    assert error.outcome == "failed"


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        (Fault.REFUSED, True),
        (Fault.UNKNOWN_HOST, True),
        (Fault.NO_CONNECTION, True),
        (Fault.TLS, True),
        (Fault.PROXY, True),
        (Fault.SILENT, False),
        (Fault.DROPPED, False),
    ],
)
def test_only_a_request_that_never_left_is_refused(fault: Fault, *, refused: bool) -> None:
    assert advice.unreachable(SERVER, fault).refused is refused


@pytest.mark.parametrize(
    "server", ["http://localhost:8188", "http://127.0.0.1:8188", "http://[::1]:8188", "http://0.0.0.0:8188"]
)
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.NO_CONNECTION], ids=lambda fault: str(fault.name))
def test_loopback_inside_docker_is_explained(server: str, fault: Fault) -> None:
    error = advice.unreachable(server, fault)

    assert "http://host.docker.internal:8188" in str(error)
    assert "--listen" in str(error)
    assert "http://host.docker.internal:8188" in error.zh


def test_other_hosts_are_not_told_about_docker() -> None:
    assert "docker" not in str(advice.unreachable(SERVER, Fault.REFUSED))


@pytest.mark.parametrize(
    ("status", "words", "chinese"),
    [
        (401, "does not let us in (HTTP 401). Check api_key, headers, and the login or token", "拒绝访问（HTTP 401）"),
        (403, "does not let us in (HTTP 403). Check api_key, headers, and the login or token", "拒绝访问（HTTP 403）"),
        (404, "has no /prompt (HTTP 404)", "没有 /prompt（HTTP 404）"),
        (429, "is asked too often (HTTP 429)", "请求过于频繁（HTTP 429）"),
        (500, "answered /prompt with HTTP 500. See ComfyUI's own log", "HTTP 500"),
        (413, "answered /prompt with HTTP 413", "HTTP 413"),
        (502, "cannot be reached through the proxy before it (HTTP 502)", "HTTP 502"),
        (503, "cannot be reached through the proxy before it (HTTP 503)", "HTTP 503"),
        (504, "cannot be reached through the proxy before it (HTTP 504)", "HTTP 504"),
    ],
)
def test_status_says_what_to_do(status: int, words: str, chinese: str) -> None:
    error = advice.bad_status(SERVER, "/prompt", status)

    assert words in str(error)
    assert chinese in error.zh


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://login.example.com/start?next=secret", "redirects to https://login.example.com (HTTP 302)"),
        ("https://user:secret@login.example.com/", "redirects to https://login.example.com (HTTP 302)"),
        ("/login?token=secret", "redirects to another page (HTTP 302)"),
        ("", "redirects to another page (HTTP 302)"),
        ("http://[secret", "redirects to another page (HTTP 302)"),
    ],
)
def test_redirect_names_the_host_and_nothing_more(location: str, words: str) -> None:
    error = advice.bad_status(SERVER, "/prompt", 302, location)

    assert words in str(error)
    assert "secret" not in f"{error}{error.zh}"


def test_what_is_no_comfyui_is_said_with_its_path() -> None:
    assert str(advice.not_comfyui(SERVER, "/prompt")).startswith(
        "What answers at http://gpu:8188/prompt is not a ComfyUI."
    )


@pytest.mark.parametrize(("version", "words"), [("", "ComfyUI at"), ("0.3.10", "ComfyUI 0.3.10 at")])
def test_old_version_is_said_with_what_is_needed(version: str, words: str) -> None:
    error = advice.too_old(SERVER, version)

    assert str(error) == f"{words} http://gpu:8188 is too old: 0.3.45 or later is needed. Update ComfyUI."
