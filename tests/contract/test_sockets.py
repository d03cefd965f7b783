"""Connecting, reconnecting and going deaf."""

import json

import pytest
import websocket

from tests.contract import graphs
from tests.contract.conftest import Busy
from tests.contract.server import Server, kinds


def test_first_frame_tells_the_queue_and_the_id(server: Server) -> None:
    with server.connect("contract-client") as socket:
        assert socket.hello == {
            "type": "status",
            "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "contract-client"},
        }


def test_server_names_a_client_that_has_no_name(server: Server) -> None:
    with server.connect("") as one, server.connect("") as other:
        ids = {one.hello["data"]["sid"], other.hello["data"]["sid"]}

    assert len(ids) == 2
    assert all(len(named) == 32 for named in ids)


def test_features_are_answered_once(server: Server) -> None:
    flags = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    with server.connect() as socket:
        socket.send("no json")
        socket.send(flags)
        socket.send(flags)

        seen = socket.so_far()

    (answer,) = seen
    assert answer["type"] == "feature_flags"
    assert answer["data"] == server.get("/features").json()
    assert answer["data"]["supports_preview_metadata"] is True
    assert isinstance(answer["data"]["max_upload_size"], int)


def test_features_count_in_the_first_message_only(server: Server) -> None:
    with server.connect() as socket:
        socket.send('{"type": "hello"}')
        socket.send('{"type": "feature_flags", "data": {}}')

        assert socket.so_far() == []


def test_reconnected_client_learns_the_running_node_and_nothing_else(server: Server, busy: Busy) -> None:
    client_id = graphs.unique()
    with server.connect(client_id) as socket:
        prompt_id = busy(client_id)
        socket.until(lambda frame: frame["type"] == "executing")
    with server.connect(client_id) as again:
        told = again.receive()
        server.post("/interrupt")
        frames = again.to_the_end(prompt_id)

    assert again.hello["data"]["status"] == {"exec_info": {"queue_remaining": 1}}
    assert told["type"] == "executing"
    assert list(told["data"]) == ["node"]
    assert kinds(frames)[-3:] == ["execution_interrupted", "status", "executing"]


def test_nothing_is_replayed_after_the_end(server: Server) -> None:
    client_id = graphs.unique()
    server.run(graphs.solid(), client_id=client_id)

    with server.connect(client_id) as socket:
        # The last frames of the prompt may still be on their way when history has it.
        assert {frame["type"] for frame in socket.so_far()} <= {"status", "executing"}


@pytest.mark.one_server("no socket goes deaf")
def test_newer_socket_takes_over_and_goes_deaf_when_the_older_closes(server: Server) -> None:
    client_id = graphs.unique()
    old = server.connect(client_id)
    with server.connect(client_id) as new:
        first = server.submit(graphs.solid(), client_id=client_id)
        heard = new.to_the_end(first)
        assert old.so_far() == []
        old.close()
        server.run(graphs.solid(), client_id=client_id)

        assert "execution_success" in kinds(heard)
        assert new.so_far() == []


def test_foreign_origin_is_refused(server: Server) -> None:
    address = server.url.replace("http", "ws", 1) + "/ws"

    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(address, timeout=10, origin="http://elsewhere.example")

    assert refused.value.status_code == 403
    assert server.get("/prompt", headers={"Origin": "http://elsewhere.example"}).status_code == 403
    assert server.get("/prompt", headers={"Origin": server.url}).status_code == 200


def test_socket_is_also_under_api(server: Server) -> None:
    with Server(server.url + "/api").connect("x") as socket:
        assert socket.hello["data"]["sid"] == "x"
