import gzip
import time

import pytest

from comfybridge import transport
from comfybridge.advice import Fault
from comfybridge.deadline import Deadline
from comfybridge.simulator import Simulator
from comfybridge.transport import Answer, NoAnswerError, TooLargeError, Transport
from tests.core.raw_server import RawServer, Reply, closed_port, http

SECRET = "s3cr3t-tok3n"


def fault(url: str, seconds: float = 5) -> Fault:
    """What keeps a request from being answered."""
    asking = Transport(url, {"Authorization": f"Bearer {SECRET}"})
    try:
        with pytest.raises(NoAnswerError) as raised:
            asking.request("GET", "/prompt", Deadline(seconds))
    finally:
        asking.close()
    assert SECRET not in f"{raised.value!r}"
    return raised.value.fault


def ask(url: str, method: str = "GET", data: bytes | None = None) -> Answer:
    asking = Transport(url, {})
    try:
        return asking.request(method, "/prompt", Deadline(5), data=data)
    finally:
        asking.close()


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "404 Not Found", "500 Oops"])
def test_every_status_is_an_answer(status: str) -> None:
    with RawServer(lambda _: http(status, b"" if status.startswith("204") else b"body")) as server:
        answer = ask(server.url)

    assert answer.status == int(status[:3])
    assert answer.body == (b"" if status.startswith("204") else b"body")


def test_redirect_is_an_answer_with_a_location() -> None:
    with RawServer(lambda _: http("302 Found", b"", "Location: http://elsewhere/")) as server:
        assert ask(server.url) == Answer(302, b"", "http://elsewhere/")


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_compressed_answer_is_read_whole(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    with RawServer(lambda _: http("200 OK", gzip.compress(body), "Content-Encoding: gzip")) as server:
        assert ask(server.url).body == body


def test_compressed_answer_in_small_pieces_is_read_whole() -> None:
    reply = http("200 OK", gzip.compress(b"{}"), "Content-Encoding: gzip")
    with RawServer(lambda _: Reply(reply.data, slow=22)) as server:
        assert ask(server.url).body == b"{}"


def test_chunked_answer_is_read_whole() -> None:
    reply = Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    with RawServer(lambda _: reply) as server:
        assert ask(server.url).body == b"abcde"


def test_answer_without_a_length_ends_with_its_connection() -> None:
    with RawServer(lambda _: Reply(b"HTTP/1.1 200 OK\r\n\r\nabc")) as server:
        assert ask(server.url).body == b"abc"


def test_answer_that_is_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 10)
    with RawServer(lambda _: http("200 OK", b"x" * 11)) as server, pytest.raises(TooLargeError):
        ask(server.url)


def test_bomb_is_given_up_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 1_000_000)
    bomb = http("200 OK", gzip.compress(b"\0" * 50_000_000), "Content-Encoding: gzip")
    with RawServer(lambda _: bomb) as server, pytest.raises(TooLargeError):
        ask(server.url)


def test_body_is_sent_as_json() -> None:
    with RawServer(lambda _: http("200 OK")) as server:
        ask(server.url, "POST", b"{}")

    assert b"Content-Type: application/json" in server.requests[0]
    assert b"User-Agent: comfybridge" in server.requests[0]


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_broken_connection_is_tried_again_only_where_that_is_harmless(*, is_repeatable: bool) -> None:
    with RawServer(lambda _: Reply()) as server:
        asking = Transport(server.url, {})
        with pytest.raises(NoAnswerError):
            asking.request("POST", "/prompt", Deadline(5), data=b"{}", is_repeatable=is_repeatable)
        asking.close()

    assert len(server.requests) == (2 if is_repeatable else 1)


def test_closed_port_is_refused() -> None:
    with closed_port() as url:
        assert fault(url) is Fault.REFUSED


def test_silence_is_silence() -> None:
    with RawServer(lambda _: None) as server:
        assert fault(server.url, 0.2) is Fault.SILENT


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100, slow=100),
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100, slow=100),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100, slow=100),
    ],
    ids=["head", "head of a chunk", "body"],
)
def test_answer_that_trickles_ends_with_the_deadline(reply: Reply) -> None:
    began = time.monotonic()
    with RawServer(lambda _: reply) as server:
        assert fault(server.url, 0.3) is Fault.SILENT
    assert time.monotonic() - began < 5


def test_silence_in_the_middle_ends_with_the_deadline() -> None:
    # 2.5 s of single bytes: a new 3 s of patience after the last of them would end at 5.5 s.
    reply = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n" + b"x" * 50, slow=50, is_last=False)
    with RawServer(lambda _: reply) as server:
        began = time.monotonic()
        assert fault(server.url, 3) is Fault.SILENT
        assert time.monotonic() - began < 5


def test_https_to_a_plain_port_is_tls(comfyui: Simulator) -> None:
    assert fault(comfyui.url.replace("http://", "https://")) is Fault.TLS


@pytest.mark.parametrize("url", ["http://comfyui.invalid", "http://a..b:1", f"http://{'x' * 64}:1"])
def test_host_that_does_not_exist_is_unknown_or_malformed(url: str) -> None:
    assert fault(url) in (Fault.UNKNOWN_HOST, Fault.MALFORMED)


@pytest.mark.parametrize("url", ["localhost:1", "ftp://host", "http://", "http://host:99999"])
def test_address_that_is_none_is_malformed(url: str) -> None:
    assert fault(url) is Fault.MALFORMED


class TestProxies:
    @pytest.mark.parametrize("scheme", ["http://", ""], ids=["with scheme", "without scheme"])
    def test_proxy_of_the_environment_is_asked(self, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(lambda _: http("200 OK", b"from the proxy")) as proxy:
            monkeypatch.setenv("http_proxy", f"{scheme}127.0.0.1:{proxy.port}")

            assert ask("http://gpu.example.com").body == b"from the proxy"
        assert proxy.requests[0].startswith(b"GET http://gpu.example.com/prompt HTTP/1.1")

    def test_host_in_no_proxy_is_asked_itself(self, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        with closed_port() as proxy:
            monkeypatch.setenv("http_proxy", proxy)
            monkeypatch.setenv("no_proxy", "127.0.0.1")

            assert ask(comfyui.url).status == 200

    def test_dead_proxy_is_to_blame(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with closed_port() as proxy:
            monkeypatch.setenv("http_proxy", proxy)

            assert fault("http://gpu.example.com") is Fault.PROXY

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks5h://127.0.0.1:1", "nonsense://127.0.0.1:1"])
    def test_proxy_of_a_kind_that_is_not_spoken_is_to_blame(self, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("all_proxy", proxy)

        assert fault("http://gpu.example.com") is Fault.PROXY

    def test_proxy_with_a_password_gets_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(lambda _: http("200 OK")) as proxy:
            monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")

            ask("http://gpu.example.com")
        assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in proxy.requests[0]
