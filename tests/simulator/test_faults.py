"""Each fault does what it says, as often as it says."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import websocket

from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import (
    CutWebSockets,
    Delay,
    DropConnection,
    DuplicateEvents,
    ForeignEvents,
    LateHistory,
    NodeFailure,
    NoOutput,
    OutOfMemory,
    RefuseWebSockets,
    ReorderEvents,
    Respond,
    SilentWebSockets,
    TruncateView,
)
from tests.contract import graphs
from tests.contract.server import Server, kinds


@pytest.fixture
def server(comfyui: Simulator) -> Iterator[Server]:
    server = Server(comfyui.url)
    yield server
    server.close()


def run(server: Server) -> tuple[str, list[Any]]:
    with server.connect() as socket:
        prompt_id = server.submit(graphs.solid(), client_id=socket.client_id)
        return prompt_id, socket.to_the_end(prompt_id)


@pytest.mark.parametrize("node", ["2", "SaveImage"])
def test_node_fails(comfyui: Simulator, server: Server, node: str) -> None:
    comfyui.inject(NodeFailure(node, "ValueError", "no such thing"), times=1)

    failed, succeeded = server.run(graphs.solid()), server.run(graphs.solid())

    (name, error) = failed["status"]["messages"][-1]
    assert (name, error["node_id"], error["node_type"]) == ("execution_error", "2", "SaveImage")
    assert (error["exception_type"], error["exception_message"]) == ("ValueError", "no such thing\n")
    assert error["current_inputs"]["filename_prefix"][0].startswith("contract-")
    assert succeeded["status"]["completed"]


def test_memory_is_out_until_it_is_freed(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(OutOfMemory())

    failures = [server.run(graphs.solid())["status"]["messages"][-1][1] for _ in range(2)]
    server.post("/free", json={"unload_models": True, "free_memory": True})

    assert {failure["exception_type"] for failure in failures} == {"torch.OutOfMemoryError"}
    assert failures[0]["exception_message"].startswith("Allocation on device")
    assert server.run(graphs.solid())["status"]["completed"]


def test_no_output(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(NoOutput(), times=1)

    prompt_id, frames = run(server)

    assert "executed" not in kinds(frames)
    entry = server.finished(prompt_id)
    assert (entry["status"]["status_str"], entry["outputs"]) == ("success", {})


def test_canned_answer(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(Respond("/history/*", method="GET", status=502, body=b"<html>", content_type="text/html"), times=2)

    answers = [server.get(path) for path in ("/history/x", "/api/history/x", "/history/x", "/queue")]

    assert [answer.status_code for answer in answers] == [502, 502, 200, 200]
    assert (answers[0].text, answers[0].headers["Content-Type"]) == ("<html>", "text/html")


def test_answer_without_a_picture_in_it(comfyui: Simulator, server: Server) -> None:
    prompt_id, _ = run(server)
    image = server.finished(prompt_id)["outputs"]["2"]["images"][0]
    comfyui.inject(TruncateView(), times=1)

    with pytest.raises(requests.RequestException):
        server.get("/view", params=image)
    assert server.get("/view", params=image).content.endswith(b"IEND\xaeB`\x82")


def test_delay(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(Delay("/queue", 0.2), times=1)
    began = time.monotonic()

    server.get("/queue")

    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("after_accepting", [False, True], ids=["before", "after"])
def test_connection_drops(comfyui: Simulator, server: Server, *, after_accepting: bool) -> None:
    comfyui.inject(DropConnection("/prompt", method="POST", after_accepting=after_accepting), times=1)

    with pytest.raises(requests.ConnectionError):
        server.post("/prompt", json={"prompt": graphs.solid(), "prompt_id": "dropped"})
    comfyui.wait_for("idle")

    assert (server.history("dropped") is not None) == after_accepting


def test_socket_is_cut_after_some_frames(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(CutWebSockets(after_frames=2), times=1)
    with server.connect() as socket:
        server.submit(graphs.solid(), client_id=socket.client_id)

        assert socket.receive()["type"] == "status"
        with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
            socket.until(lambda _: False)
    assert kinds(run(server)[1])[-1] == "executing"


def test_open_sockets_can_be_cut(comfyui: Simulator, server: Server) -> None:
    socket = server.connect()

    comfyui.cut_websockets()

    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        socket.receive()


def test_socket_is_refused(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(RefuseWebSockets(status=503), times=1)

    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        server.connect()
    server.connect().close()


def test_socket_stays_silent(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(SilentWebSockets())
    socket = websocket.create_connection(comfyui.url.replace("http", "ws") + "/ws?clientId=me", timeout=5)
    server.run(graphs.solid(), client_id="me")
    socket.ping()

    opcode, _ = socket.recv_data(control_frame=True)

    assert opcode == websocket.ABNF.OPCODE_PONG
    socket.close()


def test_events_come_twice(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(DuplicateEvents())

    _, frames = run(server)

    assert kinds(frames).count("execution_success") == 2
    assert kinds(frames).count("executed") == 2


def test_events_come_in_another_order(comfyui: Simulator, server: Server) -> None:
    _, ordered = run(server)
    comfyui.inject(ReorderEvents())
    with server.connect() as socket:
        prompt_id = server.submit(graphs.solid(), client_id=socket.client_id)
        server.finished(prompt_id)
        comfyui.wait_for("idle")
        disordered = socket.so_far()

    assert sorted(kinds(disordered)) == sorted(kinds(ordered))
    assert kinds(disordered) != kinds(ordered)


def test_foreign_events_are_mixed_in(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(ForeignEvents())

    prompt_id, frames = run(server)

    foreign = [frame for frame in frames if frame["data"].get("prompt_id") not in (None, prompt_id)]
    assert {"execution_success", "executing", "progress"} <= set(kinds(foreign))


def test_history_comes_late(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(LateHistory(0.3), times=1)
    with server.connect() as socket:
        prompt_id = server.submit(graphs.solid(), client_id=socket.client_id)
        socket.until(lambda frame: frame["type"] == "execution_success")

        early = server.history(prompt_id)
        socket.to_the_end(prompt_id)

    assert early is None
    assert server.history(prompt_id) is not None


def test_all_is_healed(comfyui: Simulator, server: Server) -> None:
    comfyui.inject(Respond("*", status=500))
    comfyui.inject(NodeFailure("2"))
    comfyui.heal(NodeFailure)
    assert server.get("/queue").status_code == 500

    comfyui.heal()

    assert server.run(graphs.solid())["status"]["completed"]
