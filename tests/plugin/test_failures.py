"""Everything that can go wrong between the plugin and ComfyUI, and what the user is told."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.faults import (
    DropConnection,
    NodeFailure,
    NoOutput,
    OutOfMemory,
    RefuseWebSockets,
    Respond,
    TruncateView,
)
from tests.plugin.calls import Call, Fails, Failure, get, read_failure


@pytest.fixture
def fails_at(daemon: PluginDaemon) -> Any:
    """Call the tool with an address that is no good."""

    def call(url: str, **parameters: Any) -> Failure:
        with pytest.raises(PluginError) as raised:
            daemon.call_tool("comfyui", "text2image", {"prompt": "fox", **parameters}, credentials={"base_url": url})
        return read_failure(raised.value.message)

    return call


@contextmanager
def listener() -> Iterator[tuple[str, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", server


def test_server_down(fails_at: Any) -> None:
    with listener() as (url, _):
        pass

    failure = fails_at(url)

    assert (failure.outcome, failure.prompt_id) == ("failed", None)
    assert "ComfyUI at base_url refuses the connection" in failure.english
    assert "host.docker.internal" in failure.english
    assert "--listen" in failure.chinese


def test_unknown_host(fails_at: Any) -> None:
    failure = fails_at("http://comfyui.invalid:8188")

    assert (failure.outcome, failure.prompt_id) == ("failed", None)
    assert "ComfyUI at base_url cannot be found" in failure.english


def test_server_that_never_answers(fails_at: Any) -> None:
    with listener() as (url, _):
        failure = fails_at(url, timeout=1)

    assert failure.prompt_id is None
    assert "ComfyUI at base_url" in failure.english


def test_server_that_speaks_something_else(fails_at: Any) -> None:
    with listener() as (url, server):

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        failure = fails_at(url)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()

    assert (failure.outcome, failure.prompt_id) == ("failed", None)
    assert "ComfyUI at base_url" in failure.english


def test_tls_to_a_server_without(fails_at: Any, comfyui: Simulator) -> None:
    failure = fails_at(comfyui.url.replace("http:", "https:"))

    assert (failure.outcome, failure.prompt_id) == ("failed", None)
    assert "failed the TLS handshake" in failure.english


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (401, b"<h1>Unauthorized</h1>", "api_key"),
        (403, b"Forbidden", "api_key"),
        (404, b"<h1>Not Found</h1>", "base_url"),
        (502, b"<html><h1>502 Bad Gateway</h1></html>", "HTTP 502"),
        (500, b"oops", "HTTP 500"),
    ],
)
def test_answers_that_are_not_comfyuis(fails: Fails, comfyui: Simulator, status: int, body: bytes, hint: str) -> None:
    comfyui.inject(Respond(status=status, body=body, content_type="text/html"))

    failure = fails(prompt="fox")

    assert (failure.outcome, failure.prompt_id) == ("failed", None)
    assert hint in failure.english
    assert "<h1>" not in failure.english


def test_page_of_something_else(fails: Fails, comfyui: Simulator) -> None:
    comfyui.inject(Respond(status=200, body=b"<html>Welcome to nginx!</html>", content_type="text/html"))

    failure = fails(prompt="fox")

    assert (failure.outcome, failure.prompt_id) == ("failed", None)
    assert "nginx" not in failure.english


def test_server_without_any_model(daemon: PluginDaemon) -> None:
    with Simulator(models={}) as comfyui, pytest.raises(PluginError) as raised:
        daemon.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials={"base_url": comfyui.url})

    failure = read_failure(raised.value.message)
    assert (failure.outcome, failure.prompt_id) == ("rejected", None)
    assert "https://" in failure.english
    assert "modelscope" in failure.chinese


def test_node_that_fails(fails: Fails, comfyui: Simulator) -> None:
    comfyui.inject(NodeFailure(node="VAEDecode", message="the decoder burnt down"))

    failure = fails(prompt="fox")

    assert failure.outcome == "failed"
    assert "VAE Decode" in failure.english
    assert "the decoder burnt down" in failure.english
    assert get(f"{comfyui.url}/history/{failure.prompt_id}")


def test_out_of_memory_once_is_overcome(text2image: Call, comfyui: Simulator) -> None:
    comfyui.inject(OutOfMemory(), times=1)

    assert text2image(prompt="fox").variables["status"] == "succeeded"


def test_out_of_memory_for_good(fails: Fails, comfyui: Simulator) -> None:
    comfyui.inject(
        NodeFailure(node="KSampler", exception_type="torch.OutOfMemoryError", message="Allocation on device"),
        times=None,
    )

    failure = fails(prompt="fox")

    assert failure.outcome == "failed"
    assert "memory" in failure.english
    assert "显存" in failure.chinese


def test_no_output(fails: Fails, comfyui: Simulator) -> None:
    comfyui.inject(NoOutput())

    failure = fails(prompt="fox")

    assert failure.outcome == "failed"
    assert failure.prompt_id
    assert "without an output" in failure.english


def test_output_that_is_no_picture(fails: Fails, comfyui: Simulator) -> None:
    page = Respond(path="/view", status=200, body=b"<html>Sign in</html>", content_type="image/png")
    comfyui.inject(page)

    failure = fails(prompt="fox")

    assert failure.outcome == "failed"
    assert failure.prompt_id
    assert "is not a whole file" in failure.english


def test_picture_that_breaks_off_is_fetched_again(text2image: Call, comfyui: Simulator) -> None:
    comfyui.inject(TruncateView(), times=1)

    assert len(text2image(prompt="fox").files) == 1


def test_lost_answer_to_the_submission_does_not_draw_twice(text2image: Call, comfyui: Simulator) -> None:
    comfyui.inject(DropConnection(path="/prompt", method="POST", after_accepting=True), times=1)

    text2image(prompt="fox")

    assert len(get(f"{comfyui.url}/history")) == 1


def test_no_websocket_is_no_hindrance(text2image: Call, comfyui: Simulator) -> None:
    comfyui.inject(RefuseWebSockets())

    assert len(text2image(prompt="fox", progress=True).files) == 1


def test_refused_graph(fails: Fails, comfyui: Simulator) -> None:
    refusal = (
        b'{"error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation",'
        b' "details": "", "extra_info": {}}, "node_errors": {}}'
    )
    comfyui.inject(
        Respond(path="/prompt", method="POST", status=400, body=refusal, content_type="application/json"), times=None
    )

    failure = fails(prompt="fox")

    assert failure.outcome == "rejected"
    assert get(f"{comfyui.url}/history") == {}


def test_deadline_passes_while_the_job_goes_on(daemon: PluginDaemon) -> None:
    with Simulator(work=60.0) as comfyui:
        with pytest.raises(PluginError) as raised:
            daemon.call_tool(
                "comfyui", "text2image", {"prompt": "fox", "timeout": 4}, credentials={"base_url": comfyui.url}
            )
        failure = read_failure(raised.value.message)
        queue = get(f"{comfyui.url}/queue")

    assert failure.outcome == "timed_out"
    assert failure.prompt_id in [entry[1] for entry in queue["queue_running"]]
    assert str(failure.prompt_id) in failure.english


def test_interrupted_by_somebody(fails: Fails, comfyui: Simulator) -> None:
    comfyui.hold()
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(fails, prompt="fox")
        comfyui.wait_for("running")
        (prompt_id,) = comfyui.running
        comfyui.interrupt()
        comfyui.release()

        failure = call.result()

    assert (failure.outcome, failure.prompt_id) == ("cancelled", prompt_id)


def test_removed_from_the_queue_by_somebody(fails: Fails, comfyui: Simulator) -> None:
    comfyui.hold(queued=True)
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(fails, prompt="fox")
        comfyui.wait_for(lambda simulator: simulator.pending)
        (prompt_id,) = comfyui.pending
        comfyui.delete_from_queue(prompt_id)

        failure = call.result()

    assert (failure.outcome, failure.prompt_id) == ("cancelled", prompt_id)


def test_server_restarted_meanwhile(fails: Fails, comfyui: Simulator) -> None:
    comfyui.hold()
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(fails, prompt="fox")
        comfyui.wait_for("running")
        (prompt_id,) = comfyui.running
        comfyui.forget()

        failure = call.result()

    assert (failure.outcome, failure.prompt_id) == ("lost", prompt_id)


def test_plugin_outlives_every_failure(text2image: Call, daemon: PluginDaemon) -> None:
    assert text2image(prompt="fox").files
    assert daemon.heartbeats
