"""The daemon's stand-in itself, on a plugin that misbehaves as told."""

import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from comfybridge.simulator.answer import ProtocolError
from comfybridge.simulator.daemon import PluginDaemon, PluginDiedError, PluginError
from comfybridge.simulator.dify_files import DifyFiles

SOURCES = {
    "manifest.yaml": """
version: 0.0.1
type: plugin
author: test
name: odd
label: {en_US: Odd}
description: {en_US: Odd}
icon: icon.svg
created_at: 2026-01-01T00:00:00Z
resource: {memory: 1048576}
plugins: {tools: [provider/odd.yaml]}
meta: {version: 0.0.2, arch: [amd64], runner: {language: python, version: "3.12", entrypoint: main}}
""",
    "main.py": """
from dify_plugin import DifyPluginEnv, Plugin
plugin = Plugin(DifyPluginEnv())
plugin.run()
""",
    "provider/__init__.py": "",
    "provider/odd.yaml": """
identity: {author: test, name: odd, label: {en_US: Odd}, description: {en_US: Odd}, icon: icon.svg}
credentials_for_provider: {}
tools: [tools/odd.yaml]
extra: {python: {source: provider/odd.py}}
""",
    "provider/odd.py": """
from dify_plugin import ToolProvider
class Odd(ToolProvider):
    def _validate_credentials(self, credentials):
        if credentials.get("bad"):
            raise ValueError("bad credentials")
""",
    "tools/__init__.py": "",
    "tools/odd.yaml": """
identity: {author: test, name: odd, label: {en_US: Odd}}
description: {human: {en_US: Odd}, llm: Odd}
extra: {python: {source: tools/odd.py}}
""",
    "tools/odd.py": """
import os, threading
from dify_plugin import Tool

together = threading.Barrier(8)

class Odd(Tool):
    def _invoke(self, parameters):
        match parameters["do"]:
            case "speak":
                print("stray words on stdout")
                yield self.create_text_message("one ")
                yield self.create_text_message("two")
                yield self.create_json_message({"a": 1})
                yield self.create_variable_message("seed", 1)
                yield self.create_variable_message("seed", 2)
                yield self.create_stream_variable_message("progress", "50 %")
                yield self.create_stream_variable_message("progress", ", done")
            case "blobs":
                for name in ("a.png", "b.png"):
                    yield self.create_blob_message(name.encode() * 5000, {"mime_type": "image/png", "filename": name})
            case "raise":
                raise RuntimeError("as told")
            case "long line":
                yield self.create_text_message("x" * 6 * 1024 * 1024)
            case "large file":
                yield self.create_blob_message(bytes(31 * 1024 * 1024), {"mime_type": "image/png"})
            case "die":
                os._exit(3)
            case "wait for each other":
                together.wait()
            case "wait for ever":
                threading.Event().wait()
            case "upload":
                file = self.session.file.upload(parameters["name"], b"\\r\\n--x\\r\\n" + bytes(range(256)), "image/png")
                yield self.create_text_message(str(file.preview_url))
            case "store":
                self.session.storage.get("key")
""",
    "_assets/icon.svg": "<svg/>",
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def files() -> Iterator[DifyFiles]:
    with DifyFiles() as files:
        yield files


@pytest.fixture(scope="module")
def daemon(plugin: Path, files: DifyFiles) -> Iterator[PluginDaemon]:
    with PluginDaemon(plugin, reverse={"upload_file": files.sign}) as daemon:
        yield daemon


def test_start_is_known_by_the_first_heartbeat(daemon: PluginDaemon) -> None:
    assert 0 < daemon.heartbeats[0] < 60
    assert daemon.manifest["name"] == "odd"


def test_answer_reads_as_dify_reads_it(daemon: PluginDaemon) -> None:
    answer = daemon.call_tool("odd", "odd", {"do": "speak"})

    assert answer.text == "one two"
    assert answer.json == [{"a": 1}]
    assert answer.variables == {"seed": 2, "progress": "50 %, done"}
    assert "stray words" in daemon.transcript


def test_blobs_are_put_together(daemon: PluginDaemon) -> None:
    answer = daemon.call_tool("odd", "odd", {"do": "blobs"})

    assert [(file.filename, file.mime_type) for file in answer.files] == [
        ("a.png", "image/png"),
        ("b.png", "image/png"),
    ]
    assert [file.data for file in answer.files] == [b"a.png" * 5000, b"b.png" * 5000]


def test_error_keeps_its_parts(daemon: PluginDaemon) -> None:
    with pytest.raises(PluginError) as raised:
        daemon.call_tool("odd", "odd", {"do": "raise"})

    assert (raised.value.error_type, raised.value.message) == ("RuntimeError", "as told")


def test_credentials(daemon: PluginDaemon) -> None:
    assert daemon.validate_credentials("odd", {})
    with pytest.raises(PluginError, match="bad credentials"):
        daemon.validate_credentials("odd", {"bad": True})


def test_calls_run_at_once(daemon: PluginDaemon) -> None:
    threads = [
        threading.Thread(target=daemon.call_tool, args=("odd", "odd", {"do": "wait for each other"})) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert not any(thread.is_alive() for thread in threads)


def test_file_over_difys_limit_is_refused(daemon: PluginDaemon) -> None:
    with pytest.raises(ProtocolError, match="30MB"):
        daemon.call_tool("odd", "odd", {"do": "large file"})


def test_call_ends_at_its_time(daemon: PluginDaemon) -> None:
    request = {
        "type": "tool",
        "action": "invoke_tool",
        "user_id": "user",
        "provider": "odd",
        "tool": "odd",
        "tool_parameters": {"do": "wait for ever"},
        "credentials": {},
        "credential_type": "api-key",
    }

    with pytest.raises(TimeoutError, match="killed by timeout"):
        list(daemon.request(request, timeout_s=0.2))


@pytest.mark.parametrize("name", ["fox.png", "a fox.png", "狐.png"])
def test_upload_is_stored_as_it_was_sent(daemon: PluginDaemon, files: DifyFiles, name: str) -> None:
    answer = daemon.call_tool("odd", "odd", {"do": "upload", "name": name})

    file = files.stored[-1]
    assert (file.filename, file.mime_type) == (name, "image/png")
    assert file.data == b"\r\n--x\r\n" + bytes(range(256))
    assert answer.text == file.preview_url
    assert answer.text.startswith("https://dify.example/files/tools/")


def test_upload_can_be_refused(daemon: PluginDaemon, files: DifyFiles) -> None:
    files.refuse = HTTPStatus.INTERNAL_SERVER_ERROR
    try:
        with pytest.raises(PluginError, match="status code: 500"):
            daemon.call_tool("odd", "odd", {"do": "upload", "name": "fox.png"})
    finally:
        files.refuse = None


def test_reverse_call_without_a_handler_is_denied(daemon: PluginDaemon) -> None:
    with pytest.raises(PluginError, match="permission denied"):
        daemon.call_tool("odd", "odd", {"do": "store"})


@pytest.mark.parametrize(
    ("what", "reason"),
    [("die", "process ended"), ("long line", "longer than 5242880 bytes")],
    ids=["death", "long line"],
)
def test_process_that_goes_down_fails_the_call(plugin: Path, what: str, reason: str) -> None:
    with PluginDaemon(plugin) as daemon:
        with pytest.raises(PluginDiedError, match=reason):
            daemon.call_tool("odd", "odd", {"do": what})
        with pytest.raises(PluginDiedError):
            daemon.call_tool("odd", "odd", {"do": "speak"})


def test_plugin_that_does_not_start_is_told_with_its_stderr(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("raise SystemExit('no such luck')")

    with pytest.raises(PluginDiedError, match="no such luck"), PluginDaemon(tmp_path):
        pass


def test_plugin_without_a_heartbeat_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import sys; sys.stdin.read()")

    with (
        pytest.raises(PluginDiedError, match=r"no heartbeat within 0\.5 s"),
        PluginDaemon(tmp_path, start_timeout_s=0.5),
    ):
        pass
