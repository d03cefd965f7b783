"""Fetch a file that somebody names by its address, and nothing of this network but what the operator trusts.

Each address, those of redirects too, is resolved once; all that it resolves to must be public, and the connection goes
to just that. Where the environment sets a proxy the proxy resolves; what is private here is refused all the same.
"""

import logging
import re
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from email.message import Message
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import parse_qs

from comfybridge.addresses import Address, BadAddressError, IPAddress, is_among, is_public, read
from comfybridge.advice import Fault
from comfybridge.connections import (
    CONNECT_S,
    Connections,
    ConnectionsToOne,
    NoAnswerError,
    TooLargeError,
    answer,
    connection_to,
    connections,
    proxy_for,
    whole,
)
from comfybridge.deadline import Deadline
from comfybridge.errors import InvalidInput
from comfybridge.refusals import Refusal, refused

logger = logging.getLogger(__name__)

LARGEST = 30 * 1024 * 1024

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_ALWAYS = {"User-Agent": "comfybridge", "Accept": "*/*", "Accept-Encoding": "identity"}
# What unpacks to a thousand times its size is noticed early.
_PIECE = 1 << 15
_LONGEST_NAME = 60
# Neither dots that lead elsewhere nor escapes: what only looks like a link of Dify's leads to nothing else on a host.
_SIGNED_PATH = re.compile(r"/files(?:/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9]+)*)+")
_HARMFUL = re.compile(r"[^\w.-]+")
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Download:
    """``filename`` has letters, digits, ``.``, ``_`` and ``-`` only; it may be empty."""

    data: bytes
    filename: str


def download(url: str, deadline: Deadline, *, trusted_hosts: Collection[str] = (), largest: int = LARGEST) -> Download:
    """Fetch a file that a user or an agent names.

    ``trusted_hosts`` are hosts with any port, or ``host:port``, that need not be public.

    Raises:
        InvalidInput: whatever went wrong. The sentences show no more of the address than its host and port.
    """
    return _Fetch(deadline, frozenset(host.lower() for host in trusted_hosts), largest, is_dify=False).download(url)


def download_from_dify(url: str, deadline: Deadline, *, largest: int = LARGEST) -> Download:
    """Fetch a file that Dify hands over.

    Dify's own file store need not be public. Dify hands over remote files too, with the addresses that its users typed;
    these are fetched as ``download()`` does.

    Raises:
        InvalidInput: as with ``download()``. Where something is to be set in Dify, the sentence names it.
    """
    try:
        address = read(url)
    except BadAddressError as exc:
        raise refused(exc.why, is_dify=True) from None
    is_dify = _is_signed(address)
    trusted = frozenset((address.host,)) if is_dify else frozenset[str]()
    return _Fetch(deadline, trusted, largest, is_dify=is_dify).download(url)


def dify_host(url: str) -> str | None:
    """The ``host:port`` of a signed link of Dify's file store; ``None`` of every other address."""
    try:
        address = read(url)
    except BadAddressError:
        return None
    return f"{address.host}:{address.port}" if _is_signed(address) else None


@dataclass(frozen=True, slots=True)
class _Answer:
    """``data`` is empty but for a success."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    def header(self, name: str) -> str:
        # http.client reads headers as Latin-1; those that are not ASCII are UTF-8.
        return self.headers.get(name, "").encode("latin-1", "replace").decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Fetch:
    deadline: Deadline
    trusted_hosts: frozenset[str]
    largest: int
    _: KW_ONLY
    is_dify: bool

    def download(self, url: str) -> Download:
        try:
            address = read(url)
        except BadAddressError as exc:
            raise refused(exc.why, is_dify=self.is_dify) from None
        for _ in range(1 + _MOST_REDIRECTS):
            found = self._answer(address)
            if found.status not in _REDIRECTS:
                return self._checked(found, address)
            address = self._redirected(address, found.header("Location"))
        raise self._refused(Refusal.REDIRECTS, address)

    def _answer(self, address: Address) -> _Answer:
        try:
            proxy = proxy_for(address.origin)
            ips = self._checked_ips(address, is_proxied=bool(proxy))
            if proxy:
                through = connections(proxy)
                try:
                    return self._asked(through, address, address.url)
                finally:
                    through.clear()
            return self._first_answer(address, ips)
        except NoAnswerError as exc:
            raise self._refused(exc.fault, address) from None
        except TooLargeError:
            raise self._refused(Refusal.LARGE, address) from None

    def _checked_ips(self, address: Address, *, is_proxied: bool) -> list[IPAddress]:
        is_trusted = is_among(address, self.trusted_hosts)
        if is_trusted and is_proxied:
            return []
        ips = [address.ip] if address.ip else _resolved(address, self.deadline)
        if not is_trusted and not all(map(is_public, ips)):
            raise self._refused(Refusal.PRIVATE, address)
        if not ips and not is_proxied:
            raise NoAnswerError(Fault.UNKNOWN_HOST)
        return ips

    def _first_answer(self, address: Address, ips: Sequence[IPAddress]) -> _Answer:
        *others, last = ips
        for ip in others:
            try:
                return self._answer_of(ip, address)
            except NoAnswerError as exc:
                if exc.fault not in (Fault.REFUSED, Fault.NO_CONNECTION):
                    raise
        return self._answer_of(last, address)

    def _answer_of(self, ip: IPAddress, address: Address) -> _Answer:
        through = connection_to(str(ip), address.scheme, address.host, address.port)
        try:
            return self._asked(through, address, address.target)
        finally:
            through.close()

    def _asked(self, through: Connections | ConnectionsToOne, address: Address, url: str) -> _Answer:
        try:
            return self._once(through, address, url)
        except NoAnswerError as exc:
            if exc.fault is not Fault.DROPPED:
                raise
            return self._once(through, address, url)

    def _once(self, through: Connections | ConnectionsToOne, address: Address, url: str) -> _Answer:
        headers = {**_ALWAYS, "Host": address.host_and_port}
        with answer(through, "GET", url, self.deadline, headers=headers) as response:
            is_success = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
            return _Answer(
                response.status, response.headers, whole(response, self.largest, _PIECE) if is_success else b""
            )

    def _redirected(self, address: Address, location: str) -> Address:
        try:
            target = read(location, address)
        except BadAddressError:
            raise self._refused(Refusal.REDIRECTS, address) from None
        if address.scheme == "https" and target.scheme == "http":
            raise self._refused(Refusal.DOWNGRADE, address)
        return target

    def _checked(self, found: _Answer, address: Address) -> Download:
        match found.status:
            case 401 | 403:
                raise self._refused(Refusal.FORBIDDEN, address, found.status)
            case 404 | 410:
                raise self._refused(Refusal.MISSING, address, found.status)
            case status if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                raise self._refused(Refusal.STATUS, address, status)
        if not found.data:
            raise self._refused(Refusal.EMPTY, address)
        if _PAGE.match(found.data) or ("html" in found.header("Content-Type") and found.data.lstrip()[:1] == b"<"):
            raise self._refused(Refusal.PAGE, address)
        return Download(found.data, _filename(found.header("Content-Disposition"), address))

    def _refused(self, why: Refusal | Fault, address: Address, status: int = 0) -> InvalidInput:
        if self.is_dify:
            logger.warning("a file at Dify's %s cannot be had: %s", address.origin, why.name.lower())
        return refused(why, address.origin, is_dify=self.is_dify, status=status, largest=self.largest)


def _is_signed(address: Address) -> bool:
    """Whether this looks like a link of Dify's file store: /files/…?timestamp=…&nonce=…&sign=…"""
    path, _, query = address.target.partition("?")
    return _SIGNED_PATH.fullmatch(path) is not None and {"timestamp", "nonce", "sign"} <= parse_qs(query).keys()


def _resolved(address: Address, deadline: Deadline) -> list[IPAddress]:
    """All that a host resolves to, IPv4 first; empty when that is nothing, or is not known in time."""
    found: list[IPAddress] = []

    def resolve() -> None:
        with suppress(OSError):
            entries = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(ip_address(str(entry[4][0])) for entry in entries))

    # The resolver has a patience of its own, which nothing can cut short.
    resolving = threading.Thread(target=resolve, name="resolve", daemon=True)
    resolving.start()
    resolving.join(min(CONNECT_S, deadline.remaining()))
    # Containers often have IPv6 addresses that lead nowhere.
    return sorted(found, key=lambda ip: ip.version)


def _filename(disposition: str, address: Address) -> str:
    header = Message()
    header["Content-Disposition"] = disposition
    name = header.get_filename() or address.last_segment
    # The end is kept, for the extension.
    return _HARMFUL.sub("_", re.split(r"[/\\]", name)[-1])[-_LONGEST_NAME:].strip("._-")
