"""Who waits for the end of a job, and is told of it: by the news, which may be lost. The rows say what is so."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Endings:
    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def heard(self, prompt_ids: tuple[str, ...]) -> Iterator[asyncio.Event]:
        """An event that is set when one of these jobs ends."""
        event = asyncio.Event()
        for prompt_id in prompt_ids:
            self._waiting.setdefault(prompt_id, set()).add(event)
        try:
            yield event
        finally:
            for prompt_id in prompt_ids:
                events = self._waiting[prompt_id]
                events.discard(event)
                if not events:
                    del self._waiting[prompt_id]

    def tell(self, prompt_id: str) -> None:
        """Say that a job has ended."""
        for event in self._waiting.get(prompt_id, ()):
            event.set()
