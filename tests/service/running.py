"""Gateways and workers: on threads of this process over a database of their own, or as ``comfybridge serve``."""

import asyncio
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import requests
from aiohttp import web
from psycopg import conninfo

from comfybridge.service import keys
from comfybridge.service.alerting import Alerts
from comfybridge.service.gateway.app import build
from comfybridge.service.gateway.state import Options
from comfybridge.service.migrating import migrate
from comfybridge.service.worker.worker import Settings, Worker
from comfybridge.simulator import Simulator
from comfybridge.simulator.simulator import close
from tests.contract.server import Server, eventually
from tests.faults.ports import own_port

MAIN = [sys.executable, "-c", "import sys; from comfybridge.cli import main; sys.exit(main())"]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for a PostgreSQL: pytest's own are for the user that runs the tests, and root's serves as another."""
    with tempfile.TemporaryDirectory(prefix="comfybridge-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def database(postgres_url: str) -> Iterator[str]:
    """An empty database with all tables."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = conninfo.make_conninfo(postgres_url, dbname=name)
        migrate(url)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def gateway(
    database_url: str, store: Path, options: Options | None = None, alerts: Alerts | None = None, *, port: int = 0
) -> Iterator[str]:
    """A gateway's address."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    addresses: list[str] = []
    stop = asyncio.Event()

    async def serve() -> None:
        app = build(database_url, str(store), keep_s=3600.0, options=options, alerts=alerts)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", port))
        await web.SockSite(runner, listener).start()
        addresses.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
        started.set()
        await stop.wait()
        await close(runner, listener)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="gateway", daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


@contextmanager
def worker(database_url: str, store: Path, comfyui: str, **settings: Any) -> Iterator[Worker]:
    working = Worker(Settings(comfyui=comfyui, database=database_url, store=str(store), **settings))
    thread = threading.Thread(target=working.run, name="worker", daemon=True)
    thread.start()
    try:
        yield working
    finally:
        working.stop()
        thread.join(60)


def are_well(connection: psycopg.Connection, count: int) -> None:
    """Wait until so many servers are ready."""

    def are_ready() -> bool:
        row = connection.execute("SELECT count(*) FROM servers WHERE health = 'well'").fetchone()
        return row is not None and row[0] == count

    eventually(are_ready)


@contextmanager
def alone(postgres_url: str, store: Path) -> Iterator[tuple[Simulator, str, str, psycopg.Connection]]:
    """One server and a gateway, ready: the simulator, the database's address, the gateway's, and a connection."""
    with (
        Simulator() as comfyui,
        database(postgres_url) as url,
        gateway(url, store) as address,
        worker(url, store, comfyui.url),
        psycopg.connect(url, autocommit=True) as connection,
    ):
        are_well(connection, 1)
        yield comfyui, url, address, connection


@contextmanager
def service(
    postgres_url: str, store: Path, comfyuis: Sequence[str], options: Options | None = None, key: str = ""
) -> Iterator[str]:
    """A gateway over these servers, all of them ready; its address. With ``key``, it is needed."""
    with ExitStack() as stack:
        url = stack.enter_context(database(postgres_url))
        for comfyui in comfyuis:
            stack.enter_context(worker(url, store, comfyui))
        with psycopg.connect(url, autocommit=True) as connection:
            are_well(connection, len(comfyuis))
            if key:
                keys.add(connection, "test", {})
                connection.execute("UPDATE keys SET hash = %s", (keys.hashed(key),))
        address = stack.enter_context(gateway(url, store, options))
        yield address


@contextmanager
def serving(data: Path, comfyui: str) -> Iterator[tuple[subprocess.Popen[bytes], Server]]:
    port = own_port()
    command = [*MAIN, "serve", "--comfyui", comfyui, "--data", str(data), "--port", str(port)]
    with (data.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    server = Server(f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: has_a_server(server))
        yield process, server
    finally:
        server.close()
        process.terminate()
        process.wait(60)


def has_a_server(server: Server) -> bool:
    with suppress(requests.ConnectionError):
        answer = server.get("/object_info/SaveImage")
        return answer.status_code == 200 and bool(answer.json())
    return False
