"""Queue and history (execution.py, PromptQueue)."""

import asyncio
import copy
import heapq
from collections.abc import Callable
from typing import Any, TypeAlias

Item: TypeAlias = tuple[float, str, dict[str, Any], dict[str, Any], list[str], dict[str, Any]]
"""Number, prompt_id, prompt, extra_data, output node ids, and the secrets that never leave the server.

Kept as the tuple that ComfyUI keeps in its heap, so that equal number and equal prompt_id break it the same way.
"""
MAXIMUM_HISTORY_SIZE = 10000


class PromptQueue:
    """Used on the event loop only. ``on_update`` is called after every change, as ComfyUI sends ``status``."""

    def __init__(self, on_update: Callable[[], None]) -> None:
        self._on_update = on_update
        self.pending: list[Item] = []
        self.running: dict[str, Item] = {}
        self.history: dict[str, dict[str, Any]] = {}
        self.waiting = asyncio.Event()

    @property
    def remaining(self) -> int:
        return len(self.pending) + len(self.running)

    def put(self, item: Item) -> None:
        """Queue a prompt.

        Raises:
            TypeError: the same number and prompt_id are pending already: ComfyUI's heap falls through to comparing
                dicts. The prompt is queued nevertheless.
        """
        heapq.heappush(self.pending, item)
        self._on_update()
        self.waiting.set()

    def take(self) -> Item:
        """Take the first prompt.

        Raises:
            TypeError: see :meth:`put`; in ComfyUI this ends the worker thread.
        """
        item = heapq.heappop(self.pending)
        self.running[item[1]] = copy.deepcopy(item)
        self._on_update()
        return item

    def done(self, prompt_id: str, result: dict[str, Any], status: dict[str, Any]) -> None:
        item = self.running.pop(prompt_id)
        if len(self.history) > MAXIMUM_HISTORY_SIZE:
            del self.history[next(iter(self.history))]
        self.history.pop(prompt_id, None)
        self.history[prompt_id] = {"prompt": list(item[:5]), "outputs": {}, "status": status, **result}
        self._on_update()

    def clear(self) -> None:
        self.pending.clear()
        self._on_update()

    def delete(self, prompt_id: object) -> bool:
        """Delete the first pending prompt with this id."""
        for position, item in enumerate(self.pending):
            if item[1] == prompt_id:
                del self.pending[position]
                heapq.heapify(self.pending)
                self._on_update()
                return True
        return False

    def page(self, max_items: int | None, offset: int) -> dict[str, dict[str, Any]]:
        """Cut a page out of history; a negative offset with ``max_items`` means the newest ones."""
        if offset < 0 and max_items is not None:
            offset = len(self.history) - max_items
        entries = list(self.history.items())[max(0, offset) :]
        # ComfyUI tests the limit after adding an entry, but an offset past the end keeps max_items=0 empty.
        return dict(entries if max_items is None else entries[:max_items])
