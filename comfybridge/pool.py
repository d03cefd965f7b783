"""The servers a caller may use, and which one to ask first."""

from collections.abc import Iterator, Sequence

from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import Unavailable

_PROBE_S = 2.0


class Pool:
    """One or more ComfyUI servers; their clients live as long as the pool."""

    def __init__(self, clients: Sequence[Client]) -> None:
        if not clients:
            raise ValueError("a pool needs a server")
        self.clients = tuple(clients)

    def candidates(self, deadline: Deadline) -> Iterator[Client]:
        """The servers worth asking, the least busy first. A single server is not asked how busy it is.

        Raises:
            Unavailable: none of several servers answers.
        """
        if len(self.clients) == 1:
            yield self.clients[0]
            return
        loads: list[tuple[int, Client]] = []
        error: Unavailable | None = None
        for client in self.clients:
            try:
                # A frozen server must not eat the time of the one that would have answered.
                probe = Deadline(min(_PROBE_S, deadline.remaining()))
                loads.append((client.queue_remaining(probe), client))
            except Unavailable as exc:
                error = exc
        if not loads and error is not None:
            raise error
        yield from (client for _, client in sorted(loads, key=lambda load: load[0]))
