import gzip
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge import downloads
from comfybridge.addresses import read
from comfybridge.deadline import Deadline
from comfybridge.downloads import Download, download, download_from_dify
from comfybridge.errors import InvalidInput
from tests.core.raw_server import RawServer, Reply, closed_port, http

PNG = b"\x89PNG\r\n\x1a\n and so on"
SECRET = "s1gn4ture"
SIGNED = f"/files/0b1c/file-preview?timestamp=1&nonce=2&sign={SECRET}"
CERTIFICATE = Path(__file__).parent / "data" / "files.example.pem"
LOOPBACK = frozenset(("127.0.0.1",))


def fetch(url: str, seconds: float = 5, **more: Any) -> Download:
    return download(url, Deadline(seconds), **{"trusted_hosts": LOOPBACK, **more})


def refusal(url: str, seconds: float = 5, **more: Any) -> str:
    """The English sentence; nothing of it, of the Chinese one or of the traceback holds the secret."""
    with pytest.raises(InvalidInput) as raised:
        fetch(url, seconds, **more)
    return shown(raised.value)


def dify_refusal(url: str, seconds: float = 5) -> str:
    with pytest.raises(InvalidInput) as raised:
        download_from_dify(url, Deadline(seconds))
    return shown(raised.value)


def shown(error: InvalidInput) -> str:
    told = "".join(traceback.format_exception(error)) + error.zh
    assert SECRET not in told
    assert re.search("[\u4e00-\u9fff]", error.zh)
    assert "{" not in f"{error}{error.zh}"
    return str(error)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Make host names resolve to addresses, each time to the next of those given; the names asked for are kept."""
    real = socket.getaddrinfo

    def make(**hosts: list[list[str]]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
            name = host.partition(".")[0]
            if name not in hosts:
                return real(host, port, *args, **kwargs)
            asked.append(host)
            answers = hosts[name]
            ips = answers.pop(0) if len(answers) > 1 else answers[0]
            if not ips:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return [entry for ip in ips for entry in real(ip, port, *args, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return make


@pytest.fixture
def _loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 stands for the internet, all else in 127.0.0.0/8 for this network."""
    monkeypatch.setattr(downloads, "is_public", ip_address("127.0.0.1").__eq__)


class TestFiles:
    def test_file_is_fetched_with_its_name(self) -> None:
        with RawServer(lambda _: http("200 OK", PNG, "Content-Type: image/png")) as server:
            assert fetch(f"{server.url}/a/b.png?sign={SECRET}#c") == Download(PNG, "b.png")

        head = server.requests[0].decode()
        assert head.startswith(f"GET /a/b.png?sign={SECRET} HTTP/1.1\r\n")
        assert f"\r\nHost: 127.0.0.1:{server.port}\r\n" in f"{head}\r\n"
        assert head.lower().count("\r\nhost:") == 1

    @pytest.mark.parametrize(
        ("disposition", "name"),
        [
            ('attachment; filename="cat.png"', "cat.png"),
            ("attachment; filename=cat.png", "cat.png"),
            ("attachment; filename*=UTF-8''%E7%8C%AB%20%2F.png", "png"),
            ("inline; filename*=UTF-8''%E7%8C%AB.png", "猫.png"),
            ('inline; filename="猫.png"', "猫.png"),
            ('attachment; filename="../../etc/passwd"', "passwd"),
            ('attachment; filename="C:\\\\x\\\\cat.png"', "cat.png"),
            ('attachment; filename=".htaccess"', "htaccess"),
            ('attachment; filename="a b;c\'$(x).png"', "a_b_c_x_.png"),
            ("attachment", "from_the_path.png"),
            ("nonsense; filename*=x-none''%ff%", "from_the_path.png"),
        ],
    )
    def test_name_of_the_header_is_made_harmless(self, disposition: str, name: str) -> None:
        with RawServer(lambda _: http("200 OK", PNG, f"Content-Disposition: {disposition}")) as server:
            found = fetch(f"{server.url}/from%20the%20path.png").filename

        assert found == name or (name == "from_the_path.png" and not re.search(r"[^\w.-]", found))

    @given(st.text(), st.text())
    def test_every_name_is_harmless(self, disposition: str, path: str) -> None:
        for header in (disposition, f"attachment; filename={disposition}", f"attachment; filename*={disposition}"):
            header = re.sub(r"[\r\n]", "", header)  # noqa: PLW2901  # the end of a header
            address = read("http://example.com/" + re.sub(r"[^\w%./]", "", path))
            name = downloads._filename(header.encode("utf-8", "replace").decode(), address)

            assert re.fullmatch(r"[\w.-]{0,60}", name)
            assert not name.startswith(".")

    def test_long_name_keeps_its_extension(self) -> None:
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            name = fetch(f"{server.url}/{'x' * 300}.png").filename

        assert name == "x" * 56 + ".png"

    def test_spaces_and_chinese_in_the_path_are_escaped(self) -> None:
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            assert fetch(f"{server.url}/我的 猫.png").filename == "我的_猫.png"

        assert server.requests[0].startswith(b"GET /%E6%88%91%E7%9A%84%20%E7%8C%AB.png HTTP/1.1")

    def test_chunked_file_is_read_whole(self) -> None:
        reply = Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        with RawServer(lambda _: reply) as server:
            assert fetch(server.url).data == b"abcde"

    def test_compressed_file_is_unpacked(self) -> None:
        with RawServer(lambda _: http("200 OK", gzip.compress(PNG * 9999), "Content-Encoding: gzip")) as server:
            assert fetch(server.url).data == PNG * 9999

    def test_picture_that_is_called_a_page_is_a_picture(self) -> None:
        with RawServer(lambda _: http("200 OK", PNG, "Content-Type: text/html")) as server:
            assert fetch(server.url).data == PNG

    @pytest.mark.parametrize("times", [1, 2])
    def test_broken_connection_is_tried_once_more(self, times: int) -> None:
        replies = [Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")] * times + [http("200 OK", PNG)]
        with RawServer(lambda _: replies.pop(0)) as server:
            if times == 1:
                assert fetch(server.url).data == PNG
            else:
                assert "dropped the connection" in refusal(f"{server.url}/?{SECRET}")

        assert len(server.requests) == 2


class TestWhatIsNoFile:
    @pytest.mark.parametrize(
        ("status", "sentence"),
        [
            ("401 Unauthorized", "not open to us, or its link has expired (HTTP 401)"),
            ("403 Forbidden", "not open to us, or its link has expired (HTTP 403)"),
            ("404 Not Found", "no file at this address of http://127.0.0.1:"),
            ("410 Gone", "(HTTP 410)"),
            ("429 Too Many Requests", "HTTP 429 instead of the file"),
            ("500 Oops", "HTTP 500 instead of the file"),
            ("304 Not Modified", "HTTP 304 instead of the file"),
        ],
    )
    def test_status(self, status: str, sentence: str) -> None:
        body = b"" if status.startswith("304") else b"x" * 5000
        with RawServer(lambda _: http(status, body)) as server:
            assert sentence in refusal(f"{server.url}/a?sign={SECRET}", largest=100)

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"<!DOCTYPE html><title>Log in</title>", "text/html"),
            (b"\xef\xbb\xbf\n <HTML lang=en>", "application/octet-stream"),
            (b"<!-- hi --><p>x", "text/html; charset=utf-8"),
        ],
    )
    def test_web_page(self, body: bytes, content_type: str) -> None:
        with RawServer(lambda _: http("200 OK", body, f"Content-Type: {content_type}")) as server:
            assert "gave a web page instead of a file" in refusal(server.url)

    def test_nothing(self) -> None:
        with RawServer(lambda _: http("200 OK")) as server:
            assert "is empty" in refusal(server.url)

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n", is_last=False),
            http("200 OK", b"x" * 1_000_001),
            Reply(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_001),
            http("200 OK", gzip.compress(b"\0" * 50_000_000), "Content-Encoding: gzip"),
            http("200 OK", gzip.compress(gzip.compress(b"\0" * 90_000_000)), "Content-Encoding: gzip, gzip"),
        ],
        ids=["announced", "with length", "without length", "bomb", "bomb in a bomb"],
    )
    def test_too_much(self, reply: Reply) -> None:
        with RawServer(lambda _: reply) as server:
            assert "is larger than 0.954 MiB" in refusal(server.url, largest=1_000_000)

    def test_just_enough(self) -> None:
        with RawServer(lambda _: http("200 OK", b"x" * 1000)) as server:
            assert len(fetch(server.url, largest=1000).data) == 1000

    @pytest.mark.parametrize(
        "reply",
        [
            None,
            Reply(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100, slow=100),
            Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100, slow=100),
            Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100, slow=100),
        ],
        ids=["silence", "head", "head of a chunk", "body"],
    )
    def test_too_slow(self, reply: Reply | None) -> None:
        began = time.monotonic()
        with RawServer(lambda _: reply) as server:
            assert "did not arrive in time" in refusal(f"{server.url}/?{SECRET}", 0.3)
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            (f"ftp://example.com/{SECRET}", "must begin with http:// or https://"),
            (f"/files/{SECRET}", "must begin with http:// or https://"),
            (f"http://me:{SECRET}@example.com/", "must not hold a user name or password"),
            (f"http://exa mple.com/{SECRET}", "cannot be used"),
            (f"http://{SECRET}:port/", "cannot be used"),
            (f"http://nowhere.invalid/{SECRET}", "the host of http://nowhere.invalid is unknown here"),
        ],
    )
    def test_address_that_leads_nowhere(self, url: str, sentence: str) -> None:
        assert sentence in refusal(url)

    def test_closed_port(self) -> None:
        with closed_port() as url:
            assert f"{url} refuses the connection" in refusal(f"{url}/?{SECRET}")


class TestPrivateAddresses:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "2130706433",
            "0x7f.1",
            "127.1",
            "0177.0.0.1",
            "１２７.0.0.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::]",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "[64:ff9b::7f00:1]",
        ],
    )
    def test_nothing_is_asked_there(self, host: str) -> None:
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            sentence = refusal(f"http://{host}:{server.port}/{SECRET}", trusted_hosts=())

        assert "no public address" in sentence
        assert server.connections == 0

    @pytest.mark.parametrize("ips", [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"]])
    def test_name_with_any_private_address_is_refused(self, ips: list[str], resolve: Callable[..., list[str]]) -> None:
        resolve(evil=[ips])
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            assert "no public address" in refusal(f"http://evil.example:{server.port}/", trusted_hosts=())

        assert server.connections == 0

    @pytest.mark.parametrize("suffix", ["", ":{port}"])
    def test_trusted_host_may_be_private(self, suffix: str, resolve: Callable[..., list[str]]) -> None:
        resolve(nas=[["127.0.0.1"]])
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            trusted = ["NAS.example" + suffix.format(port=server.port)]
            assert fetch(f"http://nas.example:{server.port}/a.png", trusted_hosts=trusted).data == PNG

        assert f"Host: nas.example:{server.port}".encode() in server.requests[0]

    def test_another_port_of_a_trusted_one_is_not(self) -> None:
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            assert "no public address" in refusal(f"{server.url}/", trusted_hosts=["127.0.0.1:1"])

    @pytest.mark.usefixtures("_loopback_is_public")
    def test_connection_goes_to_the_address_that_was_checked(self, resolve: Callable[..., list[str]]) -> None:
        asked = resolve(rebinding=[["127.0.0.1"], ["127.0.0.2"]])
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            url = f"http://rebinding.example:{server.port}/"
            assert fetch(url, trusted_hosts=()).data == PNG
            assert len(asked) == 1
            assert "no public address" in refusal(url, trusted_hosts=())

        assert server.connections == 1

    def test_next_address_is_tried_when_one_refuses(self, resolve: Callable[..., list[str]]) -> None:
        resolve(two=[["127.0.0.3", "127.0.0.1"]])
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            assert fetch(f"http://two.example:{server.port}/", trusted_hosts=["two.example"]).data == PNG

    def test_resolver_that_hangs_ends_with_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        is_over = threading.Event()

        def getaddrinfo(*_: object, **__: object) -> list[Any]:
            is_over.wait()
            return []

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        began = time.monotonic()
        try:
            assert "is unknown here" in refusal("http://slow.example/", 0.2)
        finally:
            is_over.set()
        assert time.monotonic() - began < 5


@pytest.mark.usefixtures("_loopback_is_public")
class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect_is_followed(self, status: int) -> None:
        def answer(line: str) -> Reply:
            return http("200 OK", PNG) if "/b.png" in line else http(f"{status} Moved", b"x", "Location: /b.png?c")

        with RawServer(answer) as server:
            assert fetch(f"{server.url}/a", trusted_hosts=()) == Download(PNG, "b.png")

    @pytest.mark.parametrize("count", [5, 6])
    def test_five_redirects_are_enough(self, count: int) -> None:
        def answer(line: str) -> Reply:
            at = int(line.split()[1][1:])
            return http("200 OK", PNG) if at == count else http("302 Found", b"", f"Location: /{at + 1}")

        with RawServer(answer) as server:
            if count == 5:
                assert fetch(f"{server.url}/0", trusted_hosts=()).data == PNG
            else:
                assert "redirected too often" in refusal(f"{server.url}/0", trusted_hosts=())

        assert len(server.requests) == 6

    @pytest.mark.parametrize(
        "location",
        ["http://127.0.0.2:{port}/", "//127.0.0.2:{port}/", "http://127.2:{port}/", "http://[::1]:{port}/"],
    )
    def test_redirect_into_this_network_is_refused(self, location: str) -> None:
        def answer(_: str) -> Reply:
            return http("302 Found", b"", f"Location: {location.format(port=server.port)}")

        with RawServer(answer) as server:
            assert "no public address" in refusal(f"{server.url}/?{SECRET}", trusted_hosts=())

        assert server.connections == 1

    @pytest.mark.parametrize("location", ["file:///etc/passwd", "http://me:x@127.0.0.1/", "http://a b/", "", "/a"])
    def test_redirect_to_nothing_usable_is_refused(self, location: str) -> None:
        with RawServer(lambda _: http("302 Found", b"", f"Location: {location}")) as server:
            assert "redirected too often, or to no usable address" in refusal(f"{server.url}/a", trusted_hosts=())

    def test_redirect_in_chinese_is_followed(self) -> None:
        def answer(line: str) -> Reply:
            return http("200 OK", PNG) if "/%E7%8C%AB" in line else http("302 Found", b"", "Location: /猫.png")

        with RawServer(answer) as server:
            assert fetch(f"{server.url}/a", trusted_hosts=()).filename == "猫.png"


class TestTls:
    @pytest.fixture
    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        return context

    @pytest.mark.parametrize("host", ["files.example", "FILES.example."])
    def test_certificate_is_that_of_the_name(
        self,
        host: str,
        context: ssl.SSLContext,
        resolve: Callable[..., list[str]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        names: list[str] = []
        context.sni_callback = lambda _, name, __: names.append(name)
        resolve(files=[["127.0.0.1"]])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        with RawServer(lambda _: http("200 OK", PNG), context) as server:
            assert fetch(f"https://{host}:{server.port}/", trusted_hosts=["files.example"]).data == PNG

        assert names == ["files.example"]
        assert f"Host: files.example:{server.port}".encode() in server.requests[0]

    @pytest.mark.parametrize("is_known", [True, False], ids=["of another name", "of nobody known"])
    def test_certificate_that_proves_nothing_is_refused(
        self,
        *,
        is_known: bool,
        context: ssl.SSLContext,
        resolve: Callable[..., list[str]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        host = "others.example" if is_known else "files.example"
        resolve(files=[["127.0.0.1"]], others=[["127.0.0.1"]])
        if is_known:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        with RawServer(lambda _: http("200 OK", PNG), context) as server:
            sentence = refusal(f"https://{host}:{server.port}/?{SECRET}", trusted_hosts=[host])

        assert "TLS handshake" in sentence
        assert not server.requests

    def test_redirect_from_https_to_http_is_refused(
        self, context: ssl.SSLContext, resolve: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve(files=[["127.0.0.1"]])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        with RawServer(lambda _: http("302 Found", b"", "Location: http://files.example/"), context) as server:
            sentence = refusal(f"https://files.example:{server.port}/", trusted_hosts=["files.example"])

        assert "from https to http" in sentence

    def test_head_that_trickles_ends_with_the_deadline(
        self, context: ssl.SSLContext, resolve: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve(files=[["127.0.0.1"]])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        began = time.monotonic()
        with RawServer(lambda _: Reply(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100, slow=100), context) as server:
            sentence = refusal(f"https://files.example:{server.port}/", 0.5, trusted_hosts=["files.example"])

        assert "did not arrive in time" in sentence
        assert time.monotonic() - began < 5


class TestProxies:
    @pytest.mark.parametrize("ips", [["93.184.216.34"], []], ids=["public", "unknown here"])
    def test_proxy_of_the_environment_is_asked(
        self, ips: list[str], resolve: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve(files=[ips])
        with RawServer(lambda _: http("200 OK", PNG)) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            assert fetch("http://FILES.example/a.png", trusted_hosts=()).data == PNG

        assert proxy.requests[0].startswith(b"GET http://files.example/a.png HTTP/1.1")

    @pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "[::1]", "169.254.169.254", "inside.example"])
    def test_private_address_is_refused_behind_a_proxy_too(
        self, host: str, resolve: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve(inside=[["10.0.0.1"]])
        with RawServer(lambda _: http("200 OK", PNG)) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            assert "no public address" in refusal(f"http://{host}/{SECRET}", trusted_hosts=())

        assert proxy.connections == 0

    def test_trusted_host_goes_through_the_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(lambda _: http("200 OK", PNG)) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            assert fetch("http://10.0.0.1/a.png", trusted_hosts=["10.0.0.1"]).data == PNG

    def test_host_in_no_proxy_is_asked_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with closed_port() as proxy, RawServer(lambda _: http("200 OK", PNG)) as server:
            monkeypatch.setenv("http_proxy", proxy)
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert fetch(server.url).data == PNG

    @pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1"])
    def test_proxy_that_does_not_work_is_to_blame(self, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("all_proxy", proxy)
        assert "NO_PROXY" in refusal(f"http://10.0.0.1/?{SECRET}", trusted_hosts=["10.0.0.1"])

    def test_proxy_that_trickles_ends_with_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        began = time.monotonic()
        with RawServer(lambda _: Reply(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100, slow=100)) as proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            assert "https://10.0.0.1" in refusal(f"https://10.0.0.1/?{SECRET}", 0.3, trusted_hosts=["10.0.0.1"])
        assert time.monotonic() - began < 5
        assert proxy.requests[0].startswith(b"CONNECT 10.0.0.1:443 ")

    def test_redirect_is_checked_behind_a_proxy_too(
        self, resolve: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve(files=[["93.184.216.34"]])
        with RawServer(lambda _: http("302 Found", b"", "Location: http://10.0.0.1/")) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            assert "no public address" in refusal("http://files.example/", trusted_hosts=())

        assert len(proxy.requests) == 1


class TestDify:
    @pytest.mark.parametrize("path", ["/files/0b1c/file-preview", "/files/0b1c/image-preview", "/files/tools/0b1c.png"])
    def test_file_store_may_be_private(self, path: str) -> None:
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            assert download_from_dify(f"{server.url}{path}?timestamp=1&nonce=2&sign=3", Deadline(5)).data == PNG

    @pytest.mark.parametrize(
        "path",
        [
            "/a.png",
            "/files/0b1c/file-preview",
            "/files/0b1c/file-preview?timestamp=1&nonce=2",
            "/files/../admin?timestamp=1&nonce=2&sign=3",
            "/files/%2e%2e/admin?timestamp=1&nonce=2&sign=3",
            "/files/..%2fadmin?timestamp=1&nonce=2&sign=3",
            "/files//?timestamp=1&nonce=2&sign=3",
            "/admin?x=/files/&timestamp=1&nonce=2&sign=3",
        ],
    )
    def test_address_that_a_user_typed_may_not(self, path: str) -> None:
        with RawServer(lambda _: http("200 OK", PNG)) as server:
            sentence = dify_refusal(f"{server.url}{path}")

        assert "no public address" in sentence
        assert "INTERNAL_FILES_URL" not in sentence
        assert server.connections == 0

    def test_address_without_a_host_names_the_setting(self) -> None:
        sentence = dify_refusal(SIGNED)

        assert "FILES_URL in Dify's .env" in sentence
        assert "INTERNAL_FILES_URL" in sentence

    def test_file_store_that_cannot_be_reached_names_the_setting(self) -> None:
        with closed_port() as url:
            sentence = dify_refusal(f"{url}{SIGNED}")

        assert "Dify's file store refuses the connection" in sentence
        assert url not in sentence
        assert "set INTERNAL_FILES_URL in Dify's .env" in sentence

    def test_file_store_that_is_unknown_names_the_setting(self) -> None:
        assert "set INTERNAL_FILES_URL" in dify_refusal(f"http://nginx.invalid{SIGNED}")

    def test_page_of_dify_itself_names_the_setting(self) -> None:
        with RawServer(lambda _: http("200 OK", b"<!doctype html>", "Content-Type: text/html")) as server:
            assert "set INTERNAL_FILES_URL" in dify_refusal(f"{server.url}{SIGNED}")

    @pytest.mark.parametrize("status", [403, 404])
    def test_link_that_is_too_old_has_expired(self, status: int) -> None:
        with RawServer(lambda _: http(f"{status} No", b'{"message": "Forbidden"}')) as server:
            sentence = dify_refusal(f"{server.url}{SIGNED}")

        assert f"link to the file has expired or is not valid (HTTP {status})" in sentence
        assert "FILES_ACCESS_TIMEOUT" in sentence

    def test_redirect_away_from_the_file_store_is_no_longer_trusted(self) -> None:
        def answer(_: str) -> Reply:
            return http("302 Found", b"", f"Location: http://127.0.0.2:{server.port}{SIGNED}")

        with RawServer(answer) as server:
            assert "no public address" in dify_refusal(f"{server.url}{SIGNED}")

        assert server.connections == 1

    @pytest.mark.usefixtures("_loopback_is_public")
    def test_remote_file_is_fetched_as_any_other(self) -> None:
        with RawServer(lambda _: http("404 Not Found")) as server:
            assert "no file at this address" in dify_refusal(f"{server.url}/cat.png")
