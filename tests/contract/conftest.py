"""The servers that keep the contract: always the simulator, and the one at COMFYUI_URL when that is set."""

import os
from collections.abc import Callable, Iterator

import pytest

from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually

COMFYUI_URL = os.environ.get("COMFYUI_URL", "")
Busy = Callable[[str], str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "contract":
            item.add_marker("contract")


@pytest.fixture(params=["simulator", *(["comfyui"] if COMFYUI_URL else [])])
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator | None]:
    """The simulator in charge; ``None`` when a real ComfyUI is."""
    if request.param == "comfyui":
        yield None
        return
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def server(simulator: Simulator | None) -> Iterator[Server]:
    """A server with nothing to do."""
    server = Server(simulator.url if simulator else COMFYUI_URL)
    assert server.queued() == ([], []), "the contract tests want the server for themselves"
    yield server
    server.post("/queue", json={"clear": True})
    server.post("/interrupt")
    eventually(lambda: server.queued() == ([], []))
    server.close()


@pytest.fixture
def busy(simulator: Simulator | None, server: Server) -> Iterator[Busy]:
    """Make the server busy for a client: submit what runs until it is interrupted, and return its prompt_id."""

    def keep_busy(client_id: str) -> str:
        if simulator:
            simulator.hold()
        prompt_id = server.submit(graphs.long(), client_id=client_id)
        eventually(lambda: server.queued()[0] == [prompt_id])
        return prompt_id

    yield keep_busy
    server.post("/interrupt")
    if simulator:
        simulator.release()
