"""Order, deletion and interruption."""

import pytest

from tests.contract import graphs
from tests.contract.conftest import Busy
from tests.contract.server import Server, eventually, kinds


def test_answer_carries_id_and_number(server: Server) -> None:
    prompt_id = f"contract {graphs.unique()}/☃"

    first = server.post("/prompt", json={"prompt": graphs.solid(), "prompt_id": prompt_id}).json()
    second = server.post("/prompt", json={"prompt": graphs.solid()}).json()

    assert first == {"prompt_id": prompt_id, "number": second["number"] - 1, "node_errors": {}}
    assert server.get("/history/" + prompt_id.replace("/", "%2F")).status_code == 200


def test_rejected_prompts_take_a_number_too(server: Server) -> None:
    before = server.post("/prompt", json={"prompt": graphs.solid()}).json()["number"]
    server.reject({})

    assert server.post("/prompt", json={"prompt": graphs.solid()}).json()["number"] == before + 2


def test_queue_lists_whole_items(server: Server, busy: Busy) -> None:
    running = busy("busy")
    prompt = graphs.solid()
    waiting = server.submit(prompt, client_id="me")

    queue = server.get("/queue").json()

    assert set(queue) == {"queue_running", "queue_pending"}
    assert [item[1] for item in queue["queue_running"]] == [running]
    ((_, prompt_id, told, extra_data, outputs),) = queue["queue_pending"]
    assert (prompt_id, told, outputs) == (waiting, prompt, ["2"])
    assert set(extra_data) == {"client_id", "create_time"}
    assert server.get("/prompt").json() == {"exec_info": {"queue_remaining": 2}}


def test_number_and_front_order_the_queue(server: Server, busy: Busy) -> None:
    server.run(graphs.solid())  # for the very first prompt front does nothing: its number is -0
    busy("busy")
    plain = server.submit(graphs.solid())
    numbered = server.submit(graphs.solid(), number=-1e9)
    front = server.submit(graphs.solid(), front=True)
    later_front = server.submit(graphs.solid(), front=True)

    assert server.queued()[1] == [numbered, later_front, front, plain]


@pytest.mark.one_server("frames come through the database, a pong may overtake them")
def test_deleted_prompt_leaves_no_trace(server: Server, busy: Busy) -> None:
    busy("busy")
    kept = server.submit(graphs.solid())
    with server.connect() as socket:
        deleted = server.submit(graphs.solid(), client_id=socket.client_id)
        assert server.post("/queue", json={"delete": [deleted, "unknown"]}).status_code == 200

        seen = socket.so_far()

    assert server.queued()[1] == [kept]
    assert server.history(deleted) is None
    assert kinds(seen) == ["status", "status"]


def test_running_prompt_cannot_be_deleted(server: Server, busy: Busy) -> None:
    running = busy("busy")

    server.post("/queue", json={"delete": [running]})

    assert server.queued() == ([running], [])


def test_clear_empties_what_waits(server: Server, busy: Busy) -> None:
    running = busy("busy")
    for _ in range(3):
        server.submit(graphs.solid())

    server.post("/queue", json={"clear": True})

    assert server.queued() == ([running], [])


@pytest.mark.parametrize("of", ["pending", "unknown"])
def test_interrupt_with_a_prompt_id_leaves_others_alone(server: Server, busy: Busy, of: str) -> None:
    running = busy("busy")
    pending = server.submit(graphs.solid())

    answer = server.post("/interrupt", json={"prompt_id": {"pending": pending, "unknown": "unknown"}[of]})

    assert answer.status_code == 200
    assert server.queued() == ([running], [pending])


def test_interrupt_with_the_running_prompt_id_stops_it(server: Server, busy: Busy) -> None:
    running = busy("busy")

    server.post("/interrupt", json={"prompt_id": running})

    assert server.finished(running)["status"]["messages"][-1][0] == "execution_interrupted"


@pytest.mark.parametrize("body", [b"", b"{}", b"nonsense"], ids=repr)
def test_interrupt_without_prompt_id_stops_whatever_runs(server: Server, busy: Busy, body: bytes) -> None:
    running = busy("busy")

    assert server.post("/interrupt", data=body).status_code == 200

    assert server.finished(running)["status"]["messages"][-1][0] == "execution_interrupted"


def test_interrupt_of_an_idle_server_does_not_hit_the_next_prompt(server: Server) -> None:
    server.post("/interrupt")

    assert server.run(graphs.solid())["status"]["status_str"] == "success"


@pytest.mark.one_server("a prompt_id is one job")
def test_same_prompt_id_runs_twice_and_history_keeps_the_last(server: Server, busy: Busy) -> None:
    busy("busy")
    prompt_id = graphs.unique()
    with server.connect() as socket:
        for prefix in (prompt_id + "-a", prompt_id + "-b"):
            server.submit(graphs.solid(prefix), prompt_id=prompt_id, client_id=socket.client_id)
        assert server.queued()[1] == [prompt_id, prompt_id]
        server.post("/queue", json={"delete": [prompt_id]})
        assert server.queued()[1] == [prompt_id]
    (entry,) = server.get("/queue").json()["queue_pending"]
    assert entry[2]["2"]["inputs"]["filename_prefix"] == prompt_id + "-b"


@pytest.mark.one_server("a prompt_id is one job")
def test_same_prompt_id_again_replaces_its_history(server: Server) -> None:
    prompt_id = graphs.unique()
    server.run(graphs.solid(prompt_id + "-a"), prompt_id=prompt_id)
    with server.connect() as socket:
        server.submit(graphs.solid(prompt_id + "-b"), prompt_id=prompt_id, client_id=socket.client_id)
        frames = socket.to_the_end(prompt_id)

    assert kinds(frames).count("execution_success") == 1
    entry = server.finished(prompt_id)
    assert entry["outputs"]["2"]["images"][0]["filename"] == prompt_id + "-b_00001_.png"


def test_only_some_targets_run(server: Server) -> None:
    prompt = graphs.solid()
    prompt["3"] = graphs.save("1")

    entry = server.run(prompt, client_id="me", partial_execution_targets=["3"])

    assert entry["prompt"][4] == ["3"]
    assert list(entry["outputs"]) == ["3"]


def test_waiting_prompts_run_one_after_another(server: Server, busy: Busy) -> None:
    running = busy("busy")
    ids = [server.submit(graphs.solid()) for _ in range(3)]
    server.post("/queue", json={"delete": [ids[1]]})

    assert server.queued() == ([running], [ids[0], ids[2]])
    eventually(lambda: server.queued()[0] == [running])
