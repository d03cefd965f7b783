"""The simulator does what the recordings of a real ComfyUI show."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure
from tests.contract.server import Server
from tests.simulator.recorded import MODELS, Exchange, Recording, head, normalised, shape

NOT_SIMULATED = {"SaveWEBM", "CreateVideo+SaveVideo", "EmptyAudio SaveAudio/PreviewAudio/SaveAudioMP3", "SaveLatent"}
"""Prompts of recording 11 with video, audio and latent files."""
SHAPE_ONLY = ("/system_stats", "/api/system_stats", "/api/jobs", "/history?max_items=1", "/api/history?max_items=1")
OTHER_FILES = ("/object_info/LoadImage", "/object_info/SaveVideo")


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    with Simulator(MODELS) as comfyui:
        yield comfyui


@pytest.fixture
def server(comfyui: Simulator) -> Iterator[Server]:
    server = Server(comfyui.url)
    yield server
    server.close()


@pytest.mark.parametrize(
    "name",
    ["01_txt2img_happy", "02_cached_and_partially_cached", "03_batch3", "10_z_image_turbo"],
)
def test_prompts_one_after_another(server: Server, name: str) -> None:
    recording = Recording(name)
    _warm_up(server, recording, recording.prompts()[0])
    for recorded in recording.prompts():
        frames, entry = _replay(server, recorded)

        _compare(recording, recorded, frames)
        _compare_history(recording, recorded, entry)


def test_uploads_and_kinds_of_output(server: Server, comfyui: Simulator) -> None:
    for name in ("lab_fe6345.png", "lab_mask.png"):
        (comfyui.folder / "input" / name).write_bytes(_png())
    recording = Recording("11_uploads_img2img_outputs_view")
    left_out = set()
    for recorded in recording.prompts():
        if recorded.label in NOT_SIMULATED:
            left_out.add(recorded.label)
            continue
        frames, _ = _replay(server, recorded)

        _compare(recording, recorded, frames)
    assert left_out == NOT_SIMULATED


def test_previews(comfyui: Simulator) -> None:
    comfyui.close()
    recording = Recording("13_previews_latent2rgb")
    with Simulator(MODELS, previews=True) as shown:
        server = Server(shown.url)
        for recorded in recording.prompts():
            # Client M announced that it knows previews with metadata.
            flags = '{"type": "feature_flags", "data": {"supports_preview_metadata": true}}'
            frames, _ = _replay(server, recorded, hello=flags if recorded.body["client_id"] == "cli-M" else None)

            _compare(recording, recorded, frames)
        server.close()


def test_failures(server: Server, comfyui: Simulator) -> None:
    (comfyui.folder / "input" / "corrupt.png").write_bytes(_png()[:40])
    comfyui.inject(NodeFailure("VAEDecode", "RuntimeError", "expected 16 channels, but got 4 channels instead"))
    recording = Recording("06_runtime_failure")
    for recorded in recording.prompts()[:2]:
        _put_outputs_in_order(recording, recorded)
        frames, entry = _replay(server, recorded)

        _compare(recording, recorded, frames)
        _compare_history(recording, recorded, entry)


def test_prompts_of_two_clients_at_once(server: Server, comfyui: Simulator) -> None:
    recording = Recording("04_two_clients")
    prompts = recording.prompts()
    first = prompts[2]  # it went to the front before the worker took the first one
    _warm_up(server, recording, first)
    for _ in range(prompts[0].answer["number"] - 1):
        server.reject({})  # takes a number, too, as the warm-up did
    sockets = {client_id: server.connect(client_id) for client_id in ("cli-A", "cli-B")}
    comfyui.hold(queued=True)
    ids = [server.post("/prompt", json=recorded.body).json()["prompt_id"] for recorded in prompts]

    assert comfyui.pending == [ids[2], ids[3], ids[0], ids[1]]  # -10 for front, then -5.5, 8 and 9
    comfyui.release()
    comfyui.wait_for("idle")
    told = {client_id: socket.so_far() for client_id, socket in sockets.items()}
    for socket in sockets.values():
        socket.close()
    for recorded, prompt_id in zip(prompts, ids, strict=True):
        mine = [frame for frame in told[recorded.body["client_id"]] if frame["data"].get("prompt_id") == prompt_id]
        _compare(recording, recorded, mine)


def test_refusals(server: Server, comfyui: Simulator) -> None:
    raw = {"malformed JSON": "{not json", "empty body": ""}
    ids: dict[str, str] = {}
    for recorded in Recording("05_validation_failures").exchanges():
        if recorded.label == "text/plain content type":
            continue  # its body was not recorded
        comfyui.wait_for("idle")
        path = recorded.path
        for old, new in ids.items():
            path = path.replace(old, new)
        if recorded.method == "GET":
            answer = server.get(path)
        elif recorded.label in raw:
            answer = server.post(path, data=raw[recorded.label])
        else:
            answer = server.post(path, json=recorded.body)

        assert answer.status_code == recorded.status, recorded.label
        assert answer.headers["Content-Type"] == recorded.answer_headers["Content-Type"], recorded.label
        told = answer.json() if isinstance(recorded.answer, dict) else answer.text
        if isinstance(told, dict) and "prompt_id" in told:
            ids[recorded.answer["prompt_id"]] = told["prompt_id"]
        assert normalised(told) == normalised(recorded.answer), recorded.label


def test_http_surface(server: Server) -> None:
    for recorded in Recording("12_http_surface").exchanges():
        headers = {name: _here(server, value) for name, value in (recorded.headers or {}).items()}
        answer = server.request(recorded.method, recorded.path, headers=headers, json=recorded.body)

        assert answer.status_code == recorded.status, recorded
        if recorded.status == 404 and recorded.path != "/api/jobs/nope":
            assert answer.content == b""
            continue
        assert _kind(answer.headers.get("Content-Type")) == _kind(recorded.answer_headers.get("Content-Type")), recorded
        if recorded.path in OTHER_FILES or not isinstance(recorded.answer, dict | list) or "binary" in recorded.answer:
            continue
        if recorded.path.startswith(SHAPE_ONLY) and recorded.status == 200:
            # Nothing ran here, so that lists of jobs and histories are empty.
            told, expected = shape(answer.json()), shape(recorded.answer)
            assert list(told) == list(expected) or not told
            continue
        assert answer.json() == recorded.answer, recorded.path


def _replay(server: Server, recorded: Exchange, *, hello: str | None = None) -> tuple[list[Any], dict[str, Any]]:
    """Post a recorded prompt; return what its client was told about it, and its history entry."""
    client_id = recorded.body.get("client_id", "nobody")
    with server.connect(client_id) as socket:
        if hello:
            socket.send(hello)
            socket.receive()
        prompt_id = server.post("/prompt", json=recorded.body).json()["prompt_id"]
        frames = socket.to_the_end(prompt_id)
    ours = [
        frame for frame in frames if isinstance(frame, bytes) or frame["data"].get("prompt_id") == prompt_id
    ]  # fmt: skip
    return ours, server.finished(prompt_id)


def _warm_up(server: Server, recording: Recording, first: Exchange) -> None:
    """Run what the recorded server still had in its cache when the recording began."""
    frames = recording.frames(first.body["client_id"], first.answer["prompt_id"])
    nodes = {node_id: first.body["prompt"][node_id] for node_id in frames[1]["data"]["nodes"]}
    shown = {f"show {node_id}": {"class_type": "PreviewAny", "inputs": {"source": [node_id, 0]}} for node_id in nodes}
    if nodes:
        server.run({**nodes, **shown})


def _put_outputs_in_order(recording: Recording, recorded: Exchange) -> None:
    """ComfyUI keeps output nodes in a set: what runs first differs from run to run; the simulator goes by the graph."""
    _, _, _, _, outputs = _recorded_history(recording, recorded)["prompt"]
    prompt = recorded.body["prompt"]
    for node_id in outputs:
        prompt[node_id] = prompt.pop(node_id)


def _compare(recording: Recording, recorded: Exchange, frames: list[Any]) -> None:
    expected = recording.frames(recorded.body["client_id"], recorded.answer["prompt_id"])
    told = [head(frame) if isinstance(frame, bytes) else frame for frame in frames]
    assert normalised(told) == normalised(expected), recorded.label


def _compare_history(recording: Recording, recorded: Exchange, entry: dict[str, Any]) -> None:
    assert normalised(entry) == normalised(_recorded_history(recording, recorded))


def _recorded_history(recording: Recording, recorded: Exchange) -> dict[str, Any]:
    prompt_id = recorded.answer["prompt_id"]
    entry: dict[str, Any] = next(
        exchange.answer[prompt_id] for exchange in recording.exchanges() if exchange.path == f"/history/{prompt_id}"
    )
    return entry


def _here(server: Server, value: str) -> str:
    return value.replace("127.0.0.1:8188", server.url.removeprefix("http://")).replace(
        ":8188", ":" + server.url.rpartition(":")[2]
    )


def _kind(content_type: str | None) -> str | None:
    # An empty answer of this aiohttp names a type of its own, which says nothing.
    return None if content_type == "application/octet-stream" else content_type and content_type.partition(";")[0]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (10, 200, 90, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def test_recordings_name_no_file_of_this_machine() -> None:
    for path in (Path(__file__).parents[1] / "recordings").iterdir():
        assert "/home/" not in path.read_text(encoding="utf-8")
