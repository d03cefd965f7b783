"""Ports that nobody else gets while their server is away."""

import contextlib
import random
import socket

# Below those that systems hand out for port 0 and for outgoing connections: Linux from 32768, others from 49152.
_OURS = range(18_000, 32_000)


def own_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    for port in random.sample(_OURS, 200):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port of 127.0.0.1 is free between 18000 and 32000")
