"""What a relay does to the requests that pass, as values."""

import fnmatch
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Reset:
    """The connection breaks: before the server saw the request, or ``after`` it answered."""

    after: bool = False


@dataclass(frozen=True)
class Silence:
    """No answer ever, on a connection that stays open; ``after`` the server took the request, or before."""

    after: bool = False


@dataclass(frozen=True)
class Answer:
    """Another answer than the server's; ``after`` the server took the request, or before."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/html"
    after: bool = False


@dataclass(frozen=True)
class Drip:
    """The server's answer byte by byte, head and all or only the body, spread over so many seconds."""

    seconds: float
    head: bool = False


@dataclass(frozen=True)
class Truncate:
    """The server's answer with its full length announced and a part of the body sent."""

    kept: float = 0.5


@dataclass(frozen=True)
class Rewrite:
    """The server's answer with some bytes of its body replaced; an answer with a length, not in chunks."""

    old: bytes
    new: bytes


@dataclass(frozen=True)
class Huge:
    """So many bytes of nothing for a body."""

    size: int


@dataclass(frozen=True)
class Call:
    """Something happens before the request is passed on; the next rule may act on the same request."""

    action: Callable[[], None]


@dataclass(frozen=True)
class Chance:
    """A share of the exchanges breaks at a random point of the request or the answer."""

    share: float
    dice: random.Random


Action: TypeAlias = Reset | Silence | Answer | Drip | Truncate | Rewrite | Huge | Call | Chance


@dataclass(frozen=True)
class Rule:
    """What happens to requests of a method for a path, ``times`` times; shell patterns both."""

    action: Action
    path: str = "*"
    method: str = "*"
    times: int | None = None

    def concerns(self, method: str, path: str) -> bool:
        return fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(path, self.path)
