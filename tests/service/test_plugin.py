"""The Dify plugin's own process, unchanged, with the gateway's address in its credentials."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from comfybridge.service.gateway.state import Options
from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.dify_files import DifyFiles
from tests.contract.server import Server, eventually
from tests.service.running import service

ROOT = Path(__file__).parents[2]
PROXIES = [name for name in os.environ if name.lower().endswith("_proxy")]


KEY = "cb_of-the-plugin"
LINK = re.compile(r"!\[[^]\n]*\]\((\S+?)\)")


@pytest.fixture(scope="module")
def dify_files() -> Iterator[DifyFiles]:
    with DifyFiles() as files:
        files.public_base = "https://dify.example"
        yield files


@pytest.fixture(scope="module")
def daemon(dify_files: DifyFiles) -> Iterator[PluginDaemon]:
    with PluginDaemon(ROOT, env=dict.fromkeys(PROXIES), reverse={"upload_file": dify_files.sign}) as daemon:
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


def test_markdown_opens_without_the_key(
    postgres: str, daemon: PluginDaemon, dify_files: DifyFiles, tmp_path: Path
) -> None:
    options = Options(public_url="https://pictures.example.com/comfy")
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url], options, KEY) as url:
        wanted = {"prompt": "a lighthouse", "output": "markdown"}
        with pytest.raises(PluginError, match="api_key"):
            daemon.call_tool("comfyui", "text2image", wanted, credentials={"base_url": url})
        credentials = {"base_url": url, "api_key": KEY}

        made = daemon.call_tool("comfyui", "text2image", {**wanted, "count": 2}, credentials=credentials)
        prompt_id = {"prompt_id": made.variables["prompt_id"], "output": "markdown"}
        again = daemon.call_tool("comfyui", "get_result", {**prompt_id, "format": "webp"}, credentials=credentials)

        assert (made.files, dify_files.stored) == ([], [])
        links = LINK.findall(made.text)
        assert len(links) == 2
        assert made.variables["image_urls"] == links
        for link in links:
            public, query = link.split("/view?")
            assert public == "https://pictures.example.com/comfy"
            assert requests.get(f"{url}/view?{query}", timeout=60).content.startswith(b"\x89PNG")
            assert requests.get(f"{url}/view?{query.replace('filename=', 'filename=x')}", timeout=60).status_code == 403
        rebased = daemon.call_tool(
            "comfyui", "get_result", prompt_id, credentials={**credentials, "image_base_url": "https://other.example"}
        )

        (link, *_) = LINK.findall(rebased.text)
        assert link.startswith("https://other.example/view?")
        assert requests.get(f"{url}/view?{urlsplit(link).query}", timeout=60).content.startswith(b"\x89PNG")
        (_, query), *_ = [link.split("/view?") for link in LINK.findall(again.text)]
        assert requests.get(f"{url}/view?{query}", timeout=60).headers["Content-Type"] == "image/webp"


def test_link_that_no_browser_reaches_is_not_given(
    postgres: str, daemon: PluginDaemon, dify_files: DifyFiles, tmp_path: Path
) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url], None, KEY) as url:
        credentials = {"base_url": url, "api_key": KEY}

        made = daemon.call_tool("comfyui", "text2image", {"prompt": "x", "output": "markdown"}, credentials=credentials)

        (stored,) = dify_files.stored
        assert LINK.findall(made.text) == [stored.preview_url]
