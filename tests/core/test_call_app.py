"""The example that calls a published app, over a socket, with the app played by a stand-in."""

import runpy
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples import call_app
from tests.core.dify_api import CONVERSATION, KEY, DifyApi, agent_lines, failure

Call = Callable[..., int]


@pytest.fixture
def api() -> Iterator[DifyApi]:
    with DifyApi() as api:
        api.files = {"fox": b"\x89PNG fox", "hare": b"\x89PNG hare"}
        api.answer = "a red fox, ink"
        yield api


@pytest.fixture
def call(api: DifyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call it as from the command line; the pictures go to a folder of the test."""
    monkeypatch.delenv("DIFY_API_KEY", raising=False)

    def call(*words: str, key: str = KEY) -> int:
        return call_app.main([*words, "--base", api.base, "--key", key, "--out", str(tmp_path / "out")])

    return call


def saved(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("mode", [[], ["--blocking"]], ids=["streaming", "blocking"])
def test_workflow_saves_its_pictures(
    call: Call, api: DifyApi, tmp_path: Path, mode: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("workflow", "sentence=a fox = red", "size=16:9", *mode) == 0

    assert saved(tmp_path) == {"fox-of-comfyui.png": b"\x89PNG fox", "hare-of-comfyui.png": b"\x89PNG hare"}
    assert api.asked[0].path == "/v1/workflows/run"
    assert api.asked[0].json["inputs"] == {"sentence": "a fox = red", "size": "16:9"}
    assert api.asked[0].json["user"] == "call_app"
    assert "prompt: a red fox, ink" in capsys.readouterr().out


@pytest.mark.parametrize("mode", [[], ["--blocking"]], ids=["streaming", "blocking"])
def test_chat_tells_its_conversation(
    call: Call, api: DifyApi, tmp_path: Path, mode: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = " ".join(f"![p]({api.origin}{api.address(name, 'other')})" for name in api.files)
    api.answer = f"进度 50 %\n\n{pictures}"

    assert call("chat", "a red fox", *mode) == 0

    assert sorted(saved(tmp_path).values()) == [b"\x89PNG fox", b"\x89PNG hare"]
    out = capsys.readouterr().out
    assert out.startswith("进度 50 %")
    assert f"conversation: {CONVERSATION}" in out
    assert api.asked[0].json["query"] == "a red fox"


def test_chat_goes_on_where_it_was(call: Call, api: DifyApi) -> None:
    assert call("chat", "now at night", "mood=calm", "--conversation", CONVERSATION) == 0

    assert api.asked[0].json["conversation_id"] == CONVERSATION
    assert api.asked[0].json["inputs"] == {"mood": "calm"}


def test_agent_shows_files_by_events(call: Call, api: DifyApi, tmp_path: Path) -> None:
    api.says = agent_lines(api, "fox")

    assert call("chat", "a red fox") == 0

    assert saved(tmp_path) == {"fox.png": b"\x89PNG fox"}


def test_file_is_uploaded_and_named_in_its_place(call: Call, api: DifyApi, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG mine")

    assert call("chat", "make it blue", "--file", str(photo)) == 0
    assert call("workflow", "prompt=blue", "--file", f"image={photo}") == 0

    uploaded = {
        "type": "image", "transfer_method": "local_file", "upload_file_id": "72fa9618-8f89-4a37-9b33-7e1178a24a67"
    }  # fmt: skip
    upload, chat = api.asked[0], api.asked[1]
    assert (upload.path, b"\x89PNG mine" in upload.body, b'name="user"' in upload.body) == (
        "/v1/files/upload",
        True,
        True,
    )
    assert chat.json["files"] == [uploaded]
    (run,) = [asked for asked in api.asked if asked.path == "/v1/workflows/run"]
    assert run.json["inputs"] == {"prompt": "blue", "image": uploaded}


def test_key_goes_to_the_app_and_not_with_the_links(call: Call, api: DifyApi) -> None:
    call("workflow", "sentence=fox")

    assert api.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    links = [asked for asked in api.asked if asked.path.startswith("/files/")]
    assert len(links) == 2
    assert all("Authorization" not in asked.headers for asked in links)


def test_saved_pictures_are_never_overwritten(call: Call, tmp_path: Path) -> None:
    call("workflow", "sentence=fox")
    call("workflow", "sentence=fox")

    assert sorted(saved(tmp_path)) == [
        "fox-of-comfyui-2.png", "fox-of-comfyui.png", "hare-of-comfyui-2.png", "hare-of-comfyui.png",
    ]  # fmt: skip


def test_name_from_outside_stays_in_the_folder(call: Call, api: DifyApi, tmp_path: Path) -> None:
    api.files = {"..%2F..%2Fevil": b"x"}

    call("workflow", "sentence=fox")

    assert list(saved(tmp_path)) == ["evil-of-comfyui.png"]
    assert not (tmp_path / "evil-of-comfyui.png").exists()


@pytest.mark.parametrize(
    ("status", "code", "message", "advice"),
    [
        (400, "invalid_param", "Workflow not published", "press Publish"),
        (400, "app_unavailable", "App unavailable, please check your app configurations.", "press Publish"),
        (400, "not_chat_app", "Please check if your Chat app mode matches the right API route.", "workflow instead"),
        (400, "provider_not_initialize", "No valid model provider credentials found.", "Choose another model"),
        (404, "not_found", "Conversation Not Exists.", "Conversation Not Exists. (HTTP 404)"),
    ],
)
def test_refusal_says_what_to_do(
    call: Call, api: DifyApi, capsys: pytest.CaptureFixture[str], status: int, code: str, message: str, advice: str
) -> None:
    api.refuses = (status, code, message)

    assert call("chat", "a fox") == 1

    told = capsys.readouterr().err
    assert message in told
    assert advice in told


def test_wrong_key_says_where_the_right_one_is(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("chat", "a fox", key="app-wrong") == 1

    told = capsys.readouterr().err
    assert "API Access" in told
    assert "app-wrong" not in told


def test_failed_run_is_told(call: Call, api: DifyApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.status, api.error = "failed", "outcome=failed prompt_id=-"

    assert call("workflow", "sentence=fox") == 1
    assert call("workflow", "sentence=fox", "--blocking") == 1

    assert capsys.readouterr().err.count("The app failed: outcome=failed prompt_id=-") == 2


def test_error_in_the_stream_ends_it(call: Call, api: DifyApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.says = [failure(400, "completion_request_error", "[openai] Rate limit")]

    assert call("chat", "a fox") == 1

    assert "[openai] Rate limit" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [["workflow", "sentence=fox"], ["chat", "fox"]], ids=["workflow", "chat"])
def test_stream_without_an_end_is_no_success(
    call: Call, api: DifyApi, capsys: pytest.CaptureFixture[str], kind: list[str]
) -> None:
    api.says = [b"event: ping\n\n"]

    assert call(*kind) == 1

    assert "The connection ended before" in capsys.readouterr().err


def test_gateway_that_gives_up(call: Call, api: DifyApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.page = (504, b"<html>Gateway Time-out</html>")

    assert call("chat", "fox", "--blocking") == 1

    assert "HTTP 504" in (told := capsys.readouterr().err)
    assert "stream instead" in told


def test_silent_server_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        words = ["chat", "fox", "--blocking", "--timeout", "0.2", "--base", base, "--key", KEY, "--out", str(tmp_path)]

        assert call_app.main(words) == 1

    assert "within 0.2 s" in capsys.readouterr().err


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        base = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"

    assert call_app.main(["chat", "fox", "--base", base, "--key", KEY, "--out", str(tmp_path)]) == 1

    assert "cannot be reached" in capsys.readouterr().err


def test_link_that_has_run_out(call: Call, api: DifyApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answer = f"![p]({api.origin}/files/tools/gone.png?sign=old)"

    assert call("chat", "fox", "--blocking") == 1

    assert "gone.png: HTTP 403" in (told := capsys.readouterr().err)
    assert "five minutes" in told
    assert "sign=old" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["chat"], "Say something."),
        (["workflow", "a fox"], "'a fox' is no name=value."),
        (["chat", "fox", "--file", "none.png"], "There is no file none.png."),
        (["workflow", "--file", "photo.png"], "'photo.png' is no input=path."),
    ],
)
def test_misuse(call: Call, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert call(*words) == 1

    assert told in capsys.readouterr().err


def test_key_may_be_missing_and_the_file_runs_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DIFY_API_KEY", raising=False)
    monkeypatch.setattr("sys.argv", ["call_app.py", "chat", "fox"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(call_app.__file__, run_name="__main__")

    assert ended.value.code == 1
    assert "DIFY_API_KEY" in capsys.readouterr().err
