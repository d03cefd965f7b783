"""The plugin as Dify Cloud and the marketplace's check start it: an HTTP server instead of lines on stdin."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDiedError, PluginError
from comfybridge.simulator.serverless import ServerlessPlugin
from scripts.package import pack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serverless")
    zipfile.ZipFile(pack(ROOT, folder)).extractall(folder / "plugin")
    return folder / "plugin"


@pytest.fixture(scope="module")
def plugin(unpacked: Path) -> Iterator[ServerlessPlugin]:
    with ServerlessPlugin(unpacked) as plugin:
        yield plugin


def test_picture_comes_by_one_invoke(plugin: ServerlessPlugin, comfyui: Simulator) -> None:
    answer = plugin.call_tool(
        "comfyui", "text2image", {"prompt": "a red fox", "seed": 7}, credentials={"base_url": comfyui.url}
    )

    (picture,) = answer.files
    assert picture.data.startswith(b"\x89PNG\r\n\x1a\n")
    assert answer.variables["seed"] == 7
    assert answer.variables["status"] == "succeeded"


def test_server_is_asked_about(plugin: ServerlessPlugin, comfyui: Simulator) -> None:
    answer = plugin.call_tool("comfyui", "server_info", {}, credentials={"base_url": comfyui.url})

    assert "templates can run" in answer.text


def test_error_says_what_to_do(plugin: ServerlessPlugin, comfyui: Simulator) -> None:
    with pytest.raises(PluginError, match=r"^InvalidInput: outcome=rejected") as raised:
        plugin.call_tool("comfyui", "text2image", {"prompt": ""}, credentials={"base_url": comfyui.url})

    assert "prompt is empty" in raised.value.message


def test_plugin_that_cannot_start_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("raise SystemExit('no way')\n")

    with pytest.raises(PluginDiedError, match="no way"), ServerlessPlugin(tmp_path):
        pass
