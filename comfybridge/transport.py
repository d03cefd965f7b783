"""HTTP to one server: kept connections, whole answers, every wait cut to a deadline. The only importer of urllib3.

urllib3 is what requests stands on; requests itself would double the time of every request here. What requests knows of
the environment (proxies, certificates) is asked once, at the start.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, prepend_scheme_if_needed, select_proxy
from urllib3 import exceptions as faults

from comfybridge.advice import Fault
from comfybridge.deadline import Deadline

CONNECT_S = 10.0
READ_S = 30.0
"""Between two pieces of an answer; the whole of it has the deadline."""
LARGEST_ANSWER = 512 * 1024 * 1024

_KEPT_CONNECTIONS = 128
_PIECE = 1 << 18
# Timeouts of zero are errors to urllib3; a moment is as good.
_LEAST_S = 0.05
_ALWAYS = {"User-Agent": "comfybridge", "Accept-Encoding": "gzip, deflate"}


class NoAnswerError(Exception):
    """The request got no whole answer; ``fault`` says why. The text never holds the address or a header."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


class TooLargeError(Exception):
    """The answer is larger than ``LARGEST_ANSWER``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of any status; ``location`` is empty but for redirects."""

    status: int
    body: bytes
    location: str


class Transport:
    """Requests to one address. Safe to use from several threads.

    Redirects are not followed: whoever is behind them was not configured, and would get the headers.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self.base_url = base_url
        self.certificates = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
        )
        self._headers = {**_ALWAYS, **headers}
        self._pool = _pool(base_url, self.certificates)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.clear()

    def request(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        data: bytes | None = None,
        content_type: str = "application/json",
        is_repeatable: bool = True,
    ) -> Answer:
        """Send a request and read the whole answer.

        A server may close an idle connection at any moment, so a repeatable request is sent once more when its
        connection broke.

        Raises:
            NoAnswerError: no answer, or none in time.
            TooLargeError: more of it than anybody needs.
        """
        headers = self._headers if data is None else {**self._headers, "Content-Type": content_type}
        try:
            return self._once(method, path, deadline, data, headers)
        except NoAnswerError as exc:
            if not is_repeatable or exc.fault is not Fault.DROPPED:
                raise
            return self._once(method, path, deadline, data, headers)

    def _once(
        self, method: str, path: str, deadline: Deadline, data: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        if self._pool is None:
            raise NoAnswerError(Fault.PROXY)
        left = max(_LEAST_S, deadline.remaining())
        try:
            response = self._pool.urlopen(
                method,
                self.base_url + path,
                body=data,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_S, left), read=min(READ_S, left)),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                return Answer(response.status, _body(response, deadline), response.headers.get("Location", ""))
            finally:
                # Ends the connection unless the answer was read to its end, which has given it back to the pool.
                response.close()
        except faults.HTTPError as exc:
            raise NoAnswerError(_fault(exc)) from exc


def multipart(fields: Mapping[str, str | tuple[str, bytes, str]]) -> tuple[bytes, str]:
    """A form's body and its content type; a file is ``(filename, data, mime)``."""
    return urllib3.encode_multipart_formdata(fields)


def _pool(base_url: str, certificates: str) -> urllib3.PoolManager | None:
    """Connections straight to the address, or through the proxy that the environment sets for it.

    ``None`` when that proxy is of a kind that needs more packages, such as socks5.
    """
    # As OpenSSL has it: a file with all authorities, or a folder with a file for each.
    is_folder = Path(certificates).is_dir()
    file, folder = (None, certificates) if is_folder else (certificates, None)
    proxy = select_proxy(base_url, get_environ_proxies(base_url))
    if not proxy:
        return urllib3.PoolManager(maxsize=_KEPT_CONNECTIONS, ca_certs=file, ca_cert_dir=folder)
    # As requests reads it: 127.0.0.1:7890 is an HTTP proxy, and a user name in the address is for the proxy.
    proxy = prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]  # requests leaves it unannotated
    headers = HTTPAdapter().proxy_headers(proxy)
    try:
        return urllib3.ProxyManager(
            proxy, maxsize=_KEPT_CONNECTIONS, proxy_headers=headers, ca_certs=file, ca_cert_dir=folder
        )
    except faults.ProxySchemeUnknown:
        return None


def _body(response: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
    # read1() gives what has come. Other reads wait for a whole piece, and a server that sends a byte now and then would
    # keep them beyond any deadline.
    received = bytearray()
    while piece := response.read1(_PIECE, decode_content=True):
        received += piece
        if len(received) > LARGEST_ANSWER:
            raise TooLargeError
        if deadline.has_passed():
            raise NoAnswerError(Fault.SILENT)
    return bytes(received)


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
