"""The servers that keep the contract: the simulator, a gateway in front of one, and that at COMFYUI_URL when it is set.

A gateway stays up for all tests; what it does otherwise than one ComfyUI, and on purpose, is marked ``one_server``.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import folder, serving

COMFYUI_URL = os.environ.get("COMFYUI_URL", "")
Busy = Callable[[str], str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "contract":
            item.add_marker("contract")


@pytest.fixture(scope="session")
def behind() -> Iterator[tuple[Simulator, str]]:
    """A simulator, and the address of ``comfybridge serve`` in front of it, whose threads are not ours."""
    with folder() as parent, Simulator() as simulator, serving(parent / "data", simulator.url) as (_, server):
        yield simulator, server.url


@pytest.fixture(params=["simulator", "gateway", *(["comfyui"] if COMFYUI_URL else [])])
def target(request: pytest.FixtureRequest) -> Iterator[tuple[Simulator | None, str]]:
    """The simulator in charge, ``None`` when a real ComfyUI is; and the address to ask."""
    if request.param == "comfyui":
        yield None, COMFYUI_URL
        return
    if request.param == "gateway":
        if (mark := request.node.get_closest_marker("one_server")) is not None:
            pytest.skip(f"many servers as one: {mark.args[0]}")
        yield request.getfixturevalue("behind")
        return
    with Simulator() as simulator:
        yield simulator, simulator.url


@pytest.fixture
def simulator(target: tuple[Simulator | None, str]) -> Simulator | None:
    return target[0]


@pytest.fixture
def server(target: tuple[Simulator | None, str]) -> Iterator[Server]:
    """A server with nothing to do."""
    server = Server(target[1])
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
