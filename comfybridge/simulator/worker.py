"""The one worker that takes prompts from the queue (main.py, prompt_worker)."""

import asyncio
import logging
import random
import string
from concurrent.futures import Executor

from comfybridge.simulator.caching import Cache
from comfybridge.simulator.definitions import Definitions
from comfybridge.simulator.faults import Faults, LateHistory, OutOfMemory
from comfybridge.simulator.files import Files
from comfybridge.simulator.prompt_queue import Item, PromptQueue
from comfybridge.simulator.run import Interrupted, Machine, Run, WorkerDied
from comfybridge.simulator.sockets import Sockets

logger = logging.getLogger(__name__)


class Worker:
    """Used on the event loop only."""

    def __init__(
        self,
        queue: PromptQueue,
        sockets: Sockets,
        *,
        files: Files,
        definitions: Definitions,
        faults: Faults,
        threads: Executor,
        work: float,
        previews: bool,
    ) -> None:
        self._queue = queue
        self._sockets = sockets
        self._faults = faults
        self._flags: dict[str, bool] = {}
        self._is_interrupted = False
        self._is_held = False
        self._held_at = ""
        self._is_queue_held = False
        self._resumed = asyncio.Event()
        self._machine = Machine(
            files=files,
            definitions=definitions,
            cache=Cache(files),
            sockets=sockets,
            faults=faults,
            threads=threads,
            pause=self._pause,
            work=work,
            previews=previews,
            temp_suffix="_temp_" + "".join(random.choices(string.ascii_lowercase, k=5)),  # noqa: S311  (a file name)
        )

    def current_node(self, client_id: str) -> str | None:
        return self._machine.last_node_id if self._machine.client_id == client_id else None

    def interrupt(self) -> None:
        """Stop the running prompt at its next step; without one nothing happens."""
        self._is_interrupted = True
        self._resumed.set()

    def free(self, *, unload_models: bool, free_memory: bool) -> None:
        """Drop the caches once the running prompt is done."""
        self._flags = {"unload_models": unload_models, "free_memory": free_memory}
        self._faults.heal(OutOfMemory)
        self._queue.waiting.set()

    def hold(self, *, queue: bool, at: str = "") -> None:
        """Keep the running prompt running at its next step (of a node), or the queue from being taken from."""
        if queue:
            self._is_queue_held = True
        else:
            self._is_held, self._held_at = True, at

    def release(self) -> None:
        self._is_held = self._is_queue_held = False
        self._resumed.set()
        self._queue.waiting.set()

    async def run(self) -> None:
        """Take prompts until cancelled, or until one ends the worker.

        ComfyUI's thread dies of such prompts, and the server goes on accepting others that never run.
        """
        while True:
            while not self._queue.pending or self._is_queue_held:
                self._apply_flags()
                self._queue.waiting.clear()
                await self._queue.waiting.wait()
            try:
                item = self._queue.take()
            except TypeError:
                logger.warning("the worker died: two pending prompts have the same number and the same prompt_id")
                return
            try:
                await self._execute(item)
            except WorkerDied as death:
                logger.warning("the worker died of prompt %s: %s", item[1], death)
                return
            self._apply_flags()

    async def _execute(self, item: Item) -> None:
        _, prompt_id, prompt, extra_data, outputs, secrets = item
        self._is_interrupted = False
        run = Run(self._machine, prompt_id, prompt, {**extra_data, **secrets}, outputs)
        succeeded = await run.execute()
        if late := self._faults.take(LateHistory):
            await asyncio.sleep(late.seconds)
        status = {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": [list(message) for message in run.messages],
        }
        self._queue.done(prompt_id, run.history, status)
        if (client_id := self._machine.client_id) is not None:
            self._sockets.send("executing", {"node": None, "prompt_id": prompt_id}, client_id)

    async def _pause(self, seconds: float, node_id: str = "") -> None:
        await asyncio.sleep(seconds)
        while self._is_held and self._held_at in ("", node_id) and not self._is_interrupted:
            self._resumed.clear()
            await self._resumed.wait()
        if self._is_interrupted:
            self._is_interrupted = False
            raise Interrupted

    def _apply_flags(self) -> None:
        if self._flags.get("free_memory"):
            self._machine.cache.clear()
        self._flags = {}
