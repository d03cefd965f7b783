"""The whole way: a client's prompt through the gateway, the database, a worker and a ComfyUI, and back."""

import json
from pathlib import Path

import psycopg

from comfybridge.service.database import ENDED, QUEUED
from comfybridge.service.frames import status
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually, kinds
from tests.service.running import database, gateway, service, worker


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
    with (
        Simulator() as comfyui,
        database(postgres) as url,
        gateway(url, tmp_path) as address,
        worker(url, tmp_path, comfyui.url),
        psycopg.connect(url, autocommit=True) as connection,
    ):
        server = Server(address)
        eventually(lambda: "SaveImage" in server.get("/object_info/SaveImage").json())
        comfyui.hold()
        with server.connect() as sock:
            prompt_id = server.submit(graphs.solid(), client_id=sock.client_id)
            eventually(lambda: server.queued()[0] == [prompt_id])

            connection.execute(end)

            told = kinds(sock.to_the_end(prompt_id))
            for channel, of in ((ENDED, prompt_id), (QUEUED, "another")):
                news = json.dumps({"prompt_id": of, "owner": "", "client_id": sock.client_id})
                connection.execute("SELECT pg_notify(%s, %s)", (channel, news))
            told += kinds(sock.until(lambda frame: frame == status(1)))
        assert told.count("execution_success") == 1
        comfyui.release()
        server.close()
