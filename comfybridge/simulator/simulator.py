"""A simulated server in a thread of its own, and the levers tests pull on it."""

import asyncio
import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar

from aiohttp import web

from comfybridge.simulator.app import build
from comfybridge.simulator.faults import Fault, Faults
from comfybridge.simulator.files import Files
from comfybridge.simulator.models import Catalogue, Models
from comfybridge.simulator.state import Options, State
from comfybridge.simulator.traffic import Received
from comfybridge.simulator.userdata import store

DEFAULT_MODELS = ("z-image-turbo", "sdxl", "sd15", "loras")
START_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 10.0
_TURNS_OF_AN_ACCEPT = 3
Condition: TypeAlias = Callable[["Simulator"], object] | Literal["running", "queued", "idle"]
Result = TypeVar("Result")


class Simulator:
    """A ComfyUI stand-in on 127.0.0.1.

    ``with Simulator() as comfyui:`` serves at ``comfyui.url``; all methods may be called from any thread.

        with Simulator(models=["sdxl"], work=2.0) as comfyui:
            comfyui.hold()                       # prompts stay running until release()
            ...submit...
            comfyui.wait_for("running")
            comfyui.inject(OutOfMemory())        # see comfybridge.simulator.faults
            assert comfyui.count("POST", "/prompt") == 1

    models: preset names (``z-image-turbo``, ``sdxl``, ``sd15``, ``loras``), or folder -> file names
        (-> safetensors metadata).
    work: seconds that a sampler takes, spread over its steps; a prompt without a sampler takes them once.
    previews: send latent previews, as with ``--preview-method``.
    websocket: false answers ``/ws`` as a proxy does that drops the upgrade.
    prefix: serve under this path only, such as ``/comfy``.
    api_key: demand ``Authorization: Bearer …`` everywhere.
    port: 0 takes a free one.
    memory: what it says its GPU has, in GiB.
    folder: where ``input/``, ``output/``, ``temp/`` and ``user/`` live; ``None`` for one that is deleted at the end.
    workflows: saved workflows in the editor's format, by name; ``/userdata`` serves them.
    """

    def __init__(
        self,
        models: Catalogue | Iterable[str] = DEFAULT_MODELS,
        *,
        work: float = 0.0,
        previews: bool = False,
        websocket: bool = True,
        prefix: str = "",
        api_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        version: str = "0.8.0",
        memory: int = 24,
        folder: Path | None = None,
        workflows: Mapping[str, object] | None = None,
    ) -> None:
        self._options = Options(work, previews, websocket, prefix.rstrip("/"), api_key, version, memory)
        self._models = Models(models)
        self._host, self._port = host, port
        self._own_folder = None if folder else Path(tempfile.mkdtemp(prefix="comfyui-simulator-"))
        self._files = Files(folder or self._own_folder or Path())
        store(self._files, workflows or {})
        self._faults = Faults()
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._changes = 0
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state: State | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except (OSError, RuntimeError):
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Serve; after :meth:`stop` again on the same port, with an empty memory and the same files."""
        if self._listener is None:
            self._listener = socket.create_server((self._host, self._port), backlog=256)
            self._port = self._listener.getsockname()[1]
        self._run_thread(self._listener)

    def stop(self) -> None:
        """Be killed: sockets break, connections are refused."""
        self._end_thread()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def forget(self) -> None:
        """Be killed and restarted at once: queue, history and numbers start over, files stay."""
        self._end_thread()
        self.start()

    def close(self) -> None:
        """Stop for good, and delete the files if they are the simulator's own."""
        self.stop()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}{self._options.prefix}"

    @property
    def folder(self) -> Path:
        """Where ``input/``, ``output/`` and ``temp/`` are."""
        return self._files.root

    @property
    def requests(self) -> list[Received]:
        """What was received so far, oldest first, upgrades to WebSocket included."""
        return list(self._received)

    def count(self, method: str, path: str) -> int:
        """Count the requests for a path or a shell pattern, with or without ``/api``."""
        return len(self.received(method, path))

    def received(self, method: str, path: str) -> list[Received]:
        return [
            request
            for request in self.requests
            if request.method == method
            and (fnmatchcase(request.path, path) or fnmatchcase(request.path.removeprefix("/api"), path))
        ]

    @property
    def running(self) -> list[str]:
        """The prompt_id that is running, if one is."""
        return list(self._live.queue.running)

    @property
    def pending(self) -> list[str]:
        """The prompt_ids that wait, first one first."""
        return [item[1] for item in sorted(self._live.queue.pending, key=lambda item: item[:2])]

    @property
    def history(self) -> dict[str, dict[str, Any]]:
        return dict(self._live.queue.history)

    def wait_for(self, condition: Condition, *, timeout: float = CALL_TIMEOUT_S) -> None:
        """Wait until a prompt runs, one is queued behind, none is left, or a predicate holds.

        Raises:
            TimeoutError: it did not within ``timeout`` seconds.
        """
        holds = CONDITIONS[condition] if isinstance(condition, str) else condition
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                seen = self._changes
            # Outside the lock: the predicate may wait for the event loop, which takes this lock.
            if holds(self):
                return
            with self._changed:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(
                        f"{condition} did not come true within {timeout} s; "
                        f"running: {self.running}, pending: {self.pending}, finished: {list(self.history)}"
                    )
                if self._changes == seen:
                    self._changed.wait(min(left, 0.1))

    def hold(self, *, queued: bool = False, at: str = "") -> None:
        """Keep prompts running, at their next step, until :meth:`release`; with ``queued`` keep them queued.

        ``at``: the node before which they stay; they run until there.
        """
        self._do(lambda state: state.worker.hold(queue=queued, at=at))

    def release(self) -> None:
        self._do(lambda state: state.worker.release())

    def interrupt(self) -> None:
        """Stop what is running, as another user's click would."""
        self._do(lambda state: state.worker.interrupt())

    def delete_from_queue(self, prompt_id: str) -> bool:
        """Delete a pending prompt, as another user would; tell whether it was there."""
        return self._do(lambda state: state.queue.delete(prompt_id))

    def clear_history(self) -> None:
        self._do(lambda state: state.queue.history.clear())

    def cut_websockets(self) -> None:
        """Break all open sockets now."""
        self._do(lambda state: state.sockets.cut_all())

    def inject(self, fault: Fault, *, times: int | None = None) -> None:
        """Put a fault into force, ``times`` times or until :meth:`heal`."""
        self._faults.add(fault, times)

    def heal(self, kind: type[Fault] = Fault) -> None:
        """End all faults, or all of a kind."""
        self._faults.heal(kind)

    @property
    def _live(self) -> State:
        if self._state is None:
            raise RuntimeError("the simulator is not running; use it in a with statement or call start()")
        return self._state

    def _do(self, action: Callable[[State], Result]) -> Result:
        """Do something on the event loop, and wait for it."""

        async def act() -> Result:
            return action(self._live)

        return self._await(act())

    def _await(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the simulator is not running")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT_S)

    def _run_thread(self, listener: socket.socket) -> None:
        started = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self._serve(listener.dup(), started))
            except OSError as fault:
                failure.append(fault)
                started.set()

        self._thread = threading.Thread(target=run, name="comfyui-simulator", daemon=True)
        self._thread.start()
        if not started.wait(START_TIMEOUT_S) or failure:
            raise RuntimeError("the simulator did not start") from (failure[0] if failure else None)

    async def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="comfyui-simulator") as threads:
            state = State(
                self._options,
                self._models,
                self._files,
                faults=self._faults,
                received=self._received,
                threads=threads,
                on_change=self._notify,
            )
            runner = web.AppRunner(build(state), access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            state.start()
            await web.SockSite(runner, listener).start()
            self._state = state
            started.set()
            try:
                await self._stopping.wait()
            finally:
                await state.stop()
                await close(runner, listener)
                self._state = self._loop = None

    def _end_thread(self) -> None:
        if self._thread is None:
            return
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_TIMEOUT_S)
        self._thread = None

    def _notify(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()


async def close(runner: web.AppRunner, listener: socket.socket) -> None:
    """End a server with all its connections, also those that it took at the last moment.

    What was accepted becomes a connection two turns of the event loop later, or, where the server is closed by then, an
    open socket of nobody.
    """
    with contextlib.suppress(NotImplementedError):  # Windows' loop accepts in another way
        asyncio.get_running_loop().remove_reader(listener)
    for _ in range(_TURNS_OF_AN_ACCEPT):
        await asyncio.sleep(0)
    await runner.cleanup()


CONDITIONS: dict[str, Callable[[Simulator], object]] = {
    "running": lambda comfyui: comfyui.running,
    "queued": lambda comfyui: comfyui.pending,
    "idle": lambda comfyui: not comfyui.running and not comfyui.pending,
}
