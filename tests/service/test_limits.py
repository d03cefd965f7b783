"""What keys are limited to, and the cap for all: exact, whoever asks at the same time, and whoever claims."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from comfybridge.service import claiming, keys
from comfybridge.service.gateway.state import Options
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import are_well, database, gateway, worker


@pytest.fixture(scope="module")
def held(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[psycopg.Connection, list[str]]]:
    """Two gateways before a worker that is gone: what is queued waits."""
    store = tmp_path_factory.mktemp("store")
    with database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        with Simulator() as comfyui, worker(url, store, comfyui.url):
            are_well(connection, 1)
        keys.add(connection, "first", {})
        with gateway(url, store) as one, gateway(url, store) as other:
            yield connection, [one, other]


def posted(server: Server) -> tuple[int, str]:
    answer = server.post("/prompt", json={"prompt": graphs.solid()})
    if answer.status_code == 200:
        return 200, ""
    assert int(answer.headers["Retry-After"]) > 0
    return answer.status_code, answer.json()["error"]["type"]


def test_rate_counts_over_all_gateways(held: tuple[psycopg.Connection, list[str]]) -> None:
    connection, gateways = held
    hasty, key = keys.add(connection, "hasty", {"rate": 3, "priority": "low"})
    servers = [Server(url, key) for url in gateways]

    answers = [posted(servers[number % 2]) for number in range(5)]

    assert answers == [(200, "")] * 3 + [(429, "rate_limited")] * 2
    connection.execute("UPDATE rates SET at = at - interval '20 s'")
    assert [posted(servers[0])[0], posted(servers[1])[0]] == [200, 429]
    priorities = connection.execute("SELECT DISTINCT priority FROM jobs WHERE owner = %s", (hasty.owner,)).fetchall()
    assert priorities == [(2,)]
    for server in servers:
        server.close()


def test_queue_of_a_key_is_never_longer_than_it_may_be(held: tuple[psycopg.Connection, list[str]]) -> None:
    connection, gateways = held
    made, key = keys.add(connection, "crowd", {"queued": 4})
    servers = [Server(url, key) for url in gateways for _ in range(5)]
    first = servers[0].submit(graphs.solid(), prompt_id="crowd-first")

    with ThreadPoolExecutor(len(servers)) as pool:
        answers = list(pool.map(posted, servers))

    assert sorted(answers) == [(200, "")] * 3 + [(429, "key_queue_full")] * 7
    count = connection.execute("SELECT count(*) FROM jobs WHERE owner = %s", (made.owner,)).fetchone()
    assert count == (4,)
    # What is there already is answered as the first time.
    assert servers[0].submit(graphs.solid(), prompt_id="crowd-first") == first
    for server in servers:
        server.close()


def test_pixels(held: tuple[psycopg.Connection, list[str]]) -> None:
    connection, gateways = held
    _, key = keys.add(connection, "small", {"pixels": 32 * 24 * 2})
    server = Server(gateways[0], key)
    linked = graphs.solid()
    linked["3"] = {"class_type": "PrimitiveInt", "inputs": {"value": 4096}}
    linked["1"]["inputs"]["width"] = ["3", 0]

    server.submit(graphs.solid(batch_size=2))

    for graph in (graphs.solid(batch_size=3), linked):
        assert server.reject(graph)["error"]["type"] == "too_many_pixels"
    server.close()


def test_cap_for_all(held: tuple[psycopg.Connection, list[str]], tmp_path: Path) -> None:
    connection, _ = held
    row = connection.execute("SELECT current_database(), count(*) FROM jobs WHERE state = 'queued'").fetchone()
    assert row is not None
    url = psycopg.conninfo.make_conninfo(connection.info.dsn, dbname=row[0])
    _, key = keys.add(connection, "capped", {})
    with gateway(url, tmp_path, Options(most_queued=row[1] + 3)) as address:
        server = Server(address, key)
        last = [server.submit(graphs.solid()) for _ in range(3)][-1]
        counter = "SELECT last_value FROM numbers"
        before = connection.execute(counter).fetchone()

        assert posted(server) == (503, "queue_full")

        assert connection.execute(counter).fetchone() == before
        assert server.submit(graphs.solid(), prompt_id=last) == last
        server.post("/queue", json={"delete": [last]})
        eventually(lambda: posted(server) == (200, ""))
        server.close()


def test_no_more_run_at_once_than_may(postgres: str) -> None:
    with database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO wants VALUES ('any', '{}')")
        made, _ = keys.add(connection, "bounded", {"running": 2})
        servers = [f"http://server{number}" for number in range(4)]
        for server in servers:
            connection.execute("INSERT INTO servers (url, health) VALUES (%s, 'well')", (server,))
            connection.execute("INSERT INTO offers VALUES (%s, 'any')", (server,))
        queued = """
            INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, created)
            SELECT 'job' || n, %s, '{}', '{}', '{}', 'any', 1, n, now() - interval '1 h' FROM generate_series(1, 40) n
        """
        connection.execute(queued, (made.owner,))
        connection.execute("INSERT INTO turns VALUES (1, %s, 0)", (made.owner,))
        held = "SELECT count(*) FROM jobs WHERE state = 'claimed'"
        end = "UPDATE jobs SET state = 'ended', outcome = 'succeeded', lease_until = NULL WHERE fence = %s"
        most = []

        def work(server: str) -> int:
            """Claim and end jobs until none is left; how many there were."""
            done = 0
            with psycopg.connect(url, autocommit=True) as own:
                while True:
                    job = claiming.claim(own, server, server, is_second=False)
                    row = own.execute(held).fetchone()
                    assert row is not None
                    most.append(row[0])
                    if job is not None:
                        own.execute(end, (job.fence,))
                        done += 1
                    elif own.execute("SELECT FROM jobs WHERE state = 'queued' LIMIT 1").fetchone() is None:
                        return done

        with ThreadPoolExecutor(len(servers)) as pool:
            done = list(pool.map(work, servers))

        assert sum(done) == 40
        assert max(most) == 2


def test_others_go_first_where_no_more_may_run(postgres: str) -> None:
    with database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO wants VALUES ('any', '{}')")
        connection.execute("INSERT INTO servers (url, health) VALUES ('http://one', 'well')")
        connection.execute("INSERT INTO offers VALUES ('http://one', 'any')")
        made, _ = keys.add(connection, "bounded", {"running": 1})
        other, _ = keys.add(connection, "free", {})
        for number, owner in enumerate([made.owner, made.owner, other.owner]):
            connection.execute(
                "INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, created)"
                " VALUES (%s, %s, '{}', '{}', '{}', 'any', 1, %s, now() - interval '1 h')",
                (f"job{number}", owner, number),
            )
        connection.execute("INSERT INTO turns VALUES (1, %s, 0), (1, %s, 100)", (made.owner, other.owner))

        claimed = [claiming.claim(connection, "http://one", "worker", is_second=False) for _ in range(3)]

        assert [job.prompt_id if job else None for job in claimed] == ["job0", "job2", None]
        keys.change(connection, "bounded", {"running": None})
        job = claiming.claim(connection, "http://one", "worker", is_second=False)
        assert job is not None
        assert job.prompt_id == "job1"
