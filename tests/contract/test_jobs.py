"""``/api/jobs``."""

import pytest

from tests.contract import graphs
from tests.contract.conftest import Busy
from tests.contract.server import Server


def test_states_of_a_job(server: Server, busy: Busy) -> None:
    running = busy("busy")
    pending = server.submit(graphs.solid())

    jobs = {job["id"]: job for job in server.get("/api/jobs?status=pending,in_progress").json()["jobs"]}

    assert {prompt_id: job["status"] for prompt_id, job in jobs.items()} == {running: "in_progress", pending: "pending"}
    assert set(jobs[pending]) == {"id", "status", "priority", "create_time", "outputs_count"}
    assert server.get(f"/api/jobs/{pending}").json() == jobs[pending]


def test_completed_job(server: Server) -> None:
    extra_data = {"extra_pnginfo": {"workflow": {"id": "w-7"}}}
    entry = server.run(graphs.solid(), client_id="me", extra_data=extra_data)
    prompt_id = entry["prompt"][1]

    job = server.get(f"/api/jobs/{prompt_id}").json()

    image = entry["outputs"]["2"]["images"][0]
    assert (job["id"], job["status"], job["outputs_count"]) == (prompt_id, "completed", 1)
    assert job["preview_output"] == {**image, "nodeId": "2", "mediaType": "images"}
    assert job["workflow_id"] == "w-7"
    assert job["outputs"] == entry["outputs"]
    assert job["execution_status"] == entry["status"]
    assert job["workflow"] == {"prompt": entry["prompt"][2], "extra_data": entry["prompt"][3]}
    assert job["execution_start_time"] <= job["execution_end_time"]
    (listed,) = server.get("/api/jobs?workflow_id=w-7&limit=1").json()["jobs"]
    assert listed == {
        key: value for key, value in job.items() if key not in ("outputs", "execution_status", "workflow")
    }


def test_interrupted_job_counts_as_failed(server: Server, busy: Busy) -> None:
    prompt_id = busy("busy")
    server.post("/interrupt")
    server.finished(prompt_id)

    job = server.get(f"/api/jobs/{prompt_id}").json()

    assert job["status"] == "failed"
    assert "execution_error" not in job


def test_failed_job_carries_its_error(server: Server) -> None:
    name = f"contract-{graphs.unique()}.png"
    server.upload(name, b"\x89PNG\r\n\x1a\nnothing of a picture but its IEND")
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}
    prompt_id = server.run(prompt)["prompt"][1]

    job = server.get(f"/api/jobs/{prompt_id}").json()

    assert (job["status"], job["execution_error"]["node_id"]) == ("failed", "1")


def test_pages_of_jobs(server: Server) -> None:
    server.post("/history", json={"clear": True})
    ids = [server.submit(graphs.solid()) for _ in range(3)]
    server.finished(ids[-1])

    newest = server.get("/api/jobs?limit=2").json()
    rest = server.get("/api/jobs?limit=2&offset=2&sort_order=desc").json()

    assert len(newest["jobs"]) == 2
    assert newest["pagination"] == {"offset": 0, "limit": 2, "total": 3, "has_more": True}
    assert rest["pagination"] == {"offset": 2, "limit": 2, "total": 3, "has_more": False}
    assert {job["id"] for job in newest["jobs"] + rest["jobs"]} == set(ids)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("status=bogus", "Invalid status value(s): bogus. Valid values: pending, in_progress, completed, failed"),
        ("limit=0", "limit must be a positive integer"),
        ("limit=x", "limit must be an integer"),
        ("offset=x", "offset must be an integer"),
        ("sort_by=size", "sort_by must be 'created_at' or 'execution_duration'"),
        ("sort_order=up", "sort_order must be 'asc' or 'desc'"),
    ],
)
def test_bad_query_is_explained(server: Server, query: str, error: str) -> None:
    answer = server.get(f"/api/jobs?{query}")

    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_unknown_and_deleted_jobs_are_not_found(server: Server, busy: Busy) -> None:
    busy("busy")
    deleted = server.submit(graphs.solid())
    server.post("/queue", json={"delete": [deleted]})

    for prompt_id in (deleted, "unknown"):
        answer = server.get(f"/api/jobs/{prompt_id}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})


def test_jobs_are_under_api_only(server: Server) -> None:
    assert server.get("/jobs").status_code == 404
