import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfybridge import client as client_module
from comfybridge import events, library, workflow
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.events import Listener
from comfybridge.messages import Disconnected, Ended, Heard, Progress, QueueSize, Started
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import (
    CutWebSockets,
    DuplicateEvents,
    ForeignEvents,
    RefuseWebSockets,
    Respond,
    SilentWebSockets,
)
from tests.core.making import Connect
from tests.core.raw_server import RawServer, Reply, http

SECRET = "s3cr3t-tok3n"


def submit(client: Client, listener: Listener, deadline: Deadline, prompt_id: str, color: int = 0) -> None:
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    client.queue_prompt(prompt, prompt_id=prompt_id, client_id=listener.client_id, extra_data={}, deadline=deadline)
    listener.expect()


def until(listener: Listener, is_last: Callable[[Heard], bool]) -> list[Heard]:
    """The frames up to one."""
    frames: list[Heard] = []
    end = time.monotonic() + 20
    while time.monotonic() < end:
        frame = listener.wait(0.5)
        if frame is not None:
            frames.append(frame)
            if is_last(frame):
                return frames
    raise AssertionError(f"the frame did not come; there were {frames}")


def ended(frame: Heard) -> bool:
    return isinstance(frame, Ended)


def reading_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("comfyui-events")}


@pytest.fixture(autouse=True)
def _all_threads_end() -> Iterator[None]:
    """Look after the test (and its clients' close) that no reading thread is left."""
    before = reading_threads()
    yield
    for thread in reading_threads() - before:
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture
def client(comfyui: Simulator, connect: Connect) -> Client:
    return connect(comfyui.url)


def test_frames_of_a_prompt_come_in_order(client: Client, deadline: Deadline) -> None:
    with client.listen("p1", deadline) as listener:
        submit(client, listener, deadline, "p1")
        frames = until(listener, ended)

    own = [frame for frame in frames if not isinstance(frame, (QueueSize, Disconnected))]
    assert own[0] == Started("p1")
    assert own[-1] == Ended("p1")
    assert QueueSize(1) in frames


def test_concurrent_prompts_hear_only_their_own_frames(client: Client, deadline: Deadline) -> None:
    names = [f"p{number}" for number in range(8)]
    with contextlib.ExitStack() as stack:
        listeners = {name: stack.enter_context(client.listen(name, deadline)) for name in names}
        for number, name in enumerate(names):
            submit(client, listeners[name], deadline, name, color=number)
        heard = {name: until(listeners[name], ended) for name in names}

    for name in names:
        ids = {frame.prompt_id for frame in heard[name] if not isinstance(frame, (QueueSize, Disconnected))}
        assert ids == {name}


@pytest.mark.parametrize("fault", [ForeignEvents(), DuplicateEvents()], ids=["foreign", "duplicate"])
def test_strangers_frames_are_not_heard(fault: Any, comfyui: Simulator, client: Client, deadline: Deadline) -> None:
    comfyui.inject(fault)
    with client.listen("p1", deadline) as listener:
        submit(client, listener, deadline, "p1")
        frames = until(listener, ended)

    assert {frame.prompt_id for frame in frames if not isinstance(frame, (QueueSize, Disconnected))} == {"p1"}


def test_listener_that_wants_no_progress_hears_of_its_end(
    comfyui: Simulator, client: Client, deadline: Deadline
) -> None:
    template = library.load("sd15")
    graphs = (workflow.fill(template.prompt, dict.fromkeys(template.roles({})["seed"], seed)) for seed in (1, 2))
    comfyui.hold(queued=True)
    with client.listen("watched", deadline) as watched, client.listen("unwatched", deadline) as unwatched:
        unwatched.wants_progress = False
        for prompt_id, graph in zip(("watched", "unwatched"), graphs, strict=True):
            client.queue_prompt(
                graph, prompt_id=prompt_id, client_id=watched.client_id, extra_data={}, deadline=deadline
            )
        comfyui.release()

        seen, unseen = until(watched, ended), until(unwatched, ended)

    assert [frame.value for frame in seen if isinstance(frame, Progress)] == list(range(1, 21))
    assert [type(frame) for frame in unseen if not isinstance(frame, QueueSize)] == [Started, Ended]


def test_listener_that_wants_no_progress_hears_when_the_queue_is_empty() -> None:
    listener = Listener(None)
    listener.wants_progress = False

    for remaining in (2, 1, 0, 0, 1, 2):
        listener.put(QueueSize(remaining))

    heard = [listener.wait(0) for _ in range(5)]
    assert heard == [QueueSize(2), QueueSize(0), QueueSize(0), QueueSize(1), None]


def test_all_prompts_share_one_socket(comfyui: Simulator, client: Client, deadline: Deadline) -> None:
    with client.listen("p1", deadline) as one, client.listen("p2", deadline) as two:
        assert one.client_id == two.client_id
    with client.listen("p3", deadline):
        pass

    assert comfyui.count("GET", "/ws") == 1


def test_socket_carries_no_origin_and_a_client_id(comfyui: Simulator, client: Client, deadline: Deadline) -> None:
    with client.listen("p1", deadline) as listener:
        (request,) = comfyui.received("GET", "/ws")

    assert "Origin" not in request.headers
    assert request.query == {"clientId": listener.client_id}
    assert len(listener.client_id) == 32


def test_disconnect_wakes_every_waiter(comfyui: Simulator, client: Client, deadline: Deadline) -> None:
    with client.listen("p1", deadline) as one, client.listen("p2", deadline) as two:
        comfyui.cut_websockets()

        assert until(one, lambda frame: isinstance(frame, Disconnected))
        assert until(two, lambda frame: isinstance(frame, Disconnected))
        assert not one.hears
        assert not one.was_connected_throughout


def test_next_prompt_gets_a_new_socket_with_a_fresh_client_id(
    comfyui: Simulator, client: Client, deadline: Deadline
) -> None:
    with client.listen("p1", deadline) as first:
        comfyui.cut_websockets()
        until(first, lambda frame: isinstance(frame, Disconnected))
    with client.listen("p2", deadline) as second:
        assert second.hears
        assert second.client_id != first.client_id

    assert comfyui.count("GET", "/ws") == 2


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_cut_after_some_frames_is_noticed(frames: int, comfyui: Simulator, client: Client, deadline: Deadline) -> None:
    comfyui.inject(CutWebSockets(frames), times=1)
    with client.listen("p1", deadline) as listener:
        submit(client, listener, deadline, "p1")
        comfyui.wait_for(lambda _: not listener.hears)

        assert not listener.was_connected_throughout


def test_deaf_socket_is_given_up(
    comfyui: Simulator, client: Client, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_DEAF_AFTER_S", 1.0)
    comfyui.inject(SilentWebSockets(), times=1)
    with client.listen("p1", deadline) as listener:
        submit(client, listener, deadline, "p1")
        assert listener.hears

        assert listener.wait(1.2) is None

        assert not listener.hears
        assert until(listener, lambda frame: isinstance(frame, Disconnected))


def test_socket_that_told_of_the_submission_before_its_answer_is_not_deaf(
    comfyui: Simulator, client: Client, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_DEAF_AFTER_S", 1.0)
    comfyui.hold(queued=True)
    with client.listen("p1", deadline) as listener:
        submit(client, listener, deadline, "p1")
        until(listener, lambda frame: frame == QueueSize(1))
        listener.expect()

        assert listener.wait(1.2) is None

        assert listener.hears


def test_listener_without_a_socket_hears_nothing() -> None:
    listener = Listener(None)

    assert listener.wait(0) is None
    assert not listener.hears
    assert not listener.was_connected_throughout
    assert len(listener.client_id) == 32


@pytest.mark.parametrize("status", [400, 401, 403, 404, 502])
def test_refused_websocket_leaves_a_deaf_listener(
    status: int, comfyui: Simulator, client: Client, deadline: Deadline
) -> None:
    comfyui.inject(RefuseWebSockets(status))
    with client.listen("p1", deadline) as listener:
        assert not listener.hears
        assert listener.client_id


def test_refused_websocket_is_left_alone_for_a_while(
    comfyui: Simulator, client: Client, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    comfyui.inject(RefuseWebSockets(403), times=1)
    for _ in range(3):
        with client.listen("p1", deadline):
            pass
    assert comfyui.count("GET", "/ws") == 1

    monkeypatch.setattr(client_module, "_SOCKET_REST_S", 0.0)
    monkeypatch.setattr(client, "_no_socket_before", 0.0)

    with client.listen("p1", deadline) as listener:
        assert listener.hears


@pytest.mark.parametrize(
    "reply",
    [
        Reply(),
        Reply(b"SSH-2.0\r\n\r\n"),
        http("200 OK", b"<html>"),
        http("101 Switching Protocols"),
        http("302 Found", b"", "Location: ///"),
        http("302 Found"),
    ],
    ids=["closed", "not http", "page", "101 without accept", "odd redirect", "redirect to nowhere"],
)
def test_odd_answer_to_the_handshake_leaves_a_deaf_listener(reply: Reply, connect: Connect, deadline: Deadline) -> None:
    with RawServer(lambda _: reply) as server, connect(server.url).listen("p1", deadline) as listener:
        assert not listener.hears


def test_redirect_of_the_handshake_is_not_followed(comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
    elsewhere = comfyui.url.replace("http://", "ws://") + "/ws"
    with RawServer(lambda _: http("302 Found", b"", f"Location: {elsewhere}")) as server:
        client = connect(server.url, {"Authorization": f"Bearer {SECRET}"})
        with client.listen("p1", deadline) as listener:
            assert not listener.hears

    assert comfyui.requests == []


def test_silent_handshake_ends_at_the_deadline(connect: Connect) -> None:
    with RawServer(lambda _: None) as server:
        started = time.monotonic()
        with connect(server.url).listen("p1", Deadline(0.3)) as listener:
            assert not listener.hears

    assert time.monotonic() - started < 5


def test_hanging_handshake_does_not_hold_up_others(connect: Connect) -> None:
    has_begun = threading.Event()

    def answer(_: str) -> Reply | None:
        has_begun.set()
        return None

    def patient() -> None:
        with shared.listen("p1", Deadline(30)):
            pass

    with RawServer(answer) as server:
        shared = connect(server.url)
        first = threading.Thread(target=patient)
        first.start()
        assert has_begun.wait(5)
        started = time.monotonic()
        with shared.listen("p2", Deadline(0.3)):
            took = time.monotonic() - started
    first.join()

    assert took < 15


def test_upper_case_https_is_not_spoken_in_the_clear(connect: Connect) -> None:
    with RawServer(lambda _: Reply()) as server:
        client = connect(server.url.replace("http://", "HTTPS://"), {"Authorization": f"Bearer {SECRET}"})
        with client.listen("p1", Deadline(0.3)) as listener:
            assert not listener.hears

    assert not any(SECRET.encode() in head for head in server.requests)


def test_refused_handshake_says_no_secret_in_the_log(
    comfyui: Simulator, connect: Connect, deadline: Deadline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    comfyui.inject(RefuseWebSockets(401))
    with connect(comfyui.url, {"Authorization": f"Bearer {SECRET}"}).listen("p1", deadline):
        pass

    assert "polling instead" in caplog.text
    assert SECRET not in caplog.text


def test_socket_behind_a_dead_route_is_no_error(comfyui: Simulator, client: Client, deadline: Deadline) -> None:
    comfyui.inject(Respond(path="/ws", status=200, body=b"hello"))
    with client.listen("p1", deadline) as listener:
        assert not listener.hears


def test_quiet_peer_that_answers_pings_is_kept(
    comfyui: Simulator, connect: Connect, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_PING_EVERY_S", 0.1)
    client = connect(comfyui.url)
    with client.listen("p1", deadline) as listener:
        for _ in range(2):
            listener.wait(0.4)

        assert listener.hears


def test_idle_socket_is_closed(
    comfyui: Simulator, connect: Connect, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_PING_EVERY_S", 0.05)
    monkeypatch.setattr(events, "_IDLE_S", 0.0)
    before = reading_threads()
    client = connect(comfyui.url)
    with client.listen("p1", deadline) as listener:
        (thread,) = reading_threads() - before
        assert listener.hears

    thread.join(5)

    assert not thread.is_alive()


def test_thread_ends_when_the_client_is_closed(comfyui: Simulator, deadline: Deadline) -> None:
    before = reading_threads()
    client = Client(comfyui.url)
    with client.listen("p1", deadline):
        (thread,) = reading_threads() - before
        client.close()

        thread.join(5)
    assert not thread.is_alive()


def test_thread_ends_when_the_server_is_killed(comfyui: Simulator, client: Client, deadline: Deadline) -> None:
    before = reading_threads()
    with client.listen("p1", deadline) as listener:
        (thread,) = reading_threads() - before
        comfyui.stop()

        assert until(listener, lambda frame: isinstance(frame, Disconnected))
        thread.join(5)
    assert not thread.is_alive()
