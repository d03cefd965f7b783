"""The ways into a protected server, by HTTP and WebSocket alike, over real sockets, TLS and proxies."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from comfybridge import credentials
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import Unavailable
from comfybridge.simulator import Simulator
from tests.core.gate import ELSEWHERE, LOCALHOST, Gate, context
from tests.core.making import make
from tests.core.raw_server import RawServer, closed_port, http
from tests.core.raw_server import json as as_json

SECRET = "s3cr3t-tok3n"
STATS = b'{"system": {"comfyui_version": "0.8.0"}}'


@contextmanager
def client(base_url: str, **values: Any) -> Iterator[Client]:
    """A client with the credentials that an operator typed."""
    (server,) = credentials.read({"base_url": base_url, **values}).servers
    made = Client(server.base_url, dict(server.headers), query=server.query, verify_tls=server.verify_tls)
    try:
        yield made
    finally:
        made.close()


def port(comfyui: Simulator) -> int:
    return int(comfyui.url.split(":")[2].partition("/")[0])


def has_socket(asking: Client) -> bool:
    with asking.listen("p1", Deadline(5)) as listener:
        return listener.hears


def refusal(asking: Client) -> str:
    with pytest.raises(Unavailable) as raised:
        asking.system_stats(Deadline(5))
    assert SECRET not in f"{raised.value} {raised.value!r} {raised.value.zh}"
    return str(raised.value)


WAYS = {
    "bearer": ("", {"api_key": SECRET}, {"authorization": f"Bearer {SECRET}"}, {}),
    "basic": (
        f"me:{SECRET}%40%2F@",
        {},
        {"authorization": "Basic " + base64.b64encode(f"me:{SECRET}@/".encode()).decode()},
        {},
    ),
    "headers": (
        "",
        {"headers": f"CF-Access-Client-Id: id.access | CF-Access-Client-Secret: {SECRET}"},
        {"cf-access-client-id": "id.access", "cf-access-client-secret": SECRET},
        {},
    ),
    "token": ("", {}, {}, {"token": SECRET, "room": "7"}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_every_request_of_a_picture_and_the_websocket_are_let_in(
    way: str, *, is_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, values, headers, query = WAYS[way]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(LOCALHOST))
    with Simulator(prefix="/comfy") as comfyui, Gate(port(comfyui), context() if is_tls else None) as gate:
        address = gate.url.replace("://", f"://{login}") + "/comfy"
        address += "/?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
        with client(address, **values) as asking:
            assert len(make(asking).files) == 1
            shown = f"{asking.base_url}"
        requests = comfyui.requests

    assert {request.path for request in requests} >= {"/ws", "/prompt", "/view"}
    for request in requests:
        assert {name.lower(): value for name, value in request.headers.items()}.items() >= headers.items()
        assert request.query.items() >= query.items()
    assert shown == f"{gate.url}/comfy"


class TestCertificates:
    def test_unknown_certificate_is_refused_and_advice_names_both_ways_out(self, comfyui: Simulator) -> None:
        with Gate(port(comfyui), context()) as gate, client(gate.url) as asking:
            said = refusal(asking)
            assert not has_socket(asking)

        assert "REQUESTS_CA_BUNDLE" in said
        assert "verify_tls" in said
        assert comfyui.requests == []

    def test_certificate_of_another_host_is_refused(self, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ELSEWHERE))
        with Gate(port(comfyui), context(ELSEWHERE)) as gate, client(gate.url) as asking:
            assert "TLS" in refusal(asking)
            assert not has_socket(asking)

    def test_private_authority_is_believed_by_http_and_websocket(
        self, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(LOCALHOST))
        with Gate(port(comfyui), context()) as gate, client(gate.url) as asking:
            asking.system_stats(Deadline(5))
            assert has_socket(asking)

    @pytest.mark.parametrize("certificate", [LOCALHOST, ELSEWHERE], ids=["self-made", "of another host"])
    def test_without_the_check_any_certificate_will_do(self, certificate: Any, comfyui: Simulator) -> None:
        with Gate(port(comfyui), context(certificate)) as gate, client(gate.url, verify_tls=False) as asking:
            asking.system_stats(Deadline(5))
            assert has_socket(asking)


class TestProxies:
    def test_websocket_goes_through_the_proxy_like_all_requests(
        self, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Gate(port(comfyui), is_proxy=True) as proxy:
            monkeypatch.setenv("http_proxy", f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
            with client("http://gpu.example.com:8188") as asking:
                asking.system_stats(Deadline(5))
                assert has_socket(asking)

        asked, tunnel = proxy.heads
        assert asked.startswith(b"GET http://gpu.example.com:8188/system_stats HTTP/1.1\r\n")
        assert tunnel.startswith(b"CONNECT gpu.example.com:8188 HTTP/1.")
        for head in (asked, tunnel):
            assert b"Proxy-Authorization: Basic " + base64.b64encode(f"me:{SECRET}".encode()) in head

    @pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
    def test_tls_goes_through_the_proxy_to_its_end(
        self, name: str, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ELSEWHERE))
        with Gate(port(comfyui), context(ELSEWHERE)) as gate, Gate(gate.port, is_proxy=True) as proxy:
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            with client("https://files.example", api_key=SECRET) as asking:
                asking.system_stats(Deadline(5))
                assert has_socket(asking)

        assert [head.split(b" HTTP")[0] for head in proxy.heads] == [b"CONNECT files.example:443"] * 2
        assert SECRET.encode() not in b"".join(proxy.heads)

    @pytest.mark.parametrize(
        ("host", "exception"),
        [
            ("localhost", "localhost"),
            ("localhost", "other, localhost:{port}"),
            ("localhost", "*"),
            ("127.0.0.1", "127.0.0.0/8"),
        ],
    )
    def test_host_in_no_proxy_is_asked_itself_by_both(
        self, host: str, exception: str, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with closed_port() as proxy:
            monkeypatch.setenv("http_proxy", proxy)
            monkeypatch.setenv("no_proxy", exception.format(port=port(comfyui)))
            with client(f"http://{host}:{port(comfyui)}") as asking:
                asking.system_stats(Deadline(5))
                assert has_socket(asking)

    @pytest.mark.parametrize("answer", ["407 Proxy Authentication Required", "403 Forbidden"])
    def test_proxy_that_lets_no_tunnel_through_leaves_polling(
        self, answer: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def say(line: str) -> Any:
            return http(answer) if line.startswith("CONNECT") else as_json(STATS)

        with RawServer(say) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            with client("http://gpu.example.com") as asking:
                asking.system_stats(Deadline(5))
                assert not has_socket(asking)


class TestRedirects:
    def test_upgrade_to_https_is_followed_by_all_and_kept(
        self, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(LOCALHOST))
        with Gate(port(comfyui), context()) as gate:
            address = gate.url.replace("https:", "http:")
            with client(f"{address}?token={SECRET}", api_key=SECRET) as asking:
                for _ in range(2):
                    assert len(make(asking).files) == 1
                    assert has_socket(asking)
                assert asking.base_url == address

        assert len(gate.redirected) == 1
        assert {request.path for request in comfyui.requests} >= {"/ws", "/prompt", "/view"}
        assert all(request.query["token"] == SECRET for request in comfyui.requests)

    def test_post_in_plain_is_not_sent_on_as_something_else(
        self, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(LOCALHOST))
        with Gate(port(comfyui), context()) as gate, client(gate.url.replace("https:", "http:")) as asking:
            with pytest.raises(Unavailable, match="redirects to https://localhost"):
                asking.free(Deadline(5))
            asking.system_stats(Deadline(5))
            asking.free(Deadline(5))

        assert [line.split()[0] for line in gate.redirected] == [b"POST", b"GET"]
        assert comfyui.count("POST", "/free") == 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_added_slash_is_followed_with_headers_and_token(self, status: int) -> None:
        def say(line: str) -> Any:
            path = line.split()[1].partition("?")[0]
            return as_json(STATS) if path.endswith("/") else http(f"{status} Moved", b"", f"Location: {path}/")

        with RawServer(say) as server, client(f"{server.url}?token={SECRET}", api_key=SECRET) as asking:
            asking.system_stats(Deadline(5))

        assert server.requests[-1].startswith(f"GET /system_stats/?token={SECRET} HTTP/1.1".encode())
        assert f"Authorization: Bearer {SECRET}".encode() in server.requests[-1]

    @pytest.mark.parametrize(
        ("status", "is_followed"), [(301, False), (302, False), (303, False), (307, True), (308, True)]
    )
    def test_post_is_followed_only_where_it_stays_a_post(self, status: int, *, is_followed: bool) -> None:
        def say(line: str) -> Any:
            return (
                as_json(b"{}") if line.startswith("POST /new") else http(f"{status} Moved", b"", "Location: /new/free")
            )

        with RawServer(say) as server, client(server.url) as asking:
            if is_followed:
                asking.free(Deadline(5))
            else:
                with pytest.raises(Unavailable, match="redirects to"):
                    asking.free(Deadline(5))

        assert len(server.requests) == 1 + is_followed

    def test_circle_ends(self) -> None:
        found = http("302 Found", b"", "Location: /system_stats")
        with RawServer(lambda _: found) as server, client(server.url) as asking:
            assert "redirects to" in refusal(asking)

        assert len(server.requests) == 3

    @pytest.mark.parametrize(
        "location",
        [
            "http://127.0.0.1:{other}/system_stats",
            "http://localhost:{other}/system_stats",
            "//localhost:{other}/system_stats",
            "https://127.0.0.1:{other}/system_stats",
            "http://me:pw@127.0.0.1:{other}/system_stats",
        ],
    )
    def test_nothing_of_ours_reaches_another_server(self, location: str) -> None:
        with RawServer(lambda _: as_json(STATS)) as other:
            found = http("302 Found", b"", f"Location: {location.format(other=other.port)}")
            with RawServer(lambda _: found) as server:
                headers = f"X-Gate: {SECRET}"
                address = f"{server.url.replace('://', f'://me:{SECRET}@')}?token={SECRET}"
                with client(address, headers=headers) as asking:
                    assert "redirects to" in refusal(asking)
                    assert not has_socket(asking)

        assert other.connections == 0

    def test_login_page_of_the_same_host_is_not_followed(self) -> None:
        found = http("302 Found", b"", "Location: /login?next=/system_stats")
        with RawServer(lambda _: found) as server, client(server.url) as asking:
            assert "log in by headers" in refusal(asking)

        assert len(server.requests) == 1

    def test_websocket_follows_nobody(self) -> None:
        with RawServer(lambda _: as_json(STATS)) as other:
            found = http("302 Found", b"", f"Location: {other.url}/ws")
            with RawServer(lambda _: found) as server, client(server.url, api_key=SECRET) as asking:
                assert not has_socket(asking)

        assert other.connections == 0

    def test_server_that_cannot_be_had_where_it_moved_to_is_looked_for_where_it_was(self, comfyui: Simulator) -> None:
        with Gate(port(comfyui), context()) as gate, client(gate.url.replace("https:", "http:")) as asking:
            for _ in range(2):
                assert "TLS" in refusal(asking)

        assert len(gate.redirected) == 2
