"""The whole way: a client's prompt through the gateway, the database, a worker and a ComfyUI, and back."""

from pathlib import Path

from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server
from tests.service.running import service


def test_prompt_comes_back_as_a_picture(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        entry = server.run(graphs.solid(color=0x336699), client_id="me")
        (image,) = entry["outputs"]["2"]["images"]
        assert server.get("/view", params=image).content.startswith(b"\x89PNG")
        server.close()
