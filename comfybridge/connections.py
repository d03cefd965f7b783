"""HTTP connections whose every wait ends with a deadline, for ``transport``, ``downloads`` and ``events``.

Only here is urllib3: it is what requests stands on; requests itself would double the time of every request here. What
requests knows of the environment (proxies, certificates) is asked where connections are made.
"""

import io
import math
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, prepend_scheme_if_needed, select_proxy
from urllib3 import connection
from urllib3 import exceptions as faults

from comfybridge.advice import Fault
from comfybridge.deadline import Deadline

CONNECT_S = 10.0
READ_S = 30.0
"""Between two pieces of an answer; the whole of it has the deadline."""

_KEPT_CONNECTIONS = 128
_PIECE = 1 << 18
# Timeouts of zero are errors to urllib3; a moment is as good.
_LEAST_S = 0.05


Connections = urllib3.PoolManager
ConnectionsToOne = urllib3.HTTPConnectionPool


class NoAnswerError(Exception):
    """The request got no whole answer; ``fault`` says why. The text never holds the address or a header."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


class TooLargeError(Exception):
    """The answer is larger than anybody needs; ``begun`` is as much of its beginning as was asked for."""

    def __init__(self, begun: bytes = b"") -> None:
        super().__init__()
        self.begun = begun


def certificates() -> str:
    """The authorities to trust, as requests finds them: a file with all of them, or a folder with a file for each."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH


def proxy_for(url: str) -> str:
    """The proxy that the environment sets for an address; empty when there is none."""
    return select_proxy(url, get_environ_proxies(url)) or ""


def connections(proxy: str, *, is_patient: bool = False, verify_tls: bool = True) -> Connections:
    """Connections straight to whatever is asked, or through a proxy when one is given.

    Patient ones bear any silence within the time for the whole answer.

    Raises:
        NoAnswerError: the proxy is of a kind that needs more packages, such as socks5.
    """
    if not verify_tls:
        # It would say so for every connection; whoever decided it says so once.
        urllib3.disable_warnings(faults.InsecureRequestWarning)
    trusted = _authorities(verify_tls=verify_tls)
    if not proxy:
        return _punctual(Connections(maxsize=_KEPT_CONNECTIONS, **trusted), is_patient=is_patient)
    proxy, headers = _proxy(proxy)
    try:
        manager = urllib3.ProxyManager(proxy, maxsize=_KEPT_CONNECTIONS, proxy_headers=headers, **trusted)
    except faults.ProxySchemeUnknown as exc:
        raise NoAnswerError(Fault.PROXY) from exc
    return _punctual(manager, is_patient=is_patient)


def below(through: Connections, base_url: str) -> tuple[Connections | ConnectionsToOne, str]:
    """What to ask for anything below an address, and how its URLs begin there.

    Without a proxy that is the server itself, found once: to find it for each request takes a while.

    Raises:
        NoAnswerError: it is no address.
    """
    if through.proxy is not None:
        return through, base_url
    try:
        return through.connection_from_url(base_url), urllib3.util.parse_url(base_url).path or ""
    except faults.HTTPError as exc:
        raise NoAnswerError(_fault(exc)) from exc


def connection_to(address: str, scheme: str, host: str, port: int) -> ConnectionsToOne:
    """A connection to this very IP address, whose certificate must be the host's."""
    address = f"[{address}]" if ":" in address else address
    if scheme == "http":
        return _HTTPPool(address, port)
    return _HTTPSPool(address, port, server_hostname=host, **_authorities())


def socket_to(url: str, deadline: Deadline, *, verify_tls: bool = True) -> socket.socket:
    """A socket to the server of an address, through the proxies and with the certificates that requests to it have.

    Raises:
        NoAnswerError: there is none, or none in time.
    """
    target, proxy = urlsplit(url), proxy_for(url)
    proxy, headers = _proxy(proxy) if proxy else ("", {})
    hop = urlsplit(proxy) if proxy else target
    if proxy and hop.scheme != "http":
        raise NoAnswerError(Fault.PROXY)
    timeout = max(_LEAST_S, min(CONNECT_S, deadline.remaining()))
    opened: connection.HTTPConnection
    if target.scheme == "https":
        trusted = _authorities(verify_tls=verify_tls)
        opened = connection.HTTPSConnection(str(hop.hostname), _port(hop), timeout=timeout, **trusted)
    else:
        opened = connection.HTTPConnection(str(hop.hostname), _port(hop), timeout=timeout)
    try:
        if proxy:
            opened.set_tunnel(str(target.hostname), _port(target), headers)
        opened.connect()
    except faults.HTTPError as exc:
        opened.close()
        raise NoAnswerError(_fault(exc)) from exc
    except (OSError, HTTPException) as exc:
        opened.close()
        at = Fault.PROXY if proxy else Fault.NO_CONNECTION
        raise NoAnswerError(Fault.TLS if isinstance(exc, ssl.SSLError) else at) from exc
    connected: socket.socket = opened.sock
    return connected


@contextmanager
def answer(
    through: Connections | ConnectionsToOne,
    method: str,
    url: str,
    deadline: Deadline,
    *,
    headers: Mapping[str, str],
    data: bytes | None = None,
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Send a request; its answer, of any status, is to be read inside the ``with`` block.

    Redirects are not followed.

    Raises:
        NoAnswerError: no answer, or none in time. Also for what happens inside the block.
    """
    left = max(_LEAST_S, deadline.remaining())
    try:
        response = through.urlopen(
            method,
            url,
            body=data,
            headers=headers,
            timeout=urllib3.Timeout(connect=min(CONNECT_S, left), total=left),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            yield response
        finally:
            # Ends the connection unless the answer was read to its end, which has given it back to the pool.
            response.close()
    except faults.HTTPError as exc:
        raise NoAnswerError(_fault(exc)) from exc


def whole(response: urllib3.BaseHTTPResponse, largest: int, piece: int = _PIECE, *, beginning: int = 0) -> bytes:
    """The unpacked body. Of one that is too large, no more than the ``beginning`` is waited for.

    Raises:
        TooLargeError: more than ``largest`` bytes were announced or came.
    """
    if (response.length_remaining or 0) > largest:
        raise TooLargeError(_begun(response, beginning))
    # Its value is handed out without a copy; of a picture two would be many.
    received = io.BytesIO()
    # Other reads than read1() wait for a whole piece, and would unpack all that they got at once.
    while part := response.read1(piece, decode_content=True):
        received.write(part)
        if received.tell() > largest:
            raise TooLargeError(received.getvalue()[:beginning])
    return received.getvalue()


def _begun(response: urllib3.BaseHTTPResponse, size: int) -> bytes:
    received = b""
    while len(received) < size and (part := response.read1(size - len(received), decode_content=True)):
        received += part
    return received


def multipart(fields: Mapping[str, str | tuple[str, bytes, str]]) -> tuple[bytes, str]:
    """A form's body and its content type; a file is ``(filename, data, mime)``."""
    return urllib3.encode_multipart_formdata(fields)


class _Arriving(io.RawIOBase):
    """What a socket receives, each wait cut to ``read_s`` and to what is left of the time for everything."""

    def __init__(self, arriving: io.RawIOBase, receiver: socket.socket, read_s: float) -> None:
        super().__init__()
        self._read_s = read_s
        self._arriving = arriving
        self._receiver = receiver
        self._end = time.monotonic() + (receiver.gettimeout() or READ_S)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._receiver.settimeout(min(self._read_s, left))
        return cast("int | None", self._arriving.readinto(buffer))

    def close(self) -> None:
        self._arriving.close()
        super().close()


class _Response(HTTPResponse):
    """Arrives whole within the timeout that its socket has at the start; http.client gives every byte that long."""

    read_s = READ_S

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Arriving(self.fp.detach(), sock, self.read_s))


class _PatientResponse(_Response):
    read_s = math.inf


class _HTTPConnection(connection.HTTPConnection):
    response_class = _Response


class _HTTPSConnection(connection.HTTPSConnection):
    response_class = _Response


class _PatientHTTPConnection(connection.HTTPConnection):
    response_class = _PatientResponse


class _PatientHTTPSConnection(connection.HTTPSConnection):
    response_class = _PatientResponse


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class _PatientHTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PatientHTTPConnection


class _PatientHTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PatientHTTPSConnection


def _punctual(manager: Connections, *, is_patient: bool) -> Connections:
    pools = (_PatientHTTPPool, _PatientHTTPSPool) if is_patient else (_HTTPPool, _HTTPSPool)
    manager.pool_classes_by_scheme = dict(zip(("http", "https"), pools, strict=True))
    return manager


def _proxy(address: str) -> tuple[str, dict[str, str]]:
    """As requests reads it: 127.0.0.1:7890 is an HTTP proxy, and a user name in the address is for the proxy."""
    address = prepend_scheme_if_needed(address, "http")  # type: ignore[no-untyped-call]  # requests leaves it unannotated
    return address, HTTPAdapter().proxy_headers(address)


def _port(address: SplitResult) -> int:
    return address.port or (443 if address.scheme == "https" else 80)


def _authorities(*, verify_tls: bool = True) -> dict[str, Any]:
    """Keyword arguments of urllib3, which wants to know what OpenSSL finds there."""
    if not verify_tls:
        return {"cert_reqs": ssl.CERT_NONE}
    where = certificates()
    return {"ca_cert_dir": where} if Path(where).is_dir() else {"ca_certs": where}


def _fault(exc: faults.HTTPError) -> Fault:
    """Translate what urllib3 raises; the order matters, its classes derive from each other."""
    match exc:
        case faults.SSLError():
            return Fault.TLS
        case faults.ProxyError() | faults.ProxySchemeUnknown():
            return Fault.PROXY
        case faults.NameResolutionError():
            return Fault.UNKNOWN_HOST
        case faults.NewConnectionError():
            return Fault.REFUSED if isinstance(exc.__cause__, ConnectionRefusedError) else Fault.NO_CONNECTION
        case faults.ConnectTimeoutError():
            return Fault.NO_CONNECTION
        case faults.TimeoutError():
            return Fault.SILENT
        case faults.LocationValueError():
            return Fault.MALFORMED
    return Fault.DROPPED
