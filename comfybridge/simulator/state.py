"""All that one running server knows."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from comfybridge.simulator.definitions import Definitions
from comfybridge.simulator.faults import Faults
from comfybridge.simulator.files import Files
from comfybridge.simulator.models import Models
from comfybridge.simulator.prompt_queue import PromptQueue
from comfybridge.simulator.sockets import Sockets
from comfybridge.simulator.traffic import Received
from comfybridge.simulator.worker import Worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a simulated server differs from the default one; see :class:`Simulator`."""

    work: float = 0.0
    previews: bool = False
    websocket: bool = True
    prefix: str = ""
    api_key: str | None = None
    version: str = "0.8.0"
    memory: int = 24


class State:
    """Made on the event loop, and used there only, but for ``faults`` and ``received``."""

    def __init__(
        self,
        options: Options,
        models: Models,
        files: Files,
        *,
        faults: Faults,
        received: list[Received],
        threads: Executor,
        on_change: Callable[[], None],
    ) -> None:
        self.options = options
        self.models = models
        self.files = files
        self.faults = faults
        self.received = received
        self.on_change = on_change
        self.number = 0
        self.definitions = Definitions(models, files)
        self.sockets = Sockets(faults)
        self.sockets.queue_info = self.queue_info
        self.queue = PromptQueue(self._queue_updated)
        self.worker = Worker(
            self.queue,
            self.sockets,
            files=files,
            definitions=self.definitions,
            faults=faults,
            threads=threads,
            work=options.work,
            previews=options.previews,
        )
        self.sockets.current_node = self.worker.current_node
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.files.empty_temp()
        self.tasks = [asyncio.create_task(self.sockets.publish()), asyncio.create_task(self.worker.run())]
        for task in self.tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        """Die as a killed server does: sockets end without a closing frame."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.sockets.cut_all()

    def queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.queue.remaining}}

    def _queue_updated(self) -> None:
        self.sockets.send("status", {"status": self.queue_info()})
        self.on_change()


def _report(task: asyncio.Task[None]) -> None:
    """Say it when the simulator itself breaks: its queue would merely seem to stand still."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        logger.error("the simulator broke", exc_info=fault)


STATE = web.AppKey("state", State)
