"""The whole way: a client's prompt through the gateway, the database, a worker and a ComfyUI, and back."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from aiohttp import web

from comfybridge.service.database import ENDED, QUEUED
from comfybridge.service.frames import status
from comfybridge.service.gateway import hub
from comfybridge.service.gateway.app import LOOPS, build
from comfybridge.service.gateway.hub import Hub
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, Socket, eventually, kinds
from tests.service.running import alone, database, gateway, service


@contextmanager
def held(postgres: str, store: Path) -> Iterator[tuple[Simulator, psycopg.Connection, Socket, str]]:
    """A job that runs until its server is released: the server, a connection, its client's socket, its prompt_id."""
    with alone(postgres, store) as (comfyui, _, address, connection), closing(Server(address)) as server:
        eventually(lambda: "SaveImage" in server.get("/object_info/SaveImage").json())
        comfyui.hold()
        with server.connect() as sock:
            prompt_id = server.submit(graphs.solid(), client_id=sock.client_id)
            eventually(lambda: server.queued()[0] == [prompt_id])
            yield comfyui, connection, sock, prompt_id
        comfyui.release()


def test_prompt_comes_back_as_a_picture(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        entry = server.run(graphs.solid(color=0x336699), client_id="me")
        (image,) = entry["outputs"]["2"]["images"]
        assert server.get("/view", params=image).content.startswith(b"\x89PNG")
        server.close()


def test_end_without_news_is_found_and_told_once(postgres: str, tmp_path: Path) -> None:
    end = """
        UPDATE jobs SET state = 'ended', outcome = 'succeeded', lease_until = NULL, ended = now(),
            history = '{"outputs": {}, "status": {"messages": [["execution_success", {}]]}, "meta": {}}'
    """
    with held(postgres, tmp_path) as (_, connection, sock, prompt_id):
        connection.execute(end)

        told = kinds(sock.to_the_end(prompt_id))
        for channel, of in ((ENDED, prompt_id), (QUEUED, "another")):
            news = json.dumps({"prompt_id": of, "owner": "", "client_id": sock.client_id})
            connection.execute("SELECT pg_notify(%s, %s)", (channel, news))
        told += kinds(sock.until(lambda frame: frame == status(1)))
        assert told.count("execution_success") == 1


def test_look_that_is_older_than_the_news_ends_nothing(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_old = threading.Event()
    look = Hub._open_of

    async def looked(self: Hub, owner: str) -> dict[str, str]:
        if is_old.is_set():
            is_old.clear()
            return {}
        return await look(self, owner)

    monkeypatch.setattr(Hub, "_open_of", looked)
    monkeypatch.setattr(hub, "_LOOK_EVERY_S", 0.05)
    with held(postgres, tmp_path) as (comfyui, _, sock, prompt_id):
        is_old.set()
        eventually(lambda: not is_old.is_set())
        comfyui.release()

        assert "execution_success" in kinds(sock.to_the_end(prompt_id))


def test_long_queue_is_told_whole_and_in_its_order(postgres: str, tmp_path: Path) -> None:
    # More than are read at once, the last one with a graph whose order counts and whose text is no ASCII.
    graph = '{"2": {"class_type": "B", "inputs": {"text": "雪"}}, "1": {"class_type": "A", "inputs": {}}}'
    jobs = """
        INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number)
        SELECT 'job-' || number, '', CASE number WHEN 249 THEN %s ELSE '{}' END::json, '{"a": 1}', '{"2"}', 'any', 1,
            number
        FROM generate_series(0, 249) AS number
    """
    with database(postgres) as url, gateway(url, tmp_path) as address:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("INSERT INTO wants VALUES ('any', '{}')")
            connection.execute(jobs, (graph,))
        server = Server(address)

        queue = server.get("/queue").json()

        assert queue["queue_running"] == []
        assert [item[:2] for item in queue["queue_pending"]] == [[number, f"job-{number}"] for number in range(250)]
        assert json.dumps(queue["queue_pending"][-1][2:]) == json.dumps([json.loads(graph), {"a": 1}, ["2"]])
        assert len(server.get("/api/jobs").json()["jobs"]) == 250
        server.close()


def test_ends_though_a_cancellation_is_lost(postgres: str, tmp_path: Path) -> None:
    """As ``asyncio.wait_for`` loses it before Python 3.12 when what it waits for comes at the same time."""
    lost = []

    async def loses_one() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as exc:
            lost.append(exc)
        await asyncio.Event().wait()

    async def starts_and_ends(url: str) -> None:
        app = build(url, str(tmp_path), keep_s=3600.0)
        app[LOOPS] = (*app[LOOPS], loses_one)
        runner = web.AppRunner(app)
        await runner.setup()
        async with asyncio.timeout(30):
            await runner.cleanup()

    with database(postgres) as url:
        asyncio.run(starts_and_ends(url))
    assert len(lost) == 1
