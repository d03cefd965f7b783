"""Which events a prompt sends, in which order, and to whom."""

from typing import Any

import pytest

from tests.contract import graphs
from tests.contract.conftest import Busy
from tests.contract.server import Server, kinds


def test_events_come_in_order(server: Server) -> None:
    prompt = graphs.solid()
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    assert kinds(frames) == [
        "status",
        "status",
        "execution_start",
        "execution_cached",
        "executing",
        "executing",
        "executed",
        "execution_success",
        "status",
        "executing",
    ]
    assert [frame["data"]["status"]["exec_info"] for frame in frames if frame["type"] == "status"] == [
        {"queue_remaining": 1},
        {"queue_remaining": 1},
        {"queue_remaining": 0},
    ]
    assert [frame["data"] for frame in frames if frame["type"] == "executing"] == [
        {"node": "1", "display_node": "1", "prompt_id": prompt_id},
        {"node": "2", "display_node": "2", "prompt_id": prompt_id},
        {"node": None, "prompt_id": prompt_id},
    ]


@pytest.mark.one_server("the last executed comes with the end, when its files are kept")
def test_progress_state_precedes_executing_and_adds_up(server: Server) -> None:
    with server.connect() as socket:
        prompt_id = server.submit(graphs.solid(), client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    around = [frame for frame in frames if frame["type"] in ("progress_state", "executing", "executed")]
    assert [frame["type"] for frame in around] == [
        "progress_state",
        "executing",
        "progress_state",
        "progress_state",
        "executing",
        "executed",
        "progress_state",
        "executing",
    ]
    states = [frame["data"] for frame in frames if frame["type"] == "progress_state"]
    assert [{node: told["state"] for node, told in state["nodes"].items()} for state in states] == [
        {"1": "running"},
        {"1": "finished"},
        {"1": "finished", "2": "running"},
        {"1": "finished", "2": "finished"},
    ]
    assert states[0] == {
        "prompt_id": prompt_id,
        "nodes": {
            "1": {
                "value": 0.0,
                "max": 1.0,
                "state": "running",
                "node_id": "1",
                "prompt_id": prompt_id,
                "display_node_id": "1",
                "parent_node_id": None,
                "real_node_id": "1",
            }
        },
    }


def test_executed_names_the_files(server: Server) -> None:
    prefix = f"contract-{graphs.unique()}/sub/shot"
    with server.connect() as socket:
        prompt_id = server.submit(graphs.solid(prefix, batch_size=2), client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    (executed,) = [frame["data"] for frame in frames if frame["type"] == "executed"]
    subfolder = prefix.rpartition("/")[0]
    assert executed == {
        "node": "2",
        "display_node": "2",
        "output": {
            "images": [
                {"filename": "shot_00001_.png", "subfolder": subfolder, "type": "output"},
                {"filename": "shot_00002_.png", "subfolder": subfolder, "type": "output"},
            ]
        },
        "prompt_id": prompt_id,
    }


def test_output_that_is_ready_runs_first(server: Server) -> None:
    prompt = graphs.solid()
    prompt["3"] = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}
    prompt["4"] = graphs.save("3")
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    order = [frame["data"]["node"] for frame in frames if frame["type"] == "executing"]
    assert order == ["1", "2", "3", "4", None]


def test_cached_prompt_names_the_old_files(server: Server) -> None:
    prompt = graphs.solid()
    first = server.run(prompt, client_id="other")
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    assert kinds(frames)[2:] == [
        "execution_start",
        "execution_cached",
        "executed",
        "execution_success",
        "status",
        "executing",
    ]
    (cached,) = [frame["data"]["nodes"] for frame in frames if frame["type"] == "execution_cached"]
    (executed,) = [frame["data"]["output"] for frame in frames if frame["type"] == "executed"]
    assert cached == ["1", "2"]
    assert executed == first["outputs"]["2"]
    assert server.finished(prompt_id)["outputs"] == first["outputs"]


def test_cache_goes_by_inputs_and_not_by_node_ids(server: Server) -> None:
    color, prefix = graphs.any_color(), f"contract-{graphs.unique()}"
    server.run(graphs.solid(prefix, color=color))
    renamed = graphs.solid(prefix, color=color)
    renamed = {"a": renamed["1"], "b": renamed["2"]}
    renamed["b"]["inputs"]["images"] = ["a", 0]

    entry = server.run(renamed, client_id="me")

    assert entry["status"]["messages"][1][1]["nodes"] == ["a", "b"]
    assert list(entry["outputs"]) == ["b"]


def test_only_what_changed_runs_again(server: Server) -> None:
    color = graphs.any_color()
    server.run(graphs.solid(color=color))
    with server.connect() as socket:
        prompt_id = server.submit(graphs.solid(color=color), client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    (cached,) = [frame["data"]["nodes"] for frame in frames if frame["type"] == "execution_cached"]
    assert cached == ["1"]
    assert [frame["data"]["node"] for frame in frames if frame["type"] == "executing"] == ["2", None]


def test_cache_holds_the_previous_prompt_only(server: Server) -> None:
    first = graphs.solid()
    server.run(first)
    server.run(graphs.solid())

    entry = server.run(first)

    assert entry["status"]["messages"][1][1]["nodes"] == []


def test_free_memory_empties_the_cache(server: Server) -> None:
    prompt = graphs.solid()
    server.run(prompt)
    assert server.post("/free", json={"unload_models": True, "free_memory": True}).status_code == 200

    entry = server.run(prompt)

    assert entry["status"]["messages"][1][1]["nodes"] == []


@pytest.mark.one_server("a worker always names a client")
def test_cached_prompt_without_client_id_has_no_outputs(server: Server) -> None:
    prompt = graphs.solid()
    server.run(prompt, client_id="me")

    entry = server.run(prompt)

    assert entry["status"]["status_str"] == "success"
    assert entry["outputs"] == {}


def test_events_go_to_their_client_only(server: Server) -> None:
    with server.connect() as mine, server.connect() as others:
        prompt_id = server.submit(graphs.solid(), client_id=mine.client_id)
        mine.to_the_end(prompt_id)

        seen = others.so_far()

    assert {frame["type"] for frame in seen} == {"status"}


def test_progress_without_client_id_goes_to_everybody(server: Server) -> None:
    with server.connect() as onlooker:
        prompt_id = server.submit(graphs.solid())
        server.finished(prompt_id)

        seen = onlooker.until(lambda frame: _remaining(frame) == 0)

    assert kinds(seen) == ["status", "status", "status"]
    assert [frame["type"] for frame in seen].count("progress_state") == 4


@pytest.mark.one_server("an upload has another name on the server")
def test_broken_picture_fails_its_node_and_keeps_the_other_output(server: Server) -> None:
    name = f"contract-{graphs.unique()}.png"
    server.upload(name, b"\x89PNG\r\n\x1a\n broken")
    prompt = graphs.solid()
    prompt["3"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    prompt["4"] = graphs.save("3")
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    assert kinds(frames)[-3:] == ["execution_error", "status", "executing"]
    (error,) = [frame["data"] for frame in frames if frame["type"] == "execution_error"]
    told = {"node_id", "node_type", "executed", "exception_message", "exception_type", "traceback"}
    assert told | {"prompt_id", "current_inputs", "current_outputs", "timestamp"} == set(error)
    assert (error["node_id"], error["node_type"], error["current_inputs"]) == ("3", "LoadImage", {"image": [name]})
    assert error["exception_message"].endswith("\n")
    entry = server.finished(prompt_id)
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert entry["status"]["messages"][-1] == ["execution_error", error]


def test_interrupt_stops_the_running_prompt(server: Server, busy: Busy) -> None:
    with server.connect() as socket:
        prompt_id = busy(socket.client_id)
        server.post("/interrupt")

        frames = socket.to_the_end(prompt_id)

    assert kinds(frames)[-3:] == ["execution_interrupted", "status", "executing"]
    (interrupted,) = [frame["data"] for frame in frames if frame["type"] == "execution_interrupted"]
    assert set(interrupted) == {"prompt_id", "node_id", "node_type", "executed", "timestamp"}
    entry = server.finished(prompt_id)
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert entry["outputs"] == {}


def test_text_output_is_text(server: Server) -> None:
    text = f'quotes " \\ 🎨 {graphs.unique()}'
    prompt = {"1": {"class_type": "PreviewAny", "inputs": {"source": text}}}

    entry = server.run(prompt, client_id="me")

    assert entry["outputs"] == {"1": {"text": [text]}}


def test_pictures_over_the_socket(server: Server) -> None:
    if "SaveImageWebsocket" not in server.get("/object_info/SaveImageWebsocket").json():
        pytest.skip("this server has no SaveImageWebsocket node")
    prompt = graphs.solid(batch_size=2)
    prompt["2"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)

        frames = socket.to_the_end(prompt_id)

    pictures = [frame for frame in frames if isinstance(frame, bytes)]
    assert [picture[:16] for picture in pictures] == [b"\0\0\0\1\0\0\0\2\x89PNG\r\n\x1a\n"] * 2
    steps = [frame["data"] for frame in frames if isinstance(frame, dict) and frame["type"] == "progress"]
    assert [(step["value"], step["max"], step["node"]) for step in steps] == [(0, 2, "2"), (1, 2, "2")]
    assert server.finished(prompt_id)["outputs"] == {}


def test_preview_goes_to_temp(server: Server) -> None:
    prompt = graphs.solid()
    prompt["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}

    (image,) = server.run(prompt, client_id="me")["outputs"]["2"]["images"]

    assert (image["type"], image["subfolder"]) == ("temp", "")
    assert image["filename"].startswith("ComfyUI_temp_")
    assert server.get("/view", params=image).content.startswith(b"\x89PNG")


def _remaining(frame: dict[str, Any]) -> Any:
    return frame["data"]["status"]["exec_info"]["queue_remaining"] if frame["type"] == "status" else None
