"""Fixtures that every test folder may use."""

from collections.abc import Iterator

import pytest

from comfybridge.simulator import Simulator

try:
    from hypothesis import settings
except ImportError:  # inside Dify's engine, whose tests do without
    pass
else:
    # What a single example takes is the machine's affair: it may stall.
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    """A simulated ComfyUI with the default models, which answers at once."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server of our own: one for each process that runs tests."""
    # Here, since the tests inside Dify's engine have none of this installed.
    from comfybridge.service.postgres import Postgres  # noqa: PLC0415
    from tests.service.running import folder  # noqa: PLC0415

    with folder() as data, Postgres(data) as server:
        yield server.url
