import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from comfybridge.addresses import Address, BadAddressError, is_among, is_public, moved, read
from comfybridge.refusals import Refusal

NAT64 = IPv6Network("64:ff9b::/96")
PRIVATE = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:4860::8888",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
]


def why(url: str) -> Refusal:
    with pytest.raises(BadAddressError) as raised:
        read(url)
    return raised.value.why


@pytest.mark.parametrize("text", PRIVATE)
def test_address_of_no_use_on_the_internet_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_no_address_is_public_that_python_calls_private(ip: IPv4Address | IPv6Address) -> None:
    embeds = isinstance(ip, IPv6Address) and (ip.ipv4_mapped is not None or ip in NAT64)
    assert embeds or not is_public(ip) or (ip.is_global and not ip.is_multicast)


@given(st.ip_addresses(v=4))
def test_address_inside_another_counts_as_itself(ip: IPv4Address) -> None:
    assert is_public(IPv6Address((0xFFFF << 32) + int(ip))) == is_public(ip)
    assert is_public(IPv6Address((0x64FF9B << 96) + int(ip))) == is_public(ip)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://2130706433/", "127.0.0.1"),
        ("http://017700000001/", "127.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://0X7F.0x0.0.01/", "127.0.0.1"),
        ("http://127.1/", "127.0.0.1"),
        ("http://127.0.1/", "127.0.0.1"),
        ("http://0177.0.0.1/", "127.0.0.1"),
        ("http://127.0.0.1./", "127.0.0.1"),
        ("http://0/", "0.0.0.0"),
        ("http://１２７.０.０.１/", "127.0.0.1"),
        ("http://127。0。0。1/", "127.0.0.1"),
        ("http://①②⑦.0.0.1/", "127.0.0.1"),
        ("http://[::1]/", "::1"),
        ("http://[0:0:0:0:0:0:0:1]/", "::1"),
        ("http://ＬＯＣＡＬＨＯＳＴ/", "localhost"),
        ("HtTpS://EXAMPLE.com./", "example.com"),
        ("http://例子.测试/", "xn--fsqu00a.xn--0zwm56d"),
        ("  http://example.com/ \n", "example.com"),
    ],
)
def test_host_is_read_as_browsers_read_it(url: str, host: str) -> None:
    assert read(url).host == host


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("", Refusal.RELATIVE),
        ("/files/1/file-preview", Refusal.RELATIVE),
        ("//example.com/a.png", Refusal.RELATIVE),
        ("example.com/a.png", Refusal.RELATIVE),
        ("file:///etc/passwd", Refusal.SCHEME),
        ("FILE:///etc/passwd", Refusal.SCHEME),
        ("ftp://example.com/a.png", Refusal.SCHEME),
        ("gopher://127.0.0.1:6379/_", Refusal.SCHEME),
        ("data:image/png;base64,AAAA", Refusal.SCHEME),
        ("http://me:secret@example.com/", Refusal.CREDENTIALS),
        ("http://me@example.com/", Refusal.CREDENTIALS),
        ("http://@example.com/", Refusal.CREDENTIALS),
        ("http://example.com:80@127.0.0.1/", Refusal.CREDENTIALS),
        ("http://", Refusal.MALFORMED),
        ("http:/example.com", Refusal.MALFORMED),
        ("http://:80/", Refusal.MALFORMED),
        ("http://example.com:0/", Refusal.MALFORMED),
        ("http://example.com:70000/", Refusal.MALFORMED),
        ("http://example.com:x/", Refusal.MALFORMED),
        ("http://a..b/", Refusal.MALFORMED),
        ("http://.../", Refusal.MALFORMED),
        ("http://a b/", Refusal.MALFORMED),
        ("http://a\tb/", Refusal.MALFORMED),
        ("http://a/\r\nX-Evil: 1", Refusal.MALFORMED),
        ("http://%31%32%37.0.0.1/", Refusal.MALFORMED),
        ("http://127.0.0.1%2f.example.com/", Refusal.MALFORMED),
        ("http://127.0.0.1\\.example.com/", Refusal.MALFORMED),
        ("http://127.0.0.1\x00.example.com/", Refusal.MALFORMED),
        ("http://256.0.0.1/", Refusal.MALFORMED),
        ("http://1.2.3.4.5/", Refusal.MALFORMED),
        ("http://4294967296/", Refusal.MALFORMED),
        ("http://08.1/", Refusal.MALFORMED),
        ("http://example.1/", Refusal.MALFORMED),
        ("http://[::1/", Refusal.MALFORMED),
        ("http://[fe80::1%25eth0]/", Refusal.MALFORMED),
        ("http://[v1.x]/", Refusal.MALFORMED),
        ("http://[127.0.0.1]/", Refusal.MALFORMED),
        ("http://::1/", Refusal.MALFORMED),
        (f"http://{'a' * 64}.com/", Refusal.MALFORMED),
        ("http://example.com/" + "a" * 8192, Refusal.MALFORMED),
    ],
)
def test_what_is_no_address_is_refused(url: str, refusal: Refusal) -> None:
    assert why(url) is refusal


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("http://example.com", "http://example.com", "/"),
        ("http://example.com:80/a.png#top", "http://example.com", "/a.png"),
        ("https://example.com:8443/a.png?sign=x", "https://example.com:8443", "/a.png?sign=x"),
        ("http://[::1]:8188/a", "http://[::1]:8188", "/a"),
        ("http://example.com?a=b", "http://example.com", "/?a=b"),
    ],
)
def test_address_has_an_origin_to_show_and_a_target_to_ask_for(url: str, origin: str, target: str) -> None:
    address = read(url)

    assert (address.origin, address.target) == (origin, target)
    assert target == "/" or target not in repr(address)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b.png", "https://example.com/b.png"),
        ("c.png?d", "https://example.com/a/c.png?d"),
        ("//other.example/b", "https://other.example/b"),
        ("http://127.1/", "http://127.0.0.1/"),
    ],
)
def test_relative_address_is_read_from_its_base(location: str, url: str) -> None:
    assert read(location, read("https://example.com/a/b")).url == url


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ({"api"}, True),
        ({"api:5001"}, True),
        ({"api:5002"}, False),
        ({"ap"}, False),
        ({"example.api"}, False),
        (set(), False),
    ],
)
def test_host_is_among_hosts_with_its_port_or_any(hosts: set[str], expected: bool) -> None:  # noqa: FBT001
    assert is_among(read("http://API:5001/files"), frozenset(hosts)) is expected


@pytest.mark.parametrize("hosts", [{"::1"}, {"[::1]"}, {"[::1]:80"}])
def test_bare_address_is_among_hosts(hosts: set[str]) -> None:
    assert is_among(read("http://[::1]/"), frozenset(hosts))


def resolved(host: str) -> str | None:
    """What the system's own reading of a literal address is."""
    try:
        entries = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return str(entries[0][4][0])


def read_or_none(url: str) -> Address | None:
    try:
        return read(url)
    except BadAddressError:
        return None


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, IPv4Address]:
    """An IPv4 address in any of the forms that inet_aton() reads, and the address."""
    value = draw(st.integers(0, 0xFFFFFFFF))
    firsts = draw(st.integers(0, 3))
    numbers = [value >> 8 * (3 - place) & 255 for place in range(firsts)] + [value & (1 << 8 * (4 - firsts)) - 1]
    forms = [draw(st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "0x000{:x}", "000{:o}"])) for _ in numbers]
    return ".".join(form.format(number) for form, number in zip(forms, numbers, strict=True)), IPv4Address(value)


@given(spellings())
def test_every_spelling_of_an_ipv4_address_is_that_address(spelling: tuple[str, IPv4Address]) -> None:
    text, ip = spelling

    assert ip_address(socket.inet_aton(text)) == ip
    assert read(f"http://{text}/").ip == ip
    assert read(f"http://{text}./").ip == ip


@given(st.text("0123456789abcdefxX.:[]%-①１２７０。．｡ｘ_/@?#\\ ", min_size=1, max_size=20))
@example("0x")
@example("1.0x")
@example("127.0.0.1 x")
def test_no_host_is_read_otherwise_than_the_system_reads_it(host: str) -> None:
    address = read_or_none(f"http://{host}/")
    if address is not None:
        literal = resolved(address.host)
        assert literal == (None if address.ip is None else str(address.ip))


@given(st.text(max_size=30), st.text(max_size=10))
def test_urllib3_reads_no_other_host_than_we_do(host: str, path: str) -> None:
    address = read_or_none(f"http://{host}/{path}")
    if address is not None:
        again = parse_url(address.url)
        assert (again.host or "").strip("[]") == address.host
        assert again.auth is None
        assert again.port in (address.port, None)


class TestMoved:
    @pytest.mark.parametrize(
        ("base_url", "location", "found"),
        [
            ("http://gpu:8188", "https://gpu:8188/prompt", ("https://gpu:8188", "")),
            ("http://gpu:8188", "https://gpu/prompt", ("https://gpu", "")),
            ("http://gpu", "https://GPU:443/prompt", ("https://gpu", "")),
            ("http://gpu", "https://gpu./prompt/?x=1", ("https://gpu", "/")),
            ("http://gpu/comfy", "https://gpu/comfy/prompt", ("https://gpu/comfy", "")),
            ("https://gpu/comfy", "/app/comfy/prompt", ("https://gpu/app/comfy", "")),
            ("https://gpu/comfy", "prompt/", ("https://gpu/comfy", "/")),
            ("http://[::1]:1", "https://[0::1]:1/prompt", ("https://[::1]:1", "")),
        ],
    )
    def test_same_route_of_the_same_server_is_found(self, base_url: str, location: str, found: tuple[str, str]) -> None:
        assert moved(base_url, "/prompt", location, base_url) == found

    @pytest.mark.parametrize(
        ("base_url", "location"),
        [
            ("http://gpu:8188", ""),
            ("http://gpu:8188", "http://gpu:8189/prompt"),
            ("http://gpu:8188", "https://gpu:8443/prompt"),
            ("http://gpu:8188", "http://gpu/prompt"),
            ("https://gpu", "http://gpu/prompt"),
            ("https://gpu", "https://gpu:8443/prompt"),
            ("http://gpu", "https://gpu.example.com/prompt"),
            ("http://gpu", "https://www.gpu/prompt"),
            ("http://gpu", "//other/prompt"),
            ("http://gpu", "https://gpu@other/prompt"),
            ("http://gpu", "https://me:pw@gpu/prompt"),
            ("http://gpu", "\\\\other/prompt"),
            ("http://gpu", "https://gpu/login?next=/prompt"),
            ("http://gpu", "https://gpu/"),
            ("http://gpu", "https://gpu/prompt/x"),
            ("http://gpu", "ftp://gpu/prompt"),
            ("http://127.0.0.1", "https://localhost/prompt"),
        ],
    )
    def test_everything_else_is_not(self, base_url: str, location: str) -> None:
        assert moved(base_url, "/prompt", location, base_url) is None

    def test_second_hop_is_held_to_the_first_address(self) -> None:
        assert moved("https://gpu:8188", "/prompt", "https://gpu/prompt", "http://gpu:8188") is None
