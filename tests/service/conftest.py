"""A PostgreSQL for the session."""

from collections.abc import Iterator

import pytest

from comfybridge.service.postgres import Postgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of our own."""
    with Postgres(tmp_path_factory.mktemp("database")) as server:
        yield server.url
