"""HTTP to one server: kept connections, whole answers, every wait cut to a deadline."""

from collections.abc import Mapping
from dataclasses import dataclass

from comfybridge.advice import Fault
from comfybridge.connections import (
    Connections,
    NoAnswerError,
    TooLargeError,
    answer,
    certificates,
    connections,
    multipart,
    proxy_for,
    whole,
)
from comfybridge.deadline import Deadline

__all__ = ["Answer", "NoAnswerError", "TooLargeError", "Transport", "multipart"]

LARGEST_ANSWER = 512 * 1024 * 1024

_ALWAYS = {"User-Agent": "comfybridge", "Accept-Encoding": "gzip, deflate"}


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

    def __init__(self, base_url: str, headers: Mapping[str, str], *, is_patient: bool = False) -> None:
        self.base_url = base_url
        self.certificates = certificates()
        self._headers = {**_ALWAYS, **headers}
        self._pool: Connections | None
        try:
            self._pool = connections(proxy_for(base_url), is_patient=is_patient)
        except NoAnswerError:
            # No request can be sent; the first one says so.
            self._pool = None

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
            TooLargeError: more than ``LARGEST_ANSWER``.
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
        with answer(self._pool, method, self.base_url + path, deadline, headers=headers, data=data) as response:
            return Answer(response.status, whole(response, LARGEST_ANSWER), response.headers.get("Location", ""))
