"""Whose turn it is, and what a lease is worth: by values, over a database."""

import json
import time
from collections.abc import Iterator
from threading import Event, Thread

import psycopg
import pytest

from comfybridge.service import claiming
from comfybridge.service.database import WORK, single, sync_pool
from comfybridge.service.finishing import End, Kept, finish
from comfybridge.service.migrating import migrate, steps
from comfybridge.service.priorities import AGEING_S
from comfybridge.service.supervised import DATABASE_FAULTS
from comfybridge.service.telling import tell
from comfybridge.service.worker import describing
from comfybridge.service.worker.relay import Relay
from comfybridge.service.worker.timing import DatabaseClock
from tests.service.running import database

HIGH, NORMAL, LOW = 0, 1, 2
ONE, OTHER = "http://one", "http://other"
NEW_S = -60.0
"""Queued just now, for as long as any test may take."""


@pytest.fixture
def connection(postgres: str) -> Iterator[psycopg.Connection]:
    with database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO wants VALUES ('sdxl', '{}'), ('flux', '{}')")
        for server in (ONE, OTHER):
            connection.execute("INSERT INTO servers (url, health) VALUES (%s, 'well')", (server,))
            connection.execute("INSERT INTO offers VALUES (%s, 'sdxl')", (server,))
        connection.execute("INSERT INTO offers VALUES (%s, 'flux')", (OTHER,))
        yield connection


def queue(
    connection: psycopg.Connection,
    prompt_id: str,
    owner: str = "",
    *,
    priority: int = NORMAL,
    wants: str = "sdxl",
    waited_s: float = 100.0,
) -> None:
    connection.execute(
        "INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, created)"
        " VALUES (%s, %s, '{}', '{}', '{}', %s, %s, nextval('numbers'), now() - make_interval(secs => %s))",
        (prompt_id, owner, wants, priority, waited_s),
    )
    connection.execute("INSERT INTO turns VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", (priority, owner))


def claim(connection: psycopg.Connection, server: str = ONE, *, is_second: bool = False) -> claiming.Claimed | None:
    return claiming.claim(connection, server, f"worker of {server}", is_second=is_second)


def claimed(connection: psycopg.Connection, server: str = ONE) -> str:
    job = claim(connection, server)
    assert job is not None
    return job.prompt_id


def test_tables_are_made_once(postgres: str) -> None:
    with database(postgres) as url:
        assert migrate(url) == 0
        with psycopg.connect(url) as connection:
            applied = connection.execute("SELECT number FROM migrations ORDER BY number").fetchall()
        assert [number for (number,) in applied] == list(steps())


def test_higher_priority_goes_first_and_age_makes_up_for_it(connection: psycopg.Connection) -> None:
    queue(connection, "old", priority=LOW, waited_s=100 + 2 * AGEING_S + 1)
    queue(connection, "low", priority=LOW)
    queue(connection, "normal", priority=NORMAL)
    queue(connection, "high", priority=HIGH)

    assert [claimed(connection) for _ in range(4)] == ["old", "high", "normal", "low"]


def test_owners_take_turns_by_what_they_used(connection: psycopg.Connection) -> None:
    for number in range(4):
        queue(connection, f"a{number}", "a")
    for number in range(2):
        queue(connection, f"b{number}", "b")

    order = [claimed(connection) for _ in range(6)]

    # Who goes first where nobody used anything is open.
    assert [sorted(order[:2]), sorted(order[2:4]), order[4:]] == [["a0", "b0"], ["a1", "b1"], ["a2", "a3"]]


def test_long_jobs_cost_more_turns(connection: psycopg.Connection) -> None:
    for number in range(3):
        queue(connection, f"a{number}", "a")
        queue(connection, f"b{number}", "b")
    first = claim(connection)
    assert first is not None
    finish(connection, first.prompt_id, first.fence, End(outcome="failed", gpu_s=60.0), keep_s=60)

    order = [claimed(connection)[0] for _ in range(4)]

    other = {"a": "b", "b": "a"}[first.owner]
    assert order == [other, other, other, first.owner]


def test_two_that_claim_at_once_begin_with_different_owners(connection: psycopg.Connection) -> None:
    for number in range(20):
        queue(connection, f"{number}", f"owner{number}")
    orders = []
    for server in (ONE, OTHER):
        with connection.transaction(force_rollback=True):
            orders.append([claimed(connection, server) for _ in range(20)])

    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_all_are_told_of_a_job_that_one_does_not_take(connection: psycopg.Connection) -> None:
    queue(connection, "taken")
    claimed(connection)
    queue(connection, "waits")
    connection.execute(f"LISTEN {WORK}".encode())

    claiming.pass_on(connection, ["taken", "unknown"])
    assert list(connection.notifies(timeout=0)) == []

    claiming.pass_on(connection, ["taken", "waits"])
    assert [notice.payload for notice in connection.notifies(timeout=30, stop_after=1)] == [""]


def test_every_owner_has_a_turn_beside_a_greedy_one(connection: psycopg.Connection) -> None:
    for number in range(400):
        queue(connection, f"greedy-{number}", "greedy")
    owners = [f"key{number}" for number in range(40)]
    for owner in owners:
        queue(connection, f"{owner}-0", owner)
        queue(connection, f"{owner}-1", owner)

    order = [claimed(connection).partition("-")[0] for _ in range(len(owners) + 1)]

    assert sorted(order) == sorted([*owners, "greedy"])


@pytest.mark.parametrize("gpu_s", [2.0, 0.0])
def test_200_keys_have_their_first_turn_within_230_starts_beside_one_with_400_jobs(
    connection: psycopg.Connection, gpu_s: float
) -> None:
    connection.execute(
        "INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, created)"
        " SELECT owner || '-' || job, owner, '{}', '{}', '{}', 'sdxl', 1, nextval('numbers'),"
        " now() - make_interval(secs => waited) FROM ("
        "   SELECT 'greedy' AS owner, generate_series(1, 400) AS job, 200 AS waited"
        "   UNION ALL SELECT 'key' || key, job, 100 FROM generate_series(1, 200) AS key, generate_series(1, 2) AS job"
        " ) AS wanted"
    )
    connection.execute("INSERT INTO turns SELECT DISTINCT 1, owner, 0 FROM jobs")
    running: list[claiming.Claimed] = []
    first_turns: dict[str, int] = {}
    for start in range(1, 231):
        server = (ONE, OTHER)[start % 2]
        job = claim(connection, server)
        assert job is not None
        first_turns.setdefault(job.owner, start)
        running.append(job)
        if len(running) > 3:  # as many as two servers hold
            done = running.pop(0)
            finish(connection, done.prompt_id, done.fence, End(outcome="succeeded", gpu_s=gpu_s), keep_s=60)

    assert len(first_turns) == 201


def test_server_gets_what_it_can_run(connection: psycopg.Connection) -> None:
    queue(connection, "flux", wants="flux")

    assert claim(connection, ONE) is None
    assert claimed(connection, OTHER) == "flux"


def test_job_goes_to_the_idle_server_that_has_its_model(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE servers SET loaded = 'sdxl' WHERE url = %s", (OTHER,))
    queue(connection, "new", waited_s=NEW_S)

    assert claim(connection, ONE) is None
    assert claimed(connection, OTHER) == "new"


def test_second_place_is_left_to_an_idle_server(connection: psycopg.Connection) -> None:
    queue(connection, "first", waited_s=NEW_S)
    claimed(connection)
    queue(connection, "second", waited_s=NEW_S)

    assert claim(connection, ONE, is_second=True) is None
    assert claimed(connection, OTHER) == "second"
    queue(connection, "third", waited_s=NEW_S)
    third = claim(connection, ONE, is_second=True)
    assert third is not None
    assert third.prompt_id == "third"


def test_own_jobs_with_the_loaded_model_go_first(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE servers SET loaded = 'flux' WHERE url = %s", (OTHER,))
    queue(connection, "sdxl", waited_s=10.0)
    queue(connection, "flux", wants="flux", waited_s=10.0)

    assert [claimed(connection, OTHER) for _ in range(2)] == ["flux", "sdxl"]


def test_stale_owner_writes_nothing(connection: psycopg.Connection) -> None:
    queue(connection, "job")
    stale = claim(connection, ONE)
    assert stale is not None
    connection.execute("UPDATE jobs SET lease_until = now() - interval '1 s'")
    (lapsed,) = claiming.lapsed(connection)
    assert claiming.release(connection, lapsed.prompt_id, lapsed.fence, counts=True)
    fresh = claim(connection, OTHER)
    assert fresh is not None

    assert claiming.renew(connection, {"job": stale.fence}, {}) == {}
    tell(connection, [], begun=[stale])
    assert connection.execute("SELECT state FROM jobs").fetchall() == [("claimed",)]
    assert not claiming.release(connection, "job", stale.fence, counts=True)
    assert not finish(connection, "job", stale.fence, End(outcome="failed"), keep_s=60)
    assert finish(connection, "job", fresh.fence, End(outcome="succeeded"), keep_s=60)
    assert not finish(connection, "job", fresh.fence, End(outcome="failed"), keep_s=60)
    tell(connection, [], begun=[fresh])
    assert connection.execute("SELECT outcome, attempts, state FROM jobs").fetchall() == [("succeeded", 2, "ended")]


def test_owner_whose_claim_was_lost_in_a_crash_is_stale(connection: psycopg.Connection) -> None:
    queue(connection, "job")
    before = connection.execute("SELECT last_value FROM fences").fetchone()
    stale = claim(connection, ONE)
    assert stale is not None
    assert before is not None
    # Nobody waits for the disk to claim, so that PostgreSQL may come back without it, and count anew.
    connection.execute("UPDATE jobs SET state = 'queued', lease_until = NULL, server = NULL, worker = NULL, fence = 0")
    connection.execute("SELECT setval('fences', %s, false)", before)
    fresh = claim(connection, OTHER)
    assert fresh is not None

    assert not finish(connection, "job", stale.fence, End(outcome="failed"), keep_s=60)
    assert finish(connection, "job", fresh.fence, End(outcome="succeeded"), keep_s=60)


def test_names_of_files_never_collide(connection: psycopg.Connection) -> None:
    names = []
    # The second job has a file of the same name, and one whose name is free.
    for prompt_id, filenames in (("11111111-aaaa", ["a.png"]), ("22222222-bbbb", ["a.png", "b.png"])):
        queue(connection, prompt_id)
        job = claim(connection)
        assert job is not None
        kept = [
            Kept(
                node_id="9",
                type="output",
                subfolder="",
                filename=filename,
                key=f"{prompt_id}/{filename}",
                digest=f"{prompt_id}/{filename}",
                mime="image/png",
                size=1,
            )
            for filename in filenames
        ]
        images = [{"filename": file.filename, "subfolder": "", "type": "output"} for file in kept]
        # Two nodes may name one file.
        end = End(outcome="succeeded", history={"outputs": {"9": {"images": images}}}, files=[*kept, kept[0]])
        assert finish(connection, prompt_id, job.fence, end, keep_s=60)
        row = connection.execute("SELECT history, state FROM jobs WHERE prompt_id = %s", (prompt_id,)).fetchone()
        assert row is not None
        assert row[1] == "ended"
        names.append([image["filename"] for image in row[0]["outputs"]["9"]["images"]])

    assert names == [["a.png"], ["a22222222_.png", "b.png"]]
    rows = connection.execute("SELECT filename, key FROM files ORDER BY filename").fetchall()
    assert rows == [
        ("a.png", "11111111-aaaa/a.png"),
        ("a22222222_.png", "22222222-bbbb/a.png"),
        ("b.png", "22222222-bbbb/b.png"),
    ]


def test_history_is_in_the_order_in_which_comfyui_ended_the_jobs(connection: psycopg.Connection) -> None:
    for prompt_id in ("first", "second"):
        queue(connection, prompt_id)
    jobs = [claim(connection) for _ in range(2)]
    relay, clock = Relay(), DatabaseClock()
    clock.read(connection)
    began = time.monotonic()

    def tap(job: claiming.Claimed) -> None:
        data = {"prompt_id": job.prompt_id, "timestamp": 0}
        relay.tap(json.dumps({"type": "execution_success", "data": data}).encode(), False)  # noqa: FBT003

    first, second = filter(None, jobs)
    for job in (first, second):
        relay.follow(job, lambda: None, lambda _: None)
        tap(job)
    is_seen = Event()

    def settle_second() -> None:
        relay.wait_for_earlier(second, 60)
        is_seen.set()

    Thread(target=settle_second, daemon=True).start()
    relay.wait_for_earlier(first, 60)
    assert not is_seen.is_set()
    relay.leave("first")
    assert is_seen.wait(60)
    # Where one takes too long, the ends are written down in any order; it is waited for once.
    relay.follow(first, lambda: None, lambda _: None)
    tap(first)
    relay.follow(second, lambda: None, lambda _: None)
    tap(second)
    assert not relay.wait_for_earlier(second, 0.0)
    assert relay.wait_for_earlier(second, 60.0)
    for job, ended in ((second, clock.at(relay.ended_at("second"))), (first, clock.at(began))):
        end = End(outcome="succeeded", ended=ended)
        assert finish(connection, job.prompt_id, job.fence, end, keep_s=60)

    query = "SELECT prompt_id FROM jobs WHERE ended >= claimed ORDER BY ended"
    assert connection.execute(query).fetchall() == [("first",), ("second",)]


def test_frozen_process_holds_up_nobody_for_ever(postgres: str) -> None:
    """What is locked by a transaction that nobody ends is waited for as for a database that is away."""
    with (
        database(postgres) as url,
        single(url, "waits") as waiting,
        sync_pool(url, most=1, name="waits") as pool,
        psycopg.connect(url) as frozen,
    ):
        with pool.connection() as connection:
            for each in (waiting, connection):
                assert each.execute("SHOW lock_timeout").fetchone() == ("5s",)
                assert each.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("1min",)
        waiting.execute("SET lock_timeout = '50ms'")
        frozen.execute("INSERT INTO turns VALUES (1, 'a', 0)")
        with pytest.raises(DATABASE_FAULTS):
            waiting.execute("INSERT INTO turns VALUES (1, 'a', 0)")
        frozen.rollback()
        waiting.execute("INSERT INTO turns VALUES (1, 'a', 0)")


def test_what_no_server_has_any_more_is_forgotten(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO definitions VALUES ('old', '{}'), ('new', '{}')")
    connection.execute("UPDATE servers SET definitions = 'new' WHERE url = %s", (ONE,))

    describing.forget(connection)

    assert connection.execute("SELECT digest FROM definitions").fetchall() == [("new",)]
