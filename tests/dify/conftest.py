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
def daemon() -> Iterator[PluginDaemon]:
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    python = os.environ.get("COMFYBRIDGE_PLUGIN_PYTHON", sys.executable)
    with (
        DifyFiles() as files,
        PluginDaemon(ROOT, python=python, env=dict.fromkeys(proxies), reverse={"upload_file": files.sign}) as daemon,
    ):
        yield daemon


@pytest.fixture
def play(daemon: PluginDaemon, comfyui: Simulator) -> Callable[..., "Run"]:
    """Run an app's graph; keyword ``query`` is what the user typed."""
    from tests.dify.engine import run  # noqa: PLC0415 (only where graphon is installed)

    def call(graph: dict[str, Any], **arguments: Any) -> "Run":
        return run(graph, daemon, {"base_url": comfyui.url}, **arguments)

    return call
