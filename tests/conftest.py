"""Fixtures that every test folder may use."""

from collections.abc import Iterator

import pytest

from comfybridge.simulator import Simulator

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # inside Dify's engine, whose tests do without
    pass
else:
    # What a single example takes is the machine's affair: it may stall. The same examples each time, so that a change
    # is judged by what it changes; `--hypothesis-profile searching` looks for others.
    settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("searching", deadline=None, max_examples=500)
    settings.load_profile("same")


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
