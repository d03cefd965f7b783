"""Web addresses that strangers name: read as browsers read them, which are public, which are the same server. Pure."""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from comfybridge.refusals import Refusal

IPAddress = IPv4Address | IPv6Address

_LONGEST = 8192
"""Characters; signed addresses have up to 2000."""
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PORTS = {"http": 80, "https": 443}

# All that IANA's registry of special-purpose addresses keeps from the internet, and multicast. Python's own is_global
# changes its mind from version to version.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Azure's own services inside each of its machines.
        "168.63.129.16/32",
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
# Tunnels, which lead to any IPv4 address, and examples.
_NOT_PUBLIC_6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")


class BadAddressError(Exception):
    """Not an address to fetch a file from; the text never holds any of it."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why.name)
        self.why = why


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` is lower-case ASCII without brackets or a last dot, an IP address in its usual form."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query. They may hold a signature, so ``repr`` and errors leave them out."""

    def __repr__(self) -> str:
        return f"Address({self.origin})"

    @property
    def host_and_port(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """What people may be shown."""
        return f"{self.scheme}://{self.host_and_port}"

    @property
    def url(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def last_segment(self) -> str:
        return unquote(urlsplit(self.target).path.rpartition("/")[2])

    @property
    def ip(self) -> IPAddress | None:
        """The host as an IP address, if it is one."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


def read(url: str, base: Address | None = None) -> Address:
    """Read an address as browsers do; a relative one needs ``base``.

    Raises:
        BadAddressError: it is none, is of another kind, or holds a user name or password.
    """
    url = url.strip()
    if len(url) > _LONGEST or not url.isprintable() or "\\" in url:
        raise BadAddressError(Refusal.MALFORMED)
    try:
        parts = urlsplit(urljoin(base.url, url) if base else url)
        port = parts.port
    except ValueError:
        raise BadAddressError(Refusal.MALFORMED) from None
    if parts.scheme not in _PORTS:
        raise BadAddressError(Refusal.SCHEME if _SCHEME.match(url) else Refusal.RELATIVE)
    if "@" in parts.netloc:
        raise BadAddressError(Refusal.CREDENTIALS)
    if port == 0 or not parts.netloc:
        raise BadAddressError(Refusal.MALFORMED)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.scheme, _host(parts), _PORTS[parts.scheme] if port is None else port, target)


def moved(base_url: str, route: str, location: str, configured: str) -> tuple[str, str] | None:
    """Where a redirect says that a server's route is now: the new base address, and ``/`` if one follows the route.

    ``None`` unless it is the same route of the same server: of the same scheme, host and port, or of the same host by
    https at https's own port or the configured one. So a login page is not followed, nor anything of somebody else.
    """
    try:
        asked, target, first = read(base_url), read(location, read(f"{base_url}{route}")), read(configured)
    except BadAddressError:
        return None
    is_same = (target.scheme, target.port) == (asked.scheme, asked.port)
    is_safer = (asked.scheme, target.scheme) == ("http", "https") and target.port in (_PORTS["https"], first.port)
    path = target.target.partition("?")[0]
    slash = "/" if path.endswith("/") else ""
    if (
        not location
        or target.host != asked.host
        or not (is_same or is_safer)
        or not path.removesuffix("/").endswith(route)
    ):
        return None
    return target.origin + path.removesuffix("/").removesuffix(route), slash


def is_public(ip: IPAddress) -> bool:
    """Whether this is an address of the internet, where nothing of this network can be reached.

    An IPv4 address inside an IPv6 one counts as itself.
    """
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_4)
    if ip.ipv4_mapped is not None:
        return is_public(ip.ipv4_mapped)
    if ip in _NAT64:
        return is_public(IPv4Address(int(ip) & 0xFFFFFFFF))
    return ip in _PUBLIC_6 and not any(ip in network for network in _NOT_PUBLIC_6)


def is_among(address: Address, hosts: frozenset[str]) -> bool:
    """Whether ``hosts`` has the address's host, or its ``host:port``."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return not hosts.isdisjoint((address.host, host, f"{host}:{address.port}"))


def _host(parts: SplitResult) -> str:
    name = parts.hostname or ""
    if "[" in parts.netloc:
        try:
            ip = IPv6Address(name)
        except ValueError:
            raise BadAddressError(Refusal.MALFORMED) from None
        if ip.scope_id:
            raise BadAddressError(Refusal.MALFORMED)
        return str(ip)
    try:
        # As the resolver would see it: full-width digits and dots become plain ones.
        host = name.encode("idna").decode().lower().removesuffix(".")
        labels = host.split(".")
        if not all(_LABEL.fullmatch(label) for label in labels):
            raise BadAddressError(Refusal.MALFORMED)
        return str(_ipv4(labels)) if _NUMBER.fullmatch(labels[-1]) else host
    except ValueError:
        raise BadAddressError(Refusal.MALFORMED) from None


def _ipv4(labels: list[str]) -> IPv4Address:
    """One to four numbers, decimal, octal (0…) or hexadecimal (0x…), the last of which fills what is left."""
    *firsts, last = [_number(label) for label in labels]
    if len(firsts) > 3 or any(first > 255 for first in firsts) or last >= 256 ** (4 - len(firsts)):  # noqa: PLR2004
        raise ValueError
    return IPv4Address(sum(first << 8 * (3 - place) for place, first in enumerate(firsts)) + last)


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") else 10)


def is_foreign_origin(host: str, origin: str) -> bool:
    """ComfyUI's rule for these two headers: on a loopback host an ``Origin`` must name the same host (server.py)."""
    if not host or not origin:
        return False
    wanted, given = urlsplit("//" + host.lower()), urlsplit(origin.lower())
    if not is_loopback(wanted.hostname) or not given.netloc:
        return False
    own = wanted.hostname if given.port is None else host.lower()
    other = given.hostname if wanted.port is None else given.netloc
    return own != other


@lru_cache(maxsize=256)
def is_loopback(host: str | None) -> bool:
    """Whether it is ``localhost`` or an IP address that only this machine reaches."""
    if host is None:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
