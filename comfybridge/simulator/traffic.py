"""What the server received, for tests to look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Received:
    """One request as it came in.

    path: without the server's prefix and without the query.
    body: parsed JSON; for an upload its fields, a file as ``{"filename", "content"}``; ``bytes`` if it is neither;
        ``None`` without one.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(default=None, repr=False)
