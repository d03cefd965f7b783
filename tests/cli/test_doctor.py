"""``comfybridge doctor``: every fault between here and a server is named by the check that it belongs to."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import pytest

from comfybridge.cli import main
from comfybridge.diagnosis import Finding, examine
from comfybridge.diagnosis.findings import NAMES
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import Respond, SilentWebSockets
from tests.core.gate import LOCALHOST, context
from tests.core.raw_server import RawServer, Reply, http

PAGE = http("200 OK", b"<!doctype html><title>Welcome</title>", "Content-Type: text/html")
Serving: TypeAlias = AbstractContextManager[str]


def found(url: str, **values: Any) -> dict[str, Finding]:
    more = {name: values.pop(name) for name in ("writes", "others") if name in values}
    return {each.name: each for each in examine({"base_url": url, **values}, patience_s=1, **more)}


def simulator(**options: Any) -> Callable[[], Serving]:
    @contextlib.contextmanager
    def serving() -> Iterator[str]:
        with Simulator(**options) as comfyui:
            yield comfyui.url

    return serving


def raw(reply: Reply | None, *, is_tls: bool = False, scheme: str = "") -> Callable[[], Serving]:
    @contextlib.contextmanager
    def serving() -> Iterator[str]:
        with RawServer(lambda _line: reply, context() if is_tls else None) as server:
            yield f"{scheme or ('https' if is_tls else 'http')}://127.0.0.1:{server.port}"

    return serving


@contextlib.contextmanager
def nothing() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def full_port() -> Iterator[str]:
    """A port whose backlog is full: further connections get no answer, as behind a firewall."""
    with contextlib.ExitStack() as open_ones:
        listener = open_ones.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = open_ones.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def text(url: str) -> Iterator[str]:
    yield url


CASES: dict[str, tuple[Callable[[], Serving], str, str]] = {
    "no scheme": (lambda: text("127.0.0.1:8188"), "address", "http://"),
    "unknown host": (lambda: text("http://no-such-host.invalid:8188"), "dns", "Check the spelling"),
    "nothing listens": (nothing, "port", "started with --listen"),
    "port is silent": (full_port, "port", "firewall"),
    "silent": (raw(None), "answer", "frozen or overloaded"),
    "self-signed": (raw(PAGE, is_tls=True), "tls", "REQUESTS_CA_BUNDLE"),
    "plain behind https": (raw(PAGE, scheme="https"), "tls", "Write http:// instead"),
    "TLS behind http": (raw(PAGE, is_tls=True, scheme="http"), "answer", "write https:// instead"),
    "page": (raw(PAGE), "comfyui", "opens ComfyUI in a browser"),
    "bad gateway": (raw(http("502 Bad Gateway")), "comfyui", "Check that ComfyUI itself runs"),
    "login": (raw(http("302 Found", b"", "Location: https://login.example/x")), "comfyui", "log in by headers"),
    "no key": (simulator(api_key="k"), "access", "Check api_key"),
    "old": (simulator(version="0.3.30"), "version", "Update ComfyUI"),
    "no models": (simulator(models=[]), "templates", "z_image_turbo_bf16.safetensors into"),
}


@pytest.mark.parametrize(("serve", "name", "fix"), CASES.values(), ids=CASES)
def test_fault_is_named_by_its_check(serve: Callable[[], Serving], name: str, fix: str) -> None:
    with serve() as url:
        checks = found(url)

    assert [each.name for each in checks.values() if each.state == "fail"] == [name]
    finding = checks[name]
    assert finding.fix is not None
    assert fix in finding.fix[0]
    assert all((*finding.said, *finding.fix))
    assert list(checks) == list(NAMES)
    if name not in ("version", "templates"):
        after = list(NAMES)[list(NAMES).index(name) + 1 :]
        assert {checks[each].state for each in after} == {"skipped"}


def test_good_server_fails_nothing() -> None:
    with Simulator() as comfyui:
        checks = found(comfyui.url)

    states = {each.name: each.state for each in checks.values() if each.state != "ok"}
    assert states == {"tls": "skipped", "device": "warn", "disk": "skipped"}
    assert checks["version"].said[0] == "0.8.0"
    assert "sd15" in checks["templates"].said[0]
    assert ("flux-dev lacks flux1-dev-fp8.safetensors", "flux-dev 缺少 flux1-dev-fp8.safetensors") in checks[
        "templates"
    ].details


def test_path_that_is_too_much_is_told() -> None:
    with Simulator() as comfyui:
        finding = found(f"{comfyui.url}/comfy")["comfyui"]

    assert finding.fix is not None
    assert f"There is a ComfyUI at {comfyui.url}: leave out the path." in finding.fix[0]


@pytest.mark.parametrize(("refuses", "told"), [(True, "handshake is refused"), (False, "says nothing")])
def test_websocket_that_does_not_work_is_a_warning(refuses: bool, told: str) -> None:  # noqa: FBT001
    with Simulator(websocket=not refuses) as comfyui:
        comfyui.inject(SilentWebSockets())
        finding = found(comfyui.url)["websocket"]

    assert (finding.state, told in finding.said[0]) == ("warn", True)


def test_route_that_a_proxy_keeps_shut_is_a_finding_of_its_own() -> None:
    with Simulator() as comfyui:
        comfyui.inject(Respond("/object_info/*", status=403))
        checks = found(comfyui.url)

    assert {each.name for each in checks.values() if each.state == "fail"} == {"models", "templates"}
    assert (checks["queue"].state, checks["websocket"].state) == ("ok", "ok")


def test_disk_is_written_only_where_that_is_asked_for() -> None:
    with Simulator() as comfyui:
        found(comfyui.url)
        before = list((comfyui.folder / "input").glob("comfybridge-*"))
        once = found(comfyui.url, writes=True)["disk"]
        found(comfyui.url, writes=True)
        after = list((comfyui.folder / "input").glob("comfybridge-*"))
        sizes = [path.stat().st_size for path in after]
        comfyui.inject(Respond("/upload/image", status=500))
        full = found(comfyui.url, writes=True)["disk"]

    assert (before, once.state, sizes, full.state) == ([], "ok", [67], "fail")


def test_proxy_in_the_way_of_ones_own_network_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:s3cret@127.0.0.1:1")
    with Simulator() as comfyui:
        checks = found(comfyui.url)

    assert checks["proxy"].state == "warn"
    assert checks["proxy"].fix is not None
    assert "NO_PROXY=127.0.0.1" in checks["proxy"].fix[0]
    assert checks["answer"].state == "fail"
    assert "s3cret" not in str(checks)


def answering_for(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Every name is this machine's."""
    return lambda host, *rest, **more: resolve("127.0.0.1" if host == "comfy.example" else host, *rest, **more)


class TestCertificates:
    def test_trusted_one_is_ok(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(LOCALHOST))
        with raw(PAGE, is_tls=True)() as url:
            assert found(url)["tls"].state == "ok"

    def test_other_name_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(LOCALHOST))
        monkeypatch.setattr(socket, "getaddrinfo", answering_for(socket.getaddrinfo))
        with raw(PAGE, is_tls=True)() as url:
            finding = found(url.replace("127.0.0.1", "comfy.example"))["tls"]

        assert (finding.state, finding.said[0]) == ("fail", "The certificate is for another name than comfy.example.")

    def test_check_that_is_off_is_a_warning(self) -> None:
        with raw(PAGE, is_tls=True)() as url:
            assert found(url, verify_tls=False)["tls"].state == "warn"


class TestCommand:
    def test_lines_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        with nothing() as url:
            status = main(["doctor", url])

        lines = capsys.readouterr().out.splitlines()
        assert status == 1
        assert lines[3].split()[:2] == ["FAIL", "port"]
        assert lines[4].strip().startswith("→ Check that it runs")
        assert lines[-1].split(maxsplit=2) == ["-", "templates", "not done"]
        assert "\x1b" not in "".join(lines)

    def test_lines_in_chinese(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LANG", "zh_CN.UTF-8")
        with nothing() as url:
            main(["doctor", url])

        printed = capsys.readouterr().out
        assert "FAIL  端口" in printed
        assert "未检查" in printed

    def test_json_of_several_servers(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Simulator() as comfyui, nothing() as url:
            status = main(["doctor", comfyui.url, url, "--json"])

        good, bad = json.loads(capsys.readouterr().out)
        assert (status, good["is_usable"], bad["is_usable"]) == (1, True, False)
        assert [check["name"] for check in good["checks"]] == list(NAMES)
        assert next(check for check in bad["checks"] if check["state"] == "fail")["fix"]["zh"]

    def test_server_of_the_environment(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Simulator(api_key="k3y") as comfyui:
            monkeypatch.setenv("COMFYUI_URL", comfyui.url)
            monkeypatch.setenv("COMFYUI_API_KEY", "k3y")
            status = main(["doctor"])

        printed = capsys.readouterr().out
        assert status == 0
        assert "k3y" not in printed

    def test_no_server_is_a_usage_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor"]) == 2
        assert "COMFYUI_URL" in capsys.readouterr().err
