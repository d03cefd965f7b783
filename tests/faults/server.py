"""The server under test, in a process of its own, so that it can be killed and frozen.

The simulator, or a real ComfyUI when ``COMFYUI_URL`` and ``COMFYUI_CMD``, the command that starts it, are set.
"""

import contextlib
import logging
import multiprocessing
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from comfybridge.simulator import Simulator, prompt_queue
from comfybridge.simulator.faults import Fault
from tests.contract import graphs
from tests.contract.server import Prompt, eventually
from tests.contract.server import Server as Wire
from tests.faults.ports import own_port

_START_S = 180.0
_ANSWER_S = 10.0
_FIRST = multiprocessing.get_context("forkserver")
# Forked from a process that has imported everything: a restart takes a moment.
_FIRST.set_forkserver_preload(["tests.faults.server"])


class Server(ABC):
    """A server with its process. ``wire`` asks it without any relay; a context manager."""

    name: str

    def __init__(self, url: str) -> None:
        self.url = url
        self.wire = Wire(url)
        self.is_spoilt = False
        """Whether only a restart makes it whole again."""
        self._limits: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.wire.close()

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process's number while it lives."""

    @property
    @abstractmethod
    def output_folder(self) -> Path: ...

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until it answers."""

    @abstractmethod
    def kill(self) -> None: ...

    @abstractmethod
    def hold(self) -> None:
        """Keep what runs running from now on, as far as the server can be told."""

    @abstractmethod
    def release(self) -> None: ...

    @abstractmethod
    def long(self, color: int) -> Prompt:
        """A graph that runs a while, or until released; its picture is of one colour."""

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop the process, and wait until the last of its threads stands still."""
        self._signal(signal.SIGSTOP)
        eventually(self._is_frozen)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def fill_disk(self) -> None:
        """From now on no file can grow: every write fails with an OSError, as on a disk that is full."""
        assert self.pid is not None
        self._limits = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, self._limits[1]))

    def reset(self) -> None:
        """Be as good as new: alive, idle, whole."""
        if self.pid is None or self.is_spoilt:
            self.restart()
            self.is_spoilt = False
            self._limits = None
        self.thaw()
        if self._limits is not None:
            resource.prlimit(self.pid or 0, resource.RLIMIT_FSIZE, self._limits)
            self._limits = None
        self.release()
        self.wire.post("/queue", json={"clear": True})
        self.wire.post("/interrupt")
        eventually(lambda: self.wire.queued() == ([], []))

    def kill_worker(self) -> None:
        """End the thread that runs prompts: it dies of a node without inputs, which validation overlooks."""
        prompt = graphs.solid()
        prompt["bad"] = {"class_type": "EmptyImage"}
        self.wire.submit(prompt, front=True)
        self.is_spoilt = True

    def has(self, prompt_id: str) -> bool:
        """Whether the prompt waits or runs."""
        running, pending = self.wire.queued()
        return prompt_id in running + pending

    def _is_frozen(self) -> bool:
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        # The state is the first word after the name in brackets (proc_pid_stat(5)).
        return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)


class Simulated(Server):
    """The simulator; faults of its own can be put into force."""

    name = "simulator"

    def __init__(self) -> None:
        port = own_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self._port = port
        self._folder = Path(tempfile.mkdtemp(prefix="comfybridge-faults-"))
        self._process: multiprocessing.context.ForkServerProcess | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def output_folder(self) -> Path:
        return self._folder / "output"

    def start(self) -> None:
        self._control, theirs = _FIRST.Pipe()
        self._process = _FIRST.Process(target=_serve, args=(self._port, self._folder, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def kill(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.join()
        self._process.close()
        self._process = None
        self._control.close()

    def hold(self) -> None:
        self.tell("hold")

    def release(self) -> None:
        self.tell("release")

    def reset(self) -> None:
        super().reset()
        self.tell("heal")
        self.tell("history_size", 10000)

    def long(self, color: int) -> Prompt:
        return graphs.solid(color=color)

    def inject(self, fault: Fault, times: int | None = None) -> None:
        self.tell("inject", fault, times)

    def tell(self, command: str, *arguments: Any) -> None:
        self._control.send((command, arguments))
        self._answer()

    def _answer(self) -> None:
        if not self._control.poll(_ANSWER_S):
            raise TimeoutError("the simulator's process does not answer")
        self._control.recv()


class Real(Server):
    """A ComfyUI that a command starts; nobody else may use it."""

    name = "ComfyUI"

    def __init__(self, url: str, command: str) -> None:
        super().__init__(url)
        self._command = shlex.split(command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def output_folder(self) -> Path:
        argv = self.wire.get("/system_stats").json()["system"]["argv"]
        if "--output-directory" in argv:
            return Path(argv[argv.index("--output-directory") + 1])
        return Path(argv[0]).parent / "output"

    def start(self) -> None:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(self.url, timeout=_ANSWER_S)
            raise RuntimeError(f"something answers at {self.url} already; COMFYUI_CMD must be what starts it")
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/system_stats", timeout=_ANSWER_S).ok:
                    return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("COMFYUI_CMD started no server that answers at COMFYUI_URL")
            time.sleep(0.2)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hold(self) -> None:
        """A real server cannot be held; its graphs are long instead."""

    def release(self) -> None:
        """Nothing is held."""

    def long(self, color: int) -> Prompt:
        prompt = graphs.long(40)
        prompt["1"]["inputs"]["color"] = color
        return prompt


def connect() -> Server:
    """The server that the environment names; not started yet."""
    url, command = os.environ.get("COMFYUI_URL", ""), os.environ.get("COMFYUI_CMD", "")
    if not (url and command):
        return Simulated()
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        sys.exit("The fault suite kills and freezes the server: it must be on this machine.")
    return Real(url.rstrip("/"), command)


def _serve(port: int, folder: Path, control: Connection) -> None:
    """What the simulator's process does, until it is killed or its parent is gone."""
    # aiohttp reports every connection that broke.
    logging.disable()
    with Simulator(port=port, folder=folder) as simulator, contextlib.suppress(EOFError):
        control.send(None)
        while True:
            command, arguments = control.recv()
            match command:
                case "inject":
                    simulator.inject(arguments[0], times=arguments[1])
                case "history_size":
                    prompt_queue.MAXIMUM_HISTORY_SIZE = arguments[0]
                case _:
                    getattr(simulator, command)()
            control.send(None)
