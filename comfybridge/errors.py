"""What can go wrong, grouped by outcome; every sentence in English and in Chinese.

A job ends in one of six outcomes: ``succeeded``, or one of the five that have an exception here. Two more exceptions
stand for calls that never became a job.
"""

from typing import ClassVar, Self


class ComfyError(Exception):
    """Something a caller can act on; ``str()`` gives the English sentence, ``zh`` the Chinese one.

    ``prompt_id`` is the job's key, ``None`` when no prompt was sent. ``server`` is the address that was
    asked, ``None`` when no server was. Neither they nor the sentences ever hold credentials.
    """

    outcome: ClassVar[str] = "failed"

    def __init__(self, en: str, zh: str, *, prompt_id: str | None = None, server: str | None = None) -> None:
        super().__init__(en)
        self.zh = zh
        self.prompt_id = prompt_id
        self.server = server

    def about(self, prompt_id: str, server: str) -> Self:
        """Name the job and the server, where they are not named yet."""
        self.prompt_id = self.prompt_id or prompt_id
        self.server = self.server or server
        return self


class Failed(ComfyError):
    """A node failed, or the graph ended without a usable output."""

    outcome = "failed"


class FileGone(Failed):
    """A file that the server says it saved is not there."""


class OutOfMemory(Failed):
    """A node ran out of GPU memory; worth one more try after ``POST /free``."""


class NodeError(Failed):
    """A node raised, for another reason than want of memory: the graph's fault, or this server's."""

    def __init__(self, en: str, zh: str, *, node_id: str) -> None:
        super().__init__(en, zh)
        self.node_id = node_id


class Rejected(ComfyError):
    """ComfyUI refused the graph; nothing runs."""

    outcome = "rejected"


class Cancelled(ComfyError):
    """Somebody interrupted the job or removed it from the queue."""

    outcome = "cancelled"


class TimedOut(ComfyError):
    """The deadline passed; the job goes on and can be collected by its ``prompt_id``."""

    outcome = "timed_out"


class Lost(ComfyError):
    """The server no longer knows the job."""

    outcome = "lost"


class Unavailable(ComfyError):
    """No server took the job: unreachable, not a ComfyUI, or it does not let us in.

    ``refused`` tells that no connection came about, so that the server certainly saw nothing of the request;
    ``is_closed`` that nobody listens there at all; ``may_pass`` that something busy or something else answered, so that
    a moment later it may be answered well; ``took_some`` that the server had taken some of the same call, which was
    taken back as far as that was possible; ``is_denied`` that it does not let us in, which no later try changes.
    ``leads_to`` is where it sends us instead, as the sentences name it; empty where it does not.
    """

    outcome = "failed"

    def __init__(
        self,
        en: str,
        zh: str,
        *,
        server: str,
        refused: bool = False,
        is_closed: bool = False,
        may_pass: bool = False,
        is_denied: bool = False,
        leads_to: str = "",
    ) -> None:
        super().__init__(en, zh, server=server)
        self.refused = refused
        self.is_closed = is_closed
        self.may_pass = may_pass
        self.is_denied = is_denied
        self.leads_to = leads_to
        self.took_some = False


class NoServer(Unavailable):
    """Every server was asked, and none took, refused or knows anything of the call."""


class InvalidInput(ComfyError):
    """The caller's values cannot be used; nothing was sent."""

    outcome = "rejected"
