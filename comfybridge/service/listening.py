"""Whether a gateway can listen where it shall, asked before anything is started."""

import contextlib
import errno
import os
import socket
import sys
import time

_LOOK_S = 0.1


class CannotListen(Exception):
    """An address that is not ours, or a port that another program has: a sentence in English and one in Chinese."""

    def __init__(self, host: str, port: int, exc: OSError) -> None:
        # Not all that name addresses know an errno; what they say begins with their own number.
        why = exc.strerror if isinstance(exc, socket.gaierror) else os.strerror(exc.errno or 0)
        super().__init__(f"cannot listen on {host}:{port}: {why}. End what has it, or give another --port.")
        self.zh = f"无法监听 {host}:{port}：{why}。请停止占用它的程序，或换一个 --port。"


def check(host: str, port: int, *, patience_s: float = 0.0) -> None:
    """Listen there for a moment.

    Raises:
        CannotListen: that is not possible, however often it was tried in this time.
    """
    since = time.monotonic()
    while True:
        try:
            return _try(host, port)
        except OSError as exc:
            if isinstance(exc, socket.gaierror) or time.monotonic() - since >= patience_s:
                raise CannotListen(host, port, exc) from exc
            time.sleep(_LOOK_S)


def _try(host: str, port: int) -> None:
    absent: OSError | None = None
    bound = 0
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with contextlib.ExitStack() as stack:
            try:
                listener = stack.enter_context(socket.socket(family, kind, protocol))
                if sys.platform != "win32":  # there it would be let in beside the other one
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
                listener.listen()
                bound += 1
            except OSError as exc:
                # Of a name's addresses one may be of a kind that this machine does not speak.
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = exc
    if absent is not None and not bound:
        raise absent
