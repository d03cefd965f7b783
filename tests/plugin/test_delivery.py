"""What leaves the plugin: a single short text, files as blobs, and nowhere the address of a server."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.dify_files import DifyFiles
from comfybridge.simulator.faults import DropConnection, NoOutput, Respond
from tests.core.images_service import images_service
from tests.core.making import catalogue

Use = Callable[..., Answer]
PICTURE = {"from_prompt_id": "…"}
#: Each tool, and what a call of it needs.
TOOLS: dict[str, Mapping[str, Any]] = {
    "text2image": {"prompt": "a red fox"},
    "image2image": {"prompt": "make it blue", **PICTURE},
    "inpaint": {"prompt": "a hat", **PICTURE},
    "upscale": {"scale": 2, **PICTURE},
    "run_workflow": {"workflow": "sd15", "prompt": "a red fox"},
    "text2video": {"prompt": "a red fox runs", "seconds": 1},
    "image2video": {"prompt": "it runs", "seconds": 1, **PICTURE},
    "text2audio": {"prompt": "rain", "seconds": 1},
    "get_result": {"prompt_id": "…"},
    "cancel_job": {"prompt_id": "…"},
    "server_info": {},
}
WITHOUT_FILES = ("cancel_job", "server_info")


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    """A server with every model that the library names."""
    with Simulator(models=catalogue()) as simulator:
        yield simulator


@pytest.fixture
def mask(dify_files: DifyFiles) -> dict[str, Any]:
    picture, data = Image.new("RGB", (512, 512)), BytesIO()
    picture.paste((255, 255, 255), (0, 0, 256, 512))
    picture.save(data, "PNG")
    return dify_files.offer(data.getvalue(), "mask.png", "image/png")


@pytest.fixture
def use(daemon: PluginDaemon, comfyui: Simulator) -> Use:
    def call(tool: str, *, credentials: Mapping[str, Any] | None = None, **parameters: Any) -> Answer:
        given = {"base_url": comfyui.url, **(credentials or {})}
        return daemon.call_tool("comfyui", tool, parameters, credentials=given)

    return call


@pytest.fixture
def arguments(use: Use) -> Callable[[str], dict[str, Any]]:
    """The parameters for a tool, with an earlier picture where it wants one."""

    def made(tool: str) -> dict[str, Any]:
        given = dict(TOOLS[tool])
        earlier = [name for name, value in given.items() if value == "…"]
        if earlier:
            prompt_id = use("text2image", prompt="a red fox", template="sd15", size="512x512").variables["prompt_id"]
            given |= dict.fromkeys(earlier, prompt_id)
        return given

    return made


def shown(answer: Answer) -> str:
    """All that a user, or a model on a user's behalf, may come to see."""
    return json.dumps([[m.type, {k: v for k, v in m.message.items() if k != "blob"}, m.meta] for m in answer.messages])


def words_of(server: Simulator) -> tuple[str, ...]:
    return (server.url, server.url.removeprefix("http://"), server.url.rpartition(":")[2])


@pytest.mark.parametrize("output", ["image", "markdown", "both"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_call_says_one_short_text_and_no_address(
    use: Use,
    arguments: Callable[[str], dict[str, Any]],
    comfyui: Simulator,
    mask: dict[str, Any],
    tool: str,
    output: str,
) -> None:
    given = arguments(tool)
    if tool == "inpaint":
        given["mask"] = mask
    if tool not in WITHOUT_FILES:
        given["output"] = output
    answer = use(tool, **given)

    texts = [m.message["text"] for m in answer.messages if m.type == "text"]
    assert len(texts) == 1
    line, *links = texts[0].splitlines()
    assert len(line.encode()) <= 800
    if tool != "server_info":
        assert all(re.fullmatch(r"!?\[[^\]]+\]\(https://\S+\)", link) for link in links)
    assert bool(links) == (output != "image" and tool not in WITHOUT_FILES) or tool == "server_info"
    assert bool(answer.files) == (output != "markdown" and tool not in WITHOUT_FILES)
    assert {m.type for m in answer.messages} <= {"text", "json", "variable", "blob"}
    assert [word for word in words_of(comfyui) if word in shown(answer)] == []


FAULTS: dict[str, tuple[Any, Mapping[str, Any]]] = {
    "not let in": (Respond(status=401), {}),
    "not there": (Respond(status=404), {}),
    "broken": (Respond(status=500), {}),
    "no ComfyUI": (Respond(status=200, body=b"<html>"), {}),
    "cut": (DropConnection(), {}),
    "answer lost": (DropConnection(path="/prompt", method="POST", after_accepting=True), {}),
    "no picture": (NoOutput(), {}),
    "picture that is none": (Respond(path="/view", body=b"x"), {}),
    "too late": (None, {"timeout": 4}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("more", [0, 1], ids=["one server", "two servers"])
def test_no_error_shows_an_address(daemon: PluginDaemon, fault: str, more: int) -> None:
    broken, parameters = FAULTS[fault]
    with Simulator(work=30.0 if fault == "too late" else 0.0) as first, Simulator(work=30.0) as second:
        servers = (first, second)[: 1 + more]
        for server in servers:
            if broken is not None:
                server.inject(broken, times=None)
            if fault == "answer lost":
                for path in ("/jobs/*", "/queue", "/history/*"):
                    server.inject(Respond(path=path, status=502), times=None)
        credentials = {"base_url": ", ".join(server.url for server in servers)}

        with pytest.raises(PluginError) as raised:
            daemon.call_tool("comfyui", "text2image", {"prompt": "fox", **parameters}, credentials=credentials)

    message = raised.value.message
    assert [word for server in servers for word in words_of(server) if word in message] == []
    assert message.startswith("outcome=")


@pytest.fixture
def away() -> str:
    """The address of a server that has gone."""
    with Simulator() as gone:
        return gone.url


class _Sends(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://login.internal:9000/")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_address_that_a_server_sends_us_to_is_not_shown_either(daemon: PluginDaemon) -> None:
    with HTTPServer(("127.0.0.1", 0), _Sends) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        credentials = {"base_url": f"http://127.0.0.1:{server.server_port}"}
        with pytest.raises(PluginError, match="base_url redirects to another address") as raised:
            daemon.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials=credentials)
        with pytest.raises(PluginError, match=r"redirects to http://login\.internal"):
            daemon.validate_credentials("comfyui", credentials)
        server.shutdown()
        thread.join()

    assert "login.internal" not in raised.value.message


def test_server_is_known_by_its_number_among_several(daemon: PluginDaemon, away: str) -> None:
    credentials = {"base_url": f"http://gpu.invalid:8188, {away}"}

    with pytest.raises(PluginError, match=r"ComfyUI at server \d of base_url") as raised:
        daemon.call_tool("comfyui", "server_info", {}, credentials=credentials)

    assert "base_url 的第" in raised.value.message
    assert "gpu.invalid" not in raised.value.message
    assert away not in raised.value.message


def test_log_has_the_address_that_the_error_leaves_out(daemon: PluginDaemon, away: str) -> None:
    with pytest.raises(PluginError, match="ComfyUI at base_url refuses the connection"):
        daemon.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials={"base_url": away})

    logged = [json.loads(line) for line in daemon.transcript.splitlines() if '"event":"log"' in line.replace(" ", "")]
    assert [line for line in logged if f"ComfyUI at {away} refuses the connection" in line["data"]["message"]]


def test_form_of_the_credentials_names_the_address(daemon: PluginDaemon, away: str) -> None:
    with pytest.raises(PluginError, match=f"ComfyUI at {away} refuses the connection"):
        daemon.validate_credentials("comfyui", {"base_url": away})


def test_fallback_that_fails_is_not_named_by_its_address(daemon: PluginDaemon, away: str) -> None:
    with images_service() as service:
        service.says(500, {"error": {"message": "no"}})
        credentials = {"base_url": away, "fallback_url": service.url, "fallback_model": "gpt-image-1"}

        with pytest.raises(PluginError, match="gpt-image-1 at fallback_url") as raised:
            daemon.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials=credentials)

        assert service.url.rpartition(":")[2].partition("/")[0] not in raised.value.message


def test_header_for_a_server_that_is_not_there_names_no_address_to_a_user(daemon: PluginDaemon, away: str) -> None:
    credentials = {"base_url": away, "headers": "gpu9.lan=X-Api-Key: s3cr3t"}

    with pytest.raises(PluginError, match="as in base_url: base_url") as raised:
        daemon.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials=credentials)

    assert away not in raised.value.message


def test_file_store_of_dify_is_not_named_by_its_address(daemon: PluginDaemon, comfyui: Simulator, away: str) -> None:
    file = {
        "dify_model_identity": "__dify__file__",
        "url": f"{away}/files/1b5c6c7e/file-preview?timestamp=1&nonce=2&sign=3",
        "type": "image",
        "mime_type": "image/png",
        "filename": "fox.png",
        "extension": ".png",
        "size": 9,
    }

    with pytest.raises(PluginError, match="Dify's file store refuses the connection") as raised:
        daemon.call_tool("comfyui", "upscale", {"image": file}, credentials={"base_url": comfyui.url})

    assert "INTERNAL_FILES_URL" in raised.value.message
    assert away not in raised.value.message


@pytest.mark.parametrize("base", ["http://api:5001", "http://127.0.0.1:5001"], ids=["docker", "loopback"])
def test_markdown_attaches_the_file_where_dify_has_an_internal_address_alone(
    use: Use, dify_files: DifyFiles, base: str
) -> None:
    before, dify_files.public_base = dify_files.public_base, base
    try:
        answer = use("text2image", prompt="a red fox", output="markdown")
    finally:
        dify_files.public_base = before

    assert len(answer.files) == 1
    assert base not in shown(answer)
    assert "image_urls" not in answer.variables
