"""Tests in Dify's workflow engine: graphon runs here, the plugin under COMFYBRIDGE_PLUGIN_PYTHON, or this Python."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.simulator.dify_files import DifyFiles

if TYPE_CHECKING:
    from tests.dify.engine import Run

ROOT = Path(__file__).parents[2]

# "make test-dify" has an environment with the engine; elsewhere there is nothing to collect here.
collect_ignore_glob = [] if importlib.util.find_spec("graphon") else ["test_*.py"]


@pytest.fixture(scope="module")
def dify_files() -> Iterator[DifyFiles]:
    with DifyFiles() as files:
        yield files


@pytest.fixture(scope="module")
def daemon(dify_files: DifyFiles) -> Iterator[PluginDaemon]:
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    python = os.environ.get("COMFYBRIDGE_PLUGIN_PYTHON", sys.executable)
    reverse = {"upload_file": dify_files.sign}
    with PluginDaemon(ROOT, python=python, env=dict.fromkeys(proxies), reverse=reverse) as daemon:
        yield daemon


@pytest.fixture
def play(daemon: PluginDaemon, comfyui: Simulator) -> Callable[..., "Run"]:
    """Run an app's graph; keywords ``query`` and ``attached`` are what the user typed and uploaded."""
    from tests.dify.engine import run  # noqa: PLC0415 (only where graphon is installed)

    def call(graph: dict[str, Any], **arguments: Any) -> "Run":
        return run(graph, daemon, {"base_url": comfyui.url}, **arguments)

    return call
