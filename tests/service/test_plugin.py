"""The Dify plugin's own process, unchanged, with the gateway's address in its credentials."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from tests.contract.server import Server, eventually
from tests.service.running import service

ROOT = Path(__file__).parents[2]
PROXIES = [name for name in os.environ if name.lower().endswith("_proxy")]


@pytest.fixture(scope="module")
def daemon() -> Iterator[PluginDaemon]:
    with PluginDaemon(ROOT, env=dict.fromkeys(PROXIES)) as daemon:
        yield daemon


def test_pictures_results_and_cancelling(postgres: str, daemon: PluginDaemon, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        credentials = {"base_url": url}
        daemon.validate_credentials("comfyui", credentials)

        made = daemon.call_tool("comfyui", "text2image", {"prompt": "a lighthouse"}, credentials=credentials)

        (picture,) = made.files
        assert picture.data.startswith(b"\x89PNG")
        prompt_id = made.variables["prompt_id"]
        again = daemon.call_tool("comfyui", "get_result", {"prompt_id": prompt_id}, credentials=credentials)
        assert [file.data for file in again.files] == [picture.data]

        comfyui.hold()
        server = Server(url)
        with ThreadPoolExecutor() as pool:
            storm = {"prompt": "a storm"}
            call = pool.submit(daemon.call_tool, "comfyui", "text2image", storm, credentials=credentials)
            (running,) = eventually(lambda: server.queued()[0])
            daemon.call_tool("comfyui", "cancel_job", {"prompt_id": running}, credentials=credentials)
            with pytest.raises(PluginError, match="interrupted"):
                call.result()
        assert server.queued() == ([], [])
        comfyui.release()
        server.close()
