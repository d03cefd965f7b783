"""What clients see of a job while it runs: pictures as their nodes finish, and where it is for those who come later."""

import json
from pathlib import Path
from typing import Any

from comfybridge.service.database import LARGEST_NOTIFICATION
from comfybridge.service.frames import last
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Prompt, Server
from tests.service.running import service

HELD = "101"


def chain(links: int) -> Prompt:
    """A picture that is there at once, 2, and one at the end of a chain, 3."""
    prompt = graphs.solid()
    source = "1"
    for number in range(links):
        inputs = {"image": [source, 0], "upscale_method": "bilinear", "width": 8, "height": 8, "crop": "disabled"}
        source = str(100 + number)
        prompt[source] = {"class_type": "ImageScale", "inputs": inputs}
    return {**prompt, "3": graphs.save(source)}


def executed(frames: list[Any]) -> list[tuple[str, Any]]:
    heard = [frame["data"] for frame in frames if isinstance(frame, dict) and frame["type"] == "executed"]
    return [(data["node"], data["output"]) for data in heard]


def test_picture_is_shown_before_the_end_and_once(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        comfyui.hold(at=HELD)
        with server.connect() as sock:
            prompt_id = server.submit(chain(3), client_id=sock.client_id)
            before = sock.until(lambda frame: frame["type"] == "executed" or frame == last(prompt_id))
            ((node_id, output),) = executed(before)
            (image,) = output["images"]
            seen = server.get("/view", params=image)
            assert server.queued()[0] == [prompt_id]

            server.post("/interrupt")
            after = sock.to_the_end(prompt_id)

        assert node_id == "2"
        assert seen.content.startswith(b"\x89PNG")
        assert executed(after) == []
        entry = server.finished(prompt_id)
        assert entry["status"]["status_str"] == "error"
        assert entry["outputs"] == {"2": output}
        assert server.get("/view", params=image).content == seen.content
        # Brought once, stored once.
        assert len(comfyui.received("GET", "/view")) == 1
        assert len([path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]) == 1
        server.close()


def test_names_that_were_shown_stay_and_differ(postgres: str, tmp_path: Path) -> None:
    with Simulator() as one, Simulator() as other, service(postgres, tmp_path, [one.url, other.url]) as url:
        server = Server(url)
        shown = {}
        # Each server counts for itself, so both call their first picture the same.
        one.hold(at=HELD)
        other.hold(at=HELD)
        for _ in range(2):
            prompt = chain(3)
            prompt["2"]["inputs"]["filename_prefix"] = "same"
            with server.connect() as sock:
                prompt_id = server.submit(prompt, client_id=sock.client_id)
                ((_, output),) = executed(sock.until(lambda frame: frame["type"] == "executed"))
            shown[prompt_id] = output

        assert len({output["images"][0]["filename"] for output in shown.values()}) == 2
        one.release()
        other.release()
        for prompt_id, output in shown.items():
            assert server.finished(prompt_id)["outputs"]["2"] == output
            assert server.get("/view", params=output["images"][0]).status_code == 200
        server.close()


def test_who_comes_back_learns_where_the_job_is(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        comfyui.hold(at=HELD)
        with server.connect() as sock:
            prompt_id = server.submit(chain(3), client_id=sock.client_id)
            sock.until(lambda frame: frame["type"] == "executing" and frame["data"]["node"] == HELD)
            client_id = sock.client_id

        with server.connect(client_id) as again:
            node, state = again.until(lambda frame: frame["type"] == "progress_state")

        assert node == {"type": "executing", "data": {"node": HELD}}
        assert state["data"]["prompt_id"] == prompt_id
        assert state["data"]["nodes"]["2"]["state"] == "finished"
        assert state["data"]["nodes"][HELD]["state"] == "running"
        server.post("/interrupt")
        server.finished(prompt_id)
        server.close()


def test_frame_too_long_for_a_notification_reaches_its_client(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        with server.connect() as sock:
            prompt_id = server.submit(chain(120), client_id=sock.client_id)
            frames = sock.to_the_end(prompt_id)

        states = [frame["data"]["nodes"] for frame in frames if frame["type"] == "progress_state"]
        assert max(len(json.dumps(state)) for state in states) > LARGEST_NOTIFICATION
        server.close()
