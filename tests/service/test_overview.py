"""What the page at ``/`` asks for: who is shown what, by one answer and by the socket of those who watch."""

import json
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import websocket

from comfybridge.service import keys
from comfybridge.service.frames import read_preview
from comfybridge.service.gateway.captions import text_of, titles_of
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import DEADLINE_S, Server, eventually
from tests.service.running import are_well, database, folder, gateway, worker

NODE = {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}}
CONDITIONED = {"class_type": "ControlNetApply", "inputs": {"conditioning": ["6", 0]}}
GRAPH: dict[str, Any] = {
    "7": NODE,
    "6": {**NODE, "inputs": {"text": ["58", 0]}},
    "58": {
        "class_type": "PrimitiveStringMultiline",
        "inputs": {"value": " a fox\n in snow "},
        "_meta": {"title": "Words"},
    },
    "8": CONDITIONED,
    "3": {"class_type": "KSampler", "inputs": {"positive": ["8", 0], "negative": ["7", 0]}},
}


@dataclass
class Service:
    url: str
    comfyui: Simulator
    connection: psycopg.Connection
    admin: Server
    anna: Server

    def watching(self, key: str) -> websocket.WebSocket:
        url = f"{self.url.replace('http', 'ws', 1)}/comfybridge/ws?token={key}"
        return websocket.create_connection(url, timeout=DEADLINE_S, suppress_origin=True)


@pytest.fixture(scope="module")
def service(postgres: str) -> Iterator[Service]:
    with ExitStack() as stack:
        store = stack.enter_context(folder())
        comfyui = stack.enter_context(Simulator(previews=True))
        url = stack.enter_context(database(postgres))
        stack.enter_context(worker(url, store, comfyui.url))
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        are_well(connection, 1)
        for name in ("admin", "anna"):
            keys.add(connection, name, {"admin": name == "admin"})
            connection.execute("UPDATE keys SET hash = %s WHERE name = %s", (keys.hashed(name), name))
        address = stack.enter_context(gateway(url, store))
        servers = [stack.enter_context(closing(Server(address, name))) for name in ("admin", "anna")]
        yield Service(address, comfyui, connection, *servers)


def overview(server: Server, **query: Any) -> dict[str, Any]:
    answer = server.get("/comfybridge/overview", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def received(socket: websocket.WebSocket) -> Any:
    frame = socket.recv()
    return frame if isinstance(frame, bytes) else json.loads(frame)


def test_text_is_found_behind_links_and_titles_by_node() -> None:
    assert text_of(GRAPH) == "a fox in snow"
    assert text_of({"1": {"inputs": {"text": "x" * 400}}}) == "x" * 299 + "…"
    assert text_of({"1": None, "2": {"inputs": {"positive": ["2", 0]}}}) == ""
    assert titles_of(GRAPH)["58"] == "Words"
    assert titles_of(GRAPH)["3"] == "KSampler"


def test_each_sees_its_own_and_an_admin_all(service: Service) -> None:
    service.comfyui.hold()
    first = service.admin.submit(graphs.solid())
    service.comfyui.wait_for("running")
    others = [service.anna.submit({**graphs.solid(), "58": GRAPH["58"]}) for _ in range(3)]
    eventually(lambda: overview(service.admin)["counts"]["claimed"] == 1)

    fleets, hers = overview(service.admin, limit=1, offset=1), overview(service.anna)

    assert fleets["counts"] | {"oldest_s": 0} == {"queued": 2, "claimed": 1, "running": 1, "oldest_s": 0}
    assert [job["position"] for job in fleets["waiting"]["jobs"]] == [2]
    assert {job["key"] for job in fleets["running"]} == {"admin", "anna"}
    assert [server["url"] for server in fleets["servers"]] == [service.comfyui.url]
    assert fleets["caller"] == {"name": "admin", "is_admin": True, "has_key": True}
    mine = {job["prompt_id"] for job in (*hers["running"], *hers["waiting"]["jobs"])}
    assert mine == set(others)
    assert {job["text"] for job in hers["waiting"]["jobs"]} == {"a fox in snow"}
    assert not {"servers", "alerts", "minutes", "events", "undelivered", "problems"} & set(hers)

    assert service.anna.post("/comfybridge/cancel", json={"prompt_id": first}).status_code == 404
    assert service.anna.post("/comfybridge/cancel", json={"waiting": True}).status_code == 200
    assert service.anna.post("/comfybridge/cancel", json={"prompt_id": 7}).status_code == 400
    query = "SELECT outcome, count(*)::int FROM jobs GROUP BY outcome"
    eventually(lambda: dict(service.connection.execute(query).fetchall()) == {None: 1, "cancelled": 3})
    service.comfyui.release()
    service.admin.finished(first)
    assert dict(service.connection.execute(query).fetchall()) == {"succeeded": 1, "cancelled": 3}
    (picture,) = overview(service.admin)["pictures"]
    assert requests.get(f"{service.url}/{picture['link']}&preview=webp", timeout=60).content[8:12] == b"WEBP"
    assert overview(service.anna)["pictures"] == []


def test_admin_cancels_what_runs_of_others(service: Service) -> None:
    service.comfyui.hold()
    running = service.anna.submit(graphs.solid())
    service.comfyui.wait_for("running")
    eventually(lambda: overview(service.anna)["counts"]["running"] == 1)

    assert service.admin.post("/comfybridge/cancel", json={"prompt_id": running}).status_code == 200

    query = "SELECT outcome FROM jobs WHERE prompt_id = %s"
    eventually(lambda: service.connection.execute(query, (running,)).fetchone() == ("cancelled",))
    service.comfyui.release()


def test_socket_tells_of_the_jobs_that_may_be_seen(service: Service) -> None:
    painted = json.loads((Path(__file__).parents[2] / "workflows" / "sdxl.json").read_text())
    with closing(service.watching("admin")) as admins, closing(service.watching("anna")) as annas:
        for socket in (admins, annas):
            assert received(socket) == {"type": "changed", "data": {}}
        prompt_id = service.admin.submit(painted)
        previews = (frame for frame in iter(lambda: received(admins), None) if isinstance(frame, bytes))
        preview = read_preview(next(previews))
        assert preview is not None
        assert preview.metadata["prompt_id"] == prompt_id
        service.admin.finished(prompt_id)
        # What comes after her own job's frames has nothing of his.
        own = service.anna.submit(graphs.solid(), client_id="another")
        heard: list[Any] = []
        while not any(frame["data"].get("prompt_id") == own for frame in heard if isinstance(frame, dict)):
            heard.append(received(annas))
        assert prompt_id not in json.dumps([frame for frame in heard if isinstance(frame, dict)])
        assert not any(isinstance(frame, bytes) for frame in heard)


def test_admin_who_is_none_any_more_is_cut_off(service: Service) -> None:
    keys.add(service.connection, "late", {"admin": True})
    service.connection.execute("UPDATE keys SET hash = %s WHERE name = 'late'", (keys.hashed("late"),))
    with closing(service.watching("late")) as socket:
        assert received(socket)["type"] == "changed"
        service.connection.execute("UPDATE keys SET is_admin = false WHERE name = 'late'")
        with pytest.raises((websocket.WebSocketException, OSError)):
            deque(iter(lambda: received(socket), None))


def test_page_is_open_and_lets_nothing_else_in(service: Service) -> None:
    page = requests.get(service.url, timeout=60)
    assert page.status_code == 200
    assert 'data-key="needed"' in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    script = requests.get(f"{service.url}/comfybridge/page/page.js", timeout=60)
    assert script.headers["Content-Type"].startswith("text/javascript")
    for path in ("app.py", "..%2Fapp.py", "%2e%2e/app.py", ""):
        assert requests.get(f"{service.url}/comfybridge/page/{path}", timeout=60).status_code in (401, 404)
    refused = requests.get(
        f"{service.url}/comfybridge/overview", timeout=60, headers={"X-Requested-With": "XMLHttpRequest"}
    )
    assert refused.status_code == 401
    assert "WWW-Authenticate" not in refused.headers
