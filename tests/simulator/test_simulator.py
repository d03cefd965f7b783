"""The levers of the simulator, and what it serves besides ComfyUI's contract."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import requests
import websocket

import comfybridge.simulator
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, kinds


@pytest.fixture
def server(comfyui: Simulator) -> Iterator[Server]:
    server = Server(comfyui.url)
    yield server
    server.close()


def test_package_exports_little() -> None:
    assert comfybridge.simulator.__all__ == ["Simulator"]


@pytest.mark.parametrize("turns", range(8))
def test_connection_of_the_last_moment_is_closed(turns: int) -> None:
    comfyui = Simulator()
    comfyui.start()
    loop, stopping = comfyui._loop, comfyui._stopping
    assert loop is not None
    with socket.socket() as client:
        client.settimeout(10)

        def connect(later: int) -> None:
            if later:
                loop.call_soon(connect, later - 1)
            else:
                client.connect(("127.0.0.1", comfyui._port))

        def stop() -> None:
            stopping.set()
            connect(turns)

        loop.call_soon_threadsafe(stop)
        comfyui.close()

        # Whoever was not accepted any more is reset.
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_held_prompt_runs_until_released(comfyui: Simulator, server: Server) -> None:
    comfyui.hold()
    running = server.submit(graphs.solid())
    comfyui.wait_for("running")
    waiting = server.submit(graphs.solid())
    comfyui.wait_for("queued")
    held = (comfyui.running, comfyui.pending, list(comfyui.history))

    comfyui.release()
    comfyui.wait_for("idle")

    assert held == ([running], [waiting], [])
    assert list(comfyui.history) == [running, waiting]


def test_held_queue_is_not_taken_from(comfyui: Simulator, server: Server) -> None:
    comfyui.hold(queued=True)
    prompt_id = server.submit(graphs.solid())

    assert (comfyui.running, comfyui.pending) == ([], [prompt_id])
    comfyui.release()
    assert server.finished(prompt_id)["status"]["completed"]


def test_interrupt_ends_a_held_prompt(comfyui: Simulator, server: Server) -> None:
    comfyui.hold()
    prompt_id = server.submit(graphs.solid())
    comfyui.wait_for("running")

    comfyui.interrupt()
    comfyui.wait_for("idle")

    assert comfyui.history[prompt_id]["status"]["messages"][-1][0] == "execution_interrupted"


def test_others_delete_from_queue_and_history(comfyui: Simulator, server: Server) -> None:
    done = server.submit(graphs.solid())
    server.finished(done)
    comfyui.hold(queued=True)
    pending = server.submit(graphs.solid())

    assert comfyui.delete_from_queue(pending)
    assert not comfyui.delete_from_queue(pending)
    comfyui.clear_history()

    assert (comfyui.pending, comfyui.history) == ([], {})


def test_wait_gives_up(comfyui: Simulator) -> None:
    with pytest.raises(TimeoutError, match="running: \\[\\], pending: \\[\\], finished: \\[\\]"):
        comfyui.wait_for(lambda _: False, timeout=0.01)


def test_requests_are_recorded(comfyui: Simulator, server: Server) -> None:
    prompt = graphs.solid()
    server.submit(prompt, client_id="me")
    server.get("/api/history/x?a=1", headers={"X-Test": "yes"})
    server.upload("a.png", b"bytes", overwrite="true")

    posted, asked, uploaded = comfyui.requests
    assert (posted.method, posted.path) == ("POST", "/prompt")
    assert posted.body == {"prompt": prompt, "client_id": "me"}
    assert (asked.path, asked.query, asked.headers["x-test"]) == ("/api/history/x", {"a": "1"}, "yes")
    assert uploaded.body == {"overwrite": "true", "image": {"filename": "a.png", "content": b"bytes"}}
    assert comfyui.count("GET", "/history/*") == 1
    assert comfyui.count("POST", "/prompt") == 1


def test_restart_forgets_all_but_the_files(comfyui: Simulator, server: Server) -> None:
    image = server.run(graphs.solid("kept"), client_id="me")["outputs"]["2"]["images"][0]
    comfyui.hold()
    server.submit(graphs.solid())
    comfyui.wait_for("running")
    socket = server.connect()

    comfyui.forget()

    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        socket.receive()
    fresh = Server(comfyui.url)
    assert (fresh.queued(), fresh.get("/history").json()) == (([], []), {})
    assert fresh.get("/view", params=image).status_code == 200
    answer = fresh.post("/prompt", json={"prompt": graphs.solid("kept"), "client_id": "me"}).json()
    assert answer["number"] == 0
    assert fresh.finished(answer["prompt_id"])["outputs"]["2"]["images"][0]["filename"] == "kept_00002_.png"
    fresh.close()


def test_stopped_server_refuses_and_comes_back_where_it_was(comfyui: Simulator) -> None:
    url = comfyui.url
    comfyui.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(url + "/queue", timeout=5)

    comfyui.start()

    assert comfyui.url == url
    assert requests.get(url + "/queue", timeout=5).status_code == 200


def test_prefix_is_the_only_way_in() -> None:
    with Simulator(prefix="/comfy") as comfyui:
        root = comfyui.url.removesuffix("/comfy")

        assert requests.get(comfyui.url + "/api/queue", timeout=5).status_code == 200
        assert requests.get(root + "/queue", timeout=5).status_code == 404
        with Server(comfyui.url).connect("x") as socket:
            assert socket.hello["data"]["sid"] == "x"
        assert comfyui.count("GET", "/queue") == 2


def test_api_key_is_demanded_everywhere() -> None:
    with Simulator(api_key="sesame") as comfyui:
        key = {"Authorization": "Bearer sesame"}
        address = comfyui.url.replace("http", "ws") + "/ws"

        assert requests.get(comfyui.url + "/queue", timeout=5).status_code == 401
        assert requests.get(comfyui.url + "/queue", headers=key, timeout=5).status_code == 200
        with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
            websocket.create_connection(address, timeout=5)
        websocket.create_connection(address, timeout=5, header=key).close()


def test_proxy_that_forbids_websockets() -> None:
    with Simulator(websocket=False) as comfyui:
        with pytest.raises(websocket.WebSocketBadStatusException, match="400"):
            websocket.create_connection(comfyui.url.replace("http", "ws") + "/ws", timeout=5)
        server = Server(comfyui.url)
        assert server.run(graphs.solid())["status"]["completed"]
        server.close()


def test_models_show_everywhere() -> None:
    models = {"checkpoints": {"mine.safetensors": {"modelspec.architecture": "x"}}, "loras": ["b.safetensors", "a.pt"]}
    with Simulator(models) as comfyui:
        server = Server(comfyui.url)
        loader = server.get("/object_info/CheckpointLoaderSimple").json()["CheckpointLoaderSimple"]
        prompt = graphs.solid()
        prompt["3"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "other.safetensors"}}
        prompt["4"] = {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}}
        refusal = server.post("/prompt", json={"prompt": prompt}).json()
        metadata = server.get("/view_metadata/checkpoints?filename=mine.safetensors")
        listed = server.get("/models/loras").json()
        server.close()

    assert loader["input"]["required"]["ckpt_name"][0] == ["mine.safetensors"]
    assert refusal["node_errors"]["3"]["errors"][0]["type"] == "value_not_in_list"
    assert metadata.json() == {"modelspec.architecture": "x"}
    assert listed == ["a.pt", "b.safetensors"]


def test_presets_are_all_there_by_default(server: Server) -> None:
    assert server.get("/models/checkpoints").json() == [
        "sd_xl_base_1.0.safetensors",
        "v1-5-pruned-emaonly-fp16.safetensors",
    ]
    assert server.get("/models/diffusion_models").json() == ["z_image_turbo_bf16.safetensors"]
    assert server.get("/models/text_encoders").json() == ["qwen_3_4b.safetensors"]
    assert server.get("/models/vae").json() == ["ae.safetensors"]
    assert len(server.get("/models/loras").json()) == 2
    metadata = server.get("/view_metadata/checkpoints?filename=sd_xl_base_1.0.safetensors").json()
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"


def test_unknown_preset_is_named() -> None:
    with pytest.raises(ValueError, match="no model preset 'sd16'"):
        Simulator(["sd16"])


def test_files_are_deleted_at_the_end() -> None:
    with Simulator() as comfyui:
        folder = comfyui.folder
        assert (folder / "output").is_dir()

    assert not folder.exists()


def test_two_equal_places_in_the_queue_end_the_worker(
    comfyui: Simulator, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    comfyui.hold()
    server.submit(graphs.solid())
    comfyui.wait_for("running")
    for number in (1, 2):
        server.submit(graphs.solid(), number=number)
    for _ in range(2):
        server.submit(graphs.solid(), prompt_id="tied", number=5)

    comfyui.release()
    comfyui.wait_for(lambda _: "the worker died" in caplog.text)

    assert "tied" in comfyui.pending
    assert server.get("/queue").status_code == 200


def test_node_without_inputs_ends_the_worker(
    comfyui: Simulator, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = server.submit({**graphs.solid(), "9": {"class_type": "EmptyImage"}})
    comfyui.wait_for(lambda _: "the worker died" in caplog.text)
    waiting = server.submit(graphs.solid())

    assert server.queued() == ([stuck], [waiting])


def test_64_clients_at_once(comfyui: Simulator) -> None:
    outcomes: list[list[str]] = []

    def work() -> None:
        server = Server(comfyui.url)
        with server.connect() as socket:
            prompt_id = server.submit(graphs.solid(), client_id=socket.client_id)
            outcomes.append(kinds(socket.to_the_end(prompt_id)))
        server.close()

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 64
    assert all(seen.count("execution_success") == 1 for seen in outcomes)
