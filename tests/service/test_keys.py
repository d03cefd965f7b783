"""Who is let in, and what one caller sees of another: nothing."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import websocket

from comfybridge.cli import main
from comfybridge.service import keys
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.media import png
from tests.contract.server import Server, eventually
from tests.service.running import alone, database, gateway


@dataclass
class Fleet:
    comfyui: Simulator
    database: str
    url: str
    connection: psycopg.Connection

    def key(self, name: str, **values: Any) -> str:
        return keys.add(self.connection, name, values)[1]

    def caller(self, name: str, **values: Any) -> Server:
        return Server(self.url, self.key(name, **values))


@pytest.fixture(scope="module")
def fleet(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One server and a gateway, and an admin's key, so that nobody does without."""
    store = tmp_path_factory.mktemp("store")
    with alone(postgres, store) as (comfyui, url, address, connection):
        fleet = Fleet(comfyui, url, address, connection)
        fleet.key("root", admin=True)
        eventually(lambda: requests.get(f"{address}/queue", timeout=60).status_code == 401)
        yield fleet


@pytest.fixture(scope="module")
def alice(fleet: Fleet) -> Server:
    return fleet.caller("alice")


@pytest.fixture(scope="module")
def mallory(fleet: Fleet) -> Server:
    return fleet.caller("mallory")


def test_key_is_needed_as_soon_as_there_is_one(postgres: str, tmp_path: Path) -> None:
    with (
        database(postgres) as url,
        gateway(url, tmp_path) as address,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        queue = f"{address}/queue"
        assert requests.get(queue, timeout=60).status_code == 200
        docker = {"Host": "host.docker.internal:8288"}
        assert requests.get(queue, headers=docker, timeout=60).status_code == 200
        strange = [{"X-Forwarded-For": "203.0.113.7"}, {"Host": "evil.example"}, {**docker, "Origin": "http://evil"}]
        for headers in strange:
            assert requests.get(queue, headers=headers, timeout=60).status_code == 401

        first, key = keys.add(connection, "first", {})

        # It counts at once, even before the others are shut out.
        assert Server(address, key).upload("mine.png", png()).status_code == 200
        assert connection.execute("SELECT owner FROM files").fetchall() == [(first.owner,)]
        eventually(lambda: requests.get(queue, timeout=60).status_code == 401)
        assert requests.get(queue, headers={"Authorization": f"Bearer {key}"}, timeout=60).status_code == 200
        keys.revoke(connection, "first")
        eventually(lambda: requests.get(f"{queue}?token={key}", timeout=60).status_code == 401)
        # That there is none any more lets nobody in.
        assert requests.get(queue, timeout=60).status_code == 401


def test_ways_to_send_a_key(fleet: Fleet) -> None:
    key, route = fleet.key("ways"), f"{fleet.url}/prompt"
    basic = base64.b64encode(f"anybody:{key}".encode()).decode()

    ways = [
        requests.get(route, headers={"Authorization": f"Bearer {key}"}, timeout=60),
        requests.get(route, headers={"Authorization": f"Basic {basic}"}, timeout=60),
        requests.get(f"{fleet.url}/api/prompt?token={key}", timeout=60),
        requests.get(route.replace("://", f"://x:{key}@"), timeout=60),
    ]
    wrong = requests.get(route, headers={"Authorization": f"Bearer {key[:-1]}"}, timeout=60)

    assert [answer.status_code for answer in ways] == [200, 200, 200, 200]
    assert wrong.status_code == 401
    assert wrong.json()["error"]["type"] == "unauthorized"
    assert key not in str(fleet.connection.execute("SELECT * FROM keys").fetchall())


def test_other_sites_cannot_use_the_password_that_a_browser_keeps(fleet: Fleet) -> None:
    route = fleet.url.replace("://", f"://x:{fleet.key('browser')}@") + "/prompt"
    own = {"Origin": fleet.url}

    # ComfyUI's own rule for this machine would refuse it as well; by a name of the network only this one does.
    host = {"Host": "gpu.example"}
    assert requests.get(route, headers={**host, "Origin": "http://evil.example"}, timeout=60).status_code == 403
    assert requests.get(route, headers={**host, "Origin": "http://gpu.example"}, timeout=60).status_code == 200
    assert requests.get(route, headers=own, timeout=60).status_code == 200


def test_revoked_key_hears_no_more(fleet: Fleet) -> None:
    server = fleet.caller("short-lived")
    with server.connect() as sock:
        keys.revoke(fleet.connection, "short-lived")

        with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
            sock.receive()
    server.close()


ROUTES = ("/prompt", "/queue", "/history", "/object_info", "/system_stats", "/view?filename=x.png", "/api/jobs", "/ws")


@pytest.mark.parametrize(
    "route",
    [*ROUTES, "/comfybridge/overview", "/comfybridge/ws", "/userdata?dir=workflows", "/comfybridge/keys", "/nowhere"],
)
def test_nothing_is_told_without_a_key(fleet: Fleet, route: str) -> None:
    for path in (route, f"/api{route}"):
        assert requests.get(fleet.url + path, timeout=60).status_code == 401


def test_callers_see_nothing_of_each_other(alice: Server, mallory: Server) -> None:
    name = f"{graphs.unique()}.png"
    with alice.connect() as hers, mallory.connect(hers.client_id) as theirs:
        entry_of = alice.submit(graphs.solid(prefix="same"), client_id=hers.client_id)
        frames = hers.to_the_end(entry_of)
        assert any(isinstance(frame, dict) and frame["type"] == "executed" for frame in frames)
        entry = alice.finished(entry_of)
        # All that the other one heard is how much of his own waits.
        assert {frame["type"] for frame in theirs.so_far()} <= {"status"}
    (image,) = entry["outputs"]["2"]["images"]
    assert alice.upload(name, png()).status_code == 200

    assert mallory.history(entry_of) is None
    assert entry_of not in mallory.get("/history").json()
    assert mallory.get(f"/api/jobs/{entry_of}").status_code == 404
    assert entry_of not in mallory.get("/api/jobs").text
    assert mallory.get("/view", params=image).status_code == 404
    assert mallory.get("/view", params={"filename": name, "type": "input"}).status_code == 404
    assert name not in mallory.get("/object_info/LoadImage").text
    assert name in alice.get("/object_info/LoadImage").text
    loading = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}
    assert mallory.reject(loading)["node_errors"]["1"]["errors"][0]["type"] == "custom_validation_failed"
    reference = json.dumps({"filename": name, "type": "input", "subfolder": ""})
    assert mallory.upload("mask.png", png(), "/upload/mask", original_ref=reference).status_code == 400
    # Nor can they be taken away, or claimed.
    mallory.post("/history", json={"delete": [entry_of], "clear": True})
    assert alice.history(entry_of) is not None
    taken = mallory.post("/prompt", json={"prompt": graphs.solid(), "prompt_id": entry_of})
    assert (taken.status_code, taken.json()["error"]["message"]) == (400, "prompt_id is taken")


def test_waiting_and_running_jobs_are_their_own(fleet: Fleet, alice: Server, mallory: Server) -> None:
    fleet.comfyui.hold()
    running = alice.submit(graphs.solid())
    eventually(lambda: alice.queued()[0] == [running])
    waiting = alice.submit(graphs.solid())

    assert mallory.queued() == ([], [])
    assert mallory.get("/prompt").json()["exec_info"]["queue_remaining"] == 0
    mallory.post("/queue", json={"delete": [waiting], "clear": True})
    mallory.post("/interrupt", json={"prompt_id": running})
    mallory.post("/interrupt")
    asked = "SELECT count(*) FROM jobs WHERE prompt_id = ANY (%s) AND cancel_asked IS NOT NULL"
    assert fleet.connection.execute(asked, ([running, waiting],)).fetchone() == (0,)
    fleet.comfyui.release()
    assert alice.finished(running)["status"]["status_str"] == "success"
    assert alice.finished(waiting)["status"]["status_str"] == "success"


def test_same_name_of_two_callers(alice: Server, mallory: Server) -> None:
    entries = [caller.run(graphs.solid(prefix="same", color=color)) for caller, color in ((alice, 1), (mallory, 2))]
    assert alice.upload("portrait.png", png((1, 1, 1))).json() == mallory.upload("portrait.png", png((2, 2, 2))).json()

    for caller, entry in zip((alice, mallory), entries, strict=True):
        assert caller.get("/view", params=entry["outputs"]["2"]["images"][0]).content.startswith(b"\x89PNG")
    seen = [caller.get("/view?type=input&filename=portrait.png").content for caller in (alice, mallory)]
    assert seen == [png((1, 1, 1)), png((2, 2, 2))]


def test_admins_manage_keys(fleet: Fleet, alice: Server) -> None:
    admin = fleet.caller("operator", admin=True)
    route = "/comfybridge/keys"

    made = admin.post(route, json={"name": "bob", "priority": "high", "rate": 5, "templates": ["sdxl"]})
    bob = Server(fleet.url, made.json()["key"])
    changed = admin.request("PATCH", f"{route}/bob", json={"rate": None, "queued": 3, "admin": True})
    listed = {one["name"]: one for one in admin.get(f"/api{route}").json()}

    assert made.status_code == 201
    assert bob.get("/prompt").status_code == 200
    assert (changed.json()["rate"], changed.json()["queued"], changed.json()["priority"]) == (None, 3, "high")
    assert listed["bob"]["admin"]
    assert "key" not in listed["bob"]
    assert admin.post(route, json={"name": "bob"}).status_code == 409
    assert admin.post(route, json={"name": "b/b"}).status_code == 400
    assert admin.post(route, json={"name": "x", "rate": 0}).status_code == 400
    assert admin.request("DELETE", f"{route}/bob").status_code == 204
    assert bob.get("/prompt").status_code == 401
    assert admin.request("DELETE", f"{route}/bob").status_code == 404
    for method, path in (("GET", route), ("POST", route), ("PATCH", f"{route}/root"), ("DELETE", f"{route}/root")):
        assert alice.request(method, path, json={}).status_code == 403
    assert alice.post("/free", json={}).status_code == 403
    admin.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu1", ""])
def test_listens_elsewhere_only_with_a_key(postgres: str, host: str) -> None:
    with database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(keys.NoKeys):
            keys.needed(url, host)
        keys.add(connection, "one", {})

        keys.needed(url, host)

        keys.revoke(connection, "one")
        with pytest.raises(keys.NoKeys):
            keys.needed(url, host)
        for local in ("127.0.0.1", "::1", "localhost"):
            keys.needed(url, local)


def test_commands(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        status = main(["keys", *words, "--database", fleet.database])
        return status, *capsys.readouterr()

    status, key, told = run("add", "carol", "--priority", "low", "--rate", "7", "--template", "sdxl", "--admin")
    server = Server(fleet.url, key.strip())

    assert (status, len(key.split())) == (0, 1)
    assert "once" in told
    assert server.get("/comfybridge/keys").status_code == 200
    assert run("set", "carol", "--no-admin", "--rate", "none", "--queued", "2", "--template", "none")[0] == 0
    carol = next(one for one in json.loads(run("list", "--json")[1]) if one["name"] == "carol")
    assert (carol["admin"], carol["rate"], carol["queued"], carol["priority"]) == (False, None, 2, "low")
    assert carol["templates"] is None
    assert "carol" in run("list")[1]
    assert run("add", "carol")[0] == 1
    assert run("add", "no/name")[0] == 2
    assert run("set", "carol", "--webhook", "ftp://x")[0] == 2
    assert run("revoke", "carol")[0] == 0
    assert run("revoke", "carol")[0] == 1
    eventually(lambda: server.get("/prompt").status_code == 401)
    # The name is free again, for another key.
    assert run("add", "carol")[0] == 0
    assert server.get("/prompt").status_code == 401
    server.close()
