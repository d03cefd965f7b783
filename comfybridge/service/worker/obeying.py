"""Prompts that a server was told to stop, and has not stopped yet: until then nobody gives it more to do."""

import threading
import time

from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError

GRACE_S = 30.0
"""How long an interrupt may take: a node that runs is not cut off, ComfyUI looks between its steps."""
_ASK_S = 5.0


class Stopping:
    """Used from several threads."""

    def __init__(self, client: Client, grace_s: float) -> None:
        self._client = client
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}

    def add(self, prompt_id: str) -> None:
        with self._lock:
            self._since[prompt_id] = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the server has stopped all that it was told to stop."""
        return not self._since

    @property
    def is_overdue(self) -> bool:
        with self._lock:
            return any(time.monotonic() - since > self._grace_s for since in self._since.values())

    @property
    def illness(self) -> tuple[str, str] | None:
        """Why the server is of no use for now."""
        return self.words if self.is_overdue else None

    @property
    def words(self) -> tuple[str, str]:
        prompts = ", ".join(list(self._since))
        return (
            f"It does not stop what it was told to stop ({prompts}); it gets no jobs until that is over.",
            f"服务器没有停止已要求中断的任务（{prompts}），结束之前不再分配任务。",
        )

    def look(self) -> bool:
        """Ask the server; whether it has stopped the last one just now."""
        for prompt_id in list(self._since):
            try:
                is_there = self._client.is_queued(prompt_id, Deadline(_ASK_S))
            except ComfyError:
                return False
            if not is_there:
                with self._lock:
                    self._since.pop(prompt_id, None)
                if self.is_over:
                    return True
        return False
