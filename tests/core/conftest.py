"""Fixtures of the core's tests; nothing here knows of Dify."""

import os
from collections.abc import Iterator, Mapping

import pytest

from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.simulator.definitions import Definitions as Recorded
from comfybridge.simulator.files import Files
from comfybridge.simulator.models import Models
from comfybridge.simulator.simulator import DEFAULT_MODELS
from comfybridge.workflow import Definitions
from tests.core.making import Connect


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies of the developer's machine out."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def deadline() -> Deadline:
    """Long enough for everything that works."""
    return Deadline(10)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make clients that are closed after the test."""
    clients: list[Client] = []

    def make(url: str, headers: Mapping[str, str] | None = None) -> Client:
        clients.append(Client(url, headers))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Definitions:
    """What a server with the default models says of all its node classes."""
    folder = tmp_path_factory.mktemp("comfyui")
    recorded = Recorded(Models(DEFAULT_MODELS), Files(folder))
    return {class_type: recorded.info(class_type) for class_type in recorded}
