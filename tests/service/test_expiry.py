"""What has expired goes, rows and bytes, and nothing that somebody may still ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfybridge.service import store
from comfybridge.service.expiring import Expiry
from comfybridge.service.store import Store, open_store
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.media import png
from tests.contract.server import eventually
from tests.service.fleet import Fleet, fleet
from tests.service.running import worker

KEEP_S = 3600.0
PICTURE, *PICTURES = (png((shade, 0, 0)) for shade in range(4))


@pytest.fixture(scope="module")
def comfyui() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def over(postgres: str, tmp_path: Path, comfyui: Simulator) -> Iterator[Fleet]:
    with fleet(postgres, tmp_path, [comfyui.url]) as found:
        yield found


@pytest.fixture
def still(postgres: str, tmp_path: Path, comfyui: Simulator) -> Iterator[Fleet]:
    """A gateway that knows a server which nobody works for: what is queued stays so."""
    with fleet(postgres, tmp_path, []) as found:
        with worker(found.url, tmp_path, comfyui.url):
            eventually(lambda: found.server.get("/object_info/SaveImage").json())
        yield found


def sweep(over: Fleet, kept: Store, **options: float) -> int:
    return Expiry(store=kept, keep_s=KEEP_S, **{"grace_s": 0.0, **options}).sweep(over.connection, uploads=True)


def expire(over: Fleet, prompt_id: str) -> None:
    for table in ("jobs", "files"):
        over.connection.execute(
            f"UPDATE {table} SET expires = now() - interval '1 s' WHERE prompt_id = %s".encode(),  # noqa: S608
            (prompt_id,),
        )


def loading(name: str) -> dict[str, dict[str, object]]:
    return {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}


def test_expired_jobs_and_their_pictures_go(over: Fleet, tmp_path: Path) -> None:
    kept = open_store(str(tmp_path))
    old, hidden, new = (over.submit(graphs.solid()) for _ in range(3))
    images = {job: over.server.finished(job)["outputs"]["2"]["images"][0] for job in (old, hidden, new)}
    over.server.post("/history", json={"delete": [hidden]})
    # What an attempt stored that never ended: no row names it.
    kept.put(f"{store.output_folder(old)}0-0", b"left behind")
    expire(over, old)
    expire(over, hidden)

    assert sweep(over, kept) == 4

    assert over.server.history(old) is None
    assert over.server.get("/view", params=images[old]).status_code == 404
    assert over.server.get("/view", params=images[new]).status_code == 200
    assert over.rows("SELECT prompt_id FROM jobs") == [(new,)]
    assert [key.split("/")[1] for key in kept.under("outputs/")] == [store.output_folder(new).split("/")[1]]
    assert over.rows("SELECT key FROM garbage") == []
    # An expired id may be used again.
    assert over.server.submit(graphs.solid(), prompt_id=old) == old
    assert over.outcome(old) == "succeeded"


def test_bytes_go_when_nobody_can_be_about_to_name_them(over: Fleet, tmp_path: Path) -> None:
    kept = open_store(str(tmp_path))
    job = over.submit(graphs.solid())
    over.outcome(job)
    expire(over, job)

    assert sweep(over, kept, grace_s=KEEP_S) == 2

    assert len(kept.under("outputs/")) == 1
    assert sweep(over, kept) == 0
    assert kept.under("outputs/") == []


def test_picture_of_two_jobs_lasts_as_long_as_the_later(over: Fleet, tmp_path: Path) -> None:
    kept = open_store(str(tmp_path))
    prompt = graphs.solid()
    first = over.submit(prompt)
    over.outcome(first)
    second = over.submit(prompt)
    (image,) = over.server.finished(second)["outputs"]["2"]["images"]
    over.rows("UPDATE jobs SET expires = now() - interval '1 s' WHERE prompt_id = %s RETURNING 1", first)

    assert sweep(over, kept) == 1

    assert over.server.get("/view", params=image).status_code == 200


def test_uploads_go_when_no_job_used_them_for_long(still: Fleet, tmp_path: Path) -> None:
    kept = open_store(str(tmp_path))
    for number in range(3):
        still.server.upload(f"{number}.png", PICTURES[number])
    keys = [store.upload_key(store.digest(PICTURES[number])) for number in range(3)]
    used = still.submit(loading("0.png"))
    still.rows("UPDATE files SET created = now() - interval '2 h' WHERE filename < '2' RETURNING key")

    assert sweep(still, kept) == 1

    assert set(kept.under("uploads/")) == {keys[0], keys[2]}
    assert still.rows("SELECT filename FROM files ORDER BY 1") == [("0.png",), ("2.png",)]
    # Its last use was that job; when that has expired it goes as well.
    still.server.post("/queue", json={"delete": [used]})
    expire(still, used)
    assert sweep(still, kept) == 2
    assert kept.under("uploads/") == [keys[2]]
    # Put there again it is there again.
    still.server.upload("0.png", PICTURES[0])
    sweep(still, kept)
    assert still.server.get("/view", params={"filename": "0.png", "type": "input"}).content == PICTURES[0]


def test_input_of_an_open_job_stays(still: Fleet, tmp_path: Path) -> None:
    kept = open_store(str(tmp_path))
    still.server.upload("a.png", PICTURE)
    still.submit(loading("a.png"))
    still.connection.execute("DELETE FROM files")
    key = store.upload_key(store.digest(PICTURE))
    still.connection.execute("INSERT INTO garbage (key) VALUES (%s)", (key,))

    sweep(still, kept)

    assert kept.get(key) == PICTURE
    assert still.rows("SELECT key FROM garbage") == [(key,)]


def test_upload_that_was_never_written_down_goes(over: Fleet, tmp_path: Path) -> None:
    kept = open_store(str(tmp_path))
    over.server.upload("a.png", PICTURE)
    assert over.rows("SELECT key FROM garbage") == []
    over.server.upload("a.png", PICTURES[0], overwrite="true")
    # The bytes of the name's first upload are nobody's now.
    assert over.rows("SELECT key FROM garbage") == [(store.upload_key(store.digest(PICTURE)),)]

    sweep(over, kept)

    assert kept.under("uploads/") == [store.upload_key(store.digest(PICTURES[0]))]


def test_worker_sweeps(postgres: str, tmp_path: Path, comfyui: Simulator) -> None:
    with fleet(postgres, tmp_path, []) as over, worker(over.url, tmp_path, comfyui.url, keep_s=0.01, sweep_s=0.1):
        eventually(lambda: over.server.get("/object_info/SaveImage").json())
        over.submit(graphs.solid())
        # A job that ends between a sweep's looks at jobs and at files goes with the next one.
        eventually(lambda: over.rows("SELECT 1 FROM garbage WHERE prompt_id IS NOT NULL"))
        assert over.rows("SELECT prompt_id FROM jobs") == []
