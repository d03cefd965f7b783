"""Servers taken in, paused, drained and removed while everything runs; and who may work for a server."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from comfybridge.cli import main
from comfybridge.service import changing, servers
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import MAIN, database, folder, gateway, serving, worker


@pytest.fixture
def data() -> Iterator[Path]:
    with folder() as parent:
        yield parent / "data"


@pytest.fixture
def tables(postgres: str) -> Iterator[str]:
    with database(postgres) as url:
        yield url


def told(server: Server) -> dict[str, dict[str, Any]]:
    return {one["url"]: one for one in server.get("/comfybridge/servers").json()["servers"]}


def ask(server: Server, action: str, url: str) -> str:
    answer = server.post("/api/comfybridge/servers", json={"action": action, "url": url})
    assert answer.status_code == 200, answer.text
    message: str = answer.json()["message"]["en"]
    return message


def posted(comfyui: Simulator) -> list[str]:
    return [request.body["prompt_id"] for request in comfyui.received("POST", "/prompt")]


def test_drained_server_finishes_what_it_has_and_a_removed_one_ends_its_worker(tables: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(Simulator()) for _ in range(2))
        first, _ = (stack.enter_context(worker(tables, tmp_path, comfyui.url)) for comfyui in (one, other))
        server = Server(stack.enter_context(gateway(tables, tmp_path)))
        stack.callback(server.close)
        eventually(lambda: [found["health"] for found in told(server).values()] == ["well", "well"])
        one.hold()
        other.hold()
        before = [server.submit(graphs.solid()) for _ in range(4)]
        eventually(lambda: [(found["running"], found["waiting"]) for found in told(server).values()] == [(1, 1)] * 2)

        assert "takes nothing new" in ask(server, "drain", one.url)
        after = [server.submit(graphs.solid()) for _ in range(3)]
        one.release()
        eventually(lambda: told(server)[one.url]["running"] + told(server)[one.url]["waiting"] == 0)
        assert len(posted(one)) == 2
        other.release()
        assert all(server.finished(prompt_id) for prompt_id in (*before, *after))
        assert sorted(posted(one) + posted(other)) == sorted((*before, *after))
        assert set(after) <= set(posted(other))

        ask(server, "remove", one.url)
        eventually(lambda: first.has_left)
        assert told(server)[one.url]["mode"] == "removed"
        # Started once more for it, a worker of its own leaves at once and says why.
        command = [*MAIN, "worker", "--comfyui", one.url, "--database", tables, "--store", str(tmp_path)]
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert again.returncode == 0, again.stderr
        assert f"`comfybridge servers add {one.url}` takes it in again" in again.stderr


def test_paused_server_counts_and_waits_and_a_draining_one_does_not_count(tables: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        comfyui = stack.enter_context(Simulator())
        stack.enter_context(worker(tables, tmp_path, comfyui.url))
        server = Server(stack.enter_context(gateway(tables, tmp_path)))
        stack.callback(server.close)
        eventually(lambda: told(server).get(comfyui.url, {}).get("health") == "well")
        eventually(lambda: server.get("/object_info/SaveImage").json())

        ask(server, "pause", comfyui.url)
        waiting = server.submit(graphs.solid())
        said = ask(server, "drain", comfyui.url)
        assert "Waiting jobs that no other server can run: 1" in said
        eventually(lambda: not server.get("/object_info/SaveImage").json())
        server.reject(graphs.solid())
        assert posted(comfyui) == []

        assert "takes jobs again" in ask(server, "resume", comfyui.url)
        assert server.finished(waiting)["status"]["status_str"] == "success"


def test_what_cannot_be_done_is_told(tables: str, tmp_path: Path) -> None:
    with gateway(tables, tmp_path) as url:
        server = Server(url)
        bodies: tuple[Any, ...] = (
            {"action": "drain", "url": "http://nowhere"},
            {"action": "add", "url": "gpu1"},
            {"url": "x"},
            [],
        )
        answers = [server.post("/comfybridge/servers", json=body) for body in bodies]
        server.close()

    assert [answer.status_code for answer in answers] == [404, 400, 400, 400]


def test_second_worker_stands_by_and_takes_over(tables: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, psycopg.connect(tables, autocommit=True) as connection:
        comfyui.hold()
        command = [*MAIN, "worker", "--comfyui", comfyui.url, "--database", tables, "--store", str(tmp_path)]

        def in_charge() -> int:
            row = connection.execute("SELECT worker FROM servers WHERE health = 'well'").fetchone()
            return int(row[0].split("-")[-2]) if row is not None else 0

        with ExitStack() as stack:
            server = Server(stack.enter_context(gateway(tables, tmp_path)))
            stack.callback(server.close)
            workers = {}
            for _ in range(2):
                process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
                stack.callback(process.wait)
                stack.callback(process.kill)
                workers[process.pid] = process
            first = eventually(in_charge)
            eventually(lambda: server.get("/object_info/SaveImage").json())
            running = server.submit(graphs.solid())
            eventually(lambda: server.queued()[0] == [running])

            workers[first].kill()
            second = eventually(lambda: in_charge() != first and in_charge())
            comfyui.release()

            assert second in workers
            assert server.finished(running)["status"]["status_str"] == "success"
            assert posted(comfyui) == [running]


def test_job_is_left_to_its_owner_while_that_may_just_be_back_from_an_outage(tables: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(tables, autocommit=True))
        server = Server(stack.enter_context(gateway(tables, tmp_path)))
        stack.callback(server.close)
        with Simulator() as owner, worker(tables, tmp_path, owner.url):
            owner.hold()
            eventually(lambda: server.get("/object_info/SaveImage").json())
            running = server.submit(graphs.solid())
            eventually(lambda: server.queued()[0] == [running])
        # The database was away for longer than a lease; nobody has renewed anything since it is back.
        connection.execute("UPDATE jobs SET lease_until = now() - interval '1 s'")
        other = stack.enter_context(Simulator())
        stack.enter_context(worker(tables, tmp_path, other.url))
        row = "SELECT health = 'well' FROM servers WHERE url = %s"
        eventually(lambda: connection.execute(row, (other.url,)).fetchone() == (True,))

        assert server.run(graphs.solid())["status"]["status_str"] == "success"
        assert connection.execute("SELECT server FROM jobs WHERE prompt_id = %s", (running,)).fetchone() == (owner.url,)
        assert running not in posted(other)


def test_serve_follows_the_commands_and_remembers_them(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str:
        assert main(["servers", *words, "--data", str(data)]) == 0
        return capsys.readouterr().out

    def workers(process: "subprocess.Popen[bytes]") -> set[str]:
        children = []
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                children.append(child.cmdline())
        return {words[words.index("--comfyui") + 1] for words in children if "worker" in words}

    with Simulator() as given, Simulator() as added:
        with serving(data, given.url) as (process, server):
            assert "Its worker is started." in run("add", f"{added.url}/")
            eventually(lambda: told(server).get(added.url, {}).get("health") == "well")
            assert workers(process) == {given.url, added.url}
            assert "is there already: active" in run("add", added.url)
            run("remove", given.url)
            eventually(lambda: workers(process) == {added.url})
            assert server.run(graphs.solid())["status"]["status_str"] == "success"
            assert posted(given) == []
        with serving(data, given.url) as (process, server):
            eventually(lambda: told(server)[added.url]["health"] == "well")
            listed = {one["url"]: one for one in json.loads(run("list", "--json"))}
            assert (listed[given.url]["mode"], listed[added.url]["mode"]) == ("removed", "active")
            assert workers(process) == {added.url}
            assert added.url in run("list")
            assert "is taken in" in run("add", given.url)
            eventually(lambda: workers(process) == {given.url, added.url})


def test_unknown_server_is_told(tables: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["servers", "drain", "http://gpu9:8188", "--database", tables]) == 1
    assert "no server http://gpu9:8188" in capsys.readouterr().err
    assert main(["servers", "add", "gpu9:8188", "--database", tables]) == 2
    assert "is no address of a server" in capsys.readouterr().err
    assert main(["servers", "list", "--database", tables]) == 0
    assert "No server yet" in capsys.readouterr().out
    assert main(["servers", "add", "http://gpu9:8188", "--database", tables]) == 0
    assert "Nobody starts its worker here" in capsys.readouterr().out


def test_secrets_of_addresses_are_masked(tables: str) -> None:
    secret = "https://someone:hunter2@gpu1.example/comfy"
    changing.change(tables, "add", secret)

    (listed,) = changing.servers(tables)
    assert listed["url"] == "https://***@gpu1.example/comfy"
    # As it is shown it can be named again.
    change = changing.change(tables, "pause", listed["url"])
    assert change is not None
    assert (change.url, change.mode) == (secret, "paused")
    assert "hunter2" not in " ".join(change.sentences)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "gpu1",
        "gpu1:8188",
        "ftp://gpu1",
        "http://",
        "http://gpu1:0",
        "http://gpu1:x",
        "http://a b",
        "http://gpu1/?token=x",
    ],
)
def test_what_is_no_address(typed: str) -> None:
    with pytest.raises(servers.NotAnAddress):
        servers.normal(typed)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("HTTP://gpu1:8188/", "http://gpu1:8188"),
        (" https://gpu/comfy/ ", "https://gpu/comfy"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_address_as_workers_write_it(typed: str, wanted: str) -> None:
    assert servers.normal(typed) == wanted
