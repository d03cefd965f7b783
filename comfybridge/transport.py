"""HTTP to one server: kept connections, whole answers, every wait cut to a deadline. The only importer of requests."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3.exceptions import HTTPError, LocationValueError, NameResolutionError, NewConnectionError, ReadTimeoutError

from comfybridge.advice import Fault
from comfybridge.deadline import Deadline

logger = logging.getLogger(__name__)

CONNECT_S = 10.0
READ_S = 30.0
"""Between two pieces of an answer; the whole of it has the deadline."""
LARGEST_ANSWER = 512 * 1024 * 1024

_KEPT_CONNECTIONS = 128
_PIECE = 1 << 18
# Timeouts of zero are errors to urllib3; a moment is as good.
_LEAST_S = 0.05


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
        self._headers = dict(headers)
        # The adapter is requests without its session, whose search for cookies, netrc, proxies and redirects costs as
        # much as the request. What the environment says of proxies and certificates is read here, once.
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_KEPT_CONNECTIONS)
        self._proxies = get_environ_proxies(base_url)
        self.ca_file = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
        )

    def close(self) -> None:
        self._adapter.close()

    def request(
        self, method: str, path: str, deadline: Deadline, *, data: bytes | None = None, is_repeatable: bool = True
    ) -> Answer:
        """Send a request and read the whole answer.

        A server may close an idle connection at any moment, so a repeatable request is sent once more when its
        connection broke.

        Raises:
            NoAnswerError: no answer, or none in time.
            TooLargeError: more of it than anybody needs.
        """
        headers = self._headers if data is None else {**self._headers, "Content-Type": "application/json"}
        try:
            return self._once(method, path, deadline, data, headers)
        except NoAnswerError as exc:
            if not is_repeatable or exc.fault is not Fault.DROPPED:
                raise
            return self._once(method, path, deadline, data, headers)

    def _once(
        self, method: str, path: str, deadline: Deadline, data: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        left = max(_LEAST_S, deadline.remaining())
        request = PreparedRequest()
        try:
            request.prepare(method=method, url=self.base_url + path, headers=headers, data=data)
            with self._adapter.send(
                request,
                stream=True,
                timeout=(min(CONNECT_S, left), min(READ_S, left)),
                verify=self.ca_file,
                proxies=self._proxies,
            ) as response:
                location = response.headers.get("Location", "")
                return Answer(response.status_code, _body(response, deadline), location)
        except (requests.RequestException, HTTPError, LocationValueError) as exc:
            raise NoAnswerError(_fault(exc)) from exc


def _body(response: requests.Response, deadline: Deadline) -> bytes:
    # read1() gives what has come. Other reads wait for a whole piece, and a server that sends a byte now and then would
    # keep them beyond any deadline.
    received = bytearray()
    while piece := response.raw.read1(_PIECE, decode_content=True):
        received += piece
        if len(received) > LARGEST_ANSWER:
            raise TooLargeError
        if deadline.has_passed():
            raise NoAnswerError(Fault.SILENT)
    return bytes(received)


def _fault(exc: Exception) -> Fault:
    """Translate what requests and urllib3 raise; the order matters, the classes derive from each other."""
    if isinstance(exc, requests.exceptions.SSLError):
        return Fault.TLS
    if isinstance(exc, requests.exceptions.ProxyError):
        return Fault.PROXY
    if isinstance(exc, requests.ConnectTimeout):
        return Fault.NO_CONNECTION
    if isinstance(exc, (requests.Timeout, ReadTimeoutError)):
        return Fault.SILENT
    if isinstance(exc, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError)):
        return Fault.MALFORMED
    cause = getattr(exc.args[0] if exc.args else None, "reason", None)
    if isinstance(cause, NameResolutionError):
        return Fault.UNKNOWN_HOST
    if isinstance(cause, NewConnectionError):
        refused = isinstance(cause.__cause__, ConnectionRefusedError)
        return Fault.REFUSED if refused else Fault.NO_CONNECTION
    return Fault.DROPPED
