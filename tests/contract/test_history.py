"""What history tells, and when."""

from tests.contract import graphs
from tests.contract.conftest import Busy
from tests.contract.server import Server


def test_entry_says_all_about_a_prompt(server: Server) -> None:
    prompt = graphs.solid()
    extra_data = {"extra_pnginfo": {"workflow": {"id": "w1", "note": "é"}}, "mine": [1]}
    prompt_id = server.submit(prompt, client_id="me", extra_data=extra_data)

    entry = server.finished(prompt_id)

    number, told_id, told_prompt, told_extra, outputs = entry["prompt"]
    assert isinstance(number, int)
    assert (told_id, told_prompt, outputs) == (prompt_id, prompt, ["2"])
    assert isinstance(told_extra.pop("create_time"), int)
    assert told_extra == {**extra_data, "client_id": "me"}
    assert set(entry) == {"prompt", "outputs", "status", "meta"}
    assert list(entry["outputs"]) == ["2"]
    assert entry["meta"] == {"2": {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}}
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("success", True)
    assert [name for name, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]


def test_history_is_there_when_executing_says_the_end(server: Server) -> None:
    with server.connect() as socket:
        for _ in range(5):
            prompt_id = server.submit(graphs.solid(), client_id=socket.client_id)
            socket.to_the_end(prompt_id)

            assert server.history(prompt_id) is not None


def test_history_is_empty_while_a_prompt_runs_or_waits(server: Server, busy: Busy) -> None:
    running = busy("busy")
    pending = server.submit(graphs.solid())

    assert server.get(f"/history/{running}").json() == {}
    assert server.get(f"/history/{pending}").json() == {}
    assert server.get("/history/never-heard-of").json() == {}


def test_pages_of_history(server: Server) -> None:
    server.post("/history", json={"clear": True})
    ids = [server.submit(graphs.solid()) for _ in range(3)]
    server.finished(ids[-1])

    assert list(server.get("/history").json()) == ids
    assert list(server.get("/history?max_items=2").json()) == ids[1:]
    assert list(server.get("/history?max_items=1&offset=1").json()) == ids[1:2]
    assert list(server.get("/history?offset=2").json()) == ids[2:]
    assert list(server.get("/history?max_items=9").json()) == ids
    assert server.get("/history?max_items=0").json() == {}
    assert server.get("/history?max_items=1&offset=9").json() == {}


def test_history_can_be_deleted_and_cleared(server: Server) -> None:
    ids = [server.submit(graphs.solid()) for _ in range(2)]
    server.finished(ids[-1])

    server.post("/history", json={"delete": [ids[0], "unknown"]})
    after_delete = [server.history(prompt_id) is not None for prompt_id in ids]
    server.post("/history", json={"clear": True})

    assert after_delete == [False, True]
    assert server.get("/history").json() == {}


def test_number_strings_are_stored_as_numbers(server: Server) -> None:
    prompt = graphs.solid()
    prompt["1"]["inputs"].update(width="16", batch_size=1.0, surplus="kept")

    entry = server.run(prompt)

    assert entry["prompt"][2]["1"]["inputs"]["width"] == 16
    assert entry["prompt"][2]["1"]["inputs"]["surplus"] == "kept"


def test_secrets_are_kept_out(server: Server, busy: Busy) -> None:
    busy("busy")
    secrets = {"api_key_comfy_org": "sesame", "auth_token_comfy_org": "open"}
    prompt_id = server.submit(graphs.solid(), extra_data=dict(secrets))
    queued = server.get("/queue").text
    server.post("/interrupt")

    assert "sesame" not in queued
    assert "open" not in server.get("/queue").json()["queue_pending"].__repr__()
    assert prompt_id in queued
