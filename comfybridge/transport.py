"""HTTP to one server: kept connections, whole answers, every wait cut to a deadline."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from comfybridge.addresses import moved
from comfybridge.advice import Fault
from comfybridge.connections import (
    Connections,
    ConnectionsToOne,
    NoAnswerError,
    TooLargeError,
    answer,
    below,
    connections,
    multipart,
    proxy_for,
    whole,
)
from comfybridge.deadline import Deadline

__all__ = ["Answer", "NoAnswerError", "TooLargeError", "Transport", "multipart"]

LARGEST_ANSWER = 512 * 1024 * 1024

_ALWAYS = {"User-Agent": "comfybridge", "Accept-Encoding": "gzip, deflate"}
_REDIRECTS = {"GET": frozenset((301, 302, 303, 307, 308)), "POST": frozenset((307, 308))}
_MOST_REDIRECTS = 3
_NOBODY_THERE = (Fault.REFUSED, Fault.UNKNOWN_HOST, Fault.NO_CONNECTION, Fault.TLS)
# Its debug lines show addresses whole, a token in them too.
logging.getLogger("urllib3").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of any status; ``location`` is empty but for redirects."""

    status: int
    body: bytes
    location: str


class Transport:
    """Requests to one address, all with the same headers and query. Safe to use from several threads.

    A redirect is followed where the same server says where the same route is now; ``addresses.moved`` judges. All
    others are answers: whoever is behind them was not configured, and would get the headers.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        query: str = "",
        verify_tls: bool = True,
        is_patient: bool = False,
    ) -> None:
        self._configured = base_url
        self.base_url = base_url
        """Where the server is: the address that was configured, or the one to which it sent us."""
        self._headers = {**_ALWAYS, **headers}
        self._query = query
        self._verify_tls = verify_tls
        self._is_patient = is_patient
        self._pools: dict[str, Connections] = {}
        self._found: dict[str, tuple[Connections | ConnectionsToOne, str]] = {}

    def close(self) -> None:
        self._found.clear()
        for pool in list(self._pools.values()):
            pool.clear()

    def request(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        data: bytes | None = None,
        content_type: str = "application/json",
        is_repeatable: bool = True,
        largest: int | None = None,
        beginning: int = 0,
    ) -> Answer:
        """Send a request and read the whole answer, unless it is larger than ``largest``, or ``LARGEST_ANSWER``.

        A server may close an idle connection at any moment, so a repeatable request is sent once more when its
        connection broke.

        Raises:
            NoAnswerError: no answer, or none in time.
            TooLargeError: more than ``largest``; it has the ``beginning``, so many bytes.
        """
        headers = self._headers if data is None else {**self._headers, "Content-Type": content_type}

        def once(base_url: str, slash: str) -> Answer:
            route, _, query = path.partition("?")
            query = "&".join(filter(None, (query, self._query)))
            through, root = self._below(base_url)
            url = f"{root}{route}{slash}{query and '?'}{query}"
            with answer(through, method, url, deadline, headers=headers, data=data) as response:
                body = whole(response, LARGEST_ANSWER if largest is None else largest, beginning=beginning)
                return Answer(response.status, body, response.headers.get("Location", ""))

        base_url, slash = self.base_url, ""
        for _ in range(_MOST_REDIRECTS):
            try:
                found = once(base_url, slash)
            except NoAnswerError as exc:
                if exc.fault in _NOBODY_THERE:
                    # The next time it is asked where it was configured to be.
                    self.base_url = self._configured
                if not is_repeatable or exc.fault is not Fault.DROPPED:
                    raise
                found = once(base_url, slash)
            if found.status not in _REDIRECTS[method]:
                break
            target = moved(base_url, path.partition("?")[0], found.location, self._configured)
            if target is None:
                break
            base_url, slash = target
            # From now on everything goes there: a POST is not redirected by all statuses, a WebSocket by none.
            self.base_url = base_url
        return found

    def _below(self, base_url: str) -> tuple[Connections | ConnectionsToOne, str]:
        found = self._found.get(base_url)
        if found is None:
            found = self._found[base_url] = below(self._pool(base_url), base_url)
        return found

    def _pool(self, base_url: str) -> Connections:
        """The connections to a server, found once: to look for its proxy takes a while."""
        scheme = base_url.partition("://")[0]
        if scheme not in self._pools:
            found = connections(proxy_for(base_url), is_patient=self._is_patient, verify_tls=self._verify_tls)
            self._pools.setdefault(scheme, found)
        return self._pools[scheme]
