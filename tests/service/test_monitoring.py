"""What a fleet tells of itself: /metrics, /health, /ready, whether a worker lives, and alerts."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from comfybridge.cli import main
from comfybridge.service import keys
from comfybridge.service.alerting import Alerts, Thresholds
from comfybridge.service.database import as_json
from comfybridge.service.gateway import keyring
from comfybridge.service.gateway.health import in_time
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.receiving import receiving
from tests.service.running import database, gateway, worker

RULES = Path(__file__).parents[2] / "docs" / "service" / "alerts.yml"
SECRET = "whsec_" + "A" * 43 + "="

NAME = "text2image@2"
Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    with database(postgres) as url:
        yield url


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""INSERT INTO wants VALUES ('any', '{"classes": [], "models": []}')""")
        yield connection


def scrape(address: str, key: str = "") -> dict[Sample, float]:
    answer = requests.get(f"{address}/metrics", headers={"Authorization": f"Bearer {key}"} if key else None, timeout=60)
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def queue(connection: psycopg.Connection, prompt_id: str, template: str, *, waited_s: float = 30.0) -> None:
    query = """
        INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, template, created)
        VALUES (%s, '', '{}', '{}', '{}', 'any', 1, 0, %s, now() - make_interval(secs => %s))
    """
    connection.execute(query, (prompt_id, template, waited_s))


def end(connection: psycopg.Connection, prompt_id: str, outcome: str, *, server: str | None = "http://gpu") -> None:
    query = """
        UPDATE jobs SET state = 'ended', outcome = %s, server = %s, claimed = now(), started = now(), gpu_s = 4,
            ended = clock_timestamp(), expires = now() WHERE prompt_id = %s
    """
    connection.execute(query, (outcome, server, prompt_id))


def test_figures_outlive_jobs_and_gateways(connection: psycopg.Connection, url: str, tmp_path: Path) -> None:
    connection.execute("INSERT INTO servers (url) VALUES ('http://gpu')")
    known = {"outcome": "succeeded", "template": NAME, "server": "http://gpu"}
    with gateway(url, tmp_path) as address:
        for number in range(3):
            queue(connection, f"{number}", NAME)
            end(connection, f"{number}", "succeeded")
        queue(connection, "failed", "x" * 101)
        end(connection, "failed", "failed", server="http://nobody's")
        queue(connection, "removed", "")
        end(connection, "removed", "cancelled", server=None)
        queue(connection, "waiting", "", waited_s=1000.0)

        first = scrape(address)

        assert first[of("comfybridge_jobs_total", **known)] == 3
        assert first[of("comfybridge_jobs_total", outcome="failed", template="other", server="other")] == 1
        assert first[of("comfybridge_jobs_total", outcome="cancelled", template="none", server="none")] == 1
        assert first[of("comfybridge_job_run_seconds_bucket", template=NAME, le="2.0")] == 0
        assert first[of("comfybridge_job_run_seconds_bucket", template=NAME, le="5.0")] == 3
        assert first[of("comfybridge_job_run_seconds_sum", template=NAME)] == 12
        assert first[of("comfybridge_job_waiting_seconds_count", priority="normal")] == 4
        assert first[of("comfybridge_job_waiting_seconds_bucket", priority="normal", le="60.0")] == 4
        assert first[of("comfybridge_queue_jobs", priority="normal", state="queued")] == 1
        assert first[of("comfybridge_queue_oldest_seconds", priority="normal")] >= 1000
        connection.execute("DELETE FROM jobs WHERE state = 'ended'")
    queue(connection, "one more", NAME)
    end(connection, "one more", "succeeded")
    with gateway(url, tmp_path) as one, gateway(url, tmp_path) as other:
        assert scrape(one)[of("comfybridge_jobs_total", **known)] == 4
        assert scrape(other)[of("comfybridge_jobs_total", **known)] == 4
    assert connection.execute("SELECT count(*) FROM endings").fetchone() == (0,)


def test_every_metric_of_the_alert_rules_is_in_a_real_scrape(url: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, worker(url, tmp_path, comfyui.url), gateway(url, tmp_path) as address:
        server = Server(address)
        eventually(lambda: server.get("/ready").status_code == 200)
        with server.connect() as sock:
            data = {"comfybridge": {"template": "what a caller may write@1"}}
            prompt_id = server.submit(graphs.solid(), client_id=sock.client_id, extra_data=data)
            sock.to_the_end(prompt_id)
            found = eventually(lambda: found if names(found := scrape(address)) >= {"comfybridge_jobs_total"} else None)
        server.get("/no/such/route")
        server.close()

        counted = of("comfybridge_jobs_total", outcome="succeeded", template="none", server=comfyui.url)
        assert found[counted] == 1
        assert found[of("comfybridge_server_up", server=comfyui.url)] == 1
        assert found[of("comfybridge_server_busy", server=comfyui.url)] == 0
        assert found[of("comfybridge_server_health", server=comfyui.url, health="well")] == 1
        assert found[of("comfybridge_server_memory_total_bytes", server=comfyui.url, device="0")] > 0
        assert found[of("comfybridge_websockets_open")] == 1
        assert found[of("comfybridge_http_requests_total", route="/prompt", method="POST", status="200")] == 1
        assert found[of("comfybridge_http_request_seconds_count", route="/prompt", method="POST")] == 1
        last = scrape(address)
        assert last[of("comfybridge_http_requests_total", route="other", method="GET", status="404")] == 1
        assert last[of("comfybridge_database_up")] == 1

        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = requests.get(f"{address}/metrics", headers=headers, timeout=60)
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert [*openmetrics.text_string_to_metric_families(answer.text)]  # type: ignore[no-untyped-call]  # the library's

    rules = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    used = {name for rule in rules for name in re.findall(r"\bcomfybridge_\w+", rule["expr"])}
    assert len(used) >= 8
    assert used <= names(last)
    labels = {(name, label) for name, of_one in last for label, _ in of_one}
    asked = {
        (name, label)
        for rule in rules
        for name, selector in re.findall(r"\b(comfybridge_\w+)\{([^}]*)\}", rule["expr"])
        for label in re.findall(r"(\w+)!?=", selector)
    }
    assert asked <= labels


def test_labels_are_bounded(connection: psycopg.Connection, url: str, tmp_path: Path) -> None:
    connection.execute(
        "INSERT INTO endings SELECT 'failed', 'template ' || number, NULL, 1, 1, 1, now()"
        " FROM generate_series(1, 1000) AS number"
    )
    with gateway(url, tmp_path) as address:
        found = scrape(address)
        connection.execute("INSERT INTO endings VALUES ('failed', 'the latest', NULL, 1, 1, 1, now())")
        found = scrape(address)
    templates = [dict(labels)["template"] for name, labels in found if name == "comfybridge_jobs_total"]
    assert len(templates) == len(set(templates)) == 301
    assert found[of("comfybridge_jobs_total", outcome="failed", template="other", server="none")] == 701


def names(found: dict[Sample, float]) -> set[str]:
    return {name for name, _ in found}


def test_ready_says_why_not(
    connection: psycopg.Connection, postgres: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise whoever asks within a second of the outage is known without the database.
    monkeypatch.setattr(keyring, "_FRESH_S", 0.0)
    with (
        Simulator() as comfyui,
        gateway(url, tmp_path / "store") as address,
        psycopg.connect(postgres, autocommit=True) as outside,
    ):

        def reasons() -> list[str]:
            answer = requests.get(f"{address}/ready", timeout=60)
            told: dict[str, Any] = answer.json()
            assert answer.status_code == (503 if told["reasons"] else 200)
            assert told["ready"] is not bool(told["reasons"])
            return [reason["reason"] for reason in told["reasons"]]

        assert reasons() == ["servers"]
        assert requests.get(f"{address}/health", timeout=60).json() == {"status": "ok"}
        _, key = keys.add(connection, "prometheus", {"admin": True})
        assert scrape(address, key)[of("comfybridge_database_up")] == 1
        with worker(url, tmp_path / "store", comfyui.url):
            eventually(lambda: reasons() == [])
            connection.execute("DELETE FROM migrations WHERE number = 1")
            assert reasons() == ["tables"]
            name = connection.info.dbname
            outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            eventually(lambda: reasons() == ["database"])
            assert requests.get(f"{address}/health", timeout=60).status_code == 200
            down = scrape(address, key)
            assert down[of("comfybridge_database_up")] == 0
            assert "comfybridge_http_requests_total" in names(down)
            assert requests.get(f"{address}/metrics", timeout=60).status_code == 401
            outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
            eventually(lambda: reasons() == ["tables"])


def test_database_that_answers_nothing_is_not_waited_for() -> None:
    async def asked() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        # As psycopg does: it waits for what the server says to that.
        await asyncio.Event().wait()
        return "an answer"

    async def waited_for() -> str | None:
        async with asyncio.timeout(30):
            return await in_time(asked(), 0.01)

    assert asyncio.run(waited_for()) is None


def test_store_that_cannot_be_written_is_told(url: str, tmp_path: Path) -> None:
    with gateway(url, tmp_path / "store") as address:
        (tmp_path / "store").rmdir()
        (tmp_path / "store").write_text("no folder any more")
        told = requests.get(f"{address}/ready", timeout=60).json()
    assert [reason["reason"] for reason in told["reasons"]] == ["servers", "store"]


def test_worker_that_is_silent_is_found(
    connection: psycopg.Connection, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["worker", "--comfyui", "http://gpu:8188/", "--database", url, "--store", "unused", "--check"]
    assert main(command) == 1
    connection.execute("INSERT INTO servers (url) VALUES ('http://gpu:8188')")
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().err == ""

    connection.execute("UPDATE servers SET heartbeat = now() - interval '5 minutes'")
    assert main(command) == 1
    assert capsys.readouterr().err == "the worker is silent.\n"


def test_alerts_are_sent_once_as_they_begin_and_once_as_they_end(
    connection: psycopg.Connection, url: str, tmp_path: Path
) -> None:
    connection.execute("INSERT INTO servers (url, health, reason) VALUES ('http://me:pw@gpu', 'sick', 'Three failed.')")
    connection.execute("INSERT INTO servers (url, health, mode) VALUES ('http://drained', 'gone', 'draining')")
    queue(connection, "old", "", waited_s=1000.0)
    connection.execute("INSERT INTO minutes VALUES (date_trunc('minute', now()), 'sdxl@2', 15, 10)")
    connection.execute("INSERT INTO minutes VALUES (date_trunc('minute', now()), 'few', 0, 10)")
    with receiving() as receiver:
        alerts = Alerts(url=f"{receiver.url}/alerts", secret=SECRET, thresholds=Thresholds(server_s=0.0))

        def messages() -> list[Any]:
            return [one.verified(SECRET) for one in receiver.received]

        with gateway(url, tmp_path, alerts=alerts), gateway(url, tmp_path, alerts=alerts):
            eventually(lambda: len(messages()) == 3)
            connection.execute("INSERT INTO events (kind, data) VALUES ('rollback', %s)", (as_json({"version": "2"}),))
            connection.execute("UPDATE servers SET health = 'well', heartbeat = now() + interval '1 hour'")
            connection.execute("UPDATE jobs SET created = now() + interval '1 hour'")
            connection.execute("UPDATE minutes SET succeeded = 1000")
            eventually(lambda: len(messages()) == 7)
        with gateway(url, tmp_path, alerts=alerts) as address:
            assert of("comfybridge_alert", alert="backlog", subject="queue") not in scrape(address)
        told = messages()
    began = {one["data"]["alert"]: one["data"] for one in told if one["type"] == "alert.began"}
    assert {name: data["subject"] for name, data in began.items()} == {
        "server_sick": "http://***@gpu",
        "backlog": "queue",
        "success_rate": "sdxl@2",
    }
    assert (began["success_rate"]["value"], began["success_rate"]["threshold"]) == (0.6, 0.9)
    assert began["server_sick"]["message"]["en"] == "The server http://***@gpu is sick. Three failed."
    ended = [one["data"]["alert"] for one in told if one["type"] == "alert.ended"]
    assert sorted(ended) == ["backlog", "server_sick", "success_rate"]
    assert [one["data"] for one in told if one["type"] == "event.rollback"] == [{"version": "2"}]
    assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (7,)
