"""The plugin's real process under the daemon's stand-in, and ways to call its tool."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.dify_files import DifyFiles
from tests.plugin.calls import Call, Fails, Failure, get, read_failure

ROOT = Path(__file__).parents[2]
#: Of the developer's machine: no test shall depend on them.
PROXIES = [name for name in os.environ if name.lower().endswith("_proxy")]


@pytest.fixture(scope="module")
def dify_files() -> Iterator[DifyFiles]:
    with DifyFiles() as files:
        yield files


@pytest.fixture(scope="module")
def daemon(dify_files: DifyFiles) -> Iterator[PluginDaemon]:
    with PluginDaemon(ROOT, env=dict.fromkeys(PROXIES), reverse={"upload_file": dify_files.sign}) as daemon:
        yield daemon


@pytest.fixture
def text2image(daemon: PluginDaemon, comfyui: Simulator) -> Call:
    """Call the tool with parameters as keywords; ``credentials`` are laid over the simulator's address."""

    def call(*, credentials: dict[str, Any] | None = None, **parameters: Any) -> Answer:
        return daemon.call_tool(
            "comfyui", "text2image", parameters, credentials={"base_url": comfyui.url, **(credentials or {})}
        )

    return call


@pytest.fixture
def run_workflow(daemon: PluginDaemon, comfyui: Simulator) -> Call:
    """Call the other tool likewise."""

    def call(*, credentials: dict[str, Any] | None = None, **parameters: Any) -> Answer:
        return daemon.call_tool(
            "comfyui", "run_workflow", parameters, credentials={"base_url": comfyui.url, **(credentials or {})}
        )

    return call


@pytest.fixture
def fails(text2image: Call) -> Fails:
    """Call the tool and return its failure, read by the form that all failures share."""

    def call(**arguments: Any) -> Failure:
        with pytest.raises(PluginError) as raised:
            text2image(**arguments)
        return read_failure(raised.value.message)

    return call


@pytest.fixture
def graphs(comfyui: Simulator) -> Callable[[], list[dict[str, Any]]]:
    """Ask the server for the graphs of its history, oldest first."""

    def ask() -> list[dict[str, Any]]:
        return [entry["prompt"][2] for entry in get(f"{comfyui.url}/history").values()]

    return ask


@pytest.fixture
def inputs(graphs: Callable[[], list[dict[str, Any]]]) -> Callable[[str], list[Any]]:
    """All values of the input of a name in the only graph that ran."""

    def ask(name: str) -> list[Any]:
        (graph,) = graphs()
        return [node["inputs"][name] for node in graph.values() if name in node["inputs"]]

    return ask


@pytest.fixture
def untouched(comfyui: Simulator) -> Iterator[None]:
    """Look after the test that ComfyUI was given nothing to do."""
    yield
    assert get(f"{comfyui.url}/history") == {}
    assert get(f"{comfyui.url}/queue") == {"queue_running": [], "queue_pending": []}
