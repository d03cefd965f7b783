"""A PostgreSQL for the session."""

from collections.abc import Iterator

import pytest

from comfybridge.service.postgres import Postgres
from tests.service.running import folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server of our own."""
    with folder() as data, Postgres(data) as server:
        yield server.url
