"""Webhooks: what ended is told to somebody's real HTTP server, signed, until that has it; never in two versions."""

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from psycopg.rows import dict_row
from standardwebhooks import Webhook, WebhookVerificationError

from comfybridge.cli import main
from comfybridge.service import claiming, webhooks
from comfybridge.service.finishing import End, finish
from comfybridge.service.gateway.state import Options
from comfybridge.service.templates import built_in
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.faults.ports import own_port
from tests.service.receiving import Receiver, receiving
from tests.service.running import MAIN, database, gateway, worker

Row = dict[str, Any]
Connection = psycopg.Connection[Row]
TOKEN = "the-only-key"
NAME = next(version.full_name for of in built_in().versions.values() for version in of.values())


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    with database(postgres) as url:
        yield url


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("INSERT INTO wants VALUES ('any', '{\"classes\": [], \"models\": []}')")
        yield connection


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def add_key(connection: Connection, owner: str, webhook: str, token: str = TOKEN, *, is_admin: bool = True) -> str:
    """A key; the secret of its webhook."""
    query = """
        INSERT INTO keys (owner, name, hash, webhook, is_admin) VALUES (%s, %s, %s, %s, %s) RETURNING webhook_secret
    """
    digest = hashlib.sha256(token.encode()).digest()
    row = connection.execute(query, (owner, f"key of {owner}", digest, webhook, is_admin)).fetchone()
    assert row is not None
    return str(row["webhook_secret"])


def end(connection: Connection, prompt_id: str, owner: str, outcome: str = "succeeded") -> None:
    """A job that a worker has ended."""
    query = """
        INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, state, fence,
            server, worker, lease_until, template, claimed)
        VALUES (%s, %s, '{}', '{}', '{}', 'any', 1, 0, 'claimed', 7, 'http://me:secret@gpu:8188', 'worker',
            now() + interval '1 hour', 'sdxl@2', now())
    """
    connection.execute(query, (prompt_id, owner))
    history = {"outputs": {"9": {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}}, "status": {}}
    reason = None if outcome == "succeeded" else ("It broke.", "出错了。")
    with psycopg.connect(connection.info.dsn, autocommit=True) as plain:
        assert finish(plain, prompt_id, 7, End(outcome=outcome, history=history, reason=reason, gpu_s=2.5), keep_s=3600)


def deliveries(connection: Connection) -> list[Row]:
    return connection.execute("SELECT * FROM deliveries ORDER BY created").fetchall()


def state_of(connection: Connection) -> str:
    (row,) = deliveries(connection)
    return str(row["state"])


def tried(connection: Connection, attempts: int, status: int) -> Row:
    """The only delivery, when it is written down what came back of so many attempts."""

    def look() -> Row | None:
        (row,) = connection.execute("SELECT *, due > now() AS waits FROM deliveries").fetchall()
        return row if (row["attempts"], row["status"]) == (attempts, status) else None

    return eventually(look)


def test_owner_is_told_of_a_job_that_ran(url: str, connection: Connection, receiver: Receiver, tmp_path: Path) -> None:
    secret = add_key(connection, "me", f"{receiver.url}/hook")
    public = "http://pictures.example/below"
    with (
        Simulator() as comfyui,
        worker(url, tmp_path, comfyui.url),
        gateway(url, tmp_path, options=Options(public_url=public)) as address,
    ):
        server = Server(address)
        server._session.headers["Authorization"] = f"Bearer {TOKEN}"
        eventually(lambda: server.get("/ready").status_code == 200)
        prompt_id = server.submit(graphs.solid(), extra_data={"comfybridge": {"template": NAME}})

        told = eventually(lambda: receiver.at("/hook"))[0]

        assert told.headers["webhook-id"] == str(deliveries(connection)[0]["id"])
        message = told.verified(secret)
        assert message["type"] == "job.succeeded"
        entry = server.finished(prompt_id)
        (image,) = entry["outputs"]["2"]["images"]
        (output,) = message["data"].pop("outputs")
        link = output.pop("url")
        assert output == {"node_id": "2", **image}
        assert message["data"].pop("seconds") >= 0
        assert message["data"] == {
            "prompt_id": prompt_id,
            "outcome": "succeeded",
            "reason": None,
            "template": NAME,
            "server": comfyui.url,
        }
        # The link opens the picture for whoever has no key.
        assert link.startswith(f"{public}/view?")
        picture = requests.get(address + link.removeprefix(public), timeout=60)
        assert picture.content == server.get("/view", params=image).content

        eventually(lambda: state_of(connection) == "delivered")
        (shown,) = server.get("/comfybridge/deliveries", params={"prompt_id": prompt_id}).json()["deliveries"]
        assert (shown["state"], shown["status"], shown["attempts"]) == ("delivered", 200, 1)
        assert server.get("/comfybridge/deliveries", params={"state": "failed"}).json() == {"deliveries": []}
        server.close()


def test_every_end_is_written_down_with_it(connection: Connection) -> None:
    add_key(connection, "hooked", "http://127.0.0.1:9/")
    add_key(connection, "silent", "", "another")
    for outcome in ("succeeded", "failed", "rejected", "cancelled", "timed_out", "lost"):
        end(connection, f"a job that {outcome}", "hooked", outcome)
        end(connection, f"another that {outcome}", "silent", outcome)

    found = deliveries(connection)
    assert [row["type"] for row in found] == [
        "job.succeeded", "job.failed", "job.rejected", "job.cancelled", "job.timed_out", "job.lost",
    ]  # fmt: skip
    assert {row["owner"] for row in found} == {"hooked"}
    jobs = connection.execute("SELECT expires FROM jobs WHERE owner = 'hooked' ORDER BY ended").fetchall()
    assert [row["expires"] for row in found] == [row["expires"] for row in jobs]
    failed = json.loads(webhooks.body("job.failed", found[1]["created"], webhooks.of_job(found[1]["facts"], None)))
    assert failed["data"]["reason"] == {"en": "It broke.", "zh": "出错了。"}
    assert failed["data"]["server"] == "http://***@gpu:8188"
    assert "url" not in failed["data"]["outputs"][0]


def test_job_taken_out_of_the_queue_is_told_of(
    connection: Connection, receiver: Receiver, url: str, tmp_path: Path
) -> None:
    secret = add_key(connection, "me", f"{receiver.url}/hook")
    with gateway(url, tmp_path) as address:
        server = Server(address)
        server._session.headers["Authorization"] = f"Bearer {TOKEN}"
        with Simulator() as comfyui, worker(url, tmp_path, comfyui.url):
            eventually(lambda: server.get("/ready").status_code == 200)
        # Now nobody takes it.
        prompt_id = server.submit(graphs.solid())

        server.post("/queue", json={"delete": [prompt_id]})

        message = eventually(lambda: receiver.at("/hook"))[0].verified(secret)
        assert message["type"] == "job.cancelled"
        assert message["data"]["reason"]["en"] == "Removed from the queue."
        assert message["data"]["outputs"] == []
        server.close()


def test_once_more_with_the_same_words(connection: Connection, receiver: Receiver, url: str, tmp_path: Path) -> None:
    secret = add_key(connection, "me", f"{receiver.url}/hook")
    receiver.answers["/hook"] = [(500, {}), (302, {"Location": f"{receiver.url}/elsewhere"}), (204, {})]
    end(connection, "it", "me")
    with gateway(url, tmp_path) as address:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for attempt, status in ((1, 500), (2, 302)):
            row = tried(connection, attempt, status)
            assert row["waits"]
            retried = requests.post(f"{address}/comfybridge/deliveries/{row['id']}/retry", headers=headers, timeout=60)
            assert retried.status_code == 200

        eventually(lambda: state_of(connection) == "delivered")
    first, second, third = receiver.received
    assert {one.path for one in receiver.received} == {"/hook"}
    assert first.body == second.body == third.body
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    for one in receiver.received:
        one.verified(secret)


def test_endpoint_that_is_gone_gets_nothing_more(
    connection: Connection, receiver: Receiver, url: str, tmp_path: Path
) -> None:
    add_key(connection, "me", f"{receiver.url}/hook")
    receiver.answers["/hook"] = [(410, {}), (200, {})]
    end(connection, "first", "me")
    with gateway(url, tmp_path) as address:
        eventually(lambda: state_of(connection) == "failed")
        end(connection, "second", "me")
        (only,) = deliveries(connection)
        assert (only["status"], len(receiver.received)) == (410, 1)

        requests.post(
            f"{address}/comfybridge/deliveries/{only['id']}/retry",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=60,
        )
        eventually(lambda: state_of(connection) == "delivered")
    end(connection, "third", "me")
    assert [row["prompt_id"] for row in deliveries(connection)] == ["first", "third"]


def test_endpoint_that_does_not_answer_delays_no_other(
    connection: Connection, receiver: Receiver, url: str, tmp_path: Path
) -> None:
    receiver.silent.add("/dead")
    add_key(connection, "dead", f"{receiver.url}/dead", "dead")
    add_key(connection, "well", f"{receiver.url}/well", "well")
    for number in range(10):
        end(connection, f"dead {number}", "dead")
    with gateway(url, tmp_path):
        eventually(lambda: len(receiver.at("/dead")) == 4)
        for number in range(10):
            end(connection, f"well {number}", "well")
        eventually(lambda: len(receiver.at("/well")) == 10)
        assert len(receiver.at("/dead")) == 4
        receiver.released.set()
        eventually(lambda: len(receiver.at("/dead")) == 10)


def test_killed_between_sending_and_writing_down(
    connection: Connection, receiver: Receiver, url: str, tmp_path: Path
) -> None:
    secret = add_key(connection, "me", f"{receiver.url}/hook")
    receiver.silent.add("/hook")
    end(connection, "it", "me")
    command = [*MAIN, "gateway", "--port", str(own_port()), "--database", url, "--store", str(tmp_path)]
    killed = subprocess.Popen(command)
    try:
        eventually(lambda: receiver.received)
    finally:
        killed.kill()
        assert killed.wait(60) == -signal.SIGKILL
    receiver.released.set()
    assert state_of(connection) == "pending"
    with gateway(url, tmp_path):
        # Nobody waits here until the killed one has been silent for long enough.
        connection.execute("UPDATE deliveries SET due = now()")
        eventually(lambda: state_of(connection) == "delivered")
    first, second = receiver.received
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert second.verified(secret)["data"]["prompt_id"] == "it"


def test_two_gateways_send_it_once(connection: Connection, receiver: Receiver, url: str, tmp_path: Path) -> None:
    add_key(connection, "me", f"{receiver.url}/hook")
    with gateway(url, tmp_path), gateway(url, tmp_path):
        for number in range(20):
            end(connection, str(number), "me")
        count = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"
        eventually(lambda: connection.execute(count).fetchone() == {"count": 20})
    assert len(receiver.received) == 20


def test_what_cannot_be_sent_any_more_ends(connection: Connection, url: str, tmp_path: Path) -> None:
    for owner in ("revoked", "without", "well"):
        add_key(connection, owner, "http://127.0.0.1:9/", owner)
        end(connection, owner, owner)
    end(connection, "old", "well")
    connection.execute("UPDATE keys SET revoked = now() WHERE owner = 'revoked'")
    connection.execute("UPDATE keys SET webhook = '' WHERE owner = 'without'")
    connection.execute("UPDATE deliveries SET expires = now() WHERE prompt_id = 'old'")
    with gateway(url, tmp_path):
        eventually(lambda: len(deliveries(connection)) == 3)
        eventually(lambda: tried_of(connection, "well"))
    states = {row["owner"]: row["state"] for row in deliveries(connection)}
    assert states == {"revoked": "failed", "without": "failed", "well": "pending"}
    (answer,) = {row["answer"] for row in deliveries(connection) if row["state"] == "failed"}
    assert "no webhook any more" in answer


def tried_of(connection: Connection, owner: str) -> bool:
    return any(row["owner"] == owner and row["answer"] for row in deliveries(connection))


def test_each_sees_its_own(connection: Connection, url: str, tmp_path: Path) -> None:
    # Nobody is there, so that all of them wait.
    add_key(connection, "me", "http://127.0.0.1:9/", "mine", is_admin=False)
    add_key(connection, "you", "http://127.0.0.1:9/", "yours", is_admin=False)
    add_key(connection, "admin", "", "admin")
    end(connection, "of mine", "me")
    end(connection, "of yours", "you")
    connection.execute("INSERT INTO deliveries (is_alert, type, facts) VALUES (true, 'alert.began', '{}')")
    ids = {row["owner"]: row["id"] for row in deliveries(connection)}
    with gateway(url, tmp_path) as address:

        def ask(method: str, path: str, token: str) -> requests.Response:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return requests.request(method, address + path, headers=headers, timeout=60)

        def seen(token: str) -> list[str | None]:
            listed = ask("GET", "/api/comfybridge/deliveries", token).json()["deliveries"]
            assert "secret" not in json.dumps(listed)
            return sorted(one["prompt_id"] or one["type"] for one in listed)

        assert seen("mine") == ["of mine"]
        assert seen("admin") == ["alert.began", "of mine", "of yours"]
        for theirs in (ids["you"], ids[""], "no id"):
            assert ask("POST", f"/comfybridge/deliveries/{theirs}/retry", "mine").status_code == 404
        assert ask("POST", f"/comfybridge/deliveries/{ids['me']}/retry", "mine").status_code == 200
        statuses = {
            path: [ask("GET", path, token).status_code for token in ("", "mine", "admin")]
            for path in ("/health", "/ready", "/metrics", "/comfybridge/deliveries")
        }
    assert statuses == {
        "/health": [200, 200, 200],
        "/ready": [503, 503, 503],
        "/metrics": [401, 403, 200],
        "/comfybridge/deliveries": [401, 200, 200],
    }


def test_secret_is_shown_and_renewed(connection: Connection, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*options: str) -> tuple[str, str]:
        assert main(["keys", "webhook", "key of me", *options, "--database", url]) == 0
        out, err = capsys.readouterr()
        return out.strip(), err

    secret = add_key(connection, "me", "http://127.0.0.1:9/")
    assert shown() == (secret, "")
    connection.execute("UPDATE keys SET webhook_gone = webhook")
    renewed, told = shown("--renew")
    assert told == "Its webhook answered 410: it is closed.\n"
    assert renewed != secret
    assert len(webhooks.key_of(renewed)) == len(webhooks.key_of(secret)) == 32
    assert shown()[0] == renewed
    assert main(["keys", "webhook", "nobody", "--database", url]) == 1


def test_revoked_key_hears_nothing(connection: Connection) -> None:
    add_key(connection, "me", "http://127.0.0.1:9/")
    connection.execute("UPDATE keys SET revoked = now()")
    end(connection, "it", "me")
    assert deliveries(connection) == []


def test_fence_of_claims_is_kept(connection: Connection) -> None:
    """Whoever lost its job writes neither an end nor a webhook."""
    add_key(connection, "me", "http://127.0.0.1:9/")
    end(connection, "it", "me")
    with psycopg.connect(connection.info.dsn, autocommit=True) as plain:
        assert not finish(plain, "it", 7, End(outcome="failed"), keep_s=1)
        assert not claiming.release(plain, "it", 7, counts=True)
    assert len(deliveries(connection)) == 1


def test_signature_is_that_of_the_specification() -> None:
    secret, body = "whsec_" + "A" * 43 + "=", '{"type": "job.succeeded", "说": "中文"}'.encode()
    sent = datetime.now(UTC)

    headers = webhooks.headers(secret, "an-id", sent, body)

    assert headers["webhook-signature"] == Webhook(secret).sign("an-id", sent, body.decode())
    Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b"succeeded", b"failed"), headers)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "A" * 44, "whsec_!" + "A" * 43])
def test_what_is_no_secret(secret: str) -> None:
    with pytest.raises(ValueError, match="not"):
        webhooks.key_of(secret)


def test_pauses_grow_and_end() -> None:
    usual = [webhooks.pause_s(attempts, 0.5) for attempts in range(1, 12)]
    assert usual == [*webhooks.PAUSES_S, None, None]
    assert webhooks.pause_s(1, 0.0) == pytest.approx(4)
    assert webhooks.pause_s(1, 1.0) == pytest.approx(6)
    assert webhooks.pause_s(1, 0.5, asked_s=120) == 120
    assert webhooks.pause_s(1, 0.5, asked_s=10**9) == 86400


@pytest.mark.parametrize("address", ["https://example.com/x", "http://10.0.0.5:8080/x"])
def test_where_a_webhook_may_be(address: str) -> None:
    assert webhooks.is_address(address)


@pytest.mark.parametrize(
    "address",
    ["ftp://example.com", "http://", "example.com", "http://x:99999/", "file:///etc/passwd", "http://x/\0", ""],
)
def test_where_no_webhook_may_be(address: str) -> None:
    assert not webhooks.is_address(address)
