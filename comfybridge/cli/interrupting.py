"""Ctrl-C: once cancels what was started, twice leaves at once."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

from comfybridge.cli import exits
from comfybridge.cli.language import say

_SAME_S = 0.3
"""What started us may pass on a Ctrl-C that the terminal has sent to all: within so many seconds it is the same one."""


@contextlib.contextmanager
def cancelling(clear: Callable[[], None]) -> Iterator[None]:
    """Inside the block the first Ctrl-C is a KeyboardInterrupt, after a line that says what happens.

    ``clear`` takes away what moves on the terminal.
    """
    pressed: float | None = None

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed is not None:
            if time.monotonic() - pressed > _SAME_S:
                os._exit(exits.INTERRUPTED)
            return
        pressed = time.monotonic()
        clear()
        told = say(
            "Cancelling in ComfyUI what was started; Ctrl-C again leaves at once.\n",
            "正在取消已提交到 ComfyUI 的任务；再次按 Ctrl-C 立即退出。\n",
        )
        # Not print(): the interrupted code may be in the middle of one.
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, told.encode(errors="replace"))
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
