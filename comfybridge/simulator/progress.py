"""Which node is how far: ``progress_state`` and ``progress`` (comfy_execution/progress.py, main.py)."""

from collections.abc import Sequence
from typing import Any

from comfybridge.simulator.sockets import Sockets


class Progress:
    """The nodes of one prompt that started. Goes to ``client_id``, or to everybody when there is none."""

    def __init__(self, prompt_id: str, sockets: Sockets, client_id: str | None) -> None:
        self._prompt_id = prompt_id
        self._sockets = sockets
        self._client_id = client_id
        self._nodes: dict[str, dict[str, Any]] = {}

    def start(self, node_id: str) -> None:
        self._set(node_id, value=0.0, maximum=1.0, state="running")

    def update(
        self, node_id: str, value: int, maximum: int, *, before: Sequence[bytes] = (), after: Sequence[bytes] = ()
    ) -> None:
        """Report a step; ``before`` and ``after`` are binary previews that come around its ``progress``."""
        self._set(node_id, value=value, maximum=maximum, state="running")
        for message in before:
            self._sockets.send_bytes(message, self._client_id)
        data = {"value": value, "max": maximum, "prompt_id": self._prompt_id, "node": node_id}
        self._sockets.send("progress", data, self._client_id)
        for message in after:
            self._sockets.send_bytes(message, self._client_id)

    def finish(self, node_id: str) -> None:
        maximum = self._nodes[node_id]["max"] if node_id in self._nodes else 1
        self._set(node_id, value=maximum, maximum=maximum, state="finished")

    def _set(self, node_id: str, *, value: float, maximum: float, state: str) -> None:
        self._nodes[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        self._sockets.send(
            "progress_state", {"prompt_id": self._prompt_id, "nodes": dict(self._nodes)}, self._client_id
        )
