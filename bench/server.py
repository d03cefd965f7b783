"""The simulator as a process of its own, so that it shares no interpreter lock with what measures or is measured."""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import Request, urlopen
from uuid import uuid4

from comfybridge.connections import multipart
from comfybridge.simulator import Simulator

_REPOSITORY = Path(__file__).resolve().parents[1]
_ANSWER_S = 10.0
_FOREIGN_PLACE = 10**6
"""A place in the queue behind everybody who does not ask for one."""


class Server:
    """A simulator process with so many seconds of work for each picture; a context manager."""

    def __init__(self, work_s: float) -> None:
        self._command = [sys.executable, "-m", "bench.server", "--work", str(work_s)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018  # asked for above
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def hold(self) -> None:
        """Keep everything queued until ``release``."""
        self._tell("hold")

    def release(self) -> None:
        self._tell("release")

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  # asked for above
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None  # noqa: S101  # asked for above
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the simulator process ended with status {self._process.wait()}")
        return line


def get(url: str) -> Any:
    with urlopen(url, timeout=_ANSWER_S) as response:  # noqa: S310  # http, as the command line checked
        return json.load(response)


def finished(base_url: str, prompt_id: str) -> Mapping[str, Any]:
    """The history's entry of a prompt that has ended."""
    entry: Mapping[str, Any] = get(f"{base_url}/history/{prompt_id}")[prompt_id]
    return entry


def own_work_s(entry: Mapping[str, Any]) -> float:
    """The seconds between a prompt's start and its end on the server, by the server's own clock, in milliseconds."""
    at = {name: data["timestamp"] for name, data in entry["status"]["messages"]}
    return float(at["execution_success"] - at["execution_start"]) / 1000


def queue_foreign(base_url: str, graph: Mapping[str, Any], count: int) -> None:
    """Queue so many small pictures of somebody else, behind everything that is queued without a place."""
    for number in range(count):
        small = {
            node_id: {**node, "inputs": {**node["inputs"], **_small(node["inputs"], number)}}
            for node_id, node in graph.items()
        }
        body = {"prompt": small, "prompt_id": str(uuid4()), "client_id": "somebody else", "number": _FOREIGN_PLACE}
        request = Request(f"{base_url}/prompt", json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310  # as above
        with urlopen(request, timeout=_ANSWER_S):  # noqa: S310  # as above
            pass


def upload(base_url: str, png: bytes) -> str:
    """Put a picture into the server's ``input`` folder; the name that it has there."""
    body, content_type = multipart({"image": ("grain.png", png, "image/png")})
    request = Request(f"{base_url}/upload/image", body, {"Content-Type": content_type})  # noqa: S310  # as above
    with urlopen(request, timeout=_ANSWER_S) as response:  # noqa: S310  # as above
        return str(json.load(response)["name"])


def wait_until_idle(base_url: str) -> None:
    while get(f"{base_url}/prompt")["exec_info"]["queue_remaining"]:
        time.sleep(0.1)


def _small(inputs: Mapping[str, Any], number: int) -> dict[str, Any]:
    changes: dict[str, Any] = {name: 64 for name in ("width", "height") if name in inputs}
    return changes | ({"seed": number} if "seed" in inputs else {})


def _serve(work_s: float) -> None:
    """Say the address; then obey ``hold`` and ``release``, a line each, until stdin ends."""
    # Ctrl+C is for whoever holds stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Simulator(models=["sd15"], work=work_s) as simulator:
        print(simulator.url, flush=True)
        for command in sys.stdin:
            if command.strip() == "hold":
                simulator.hold(queued=True)
            else:
                simulator.release()
            print("done", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=float, required=True)
    _serve(parser.parse_args().work)
