"""A whole fleet as processes of their own, each of which may be killed at any moment and is then started again."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
import psycopg
import requests

from comfybridge.service.postgres import Postgres
from tests.contract.server import eventually
from tests.faults.ports import own_port
from tests.service.running import MAIN

ROOT = Path(__file__).parents[2]
_LOOK_EVERY_S, _POSTGRES_EVERY_S = 0.05, 0.3
BUCKET = "pictures"


@dataclass(slots=True)
class Part:
    """One process; ``kind`` is what it is: gateway, worker, comfyui, s3."""

    name: str
    kind: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: IO[bytes]
    process: "subprocess.Popen[bytes] | None" = None
    deaths: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Start it if it does not run."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env={**os.environ, **self.environment}, stdout=self.log, stderr=self.log
            )

    def kill(self) -> bool:
        """Whether there was something to kill."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.deaths.append(time.time())
        self.process.kill()
        return True

    def end(self) -> None:
        if self.process is not None:
            self.process.terminate()


class Fleet:
    """PostgreSQL, an S3 server if one is wanted, ComfyUIs, gateways and workers; all of them restarted as they die."""

    def __init__(self, folder: Path, *, gateways: int = 2, servers: int = 4, work_s: float = 0.0, s3: bool) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._stopping = threading.Event()
        self._postgres = self._stack.enter_context(Postgres(folder))
        self.postgres_deaths: list[float] = []
        self.parts: list[Part] = []
        environment = {"COMFYBRIDGE_DATABASE": self._postgres.url}
        store = str(folder / "store")
        if s3:
            port = own_port()
            recording = ["--recording", str(folder / "recording"), "--port", str(port)]
            self._add("s3", "s3", [sys.executable, "-m", "tests.service.objects", *recording], {})
            self.parts[-1].look()
            endpoint = f"http://127.0.0.1:{port}"
            _answers(lambda: requests.put(f"{endpoint}/{BUCKET}", timeout=5).status_code == 200)
            store = f"s3://{BUCKET}/fleet"
            keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
            environment |= {"AWS_ENDPOINT_URL": endpoint, **keys}
        self.comfyuis: list[str] = []
        for number in range(servers):
            port = own_port()
            options = ["--port", str(port), "--folder", str(folder / f"comfyui-{number}"), "--work", str(work_s)]
            self._add(f"comfyui-{number}", "comfyui", [sys.executable, "-m", "tests.service.comfyui", *options], {})
            self.comfyuis.append(f"http://127.0.0.1:{port}")
        self.gateways: list[str] = []
        for number in range(gateways):
            port = own_port()
            command = [*MAIN, "gateway", "--port", str(port), "--store", store]
            self._add(f"gateway-{number}", "gateway", command, environment)
            self.gateways.append(f"http://127.0.0.1:{port}")
        for number, url in enumerate(self.comfyuis):
            command = [*MAIN, "worker", "--comfyui", url, "--store", store]
            self._add(f"worker-{number}", "worker", command, environment)
        self._keepers = [threading.Thread(target=keep, daemon=True) for keep in (self._keep, self._keep_postgres)]

    def _add(self, name: str, kind: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        self.parts.append(Part(name, kind, command, environment, log))

    def __enter__(self) -> Self:
        for keeper in self._keepers:
            keeper.start()
        self.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for keeper in self._keepers:
            keeper.join()
        for part in self.parts:
            part.end()
        for part in self.parts:
            if part.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    part.process.wait(10)
                part.process.kill()
                part.process.wait()
        self._stack.close()

    @property
    def database(self) -> str:
        return self._postgres.url

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.database, autocommit=True)

    def wait_until_ready(self) -> None:
        """Every gateway answers, and every server is taken in."""
        for url in self.gateways:
            _answers(partial(_knows_nodes, url))

        def are_well() -> bool:
            with suppress(psycopg.OperationalError), self.connect() as connection:
                query = "SELECT count(*) FROM servers WHERE health = 'well' AND heartbeat > now() - interval '15 s'"
                row = connection.execute(query).fetchone()
                return row is not None and row[0] == len(self.comfyuis)
            return False

        eventually(are_well)

    def of(self, kind: str) -> list[Part]:
        return [part for part in self.parts if part.kind == kind]

    def kill_postgres(self) -> bool:
        pid = self._postgres.pid
        if not pid or not psutil.pid_exists(pid):
            return False
        self.postgres_deaths.append(time.time())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def _keep(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            for part in self.parts:
                part.look()

    def _keep_postgres(self) -> None:
        # On a thread of its own: the start of a killed one takes a while.
        while not self._stopping.wait(_POSTGRES_EVERY_S):
            self._postgres.ensure()


def _knows_nodes(url: str) -> bool:
    return bool(requests.get(f"{url}/object_info/SaveImage", timeout=5).json())


def _answers(look: Callable[[], bool]) -> None:
    def answers() -> bool:
        with suppress(requests.RequestException, ValueError):
            return look()
        return False

    eventually(answers)
